"""The gate's report says what the difference between two versions is worth in euros."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from dojo.core.judging.gate.compare import judge
from dojo.core.judging.gate.decision import Worth
from dojo.core.judging.gate.holdout import Candidate, GateHoldout
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.specs import load_spec
from pipelines.gate.report import facts
from pipelines.gate.worth import worth
from tests.support.gate_worlds import END, candidate, labels, noisy_scores
from tests.support.gate_worlds import holdout as fraud_holdout

DAYS = 2


def spec_of(name: str) -> ModelSpec:
    return load_spec(Path(f"models/{name}.yaml"))


def holdout(
    spec: ModelSpec, of: npt.NDArray[np.float64], weights: npt.NDArray[np.float64] | None = None
) -> GateHoldout:
    """Return rows of one time, each of its own first entity, over two days."""
    start, rows = END - timedelta(days=DAYS), len(of)
    return GateHoldout(
        start=start,
        end=END,
        labels=of,
        times=np.full(rows, np.datetime64(start.replace(tzinfo=None), "us")),
        clusters={entity: np.arange(rows) for entity in spec.entities},
        segments={},
        segmentation="",
        weights=weights,
    )


def says(scores: list[float], decision: Mapping[str, float]) -> Candidate:
    return Candidate("1", "run", END, decision, 1e-6, 1, np.array(scores))


CUT = {"threshold": 0.5}
ENDS = {"interval_low": -1.0, "interval_high": 0.5, "interval_floor": 0.1, "interval_power": 0.0}


@pytest.mark.parametrize(
    ("model", "label", "challenger", "champion", "amounts", "expected"),
    [
        # A fraud of 100 euro is worth 115, and an honest 20 euro cost 5.
        ("fraud_detection", [1.0, 0.0], says([0.9, 0.1], CUT), says([0.9, 0.9], CUT),
         [100.0, 20.0], (57.5, 55.0)),
        ("pay_later", [1.0, 0.0], says([0.9, 0.1], CUT), says([0.1, 0.9], CUT),
         [100.0, 100.0], (30.0, -2.5)),
        # An offer costs 5, and keeps 30 % of the leaving, each worth 60.
        ("churn", [1.0, 0.0], says([0.9, 0.9], CUT), says([0.1, 0.1], CUT), None, (4.0, 0.0)),
        # Both parcels arrive as promised, instead of one late and one too cautious promise.
        ("delivery_time", [3.2, 2.0], says([2.9, 1.9], ENDS), says([2.1, 6.0], ENDS), None,
         (0.225, -2.0)),
        ("customer_value", [4000.0, 0.0], says([2500.0, 100.0], {}), says([100.0, 2500.0], {}),
         None, (5.0, -5.0)),
    ],
)  # fmt: skip
def test_euros_a_day_follow_the_shops_rules(
    model: str,
    label: list[float],
    challenger: Candidate,
    champion: Candidate,
    amounts: list[float] | None,
    expected: tuple[float, float],
) -> None:
    spec = spec_of(model)
    rows = pl.DataFrame({"amount": amounts} if amounts else {"label": label})
    found = worth(spec, rows, holdout(spec, np.array(label)), champion, challenger)
    assert found is not None
    assert found.champion is not None
    assert (found.challenger, found.champion) == pytest.approx(expected)
    assert found.difference == pytest.approx(expected[0] - expected[1])


def test_a_row_counts_for_all_that_it_stands_for() -> None:
    spec, label = spec_of("fraud_detection"), np.array([1.0, 1.0])
    rows = pl.DataFrame({"amount": [100.0, 100.0]})
    of = holdout(spec, label, weights=np.array([1.0, 20.0]))
    found = worth(spec, rows, of, None, says([0.1, 0.9], CUT))
    assert found == Worth(challenger=115.0 * 20 / DAYS)


def test_a_lists_worth_is_its_margin_by_the_attention_of_the_new_positions() -> None:
    spec = spec_of("search_ranking")
    label, shown = np.array([0.0, 2.0, 1.0]), np.array([1.0, 2.0, 3.0])
    of = holdout(spec, label, weights=shown**0.6)
    of = replace(of, clusters={"customer": np.zeros(3, int), "product": np.arange(3)})
    rows = pl.DataFrame({"price": [10.0, 20.0, 30.0]})
    top, third = says([0.1, 0.9, 0.5], {"cut": 0.5}), says([0.9, 0.1, 0.5], {"cut": 0.5})
    found = worth(spec, rows, of, third, top)
    assert found is not None
    # The shop earns 2 euro on the second product. Its weight undoes the second position.
    assert found.challenger == pytest.approx(2.0 * 2**0.6 / DAYS)
    assert found.champion == pytest.approx(2.0 * 2**0.6 * 3**-0.6 / DAYS)
    assert worth(spec, rows.drop("price"), of, third, top) is None


def test_prices_and_versions_without_scores_have_no_worth() -> None:
    offers, fraud = spec_of("demand"), spec_of("fraud_detection")
    rows, label = pl.DataFrame({"amount": [1.0]}), np.array([1.0])
    assert worth(offers, rows, holdout(offers, label), None, says([1.0], {})) is None
    blind = candidate(None)
    assert worth(fraud, rows, holdout(fraud, label), None, blind) is None
    assert worth(fraud, rows.drop("amount"), holdout(fraud, label), None, says([1], CUT)) is None


@pytest.mark.parametrize("seed", range(3))
def test_the_interval_is_as_wide_as_repeated_holdouts_differ(seed: int) -> None:
    """Versions of equal skill differ by chance alone, within the interval most of the time."""
    spec, inside = spec_of("fraud_detection"), 0
    for repeat in range(30):
        at = 100 * seed + repeat
        label = labels(seed=at)
        rows = pl.DataFrame({"amount": np.random.default_rng(at).lognormal(3.5, 0.8, len(label))})
        versions = (candidate(noisy_scores(label, 2.0, 1000 + 2 * at + n)) for n in range(2))
        found = worth(spec, rows, fraud_holdout(label, seed=at), *versions)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= 0 <= found.high
    assert inside >= 25, "19 of 20 are expected"


def test_the_report_says_the_euros_and_decides_by_the_metric() -> None:
    spec, label = spec_of("fraud_detection"), labels()
    of, new = fraud_holdout(label), candidate(noisy_scores(label, 2.0, 2))
    decision = judge(spec, "job", of, candidate(noisy_scores(label, 2.0, 3), "1"), new).decision
    known = Worth(challenger=2935.2, champion=2870.0, difference=65.2, low=-10.0, high=140.4)
    told = facts(msgspec.structs.replace(decision, worth=known))
    assert told[-1] == (
        "worth on the holdout: 2,935 euro a day, +65 against the champion's 2,870 (95% interval -10"
        " to +140)"
    )
    alone = facts(msgspec.structs.replace(decision, worth=Worth(challenger=2935.2)))
    assert alone[-1] == "worth on the holdout: 2,935 euro a day"
    assert facts(decision) == told[:-1]
