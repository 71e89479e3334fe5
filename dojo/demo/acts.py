"""The demo's acts, in the order of viewing. Each uses only the users' own commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rich.console import Console

from dojo.core.settings import Settings
from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.rollouts import Rollout, Rollouts
from dojo.core.tasks.specs import load_spec
from dojo.demo.probes import (
    features_online,
    first_version_as_of,
    fraud_euros_per_day,
    history_begins,
    ready,
    registry_answers,
    serves,
)
from dojo.demo.showing import rollout_view, view
from dojo.demo.showing.view import Frame
from dojo.demo.showing.watch import Watcher
from dojo.demo.steps import StepFailedError, Steps, print_line
from dojo.demo.traffic import at_speed, watch
from dojo.stack.environment import world_exists

# The bad challenger is slow by night, so its rollout begins at this hour. Two hours of shadow end
# before midnight. The canary takes at least four hours, so it meets the night.
EVENING = 20

# World seconds per wall second while it is rolled out. A burst of late answers counts once in a
# fifth of a second (services/rollout/fold.py). At this speed that is two minutes of the world, and
# at the demo's own speed ten. A night of few customers would then end before it is evidence.
SPEED_OF_ITS_ROLLOUT = 600.0

# The version of answers that the spec's fallback gave.
FALLBACK = "0"

# A younger champion has a twin for a challenger. The gate would not let the twin pass, so there
# would be nothing to ship.
YOUNGEST_TO_BEAT = timedelta(days=21)

# A rollout takes 54 world hours. Beyond this limit the demo stops waiting for it, and the rollout
# goes on without a viewer.
LONGEST_ROLLOUT = timedelta(days=14)


@dataclass(slots=True)
class DemoStage:
    """The stack, model and console that every act uses.

    Attributes:
        model: Whose loop is shown.
        speed: World seconds per wall second while traffic is watched.
        line_every: World time between two lines about traffic, where no terminal shows frames.
    """

    settings: Settings
    model: str
    console: Console
    steps: Steps
    redis: Redis
    clock: RedisWorldClock
    speed: float
    line_every: timedelta
    watcher: Watcher | None = None

    @property
    def seen(self) -> Watcher:
        assert self.watcher is not None, "watching begins when the world has a time"
        return self.watcher


def prepare(stage: DemoStage, transactions: Path | None) -> dict[str, Any]:
    """Do everything up to a served champion. Returns its version, metrics and as_of."""
    up = start(stage, transactions)
    champion = champions(stage).get(stage.model)
    if champion is None:
        now = stage.clock.now()
        as_of = first_version_as_of(history_begins(stage.settings, now), now)
        champion = stage.steps.run(
            "Train the first version, as of weeks ago",
            ["train", stage.model, "--as-of", as_of.isoformat()],
            lambda r: (
                f"version {r['version']}: PR-AUC {r['metrics']['pr_auc']:.3f} on the holdout of its"
                " time"
            ),
        )
    serve(stage, up, champion)
    return dict(champion)


def start(stage: DemoStage, transactions: Path | None) -> list[str]:
    """Start the stack, and wait until the world lives and the registry answers.

    Returns the command, which waits for the whole stack when it is run again.
    """
    steps, settings = stage.steps, stage.settings
    if transactions and not world_exists(settings.home):
        _check(stage, transactions)
    up = ["up", *(["--transactions", str(transactions)] if transactions else [])]
    steps.run(
        "Begin to start the stack", [*up, "--no-wait"], lambda r: "its processes start side by side"
    )
    steps.wait(
        "Build the world's history",
        lambda: (
            f"history ends {stage.clock.now():%Y-%m-%d %H:%M}" if stage.clock.is_set() else None
        ),
        within=300,
    )
    stage.watcher = Watcher(stage.redis, stage.model, stage.clock)
    stage.clock.set_speed(settings.speed)  # a new world stands still
    steps.wait("Answer the first payment", lambda: first_answer(stage), within=300)
    steps.wait(
        "Reach the registry", lambda: "MLflow answers" if registry_answers(settings) else None, 300
    )
    return up


def champions(stage: DemoStage) -> dict[str, dict[str, Any]]:
    """Model -> the registry's line about its champion."""
    listed = stage.steps.run(
        "Ask the registry for champions", ["models", "list"], lambda r: f"{len(r)} version(s)"
    )
    return {one["model"]: one for one in listed if "champion" in one["aliases"]}


