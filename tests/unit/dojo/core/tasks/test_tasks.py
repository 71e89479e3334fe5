"""Every task keeps the promises of dojo/core/tasks/protocol.py, on its own spec and rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import get_args

import msgspec
import numpy as np
import pytest

from dojo.core.severity import ORDER
from dojo.core.spec.monitoring import Levels
from dojo.core.tasks.measured import Measured
from dojo.core.tasks.protocol import Task
from dojo.core.tasks.records import AnswerCounts, Answered, HoldoutVariation, LabelTest, Proxies
from dojo.core.tasks.score_bins import SCORE_EDGES, score_histogram
from dojo.core.tasks.specs import TASKS, task_of, task_type
from tests.support.answers import TaskWorld, task_world

TYPES = {"FP64": float, "BOOL": bool, "INT64": int}


@pytest.fixture(scope="module", params=TASKS)
def world(request: pytest.FixtureRequest) -> TaskWorld:
    return task_world(request.param)


def promised(world: TaskWorld, holdout: Answered) -> dict[str, float]:
    """Return the metrics as a version's run records them."""
    task = world.task
    return {
        **task.evaluate(holdout),
        "support_holdout": task.support(holdout),
        "rows_holdout": len(holdout.labels),
    }


def worst(found: Mapping[str, Measured]) -> int:
    return max(ORDER.index(measured.severity) for measured in found.values())


def unlabelled(rows: Answered) -> Answered:
    return replace(rows, labels=np.full(len(rows.labels), np.nan))


def test_a_task_is_known_by_its_name_in_a_spec(world: TaskWorld) -> None:
    assert isinstance(world.task, TASKS[world.spec.task][1])
    assert task_type(world.spec.task).metrics == world.task.metrics


def test_some_of_the_rows_keep_all_that_is_theirs(world: TaskWorld) -> None:
    rows = world.answered(200)
    picked = rows.labels >= np.median(rows.labels)
    for part, numbers in (
        (rows.of(picked), np.flatnonzero(picked)),
        (rows.of(np.array([7, 3])), [7, 3]),
    ):
        assert part.labels.tolist() == rows.labels[numbers].tolist()
        assert part.scores.tolist() == rows.scores[numbers].tolist()
        assert part.times.tolist() == rows.times[numbers].tolist()
        assert part.decision == rows.decision
        assert part.entities["merchant"].tolist() == rows.entities["merchant"][numbers].tolist()
        assert (part.flagged is None) == (rows.flagged is None)
        assert (
            part.flagged is None
            or rows.flagged is None
            or (part.flagged == rows.flagged[numbers]).all()
        )
    assert len(replace(rows, times=np.empty(0, dtype="datetime64[us]")).of(picked).times) == 0, (
        "times may be left out"
    )


# ---- what a version learns from


def test_the_labels_of_its_world_are_accepted(world: TaskWorld) -> None:
    task, labels = world.task, world.answered().labels
    allowed = task.label_values
    if allowed.allowed:
        assert set(labels) == set(allowed.allowed)
    else:
        assert allowed.low <= labels.min() < labels.max() <= allowed.high
    assert task.label_faults(labels) == []
    assert task.part_fault(labels) == ""


@pytest.mark.parametrize("rows", [0, 400])
def test_labels_without_any_difference_teach_nothing(world: TaskWorld, rows: int) -> None:
    labels = np.zeros(rows)
    assert f"found {rows:,} rows" in world.task.part_fault(
        labels
    ) or f"in {rows:,} rows" in world.task.part_fault(labels)
    (fault,) = world.task.label_faults(labels)
    assert fault.startswith("outcomes.label: expected ")
    assert "(spec: training." in fault
    assert f"{rows:,} labels" in fault


def test_a_feature_that_is_the_label_is_a_leak_and_one_that_knows_nothing_is_none(
    world: TaskWorld,
) -> None:
    labels = world.answered().labels
    knows, blind = (
        world.task.leak(labels, labels),
        world.task.leak(np.random.default_rng(3).lognormal(size=6000), labels),
    )
    assert knows.value > knows.limit == getattr(world.spec.training.checks, knows.key)
    assert 0 <= blind.value < 0.05
    assert world.task.leak(labels, np.zeros(len(labels))).value == 0, (
        "labels without any difference cannot leak"
    )


def test_an_objective_is_lightgbms(world: TaskWorld) -> None:
    assert {"objective", "metric"} <= set(world.task.objective)


