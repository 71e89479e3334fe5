"""`dojo demo`: start everything, build history, train, serve, watch, let the loop heal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dojo.cli.context import CommandContext
from dojo.cli.output import JsonFlag, err, errors_become_messages, fail, out, print_json
from dojo.core.settings import ALL_MODELS

if TYPE_CHECKING:
    from dojo.core.settings import Settings
    from dojo.core.state.rollouts import Rollout
    from dojo.demo.acts import DemoStage
    from dojo.demo.showing import timeline

# The labels that the story can tell.
YES_OR_NO = (0.0, 1.0)

# World seconds per wall second while a person watches. A world day takes 29 s, with about 340
# payments a second. At 3,600 two cores are busy for two thirds of the time. The rest is reserve.
DEMO_SPEED = 3000.0

# World days of traffic after which the story stops waiting for the monitor. The monitor takes two
# or three, because labels are days late.
DAYS_TO_ACT = 10.0


class Act(StrEnum):
    """How far the demo goes."""

    LOOP = "loop"
    STORY = "story"
    BAD_CANARY = "bad-canary"
    FLEET = "fleet"


def demo(
    transactions: Annotated[
        Path | None,
        typer.Option(
            help=(
                "Replay this Parquet or CSV file of real transactions instead of the synthetic"
                " world."
            ),
            exists=True,
        ),
    ] = None,
    act: Annotated[
        Act,
        typer.Option(
            help=(
                "story: the champion is outdated, the monitor notices it, and the"
                " responder has it replaced. "
                "bad-canary: a challenger fails only live and is taken back. fleet: all models of"
                " the shop run, and a fault reaches some of them. loop: serve and watch, nothing"
                " more."
            )
        ),
    ] = Act.STORY,
    days: Annotated[
        float | None,
        typer.Option(
            min=0.05,
            max=365,
            help=(
                "World days of live traffic. story: the maximum until the loop acts (default"
                " 10). fleet: how long the fault lasts (default 4). loop and bad-canary: the"
                " exact number (default 1)."
            ),
        ),
    ] = None,
    speed: Annotated[
        float,
        typer.Option(
            min=1,
            max=86400,
            help="World seconds per wall second while watching. Lower while features are late.",
        ),
    ] = DEMO_SPEED,
    model: Annotated[
        str,
        typer.Option(
            help="The model to show. By default the first model in the models directory.",
            show_default=False,
        ),
    ] = "",
    log_every: Annotated[
        float,
        typer.Option(
            min=0.1,
            help="World hours between two lines about traffic, where no terminal shows it live.",
        ),
    ] = 24.0,
    picture: Annotated[
        Path | None,
        typer.Option(
            help="Draw what the demo showed at its end into this SVG file.",
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """The whole loop in one command.

    It shows history, features, serving, live traffic, the monitor's verdict and the alert. Then
    come the retraining, its gate, the rollout and the recovery.

    The stack stays up afterwards, at the everyday speed (DOJO_SPEED). A second run goes on with the
    same world.

    Examples:
      dojo demo
      dojo demo --act bad-canary
      dojo demo --act fleet
      dojo demo --transactions transactions.parquet --days 2
    """
    from dojo.core.connections import connect_redis
    from dojo.core.state.clock import RedisWorldClock
    from dojo.core.tasks.specs import task_of
    from dojo.demo import acts
    from dojo.demo.showing import timeline
    from dojo.demo.steps import StepFailedError, Steps

    if act is Act.FLEET:
        if transactions is not None:
            raise fail("only payments can be replayed, and the fleet needs a whole shop", code=2)
        os.environ.setdefault("DOJO_MODELS", ALL_MODELS)
        os.environ.setdefault("DOJO_DECISIONS", "review")
    with CommandContext() as here:
        settings = here.settings
        shown = here.require_model(model or next(iter(here.models), "any"))
        if task_of(here.spec(shown)).label_values.allowed != YES_OR_NO:
            raise fail(
                f"{shown}: the demo counts caught and missed positives, and its labels are not 0"
                " or 1",
                f"dojo up, then dojo train {shown} and dojo performance {shown}",
            )
    console = err if as_json else out
    redis = connect_redis(settings.redis)
    stage = acts.DemoStage(
        settings,
        shown,
        console,
        Steps(console),
        redis,
        RedisWorldClock(redis),
        speed,
        timedelta(hours=log_every),
    )
    if act is Act.FLEET:
        _show_fleet(stage, days, as_json)
        return
    retrained: dict[str, Any] | None = None
    rollout: Rollout | None = None
    with _interruptible(settings), CommandContext(), errors_become_messages(StepFailedError):
        champion = acts.prepare(stage, transactions)
        if acts.is_rolling_out(stage):
            rollout = acts.follow_rollout(stage)
        else:
            retrained, rollout = _play(stage, champion, act, days)
    told = timeline.read(redis, stage.model, stage.seen.began)
    _conclude(stage, champion, retrained, rollout, told)
    if picture is not None:
        _draw(picture, stage, rollout, told)
    if as_json:
        print_json(
            {
                "champion": champion,
                "retraining": retrained,
                "rollout": rollout,
                "timeline": told,
                "live": asdict(stage.seen.tally.snapshot()),
                "steps_seconds": stage.steps.seconds,
                "world": stage.clock.now(),
            }
        )


@contextmanager
def _interruptible(settings: Settings) -> Iterator[None]:
    """Say on Ctrl-C that the stack goes on."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as ended:
        code = ended.code if isinstance(ended, SystemExit) and isinstance(ended.code, int) else 130
        goes_on = f"the stack goes on at {settings.speed:g} world seconds per second"
        raise fail(f"interrupted; {goes_on}", "dojo status, or dojo down", code) from None