def serve(stage: DemoStage, up: list[str], champion: Mapping[str, Any]) -> None:
    """Wait until the champions answer with stored features.

    Training needs files and MLflow only. So the rest of the stack starts beside it.
    """
    steps, settings = stage.steps, stage.settings
    steps.run("Wait for the whole stack", up, lambda r: f"{len(r['processes'])} processes healthy")
    steps.wait("Bring features online", lambda: features_online(stage.redis, settings), within=300)
    steps.wait(
        "Serve it",
        lambda: f"version {champion['version']} answers" if ready(settings) else None,
        within=60,
    )
    stage.seen.trained_as_of = datetime.fromisoformat(champion["as_of"])


def first_answer(stage: DemoStage) -> str | None:
    """Which version answered the first payment, and the value at stake. None before an answer."""
    versions = stage.seen.look().tally.by_version
    if not versions:
        return None
    loss = fraud_euros_per_day(
        stage.settings,
        load_spec(stage.settings.models_dir / f"{stage.model}.yaml"),
        stage.clock.now(),
    )
    stake = "" if loss is None else f"; fraud is worth {loss:,.0f} € a world day"
    if set(versions) == {FALLBACK}:
        return f"by the fallback, which lets all pass{stake}"
    return f"by version {', '.join(sorted(versions, key=int))}{stake}"


def _check(stage: DemoStage, transactions: Path) -> None:
    """Raises StepFailedError before the start if no first version can learn from them."""
    from dojo.cli.world.outlook import at_the_end, training_refusals

    imported = stage.steps.run(
        "Check the transactions",
        ["data", "import", str(transactions)],
        lambda r: f"{r['rows']:,} transactions",
    )
    refused = training_refusals(
        Path(imported["path"]),
        stage.settings,
        stage.model,
        lambda span: first_version_as_of(span.start, at_the_end(span)),
    )
    if refused:
        reasons = "\n  ".join(refused)
        raise StepFailedError(
            f"the first version cannot be trained on these transactions:\n  {reasons}"
        )


def age(stage: DemoStage, champion: Mapping[str, Any]) -> timedelta:
    """How long ago, in world time, the champion was trained."""
    return stage.clock.now() - datetime.fromisoformat(champion["as_of"])


def is_rolling_out(stage: DemoStage) -> bool:
    """Whether a rollout is under way, from an earlier run whose viewer left."""
    latest = Rollouts(stage.redis).get(stage.model)
    return latest is not None and latest.active


def live(stage: DemoStage, end: datetime) -> bool:
    """Live traffic until `end`, world time. Returns False when the viewer had enough."""
    watcher = stage.seen
    watcher.watch_until(end)
    stage.console.print(
        f"[bold cyan]▸[/] Live traffic until {end:%a %H:%M}, world time  [dim]ctrl-c ends the"
        " watching, not the stack[/]"
    )
    with at_speed(stage.clock, stage.speed, stage.settings.speed) as pace:
        return watch(
            stage.console,
            watcher,
            stage.clock,
            pace,
            _is_over,
            view.render,
            view.line,
            stage.line_every,
        )


def _is_over(look: Frame) -> bool:
    return look.world >= look.end


