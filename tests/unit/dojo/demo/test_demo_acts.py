from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from dojo.core.events.types import Stream
from dojo.core.judging.rollout.stages import CheckResult, Stage
from dojo.core.lake import SCHEMAS, Lake
from dojo.core.settings import Settings
from dojo.core.state.rollouts import Rollout, Transition
from dojo.core.tasks.specs import load_spec
from dojo.demo.acts import next_evening, said
from dojo.demo.probes import first_version_as_of, fraud_euros_per_day, history_begins
from dojo.demo.showing.rollout_view import line, render
from dojo.demo.showing.tally import Tally
from dojo.shop.events import TRANSACTIONS

NOW = datetime(2025, 1, 6, tzinfo=UTC)


def settings_with_history(home: Path, days: int) -> Settings:
    lake = Lake(home / "lake")
    first = NOW - timedelta(days=days)
    row = {name: [None] for name in SCHEMAS[TRANSACTIONS]} | {"world_time": [first]}
    lake.write(TRANSACTIONS, pl.DataFrame(row, schema=SCHEMAS[TRANSACTIONS]), "history")
    return Settings(home=home)


@pytest.mark.parametrize(
    ("history", "age"),
    [(100, 49), (90, 48), (60, 18), (30, 0)],
    ids=[
        "seven weeks old",
        "with enough to learn from",
        "younger in a short past",
        "never later than now",
    ],
)
def test_the_first_version_is_as_old_as_the_past_allows(
    tmp_path: Path, history: int, age: int
) -> None:
    now = NOW + timedelta(hours=5)
    as_of = first_version_as_of(history_begins(settings_with_history(tmp_path, history), now), now)
    assert as_of == NOW - timedelta(days=age)


def test_what_fraud_costs_is_read_from_the_newest_week_with_complete_labels(tmp_path: Path) -> None:
    """Labels take up to 7 days, so the week ends 7 days before the world's midnight.

    A repeated label counts once.
    """
    spec = load_spec(Path("models/fraud_detection.yaml"))
    lake, settings = Lake(tmp_path / "lake"), Settings(home=tmp_path)
    assert fraud_euros_per_day(settings, spec, NOW) is None
    made = {"in": 10, "also in": 8, "legitimate": 9, "too young": 3, "too old": 15}
    payments = {name: [None] * len(made) for name in SCHEMAS[TRANSACTIONS]} | {
        "transaction_id": list(made),
        "amount": [70.0, 7.0, 1000.0, 1000.0, 1000.0],
        "world_time": [NOW - timedelta(days=days) for days in made.values()],
    }
    lake.write(TRANSACTIONS, pl.DataFrame(payments, schema=SCHEMAS[TRANSACTIONS]), "history")
    labelled = [*made, "in"]
    outcomes = {name: [None] * len(labelled) for name in SCHEMAS[Stream.OUTCOMES]} | {
        "model": [spec.name] * len(labelled),
        "request_id": labelled,
        "label": [float(name != "legitimate") for name in labelled],
        "world_time": [NOW - timedelta(days=2)] * len(labelled),
    }
    lake.write(Stream.OUTCOMES, pl.DataFrame(outcomes, schema=SCHEMAS[Stream.OUTCOMES]), "history")
    assert fraud_euros_per_day(settings, spec, NOW + timedelta(hours=5)) == 11.0


def test_a_bad_challenger_meets_the_evening_then_the_night() -> None:
    assert next_evening(NOW) == NOW + timedelta(hours=20)
    assert next_evening(NOW + timedelta(hours=20)) == NOW + timedelta(hours=44)


def test_what_a_retraining_came_to_is_said_in_one_line() -> None:
    assert (
        said({"outcome": "promote", "verdict": "improved", "gain": 0.123, "version": "2"})
        == "version 2: improved, PR-AUC +12.3% against the champion (promote)"
    )
    assert (
        said({"outcome": "keep", "verdict": "insufficient_data", "gain": None})
        == "insufficient_data (keep)"
    )


def rollout(stage: Stage) -> Rollout:
    look = CheckResult(
        check="errors",
        verdict="failed",
        measures="m",
        value=0.5,
        limit=0.005,
        requests=40,
        needed=300,
    )
    step = Transition(
        before=Stage.CANARY,
        after=stage,
        world_time=NOW,
        who="controller",
        why="errors: 20 of 40 requests failed",
    )
    return Rollout(
        id="r",
        model="fraud_detection",
        version="2",
        champion="1",
        started=NOW,
        why="",
        who="",
        stage=stage,
        looks=(look,),
        history=(step,),
    )


def shown(renderable: object) -> str:
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(renderable)
    return console.export_text()


@pytest.mark.parametrize("stage", list(Stage))
def test_every_stage_of_a_rollout_can_be_shown(stage: Stage) -> None:
    text = shown(render(rollout(stage), NOW, Tally().snapshot(), 3.0))
    assert stage in text
    assert "errors" in text
    assert "0.005" in text
    assert "0 of 1 checks are ok" in line(rollout(stage), NOW, Tally().snapshot())
