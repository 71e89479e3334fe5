"""The interval of a regression: its promise, its answers, its findings, its limits."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dojo.core.spec.read import SpecError
from dojo.core.tasks.records import Answered
from dojo.core.tasks.regression.interval import DECISION, covered, decide, ends
from dojo.core.tasks.regression.spec import PredictionInterval, RegressionSpec
from dojo.core.tasks.specs import load_spec, task_of
from tests.support.answers import FLEET, task_world

WORLD = task_world("regression")
TASK = WORLD.task
SPEC = WORLD.spec
assert isinstance(SPEC, RegressionSpec)
PLAIN = task_of(load_spec(Path("models/customer_value.yaml")))

# Ends at -3 and +5, times the root of the value. Values below 4 count as 4.
ROOTED = {
    "interval_low": -3.0,
    "interval_high": 5.0,
    "interval_floor": 4.0,
    "interval_power": 0.5,
}


def grown(scale: str, rows: int, seed: int) -> Answered:
    """Return rows with errors that grow with the value as the scale says."""
    random = np.random.default_rng(seed)
    scores = random.uniform(1, 100, rows)
    power = {"constant": 0.0, "square_root": 0.5, "proportional": 1.0}[scale]
    errors = random.gumbel(size=rows) * scores**power
    return Answered(scores + errors, scores)


@pytest.mark.parametrize("scale", ["constant", "square_root", "proportional"])
def test_the_right_scale_keeps_the_promise_for_small_and_for_large_values(scale: Any) -> None:
    section = PredictionInterval(coverage=0.8, scale=scale)
    known, new = grown(scale, 20_000, seed=1), grown(scale, 20_000, seed=2)
    low, high = ends(new.scores, [decide(known, section)], (-math.inf, math.inf))
    within = (low <= new.labels) & (new.labels <= high)
    error = math.sqrt(0.8 * 0.2 * (1 / 10_000 + 1 / 20_000))
    for part in (new.scores < 50, new.scores >= 50):
        assert within[part].mean() == pytest.approx(0.8, abs=4.5 * error)
    # Errors with a tail to one side have ends at unequal distances, each with its own tenth.
    assert (new.labels > high).mean() == pytest.approx(0.1, abs=0.01)
    assert (new.labels < low).mean() == pytest.approx(0.1, abs=0.01)


def test_ends_grow_with_the_value_and_end_where_labels_do() -> None:
    found = ends(np.array([100.0, 1.0, 0.0, 9.0]), [ROOTED], (2.0, 140.0))
    assert found.low.tolist() == [70.0, 2.0, 2.0, 2.0]  # 1 - 3 * 2 and 9 - 3 * 3 are no labels
    assert found.high.tolist() == [140.0, 11.0, 10.0, 24.0]  # nor is 100 + 5 * 10


def test_each_answer_has_its_own_versions_interval_and_a_fallback_has_none() -> None:
    wider = {**ROOTED, "interval_high": 50.0}
    given = TASK.answers([100.0, 100.0, 100.0, 100.0], [ROOTED, wider, None, {}])
    assert [answer.values for answer in given] == [
        (100.0, 70.0, 150.0),
        (100.0, 70.0, 600.0),
        (100.0, None, None),
        (100.0, None, None),
    ]


def test_figures_of_intervals_are_there_with_the_section_and_a_version_that_knows_its_own() -> None:
    rows, names = WORLD.answered(), ("interval_coverage", "interval_width", "pinball_loss")
    found = TASK.evaluate(rows)
    assert found["interval_coverage"] == pytest.approx(0.8, abs=0.03)
    assert found["pinball_loss"] < found["mae"] / 2
    for task, of in ((TASK, replace(rows, decision={})), (PLAIN, rows)):
        assert not set(names) & set(task.evaluate(of))
        assert "coverage" not in task.results(of).figures
    assert set(PLAIN.performance(PLAIN.results(rows), PLAIN.results(rows))) == {"mae", "bias"}
    assert {rule.name for rule in PLAIN.guards} == {"bias", "p90_error"}
    assert PLAIN.decide(rows) == {}


def test_coverage_and_width_are_measured_on_the_rows() -> None:
    labels, decision = np.array([0.0, 70.0, 150.0, 151.0]), ROOTED
    found = TASK.evaluate(Answered(labels, np.full(4, 100.0), decision=decision))
    assert (found["interval_coverage"], found["interval_width"]) == (0.5, 80.0)
    # 0.1 * 81 above the upper end, or 0.9 * 150 below it, and the same of the lower one.
    wanted = (0.9 * 70 + 0.1 * 0 + 0.1 * 80 + 0.1 * 81) / 8
    wanted += (0.1 * 150 + 0.1 * 80 + 0 + 0.9 * 1) / 8
    assert found["pinball_loss"] == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("narrower", "severity"), [(1.0, "ok"), (0.87, "warning"), (0.75, "severe"), (0.4, "critical")]
)
def test_a_drop_below_the_promise_is_found_whatever_the_holdout_had(
    narrower: float, severity: str
) -> None:
    offsets = {name: narrower * WORLD.decision[name] for name in DECISION[:2]}
    rows = replace(WORLD.answered(), decision={**WORLD.decision, **offsets})
    same = TASK.results(rows)
    found = TASK.performance(same, same)["coverage"]
    assert found.severity == severity
    assert found.levels == SPEC.drift.performance.coverage
    assert found.value == pytest.approx(max(0.0, 0.8 - TASK.evaluate(rows)["interval_coverage"]))


def test_a_drop_counts_beyond_chance_only_and_entities_with_many_rows_leave_more_to_it() -> None:
    rows = replace(WORLD.answered(), entities={})
    inside = covered(rows, SPEC)
    assert inside is not None
    together = {"customer": np.argsort(np.argsort(~inside, kind="stable")) // 60}
    alone, shared = (
        TASK.performance(TASK.results(of), TASK.results(of))["coverage"]
        for of in (rows, replace(rows, entities=together))
    )
    assert alone.noise == pytest.approx(2.576 * math.sqrt(0.16 / 6000), rel=0.03)
    assert shared.noise is not None
    assert shared.noise > 3 * (alone.noise or 0)


def test_without_an_interval_of_its_own_a_version_is_not_judged_by_one() -> None:
    rows = replace(WORLD.answered(), decision={})
    found = TASK.performance(TASK.results(rows), TASK.results(rows))
    assert found["coverage"].severity == "insufficient_data"
    assert found["coverage"].note == "the version was trained without an interval"
    assert found["mae"].severity == "ok"


def test_a_label_outside_the_challengers_interval_counts_against_it() -> None:
    baseline = TASK.baseline(WORLD.answered(), ROOTED)
    for label, outside in ((69.9, True), (70.0, False), (150.0, False), (150.1, True)):
        assert TASK.trials(100.0, label, baseline)["outside_interval"] == outside
    test = next(one for one in TASK.label_tests(baseline) if one.name == "outside_interval")
    assert test.limit == pytest.approx(1.5 * 0.2)
    assert "outside_interval" not in PLAIN.trials(100.0, 0.0, baseline)


def test_a_training_part_needs_rows_for_both_ends() -> None:
    labels = np.arange(9.0)
    assert TASK.part_fault(labels) == ""
    assert TASK.part_fault(labels[:8]) == "expected 9 rows for interval.coverage, found 8"
    assert PLAIN.part_fault(labels[:8]) == ""


def test_the_model_card_says_what_the_interval_promises() -> None:
    use = TASK.intended_use(ROOTED)
    assert "80% lie from `low` to `high`" in use
    assert "80%" not in TASK.intended_use({})


LIMITS = {
    "gate.guards.coverage": "    coverage: 0.05 ",
    "gate.guards.pinball_loss": "    pinball_loss: 0.10 ",
    "rollout.checks.outside_ratio": "    outside_ratio: 1.5 ",
    "drift.performance.coverage": "    coverage: {",
}


@pytest.mark.parametrize("path", LIMITS)
def test_an_interval_has_all_its_limits(tmp_path: Path, path: str) -> None:
    lines = (FLEET / "expected_amount.yaml").read_text().splitlines()
    left = [line for line in lines if not line.startswith(LIMITS[path])]
    assert len(left) == len(lines) - 1
    assert f"{path}: is missing" in refusal(tmp_path, left)


@pytest.mark.parametrize("path", LIMITS)
def test_a_limit_without_an_interval_is_refused(tmp_path: Path, path: str) -> None:
    lines = (FLEET / "expected_amount.yaml").read_text().splitlines()
    begin = lines.index("interval:")
    left = [
        line
        for at, line in enumerate(lines)
        if not begin <= at < begin + 3
        and (line.startswith(LIMITS[path]) or not line.startswith(tuple(LIMITS.values())))
    ]
    assert f"{path}: needs the section interval" in refusal(tmp_path, left)


@pytest.mark.parametrize(
    ("right", "wrong", "reason"),
    [
        ("outside_ratio: 1.5", "outside_ratio: 5.0", "must be below 5"),
        ("coverage: 0.8 ", "coverage: 0.4 ", "interval.coverage"),
        ("scale: constant", "scale: linear", "interval.scale"),
    ],
)
def test_an_interval_that_promises_nothing_is_refused(
    tmp_path: Path, right: str, wrong: str, reason: str
) -> None:
    text = (FLEET / "expected_amount.yaml").read_text()
    assert right in text
    assert reason in refusal(tmp_path, text.replace(right, wrong).splitlines())


def refusal(directory: Path, lines: list[str]) -> str:
    file = directory / "expected_amount.yaml"
    file.write_text("\n".join(lines))
    with pytest.raises(SpecError) as refused:
        load_spec(file)
    return str(refused.value)