def retrain_badly(stage: DemoStage) -> dict[str, Any]:
    """The same with a challenger that is slow by night.

    The world stands still meanwhile, because its rollout must begin this evening.
    """
    stage.console.print("  [dim]the world stands still while it is trained[/]")
    with at_speed(stage.clock, 0, stage.settings.speed):
        answer: dict[str, Any] = stage.steps.run(
            "Retrain, and make the challenger slow by night (its answers stay right)",
            [
                "retrain",
                stage.model,
                "--in-process",
                "--sabotage",
                "slow_by_night",
                "--why",
                "demo: a challenger that fails only live",
            ],
            said,
        )
        if answer["outcome"] == "promote":
            beside_the_champion(
                stage, answer["version"]
            )  # before the world goes on, because an hour takes 1.5 s at this speed
    return answer


@contextmanager
def without_responses(stage: DemoStage) -> Iterator[None]:
    """Pause the responder's actions. It still reports.

    This act's champion is outdated too. The responder would replace it in the middle of the act.
    """
    why = "demo: this act is about the rollout alone"
    stage.steps.run(
        "Let the responder report, but not act",
        ["responder", "pause", "--why", why],
        lambda r: "paused",
    )
    try:
        yield
    finally:
        stage.steps.run(
            "Let the responder act again",
            ["responder", "resume", "--why", "demo: the act is over"],
            lambda r: "resumed",
        )


def beside_the_champion(stage: DemoStage, version: str) -> None:
    """Wait until the shadow's route is served."""
    stage.steps.wait(
        "Bring the challenger beside the champion (the gateway fetches, verifies and warms it)",
        lambda: (
            f"version {version} gets a copy of every request"
            if serves(stage.settings, stage.model, version)
            else None
        ),
        within=120,
    )


def said(answer: Mapping[str, Any]) -> str:
    """A retraining's result in one line."""
    gain = answer.get("gain")
    gained = f", PR-AUC {gain:+.1%} against the champion" if gain is not None else ""
    version = f"version {answer['version']}: " if answer.get("version") else ""
    return f"{version}{answer['verdict']}{gained} ({answer['outcome']})"


def follow_rollout(stage: DemoStage, speed: float | None = None) -> Rollout | None:
    """Show the rollout from shadow to its end. Returns its last known state.

    Args:
        speed: World seconds per wall second, where the stage's speed is too high.
    """
    rollouts = Rollouts(stage.redis)
    latest = rollouts.get(stage.model)
    if latest is None:
        return None
    stage.console.print(
        f"[bold cyan]▸[/] Roll version {latest.version} out  [dim]dojo rollout show {stage.model}"
        " --watch[/]"
    )
    last = [latest]
    shown = [0]
    stage.seen.watch_until(stage.clock.now() + LONGEST_ROLLOUT)

    def done(look: Frame) -> bool:
        with suppress(
            RedisError
        ):  # Redis is away for a moment: the last state stands, as in the rest of the frame
            last[0] = rollouts.get(stage.model) or last[0]
        if not stage.console.is_terminal:
            for step in last[0].history[shown[0] :]:
                print_line(
                    stage.console, f"{step.world_time:%m-%d %H:%M}  {step.after}: {step.why}"
                )
            shown[0] = len(last[0].history)
        return not last[0].active or look.world >= look.end

    with at_speed(
        stage.clock, min(stage.speed, speed or stage.speed), stage.settings.speed
    ) as pace:
        finished = watch(
            stage.console,
            stage.seen,
            stage.clock,
            pace,
            done,
            lambda look: rollout_view.render(last[0], look.world, look.tally, look.per_second),
            lambda look: rollout_view.line(last[0], look.world, look.tally),
            stage.line_every,
        )
    if finished and last[0].active:
        raise StepFailedError(
            f"the rollout is still {last[0].stage} after {LONGEST_ROLLOUT.days} world days: dojo"
            f" rollout show {stage.model}"
        )
    return last[0]


def next_evening(now: datetime) -> datetime:
    """When the bad challenger's rollout is to begin."""
    evening = now.replace(hour=EVENING, minute=0, second=0, microsecond=0)
    return evening if evening > now else evening + timedelta(days=1)
