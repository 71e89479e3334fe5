"""The demo's fleet act: all models of the shop, and a fault that reaches some of them.

    first versions of all models, trained side by side
        -> live traffic to all of them
        -> some merchants' checkouts send cents for euros
        -> the fleet view, for some midnights more

The fault is in the payments. The shown model reads them directly. Other models read stored features
that are computed from payments, and learn of the fault at the next midnight. Models that share no
such feature notice nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from redis.exceptions import RedisError
from rich.console import Group

from dojo.actions.desk import Desk
from dojo.cli.serving.fleet import FleetLine, fleet_table, look
from dojo.core.lake import Lake
from dojo.core.registry.versions import CHAMPION
from dojo.core.settings import Settings
from dojo.core.severity import ORDER, Severity
from dojo.demo import acts
from dojo.demo.acts import DemoStage
from dojo.demo.showing import view
from dojo.demo.showing.view import Frame
from dojo.demo.steps import print_line
from dojo.demo.traffic import at_speed, watch
from dojo.shop.drift_kinds import Kind
from dojo.shop.events import TRANSACTIONS
from dojo.shop.value import value_of_decisions

FAULT: Kind = "unit_bug"
WHY = "demo: a fault in the payments, which some models share"

# World time without the fault. The hourly checks have their first windows by then.
QUIET = timedelta(hours=6)
# World time with the fault. Stored features change at the first midnight, for a part of a day. Days
# are judged when two of three show it, so the third midnight after that one brings the verdict.
FAULT_LASTS = timedelta(days=4)

# A training needs a gigabyte, and mostly one core.
SIDE_BY_SIDE = max(1, min(4, os.cpu_count() or 1))

# Wall seconds between two looks at the fleet. A look takes 50 ms.
LOOK_EVERY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class FleetAct:
    """What the act found.

    Attributes:
        shares: Model -> how many of its inputs are computed from payments.
        noticed: Model -> the worst that its monitor said under the fault. Models without trouble
            are missing.
        before: The fleet before the fault, the worst first.
        after: The fleet at the act's end.
    """

    shares: Mapping[str, int]
    noticed: Mapping[str, str]
    before: Sequence[FleetLine]
    after: Sequence[FleetLine]


def prepare(stage: DemoStage) -> dict[str, str]:
    """Start the stack and serve a version of every model. Returns the versions by model."""
    up = acts.start(stage, None)
    models = list(Desk().right_specs())
    found = acts.champions(stage)
    lacking = [model for model in models if model not in found]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for trained in pool.map(lambda model: _train(stage, model), lacking):
            found[trained["model"]] = trained
            if trained["alias"] != CHAMPION:
                _approve(stage, trained)
    acts.serve(stage, up, found[stage.model])
    return {model: found[model]["version"] for model in models}


def _train(stage: DemoStage, model: str) -> dict[str, Any]:
    answer: dict[str, Any] = stage.steps.run(
        f"Train the first version of {model}",
        ["train", model],
        lambda r: f"version {r['version']}, {r['rows']['train']:,} rows",
    )
    return answer


def _approve(stage: DemoStage, trained: Mapping[str, Any]) -> None:
    """Approve the first version of a regulated model as a second person."""
    version = f"{trained['model']}@{trained['version']}"
    stage.steps.run(
        f"A second person approves {version}",
        [
            *("models", "promote", version, "--yes"),
            *("--who", "a second person", "--why", "demo: a regulated model's first version"),
        ],
        lambda r: f"version {r['champion']} serves",
    )


def play(stage: DemoStage, lasts: timedelta = FAULT_LASTS) -> FleetAct | None:
    """Show the fleet without and with the fault. None when the viewer left.

    Args:
        lasts: World time with the fault.
    """
    entries = stage.steps.run(
        "See which models share features of payments",
        ["features", "catalog"],
        lambda r: ", ".join(f"{model} {count}" for model, count in shares(r).items() if count),
    )
    seen = Fleet(stage)
    if not _watch(stage, seen, stage.clock.now() + QUIET):
        return None
    before = seen.lines
    stage.steps.run(
        "Some merchants' checkouts send cents for euros",
        ["world", "drift", "start", FAULT, "--why", WHY],
        lambda r: f"{r['kind']} since {r['started']}",
    )
    try:
        if not _watch(stage, seen, stage.clock.now() + lasts):
            return None
    finally:
        stage.steps.run(
            "The merchants correct it",
            ["world", "drift", "stop", FAULT, "--why", "demo: the act is over"],
            lambda r: "ended",
        )
    seen.look()
    return FleetAct(
        shares=shares(entries),
        noticed=seen.noticed,
        before=before,
        after=seen.lines,
    )


def shares(entries: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Model -> how many of its inputs are computed from payments alone.

    Args:
        entries: What `dojo features catalog --json` prints.
    """
    models = sorted({model for entry in entries for model in entry["models"]})
    own = [entry for entry in entries if entry["source"].split(",")[0].endswith(f" {TRANSACTIONS}")]
    return {model: sum(model in entry["models"] for entry in own) for model in models}


