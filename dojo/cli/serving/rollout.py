"""`dojo rollout`: start a challenger's rollout, see why it is where it is, and overrule its controller."""

from __future__ import annotations

import getpass
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import typer
from redis import Redis
from redis.exceptions import RedisError
from rich.live import Live
from rich.table import Table

from dojo.cli.output import JsonFlag, errors_become_messages, fail, out, print_json
from dojo.cli.serving.rollout_view import explain, summary
from dojo.core.connections import connect_redis, redis_address
from dojo.core.registry.errors import RegistryUnavailableError, UnknownVersionError
from dojo.core.registry.promotion import TrafficElsewhereError, require_champions_traffic, require_version
from dojo.core.registry.versions import CHALLENGER, CHAMPION, GATE_TAG, ModelRegistry
from dojo.core.settings import Settings, SettingsError, load_settings
from dojo.core.spec.load import ModelSpec, SpecError, load_specs
from dojo.core.state.atomic import ConflictError
from dojo.core.state.clock import ClockNotSetError, RedisWorldClock, wall_now
from dojo.core.state.rollouts import (
    Action,
    NoRolloutError,
    RequestPendingError,
    Rollout,
    RolloutActiveError,
    RolloutRequest,
    Rollouts,
)
from dojo.core.state.routes import RouteTable

app = typer.Typer(help="Roll a version out step by step, and overrule the controller that does.", no_args_is_help=True)

Model = Annotated[str, typer.Argument(help="The model's name.")]
Why = Annotated[str, typer.Option("--why", help="The reason, for the audit trail and for whoever reads the history.")]

# The controller looks at least once a second; a busy machine may take several times that.
TAKEN_WITHIN_SECONDS = 8.0
POLL_SECONDS = 0.1
REFRESH_SECONDS = 0.5

TAKEN = {
    "pause": "stays in its stage until you resume it; checks go on, and would still roll it back",
    "resume": "goes on",
    "promote": "skips the waiting",
    "abort": "goes back to the champion",
}