def _show_fleet(stage: DemoStage, days: float | None, as_json: bool) -> None:
    """Play the fleet act and show what was noticed by whom."""
    from dojo.cli.serving.fleet import fleet_table
    from dojo.demo import fleet
    from dojo.demo.steps import StepFailedError

    with _interruptible(stage.settings), CommandContext(), errors_become_messages(StepFailedError):
        versions = fleet.prepare(stage)
        lasts = fleet.FAULT_LASTS if days is None else timedelta(days=days)
        done = fleet.play(stage, lasts)
    if done is not None:
        stage.console.print(fleet_table(done.after))
        for line in (*fleet.told(done), *fleet.worth_told(stage.settings)):
            stage.console.print(line, highlight=False, markup=False, soft_wrap=True)
    stage.console.print(_next_steps(stage.settings, stage.model), highlight=False, soft_wrap=True)
    if as_json:
        print_json(
            {
                "champions": versions,
                "fleet": done,
                "values": fleet.worth(stage.settings),
                "steps_seconds": stage.steps.seconds,
                "world": stage.clock.now(),
            }
        )


def _play(
    stage: DemoStage, champion: dict[str, Any], act: Act, days: float | None
) -> tuple[dict[str, Any] | None, Rollout | None]:
    """Show live traffic, and for all but one act a retraining and its rollout.

    Returns the results of both.
    """
    from dojo.demo import acts
    from dojo.demo.loop import until_the_loop_acts

    if act is Act.STORY:
        retrained = until_the_loop_acts(
            stage, timedelta(days=DAYS_TO_ACT if days is None else days)
        )
        promoted = retrained is not None and retrained.get("outcome") == "promote"
        return retrained, acts.follow_rollout(stage) if promoted else None
    bad = act is Act.BAD_CANARY
    if bad and (age := acts.age(stage, champion)) < acts.YOUNGEST_TO_BEAT:
        raise fail(
            f"the champion was trained {age.days} world days ago: a challenger would be its twin,"
            " and the gate would keep it out",
            "dojo down --purge, then dojo demo --act bad-canary: a fresh world has a champion that"
            " can be beaten",
        )
    now = stage.clock.now()
    if not bad:
        acts.live(stage, now + timedelta(days=1.0 if days is None else days))
        return None, None
    with acts.without_responses(stage):
        if not acts.live(stage, acts.next_evening(now)):
            return None, None
        retrained = acts.retrain_badly(stage)
        promoted = retrained["outcome"] == "promote"
        return retrained, (
            acts.follow_rollout(stage, acts.SPEED_OF_ITS_ROLLOUT) if promoted else None
        )


def _conclude(
    stage: DemoStage,
    champion: dict[str, Any],
    retrained: dict[str, Any] | None,
    rollout: Rollout | None,
    told: list[timeline.Moment],
) -> None:
    """Show the measured values, the timeline, and where to look next."""
    from dojo.demo.showing import timeline, view

    offline = {champion["version"]: champion["metrics"]}
    if retrained is not None and retrained.get("version"):
        offline[retrained["version"]] = retrained.get("metrics") or {}
    seconds = (
        stage.steps.seconds if stage.console.is_terminal else {}
    )  # elsewhere each step's line has them
    stage.console.print(view.summary(stage.seen.tally.snapshot(), seconds, offline))
    if stage.console.is_terminal:  # elsewhere each moment was a line
        stage.console.print(timeline.render(told, f"Timeline: {stage.model}"))
    if rollout is None and retrained is not None:
        why = (
            retrained.get("verdict")
            or f"the retraining failed: {retrained.get('error', 'see dojo logs trainer')}"
        )
        stage.console.print(
            f"The champion stays: {why}. A fresh world (dojo down --purge) has one that can be"
            " beaten.",
            highlight=False,
            markup=False,
        )
    stage.console.print(_next_steps(stage.settings, stage.model), highlight=False, soft_wrap=True)


def _draw(
    target: Path, stage: DemoStage, rollout: Rollout | None, told: list[timeline.Moment]
) -> None:
    from dojo.demo.showing import picture, rollout_view, timeline, view

    look = stage.seen.look()
    parts = [view.render(look)]
    if rollout is not None:
        parts.append(rollout_view.render(rollout, look.world, look.tally, look.per_second))
    parts.append(timeline.render(told, f"Timeline: {stage.model}"))
    picture.save(target, parts, "dojo demo")
    stage.console.print(f"picture: {target}", highlight=False, markup=False, soft_wrap=True)


def _next_steps(settings: Settings, model: str) -> str:
    ends = "docker compose down" if settings.peer_hosts else "dojo down"
    return (
        f"The stack stays up at {settings.speed:g} world seconds per second; {ends} ends it."
        f" Next:\n  1. See who decided what, and why:  dojo audit list; dojo gate show {model}\n "
        " 2. Break it and watch who notices: dojo world drift start unit_bug --why test; dojo"
        f" drift show --watch\n  3. Read the lines that decided:    models/{model}.yaml,"
        " docs/designs/d06-gates.md"
    )