def test_rows_stand_in_one_list_each_or_alone(world: TaskWorld) -> None:
    rows = world.answered()
    lists = world.task.lists(rows.entities, rows.times)
    assert lists is None or lists.shape == rows.labels.shape
    assert (lists is None) == (world.spec.task != "ranking")


# ---- how good it is


def test_every_metric_is_measured_in_the_order_that_tables_show(world: TaskWorld) -> None:
    found = world.task.evaluate(world.answered())
    assert list(found) == list(world.task.metrics)
    assert all(math.isfinite(value) for value in found.values())


def test_metrics_say_which_direction_is_better(world: TaskWorld) -> None:
    """Check the metrics that skill changes.

    The metric without skill, and the numbers of flagged rows and shown items, depend on the rows.
    An interval's width depends on the decision.
    """
    good, bad = (world.task.evaluate(world.answered(noise=noise)) for noise in (0.5, 3.0))
    changed = {
        name
        for name in good
        if name
        not in (
            "mae_of_median",
            "random_ndcg",
            "flagged_share",
            "catalogue_coverage",
            "relative_bias",
            "interval_width",
        )
    }
    for name in changed:
        assert (good[name] < bad[name]) == world.task.metrics[name].lower_is_better, name


def test_a_good_version_is_better_than_one_without_skill(world: TaskWorld) -> None:
    found = promised(world, world.answered())
    name, value = world.task.no_skill(found)
    primary = world.spec.gate.primary_metric
    assert name
    assert (found[primary] < value) == world.task.metrics[primary].lower_is_better


def test_guards_are_about_metrics_of_the_task_and_limits_of_the_spec(world: TaskWorld) -> None:
    assert world.task.guards
    for guard in world.task.guards:
        assert guard.metric in world.task.metrics
        assert guard.limit == getattr(world.spec.gate.guards, guard.name)


def test_a_better_challenger_gains_and_a_worse_one_does_not(world: TaskWorld) -> None:
    champion = world.answered()
    better, worse = (
        world.task.gain(champion, world.answered(noise=noise, errors=2), 200)
        for noise in (0.5, 2.0)
    )
    assert 0 < better.low <= better.value <= better.high
    assert worse.low <= worse.value <= worse.high < 0


def test_an_equal_challenger_gains_nothing_that_is_sure(world: TaskWorld) -> None:
    champion = world.answered()
    same, equal = (
        world.task.gain(champion, world.answered(errors=errors), 200) for errors in (1, 2)
    )
    assert same.low == same.value == same.high == 0
    assert equal.low < 0 < equal.high


def test_a_version_that_got_worse_has_lost_and_one_that_did_not_has_not(world: TaskWorld) -> None:
    before = promised(world, world.answered())
    lost = world.task.loss(world.answered(labels=2, noise=2.0), before)
    assert 0 < lost.low <= lost.value <= lost.high
    assert lost.promised in before.values()
    steady = world.task.loss(world.answered(labels=2), before)
    assert steady.low < 0 < steady.high
    assert steady.measured == pytest.approx(steady.promised, rel=0.1)


def test_another_mix_of_labels_is_no_loss_of_a_binary_version() -> None:
    """PR-AUC rises with the share of positives, although the version is the same."""
    world = task_world("binary")
    before = promised(world, world.answered(noise=2.0))
    rows = world.answered(labels=2, noise=2.0)
    found = world.task.loss(rows.of((rows.labels == 1) | (np.arange(6000) % 10 == 0)), before)
    assert found.measured > 1.3 * found.promised
    assert found.comparable == pytest.approx(found.promised, rel=0.25)
    assert found.low < 0 < found.high
    assert found.low < found.value < found.high


def test_a_loss_needs_what_the_versions_run_recorded(world: TaskWorld) -> None:
    with pytest.raises(KeyError):
        world.task.loss(world.answered(labels=2), {})


def test_few_rows_are_not_compared(world: TaskWorld) -> None:
    rows, few = world.answered(), world.answered(20)
    assert (
        world.task.too_few(rows)
        == world.task.too_few_live(world.task.support(rows), len(rows.labels))
        == ""
    )
    for why in (world.task.too_few(few), world.task.too_few_live(world.task.support(few), 20)):
        assert why.startswith(f"{world.task.support(few)} ")
        assert why.endswith(" are needed")