def told(act: FleetAct) -> list[str]:
    """What the act showed, one line per model."""
    lines = []
    for model, count in sorted(act.shares.items(), key=lambda one: (-one[1], one[0])):
        inputs = "1 input" if count == 1 else f"{count or 'no'} inputs"
        found = act.noticed.get(model, "no trouble noticed")
        lines.append(f"{model}: {inputs} computed from payments; {found}")
    return lines


def worth(settings: Settings) -> dict[str, float]:
    """Model -> what acting on its answers was worth so far, euro. Only what is settled counts."""
    found: dict[str, float] = {}
    for one in value_of_decisions(Lake(settings.lake_dir)):
        found[one.model] = round(found.get(one.model, 0.0) + one.euro, 2)
    return found


def worth_told(settings: Settings) -> list[str]:
    """The same in a line. Without decisions there is none."""
    found = sorted(worth(settings).items(), key=lambda one: -one[1])
    said = ", ".join(f"{model} {euro:+,.0f} euro" for model, euro in found)
    return [f"worth against a shop without the model (dojo value): {said}"] if found else []


class Fleet:
    """The fleet view while the act runs.

    Attributes:
        lines: The fleet, the worst first.
        noticed: Model -> the worst that its monitor said since `forget`, where that is worse than
            before.
    """

    def __init__(self, stage: DemoStage) -> None:
        self._stage = stage
        self._desk = Desk()
        self._next = 0.0
        self._worst: dict[str, Severity] = {}
        self.lines: Sequence[FleetLine] = ()
        self.noticed: dict[str, str] = {}
        self.look()

    def look(self) -> None:
        """Look again. A Redis that is away leaves the last state standing."""
        self._next = time.monotonic() + LOOK_EVERY_SECONDS
        try:
            self.lines = look(self._desk)
        except RedisError:
            return
        for line in self.lines:
            worst = self._worst.get(line.model, "ok")
            if ORDER.index(line.severity) <= ORDER.index(worst):
                continue
            self._worst[line.model] = line.severity
            self.noticed[line.model] = line.wrong
            if not self._stage.console.is_terminal:
                said = f"{self._stage.clock.now():%m-%d %H:%M}  {line.model}: {line.severity}"
                print_line(self._stage.console, f"{said}, {line.wrong}")

    def look_if_due(self) -> None:
        if time.monotonic() >= self._next:
            self.look()

    def forget(self) -> None:
        """Note only what gets worse from now on."""
        self.noticed.clear()


def _watch(stage: DemoStage, fleet: Fleet, end: datetime) -> bool:
    """Show traffic and fleet until `end`. False when the viewer left."""
    stage.seen.watch_until(end)
    fleet.forget()

    def done(frame: Frame) -> bool:
        fleet.look_if_due()
        return frame.world >= end

    with at_speed(stage.clock, stage.speed, stage.settings.speed) as pace:
        return watch(
            stage.console,
            stage.seen,
            stage.clock,
            pace,
            done,
            lambda frame: Group(view.render(frame), fleet_table(fleet.lines)),
            view.line,
            stage.line_every,
        )
