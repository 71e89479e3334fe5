"""The regression task: figures against scikit-learn, findings, and a rollout's comparisons."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from dojo.core.spec.read import SpecError
from dojo.core.tasks.measured import Measured
from dojo.core.tasks.records import Answered
from dojo.core.tasks.regression.spec import RegressionSpec
from dojo.core.tasks.regression.task import Regression
from dojo.core.tasks.specs import load_spec, task_of
from tests.support.answers import task_world

WORLD = task_world("regression")
TASK = WORLD.task
# A spec without the section `interval`.
PLAIN = task_of(load_spec(Path("models/customer_value.yaml")))


def task_with(section: str, **changes: Any) -> Regression:
    """Return the task of a spec with a changed section."""
    spec = WORLD.spec
    changed = spec.model_copy(update={section: getattr(spec, section).model_copy(update=changes)})
    assert isinstance(changed, RegressionSpec)
    return Regression(changed)


def moved(rows: Answered, *, by: float = 0.0, times: float = 1.0) -> Answered:
    """Change the rows, so that errors are larger and lie elsewhere."""
    return replace(rows, scores=rows.labels + times * (rows.scores - rows.labels) + by)


def performance(live: Answered, holdout: Answered) -> dict[str, Measured]:
    return TASK.performance(TASK.results(live), TASK.results(holdout))


def test_a_loss_for_heavy_tails_refuses_labels_below_zero(tmp_path: Path) -> None:
    text = Path("models/customer_value.yaml").read_text()
    assert "loss: tweedie" in text
    (tmp_path / "customer_value.yaml").write_text(text.replace("range: [0, ", "range: [-1, "))
    with pytest.raises(SpecError, match=r"tweedie needs labels from 0 on, .* begins at -1"):
        load_spec(tmp_path / "customer_value.yaml")


values = st.lists(
    st.tuples(st.floats(-1000, 1000), st.floats(-1000, 1000)), min_size=2, max_size=50
)


@given(values)
def test_metrics_are_scikit_learns(rows: list[tuple[float, float]]) -> None:
    labels, scores = (np.array(column) for column in zip(*rows, strict=True))
    found = TASK.evaluate(Answered(labels, scores))
    assert found["mae"] == pytest.approx(mean_absolute_error(labels, scores))
    assert found["rmse"] == pytest.approx(root_mean_squared_error(labels, scores))
    assert found["mae_of_median"] == pytest.approx(
        mean_absolute_error(labels, np.full(len(labels), np.median(labels)))
    )
    if np.ptp(labels) > 1e-3:
        assert found["explained_variance"] == pytest.approx(r2_score(labels, scores))


def test_a_tenth_of_errors_is_large_and_bias_is_a_share_of_the_mean_label() -> None:
    labels, errors = np.full(100, 20.0), np.arange(1.0, 101) * np.where(np.arange(100) % 2, -1, 1)
    found = TASK.evaluate(Answered(labels, labels + errors))
    assert found["p90_error"] == pytest.approx(90.1)
    assert found["relative_bias"] == pytest.approx(
        0.5 / 20
    )  # the mean of 1 - 2 + 3 - ... - 100 is -0.5
    assert found["explained_variance"] == 0, "labels that are all alike have no variance to explain"


@pytest.mark.parametrize(
    ("loss", "objective", "metric"),
    [
        ("absolute", "regression_l1", "l1"),
        ("squared", "regression", "l2"),
        ("tweedie", "tweedie", "tweedie"),
    ],
)
def test_the_specs_loss_decides_lightgbms_objective(loss: str, objective: str, metric: str) -> None:
    assert dict(task_with("training", loss=loss).objective) == {
        "objective": objective,
        "metric": metric,
    }


def test_nothing_is_decided_without_an_interval_and_nothing_is_flagged() -> None:
    rows = WORLD.answered()
    assert PLAIN.decide(rows) == {}
    assert TASK.flagged(rows.scores, {}) is None
    assert TASK.calibration(rows) == ()


def test_labels_are_believed_within_the_specs_range_and_mean() -> None:
    assert (TASK.label_values.low, TASK.label_values.high, TASK.label_values.allowed) == (
        0,
        1_000_000,
        (),
    )
    assert (
        TASK.label_faults(np.array([1.0, 9.0])) == TASK.label_faults(np.array([100.0, 300.0])) == []
    )
    (fault,) = TASK.label_faults(np.array([100.0, 300.01]))  # for example cents instead of euros
    assert (
        fault
        == "outcomes.label: expected a mean label from 5 to 200 euro (spec: training.label_mean),"
        " found 200 over 2 labels"
    )
    assert TASK.label_faults(np.array([1.0, 8.99]))


@pytest.mark.parametrize("tail", [1.0, 2.0])
def test_a_leak_is_seen_however_long_the_tail_of_labels_is(tail: float) -> None:
    """A few large labels hold most of the variance.

    Within their bin, a feature explains none of it.
    """
    labels = np.random.default_rng(4).lognormal(3, tail, 5000)
    rounded = np.round(labels / 5)
    for knows in (labels, np.log(labels), -labels, rounded):
        leak = TASK.leak(knows, labels)
        assert leak.value > leak.limit
    assert (
        TASK.leak(labels * np.random.default_rng(5).lognormal(0, 2 * tail, 5000), labels).value
        < leak.limit
    )


def test_leaks_of_labels_with_ties_do_not_depend_on_the_order_of_rows() -> None:
    random = np.random.default_rng(6)
    labels = random.integers(0, 5, 1000).astype(float)
    values, order = labels + random.normal(size=1000), random.permutation(1000)
    assert TASK.leak(values, labels).value == pytest.approx(
        TASK.leak(values[order], labels[order]).value
    )


def test_errors_twice_as_large_are_a_ratio_of_two() -> None:
    holdout = WORLD.answered()
    found = performance(moved(holdout, times=2), holdout)["mae"]
    assert found.value == pytest.approx(2)
    assert found.severity == "critical"
    assert found.noise is not None
    assert 1 < found.noise < 1.15
    better = performance(moved(holdout, times=0.5), holdout)["mae"]
    assert (better.value, better.severity) == (pytest.approx(0.5), "ok")


@pytest.mark.parametrize("direction", [1, -1])
def test_a_shift_of_all_answers_is_bias_in_mean_absolute_errors(direction: int) -> None:
    holdout = WORLD.answered()
    mae = TASK.evaluate(holdout)["mae"]
    found = performance(moved(holdout, by=direction * 0.4 * mae), holdout)["bias"]
    assert found.value == pytest.approx(0.4)
    assert found.severity == "severe"
    assert found.note.startswith(f"mean error {'+' if direction > 0 else '-'}")
    assert " euro, " in found.note


def test_noise_is_that_of_both_samples_and_covers_a_quiet_ratio_as_often_as_promised() -> None:
    """800 seeded pairs of samples at a level of 0.2.

    A tenth of them exceeds it from above, +-2 points of simulation noise.
    """
    random, beyond = np.random.default_rng(7), 0
    for _ in range(800):
        live, holdout = (
            TASK.results(
                Answered(np.zeros(rows), random.exponential(1, rows) * random.choice((-1, 1), rows))
            )
            for rows in (200, 200)
        )
        found = TASK.segment("any", live, holdout, 0.2)
        beyond += found.value is not None and found.noise is not None and found.value > found.noise
    assert 0.08 <= beyond / 800 <= 0.13


def test_a_segment_is_judged_by_its_error_and_its_own_level() -> None:
    results = partial(WORLD.answered, labels=2)
    holdout, live = TASK.results(WORLD.answered()), TASK.results(results(noise=1.5))
    loose, strict = (TASK.segment("new", live, holdout, level) for level in (0.05, 0.0001))
    assert (
        loose.value
        == strict.value
        == pytest.approx(performance(results(noise=1.5), WORLD.answered())["mae"].value)
    )
    assert loose.noise is not None
    assert strict.noise is not None
    assert loose.noise < strict.noise


def test_rows_that_one_entity_made_know_less() -> None:
    holdout = WORLD.answered()
    errors = np.abs(holdout.scores - holdout.labels)
    in_blocks = replace(holdout, entities={"merchant": np.argsort(np.argsort(errors)) // 200})
    alone = replace(holdout, entities={"merchant": np.arange(len(errors))})
    assert TASK.results(alone).figures["mae"].effective == pytest.approx(5999)
    assert TASK.results(in_blocks).figures["mae"].effective < 40
    both = replace(holdout, entities={**alone.entities, "customer": in_blocks.entities["merchant"]})
    assert TASK.results(both).figures["mae"] == TASK.results(in_blocks).figures["mae"], (
        "the closest kind of entity decides"
    )


@pytest.mark.parametrize(("metric", "outliers_matter"), [("mae", False), ("rmse", True)])
def test_the_primary_metric_decides_what_a_gain_is(metric: str, outliers_matter: bool) -> None:
    """The challenger errs less, except on one row in a hundred.

    There it errs a hundred times as much.
    """
    task, champion = task_with("gate", primary_metric=metric), WORLD.answered()
    errors = np.where(np.arange(6000) % 100 == 0, 20.0, 0.5) * (champion.scores - champion.labels)
    challenger = replace(champion, scores=champion.labels + errors)
    gain = task.gain(champion, challenger, 100)
    before, after = task.evaluate(champion)[metric], task.evaluate(challenger)[metric]
    assert gain.value == pytest.approx(1 - after / before)
    assert (gain.high < 0) == outliers_matter


@pytest.mark.parametrize("metric", ["mae", "rmse"])
def test_a_loss_is_measured_in_the_primary_metric(metric: str) -> None:
    task, fresh = (
        task_with("gate", primary_metric=metric, bootstrap_draws=50),
        WORLD.answered(labels=2),
    )
    found = task.loss(fresh, {metric: 8.0})
    measured = task.evaluate(fresh)[metric]
    assert found.promised == 8
    assert found.measured == found.comparable == pytest.approx(measured)
    assert found.value == pytest.approx(measured / 8 - 1)


def test_a_baseline_holds_the_champions_large_error_and_the_tenths_of_its_values() -> None:
    rows = WORLD.answered()
    found = TASK.baseline(rows, {})
    assert found["large_error"] == pytest.approx(TASK.evaluate(rows)["p90_error"])
    tenths = [found[f"value_p{percent}"] for percent in range(10, 100, 10)]
    counts = np.bincount(np.searchsorted(tenths, rows.scores), minlength=10)
    np.testing.assert_allclose(counts, 600, atol=1)
    assert set(found) == {"large_error", *(f"value_p{percent}" for percent in range(10, 100, 10))}


def test_values_are_compared_in_the_champions_tenths() -> None:
    found = TASK.baseline(WORLD.answered(), {})
    edges, limit = TASK.score_edges(found) or ((), 0.0)
    assert edges == tuple(found[f"value_p{percent}"] for percent in range(10, 100, 10))
    assert limit == 0.25
    assert TASK.score_edges({}) is None
    assert TASK.score_edges({"large_error": 3.0}) is None


def test_a_champion_that_repeats_values_has_fewer_bins() -> None:
    rows = replace(WORLD.answered(1000), scores=np.repeat([10.0, 20.0], 500))
    assert TASK.score_edges(TASK.baseline(rows, {})) == (
        (10.0, 15.0, 20.0),
        0.25,
    )  # the median lies between the two


def test_an_error_beyond_the_champions_large_one_is_large() -> None:
    baseline = {"large_error": 16.0}
    for error, large in ((16.0, False), (16.5, True), (-16.5, True), (0.0, False)):
        assert TASK.trials(TASK.kept(100.0 + error, None), 100.0, baseline) == {
            "large_errors": large
        }
    assert TASK.trials(100.0, 0.0, {}) == {}, "without a champion no error is large or small"


def test_one_and_a_half_times_a_tenth_of_errors_may_be_large() -> None:
    (test,) = PLAIN.label_tests({"large_error": 16.0})
    assert (test.name, test.limit, test.needed) == ("large_errors", pytest.approx(0.15), 200)


def test_arms_are_compared_by_their_mean_absolute_error() -> None:
    rows = WORLD.answered()
    labels = np.where(np.arange(6000) < 3000, rows.labels, np.nan)
    (quantity,) = TASK.quantities(replace(rows, labels=labels), np.full(6000, np.nan))
    assert quantity.name == "mean_absolute_error"
    assert quantity.above.sum() / quantity.below.sum() == pytest.approx(
        TASK.evaluate(rows.of(np.arange(3000)))["mae"]
    )
    assert (quantity.counts.sum(), quantity.share, quantity.needed) == (3000, False, 200)


def test_the_error_curve_rises_to_all_but_the_last_percent_of_answers() -> None:
    rows = WORLD.answered()
    errors, calibrated = TASK.curves(rows, "v1")
    distance = np.abs(rows.scores - rows.labels)
    assert errors.label == f"v1 (MAE {distance.mean():.4g})"
    for x, y in zip(errors.x[1:], errors.y[1:], strict=True):
        assert (distance <= x).mean() == pytest.approx(y, abs=1 / 6000)
    assert len(calibrated.x) == 10
    assert calibrated.x.mean() == pytest.approx(rows.scores.mean())
    assert calibrated.y.mean() == pytest.approx(rows.labels.mean())
    assert calibrated.error is not None
    assert "euro" in errors.x_label + calibrated.x_label


def test_a_handful_of_answers_still_has_curves() -> None:
    for curve in TASK.curves(WORLD.answered(3), "v1"):
        assert np.isfinite(curve.y).all()


def test_an_answer_is_the_value_in_the_labels_unit() -> None:
    column = TASK.columns[0]
    assert column.name == "value"
    assert msgspec.json.schema(column.kind)["description"] == "Predicted amount. Unit: euro."
    assert [one.name for one in PLAIN.columns] == ["value"]
    assert [given.values for given in PLAIN.answers([3.5, -1.0], [{}, None])] == [(3.5,), (-1.0,)]


def test_early_labels_are_compared_above_and_below_the_median() -> None:
    assert TASK.split_labels(np.array([1.0, 5.0, 3.0, 900.0])).tolist() == [
        False,
        True,
        False,
        True,
    ]
