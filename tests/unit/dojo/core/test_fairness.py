"""The gaps between groups of a protected attribute, and the join that finds the groups."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from dojo.core.judging.fairness import NOT_STATED, rate_gaps
from dojo.core.judging.gaps import RateGap
from dojo.core.lake import SCHEMAS, Lake
from dojo.core.protected import groups_of_requests, live_gaps, rows_by_group
from dojo.core.spec.regulated import Fairness
from dojo.core.tasks.records import Answered
from dojo.core.tasks.specs import load_spec

LIMITS = Fairness(granted=0.05, true_positive=0.1, false_positive=0.05, minimum_rows=50)
ROWS = 2000
GROUPS = {"young": np.arange(0, ROWS, 2), "old": np.arange(1, ROWS, 2)}


def gaps(
    refused: tuple[float, float], seed: int = 1, groups: dict[str, np.ndarray] = GROUPS
) -> dict[str, RateGap]:
    """Return the gaps when these shares of both groups are refused, by chance."""
    random = np.random.default_rng(seed)
    share = np.where(np.arange(ROWS) % 2 == 0, *refused)
    answered = Answered(
        labels=(random.random(ROWS) < 0.3).astype(np.float64),
        scores=np.zeros(ROWS),
        flagged=random.random(ROWS) < share,
        entities={"person": random.integers(0, 900, ROWS)},
    )
    return {gap.rate: gap for gap in rate_gaps(answered, groups, LIMITS, 0.95, seed=3)}


def test_a_group_that_is_refused_more_often_is_found_with_its_interval() -> None:
    found = gaps((0.3, 0.1))["granted"]
    assert (found.lowest, found.highest, found.verdict) == ("young", "old", "veto")
    assert found.value == pytest.approx(0.2, abs=0.05)
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < found.value < found.high
    # Two shares of 1,000 rows differ by a standard error of 1.8 points, so +-3.4.
    assert found.high - found.low == pytest.approx(0.068, abs=0.02)
    assert found.words.startswith("young 69.3%, old 89.4%; interval +1")


def test_equal_groups_are_within_the_limit_in_all_but_a_few_of_many_worlds() -> None:
    vetoed = sum(gaps((0.2, 0.2), seed)["granted"].verdict == "veto" for seed in range(30))
    assert vetoed <= 2


def test_a_gap_within_the_limit_is_no_veto_even_when_it_is_no_chance() -> None:
    found = [gaps((0.14, 0.1), seed)["granted"] for seed in range(12)]
    within = [gap for gap in found if (gap.value or 0) <= LIMITS.granted and (gap.low or 0) > 0]
    assert len(within) >= 3
    assert {gap.verdict for gap in within} == {"ok"}


def test_a_gap_beyond_the_limit_is_no_veto_while_it_may_be_chance() -> None:
    few = {"young": GROUPS["young"][:60], "old": GROUPS["old"][:60]}
    beyond = [gaps((0.2, 0.14), seed, few)["granted"] for seed in range(8)]
    beyond = [found for found in beyond if (found.value or 0) > LIMITS.granted]
    by_chance = [found for found in beyond if (found.low or 0) <= 0]
    assert len(by_chance) >= 3
    for found in beyond:
        assert found.verdict == ("ok" if found in by_chance else "veto")
        assert ("within chance" in found.words) == (found in by_chance)


def test_small_groups_are_named_and_not_judged() -> None:
    groups = {**GROUPS, "ancient": np.arange(40)}
    few = gaps((0.2, 0.2), groups={"young": GROUPS["young"], "ancient": np.arange(1, 40, 2)})
    assert few["granted"].verdict == "insufficient_data"
    assert few["granted"].value is None
    assert few["granted"].words == "too few rows: ancient (20)"
    assert "ancient (40)" in gaps((0.2, 0.2), groups=groups)["granted"].words
    assert gaps((0.2, 0.2), groups={})["granted"].words == "no groups are recorded"


def test_unknown_labels_count_for_what_is_granted_alone() -> None:
    answered = Answered(
        np.full(200, np.nan), np.zeros(200), np.arange(200) % 4 == 0, {"p": np.arange(200)}
    )
    halves = {"a": np.arange(100), "b": np.arange(100, 200)}
    found = {gap.rate: gap for gap in rate_gaps(answered, halves, LIMITS, 0.95, 1)}
    assert found["granted"].value == 0
    for rate in ("true_positive", "false_positive"):
        assert found[rate].verdict == "insufficient_data"
    with pytest.raises(ValueError, match="flags nothing"):
        rate_gaps(Answered(np.zeros(1), np.zeros(1)), {}, LIMITS, 0.95, 1)


def test_groups_come_from_the_recorded_events_by_request() -> None:
    events = pl.LazyFrame({"id": ["r1", "r2", "r3", "r3"], "age": ["60+", "", None, "60+"]})
    groups = groups_of_requests(events, "id", "age")
    rows = pl.DataFrame({"request_id": ["r3", "r9", "r1", "r2"]})
    found = rows_by_group(rows, groups)
    assert {name: at.tolist() for name, at in found.items()} == {"60+": [2], NOT_STATED: [0, 3]}


def test_live_answers_are_compared_before_their_labels_are_known(tmp_path: Path) -> None:
    spec, lake = load_spec(Path("models/pay_later.yaml")), Lake(tmp_path)
    rows, day = range(600), datetime(2030, 3, 1, tzinfo=UTC)
    event = {"wall_time": day, "world_time": day, "merchant_id": "M", "amount": 50.0}
    credit = [
        event
        | {"event_id": f"e{n}", "credit_id": f"k{n}", "customer_id": f"c{n}", "parts": 2.0}
        | {"account_days": 9.0, "age_group": ("18-29", "60+", "")[n % 3]}
        for n in rows
    ]
    lake.write("credits", pl.DataFrame(credit, schema=SCHEMAS["credits"]), "history")
    judged = pl.DataFrame(
        {
            "request_id": [f"k{n}" for n in rows],
            "label": [None] * 600,
            "score": [0.1] * 600,
            "flagged": [n % 3 == 0 and n % 2 == 0 for n in rows],
            "entity_keys": [f"c{n % 500}" for n in rows],
        }
    )
    found = {gap.rate: gap for gap in live_gaps(lake, spec, "credit_id", judged)}
    assert found["granted"].verdict == "veto"
    rates = {one.group: one.value for one in found["granted"].groups}
    assert rates == {"18-29": 0.5, "60+": 1.0, NOT_STATED: 1.0}
    assert found["false_positive"].verdict == "insufficient_data"
    other = load_spec(Path("models/return_risk.yaml"))
    assert live_gaps(lake, other, "order_id", judged) == ()