def test_curves_have_a_value_for_each_point(world: TaskWorld) -> None:
    drawn = world.task.curves(world.answered(), "version 7")
    assert len({curve.name for curve in drawn}) == len(drawn) >= 2  # each has its own file
    for curve in drawn:
        assert curve.x.shape == curve.y.shape
        assert len(curve.x) > 1
        assert np.isfinite(curve.x).all()
        assert np.isfinite(curve.y).all()
        assert (np.diff(curve.x) >= 0).all()
        assert curve.error is None or curve.error.shape == curve.x.shape
        assert curve.label.startswith("version 7")


# ---- what callers get


def test_an_answer_has_a_value_of_the_right_type_for_every_column(world: TaskWorld) -> None:
    """The spec's fallback answers have it, too."""
    scores, task = world.answered(50).scores.tolist(), world.task
    fallback = world.spec.serving.fallback_score
    given = task.answers([*scores, fallback], [world.decision] * 50 + [None])
    assert len(given) == 51
    for answer in given:
        for column, value in zip(task.columns, answer.values, strict=True):
            # Only a fallback may leave a value out, and only an end of an interval.
            optional = answer is given[-1] and isinstance(None, get_args(column.kind)[0])
            assert type(value) is TYPES[column.datatype] or (value is None and optional)
            msgspec.convert(value, column.kind)  # within its bounds
    assert [answer.values[0] for answer in given] == [*scores, fallback]


def test_examples_of_answers_are_answers(world: TaskWorld) -> None:
    for column in world.task.columns:
        assert type(column.example) is TYPES[column.datatype]
        msgspec.convert(column.example, column.kind)


def test_an_answer_flags_what_the_decision_flags_and_a_fallback_flags_nothing(
    world: TaskWorld,
) -> None:
    rows = world.answered()
    given = world.task.answers(rows.scores.tolist(), [world.decision] * len(rows.labels))
    fallen = world.task.answers(rows.scores.tolist(), [None] * len(rows.labels))
    if rows.flagged is None:
        assert {answer.flagged for answer in (*given, *fallen)} == {None}
    else:
        assert [answer.flagged for answer in given] == rows.flagged.tolist()
        assert {answer.flagged for answer in given} == {True, False}
        assert {answer.flagged for answer in fallen} == {False}


def test_no_instances_have_no_answers(world: TaskWorld) -> None:
    assert world.task.answers([], []) == []


def test_scores_lie_within_the_tasks_bounds(world: TaskWorld) -> None:
    low, high = world.task.score_bounds
    assert low <= world.answered().scores.min() <= world.answered().scores.max() <= high
    assert low <= world.spec.serving.fallback_score <= high
    assert not low <= math.inf <= high


def test_a_decision_says_what_its_use_is(world: TaskWorld) -> None:
    use = world.task.intended_use(world.decision)
    assert all(f"{value:.4f}" in use for value in world.decision.values())
    assert (world.spec.label.unit if world.spec.task == "regression" else "flagged") in use


# ---- experiments


def test_quantities_are_sums_over_labelled_rows(world: TaskWorld) -> None:
    rows, unknown = world.answered(), unlabelled(world.answered())
    stakes = np.full(len(rows.labels), 20.0)
    assert world.task.quantities(rows, stakes)
    for known, waiting in zip(
        world.task.quantities(rows, stakes), world.task.quantities(unknown, stakes), strict=True
    ):
        for of in (known, waiting):
            assert of.above.shape == of.below.shape == of.counts.shape == rows.labels.shape
            assert np.isfinite(of.above).all()
            assert np.isfinite(of.below).all()
        assert known.below.sum() > 0
        if known.share:
            assert (known.above <= known.below).all(), "a hit is a trial"
        if known.needed:  # the share of flagged answers needs no label
            assert not waiting.counts.any()
            assert not waiting.above.any()
            assert not waiting.below.any()


# ---- how live answers are judged


def test_the_holdout_has_lost_nothing_against_itself(world: TaskWorld) -> None:
    holdout = world.task.results(world.answered())
    assert world.task.lacking(holdout) == ""
    found = world.task.performance(holdout, holdout)
    assert {measured.severity for measured in found.values()} == {"ok"}
    assert world.task.segment("new", holdout, holdout, 0.01).severity == "ok"