@app.command()
def start(
    model: Model,
    version: Annotated[str, typer.Argument(help="The registered version, a number (dojo models list).")],
    why: Why,
    force: Annotated[bool, typer.Option("--force", help="Even if the gate has not found the version better.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Roll a version out by hand, as retraining does with a challenger that wins.

    Example: [bold]dojo rollout start fraud_detection 4 --why "fixed features"[/]
    """
    with _stack() as stack, errors_become_messages(RegistryUnavailableError, next_step="dojo status"):
        spec = stack.spec(model)
        registry = ModelRegistry(stack.settings.mlflow, timeout_seconds=5, retries=1)
        with errors_become_messages(UnknownVersionError, next_step="dojo models list"):
            challenger = registry.get(model, version)
            champion = registry.get(model, require_version(registry, model, CHAMPION))
        verdict = challenger.tags.get(GATE_TAG, "")
        if verdict != "improved" and not force:
            found = f"said {verdict!r}" if verdict else "has not compared it with the champion"
            raise fail(f"{model}: the gate {found}; only 'improved' versions are rolled out", "use --force if you know better")
        before = stack.rollouts.get(model)
        if before is None or not before.active:  # otherwise its own route, or a refusal that names it
            with errors_become_messages(TrafficElsewhereError):
                require_champions_traffic(RouteTable(stack.redis), model, champion.version)
        baseline = {k.removeprefix("metric."): float(v) for k, v in champion.tags.items() if k.startswith("metric.")}
        with errors_become_messages(RolloutActiveError, NoRolloutError):
            rollout = stack.rollouts.start(
                spec, version, champion.version, stack.now(), getpass.getuser(), why, baseline, again=True
            )
        if before is None or before.id != rollout.id:
            registry.set_alias(model, CHALLENGER, version)
        elif not as_json:
            out.print(f"{model}: version {version} is being rolled out already ({rollout.stage})", highlight=False)
            return
    if as_json:
        print_json(rollout)
    else:
        out.print(
            f"{model}: rollout of version {version} started ({rollout.stage}). Follow it: dojo rollout show {model} --watch",
            highlight=False,
        )


@app.command("list")
def list_(as_json: JsonFlag = False) -> None:
    """The latest rollout of every model, active or over.

    Example: [bold]dojo rollout list[/]
    """
    with _stack() as stack:
        rollouts = [rollout for name in sorted(stack.specs) if (rollout := stack.rollouts.get(name)) is not None]
    if as_json:
        print_json(rollouts)
        return
    if not rollouts:
        out.print("Nothing was rolled out yet. Retraining starts one for each challenger that wins.", highlight=False)
        return
    table = Table()
    for heading in ("model", "version", "champion", "stage", "since (world)", "why"):
        table.add_column(heading, overflow="fold")
    for rollout in rollouts:
        table.add_row(*summary(rollout))
    out.print(table)


@app.command()
def show(
    model: Model,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep showing it until it is over, or Ctrl-C.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Explain a rollout: its stage, each check with what was measured against which limit, and its history with reasons.

    Example: [bold]dojo rollout show fraud_detection --watch[/]
    """
    with _stack() as stack:
        rollout = stack.rollout(model)
        if as_json:
            print_json(rollout)
        elif not watch:
            out.print(explain(rollout, stack.specs.get(model), stack.now_if_set()), highlight=False)
        else:
            with Live(console=out, auto_refresh=False) as live:
                while True:
                    rollout = stack.rollout(model)
                    live.update(explain(rollout, stack.specs.get(model), stack.now_if_set()), refresh=True)
                    if not rollout.active:
                        break
                    time.sleep(REFRESH_SECONDS)


@app.command()
def pause(model: Model, why: Why, as_json: JsonFlag = False) -> None:
    """Keep a rollout in its stage. Its checks go on and would still roll it back.

    Example: [bold]dojo rollout pause fraud_detection --why "wait for Monday's traffic"[/]
    """
    _ask(model, "pause", why, as_json)


@app.command()
def resume(model: Model, why: Why, as_json: JsonFlag = False) -> None:
    """Let a paused rollout go on.

    Example: [bold]dojo rollout resume fraud_detection --why "it is Monday"[/]
    """
    _ask(model, "resume", why, as_json)


@app.command()
def promote(model: Model, why: Why, as_json: JsonFlag = False) -> None:
    """Skip the waiting: from shadow or canary to all traffic, from watch to done.

    Example: [bold]dojo rollout promote fraud_detection --why "the old version is broken"[/]
    """
    _ask(model, "promote", why, as_json)


@app.command()
def abort(model: Model, why: Why, as_json: JsonFlag = False) -> None:
    """Give all traffic back to the old champion and end the rollout.

    Example: [bold]dojo rollout abort fraud_detection --why "wrong training data"[/]
    """
    _ask(model, "abort", why, as_json)


def _ask(model: str, action: Action, why: str, as_json: bool) -> None:
    """Leave the request and wait until the controller took it."""
    request = RolloutRequest(action=action, who=getpass.getuser(), why=why, wall_time=wall_now())
    with _stack() as stack:
        with errors_become_messages(NoRolloutError, RequestPendingError, next_step="dojo rollout list"):
            asked = _left(stack.rollouts, model, request)
        deadline = time.monotonic() + TAKEN_WITHIN_SECONDS
        while (now := stack.rollout(model)).id == asked.id and now.request is not None and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    if as_json:
        print_json(now)
    if now.id == asked.id and now.request is not None:
        raise fail(
            f"{model}: {action} is noted, but no controller took it within {TAKEN_WITHIN_SECONDS:g} s; it will when it runs again",
            "dojo status",
        )
    if not as_json:
        step = next((step for step in reversed(now.history) if step.who == request.who), now.history[-1])
        refused = "changes nothing" in step.why
        said = step.why if refused else f"version {now.version} {TAKEN[action]}"
        out.print(f"{model}: {said}. It is in {now.stage} now.", highlight=False)


def _left(rollouts: Rollouts, model: str, request: RolloutRequest) -> Rollout:
    """The controller writes every second: being overtaken by it is normal."""
    while True:
        try:
            return rollouts.request(model, request)
        except ConflictError:
            continue


@dataclass(frozen=True)
class _Stack:
    settings: Settings
    specs: dict[str, ModelSpec]
    redis: Redis
    rollouts: Rollouts
    clock: RedisWorldClock

    def spec(self, model: str) -> ModelSpec:
        if model not in self.specs:
            raise fail(f"{model}: no such model; there are {', '.join(sorted(self.specs))}", code=2)
        return self.specs[model]

    def rollout(self, model: str) -> Rollout:
        found = self.rollouts.get(self.spec(model).name)
        if found is None:
            raise fail(f"{model}: nothing was rolled out yet", f"dojo rollout start {model} VERSION --why ...")
        return found

    def now(self) -> datetime:
        with errors_become_messages(ClockNotSetError):
            return self.clock.now()

    def now_if_set(self) -> datetime | None:
        try:
            return self.clock.now()
        except ClockNotSetError:
            return None


@contextmanager
def _stack() -> Iterator[_Stack]:
    with errors_become_messages(SettingsError, SpecError):
        settings = load_settings()
        specs = load_specs(settings.models_dir)
    redis = connect_redis(settings.redis)
    try:
        yield _Stack(settings, specs, redis, Rollouts(redis), RedisWorldClock(redis))
    except RedisError as error:
        raise fail(f"Redis does not answer at {redis_address(settings.redis)}: {error}", "dojo up") from error
    finally:
        redis.close()
