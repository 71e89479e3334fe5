from __future__ import annotations

from datetime import timedelta

import pytest
from rich.console import Console

from dojo.cli.serving.fleet import FleetLine
from dojo.core.connections import connect_redis
from dojo.core.settings import load_settings
from dojo.core.state.clock import RedisWorldClock
from dojo.demo.acts import DemoStage
from dojo.demo.fleet import Fleet, FleetAct, shares, told
from dojo.demo.steps import Steps


def entry(source: str, *models: str) -> dict[str, object]:
    return {"source": source, "models": list(models)}


ENTRIES = [
    entry("lake: transactions", "fraud", "banner"),
    entry("lake: transactions, outcomes of fraud", "fraud"),
    entry("stream: transactions", "fraud"),
    entry("lake: banners, outcomes of banner", "banner"),
    entry("lake: orders, outcomes of returns", "returns"),
    entry("request: amount, transaction_time; stored features", "fraud"),
]


def test_a_model_shares_what_is_computed_from_payments() -> None:
    assert shares(ENTRIES) == {"banner": 1, "fraud": 3, "returns": 0}


def test_each_model_is_told_with_what_it_reads_and_what_was_noticed() -> None:
    act = FleetAct(
        shares=shares(ENTRIES),
        noticed={"fraud": "input_drift of version 1: amount"},
        before=(),
        after=(),
    )
    assert told(act) == [
        "fraud: 3 inputs computed from payments; input_drift of version 1: amount",
        "banner: 1 input computed from payments; no trouble noticed",
        "returns: no inputs computed from payments; no trouble noticed",
    ]


def test_a_redis_that_is_away_leaves_the_last_state_standing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOJO_REDIS_URL", "redis://127.0.0.1:1/0")  # no server has this port
    settings, console = load_settings(), Console(quiet=True)
    redis = connect_redis(settings.redis)
    stage = DemoStage(
        settings, "fraud", console, Steps(console), redis, RedisWorldClock(redis), 1, timedelta(1)
    )
    fleet = Fleet(stage)
    assert fleet.lines == ()
    fleet.lines = [
        FleetLine(
            model="fraud",
            owner="risk",
            task="binary",
            serving="1",
            severity="ok",
            wrong="",
            doing="",
        )
    ]
    before = fleet.lines
    fleet.look()
    assert fleet.lines is before