def test_other_rows_of_the_same_world_are_no_finding(world: TaskWorld) -> None:
    """At a level of 0.01, findings in four of a subject's 40 quiet windows show wrong noise."""
    holdout, beyond = world.task.results(world.answered()), Counter[str]()
    for seed in range(10, 50):
        found = world.task.performance(world.task.results(world.answered(labels=seed)), holdout)
        assert worst(found) == ORDER.index("ok")
        beyond.update(
            name
            for name, of in found.items()
            if of.value is not None and of.value > (of.noise or 0.0)
        )
    assert all(count < 4 for count in beyond.values()), beyond


def test_clearly_worse_answers_are_severe_or_critical(world: TaskWorld) -> None:
    holdout = world.task.results(world.answered())
    worse = world.task.results(world.answered(labels=2, noise=3.0))
    found = world.task.performance(worse, holdout)
    essential = {name: found[name] for name in world.task.essential}
    assert worst(essential) >= ORDER.index("severe")
    segment = world.task.segment("new payers", worse, holdout, 0.01)
    assert segment.subject == "new payers"
    assert segment.severity in ("severe", "critical")


@pytest.mark.parametrize("rows", [0, 20])
def test_few_labels_are_insufficient_data_and_say_so(world: TaskWorld, rows: int) -> None:
    task, holdout, few = (
        world.task,
        world.task.results(world.answered()),
        world.task.results(world.answered(rows)),
    )
    assert few.rows == rows
    assert task.lacking(few).startswith("needs ")
    found = task.performance(few, holdout)
    assert {measured.value for measured in found.values()} == {None}
    assert {measured.severity for measured in found.values()} == {"insufficient_data"}
    assert found[task.headline].note.endswith("needed")
    assert rows or {figure.value for figure in few.figures.values()} == {None}
    assert task.segment("new", few, holdout, 0.01).value is None
    assert task.segment("new", few, holdout, 0.01).note


def test_a_small_holdout_is_nothing_to_compare_with(world: TaskWorld) -> None:
    small, live = world.task.results(world.answered(20)), world.task.results(world.answered())
    found = world.task.performance(live, small)[world.task.headline]
    assert (found.value, found.severity) == (None, "insufficient_data")
    assert found.note.endswith("needed")


def test_the_headline_and_what_is_essential_are_measured(world: TaskWorld) -> None:
    holdout = world.task.results(world.answered())
    assert world.task.headline in holdout.figures
    assert world.task.essential
    assert world.task.essential <= set(world.task.performance(holdout, holdout))
    assert holdout.rows == 6000


def test_every_level_stands_in_the_spec(world: TaskWorld) -> None:
    holdout = world.task.results(world.answered())
    watch = world.spec.drift.performance
    found = world.task.performance(holdout, holdout) | {
        "segments": world.task.segment("new", holdout, holdout, 0.01)
    }
    assert set(world.task.level_keys) == set(found) | set(world.task.proxy_windows)
    for subject, key in world.task.level_keys.items():
        assert isinstance(getattr(watch, key), Levels)
        assert subject not in found or found[subject].levels == getattr(watch, key)


def test_results_survive_the_reference_profile(world: TaskWorld) -> None:
    found = world.task.results(world.answered())
    assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found


def test_clusters_make_figures_less_sure_where_rows_stand_alone(world: TaskWorld) -> None:
    """One entity made all rows with large errors. Lists are compared whole."""
    rows = world.answered()
    alone = replace(rows, entities={"customer": np.arange(len(rows.labels))})
    errors = np.abs(rows.scores - rows.labels)
    together = replace(rows, entities={"customer": np.argsort(np.argsort(errors)) // 60})
    before, after = (
        world.task.results(of).figures[world.task.headline] for of in (alone, together)
    )
    assert before.value == after.value
    if world.spec.task == "ranking":
        assert before.effective == after.effective
    else:
        assert after.effective < before.effective / 2


def test_labels_have_two_sides_whose_delays_can_be_compared(world: TaskWorld) -> None:
    side = world.task.split_labels(world.answered().labels)
    assert 0 < side.mean() < 1
    assert side.dtype == bool
    assert world.task.split_labels(np.empty(0)).shape == (0,)


def test_figures_without_labels_are_those_that_the_task_names(world: TaskWorld) -> None:
    """They are quiet on a window of the same world. A task without them refuses."""
    task, rows = world.task, world.answered()
    counts = AnswerCounts(6000, int(np.count_nonzero(rows.flagged)), *score_histogram(rows.scores))
    calibration = task.calibration(rows)
    assert len(calibration) in (0, len(SCORE_EDGES) + 1)
    figures = task.proxies(counts, calibration)
    assert bool(figures) == bool(task.proxy_windows)
    holdout = Proxies(
        6000,
        {name: HoldoutVariation(value, value / 10, 5) for name, value in figures.items()},
        calibration,
    )
    for check in task.proxy_windows:
        (measured,) = task.proxy(check, counts, holdout).values()
        assert measured.severity == "ok"
    with pytest.raises(KeyError):
        task.proxy("no_such_check", counts, holdout)


# ---- how a rollout is judged


def happened(
    task: Task, rows: Answered, baseline: Mapping[str, float]
) -> dict[str, tuple[int, float]]:
    """Return test -> its trials, and the share with the bad outcome."""
    trials, bad = Counter[str](), Counter[str]()
    for row, (score, label) in enumerate(zip(rows.scores, rows.labels, strict=True)):
        flagged = None if rows.flagged is None else bool(rows.flagged[row])
        found = task.trials(task.kept(float(score), flagged), float(label), baseline)
        trials.update(list(found))
        bad.update(name for name, is_bad in found.items() if is_bad)
    return {name: (count, bad[name] / count) for name, count in trials.items()}


def limits(tests: tuple[LabelTest, ...]) -> dict[str, float]:
    return {test.name: test.limit for test in tests if test.limit is not None}


def test_limits_of_label_tests_are_shares(world: TaskWorld) -> None:
    tests = world.task.label_tests(world.task.baseline(world.answered(), world.decision))
    assert len({test.name for test in tests}) == len(tests) > 0
    for test in tests:
        assert test.limit is not None
        assert 0 < test.limit < 1
        assert test.needed >= 1
        assert test.note == ""


def test_without_a_baseline_a_limit_is_unknown_and_says_why(world: TaskWorld) -> None:
    with_baseline = world.task.label_tests(world.task.baseline(world.answered(), world.decision))
    without = world.task.label_tests({})
    assert [test.name for test in without] == [test.name for test in with_baseline]
    unknown = [test for test in without if test.limit is None]
    assert unknown
    assert all(test.note.startswith("the gate left no ") for test in unknown)


@pytest.mark.parametrize("known", [True, False])
def test_what_happened_is_told_of_the_tasks_own_tests_only(world: TaskWorld, known: bool) -> None:
    baseline = (
        world.task.baseline(world.answered(), world.decision) if known else MappingProxyType({})
    )
    told = set(happened(world.task, world.answered(300, labels=5), baseline))
    names = {test.name for test in world.task.label_tests(baseline)}
    assert told <= names
    assert told == names or not known


def test_an_equal_version_stays_below_every_limit_and_a_worse_one_crosses_one(
    world: TaskWorld,
) -> None:
    task, baseline = world.task, world.task.baseline(world.answered(), world.decision)
    allowed = limits(task.label_tests(baseline))
    equal, worse = (
        happened(task, world.answered(labels=5, noise=noise), baseline) for noise in (1.0, 4.0)
    )
    assert all(share < allowed[name] for name, (_, share) in equal.items())
    assert any(share > allowed[name] for name, (_, share) in worse.items())
    assert all(
        trials >= test.needed
        for test in task.label_tests(baseline)
        for trials, _ in [equal[test.name]]
    )


def test_scores_of_two_versions_are_compared_in_rising_bins_or_not_at_all(world: TaskWorld) -> None:
    baseline = world.task.baseline(world.answered(), world.decision)
    found = world.task.score_edges(baseline)
    if world.spec.task == "ranking":
        assert found is None
        return
    assert found is not None
    edges, limit = found
    assert list(edges) == sorted(set(edges))
    assert limit == world.spec.rollout.checks.score_psi


def test_a_task_that_flags_bounds_how_many(world: TaskWorld) -> None:
    assert (world.task.flag_ratio is None) == (world.answered(100).flagged is None)
    assert world.task.flag_ratio is None or world.task.flag_ratio >= 1


def test_what_a_gate_leaves_for_a_rollout_is_plain_numbers(world: TaskWorld) -> None:
    """They travel as JSON."""
    for found in (
        world.task.baseline(world.answered(), world.decision),
        dict(world.decision),
        world.task.evaluate(world.answered()),
    ):
        assert all(type(value) is float for value in found.values())


def test_a_task_is_made_of_a_spec(world: TaskWorld) -> None:
    assert task_of(world.spec) == world.task
