"""The ranking task: lists, ranks in answers, flagged top candidates, and findings."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.core.judging.gate.decision import Contender
from dojo.core.judging.gate.guards import guards
from dojo.core.spec.read import SpecError
from dojo.core.tasks.ranking.spec import RankingSpec
from dojo.core.tasks.ranking.task import Ranking
from dojo.core.tasks.records import Answered
from dojo.core.tasks.specs import load_spec
from dojo.stats.scores.ranking import ndcg_by_list
from tests.support.answers import ROWS_AN_HOUR, SPECS, task_world

WORLD = task_world("ranking")
SPEC = WORLD.spec
assert isinstance(SPEC, RankingSpec)
TASK = Ranking(SPEC)
TEXT = SPECS["ranking"].read_text()


def task_of_lists(**changes: Any) -> Ranking:
    """Return the task of a spec with other lists."""
    rule = TASK.spec.label.list.model_copy(update=changes)
    return Ranking(
        TASK.spec.model_copy(update={"label": TASK.spec.label.model_copy(update={"list": rule})})
    )


def at(*times: str) -> np.ndarray:
    return np.array([f"2030-03-{time}" for time in times], dtype="datetime64[us]")


def same(codes: Any) -> list[list[int]]:
    """Return the rows of each list, with lists in the order of their first rows."""
    return sorted(
        np.flatnonzero(np.asarray(codes) == code).tolist()
        for code in set(np.asarray(codes).tolist())
    )


# ---- lists


def test_rows_of_one_hour_are_one_list_and_hours_begin_at_the_full_one() -> None:
    times = at("01T10:00:00", "01T10:59:59.999999", "01T11:00:00", "02T10:30:00", "01T10:30:00")
    assert same(TASK.lists({}, times)) == [[0, 1, 4], [2], [3]]


def test_a_list_can_be_an_entitys_own() -> None:
    times = at("01T10:10:00", "01T10:20:00", "01T10:30:00", "01T11:10:00", "01T10:40:00")
    entities = {
        "customer": np.array(["a", "b", "a", "a", "a"]),
        "merchant": np.array([1, 1, 1, 1, 2]),
    }
    assert same(task_of_lists(by=("customer",)).lists(entities, times)) == [[0, 2, 4], [1], [3]]
    assert same(task_of_lists(by=("customer", "merchant")).lists(entities, times)) == [
        [0, 2],
        [1],
        [3],
        [4],
    ]
    assert same(
        task_of_lists(by=("merchant",), within=timedelta(days=1)).lists(entities, times)
    ) == [[0, 1, 2, 3], [4]]


entity_rows = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers(0, 10_000)),
    min_size=1,
    max_size=40,
)


@given(entity_rows, st.sampled_from([(), ("customer",), ("merchant", "customer")]))
def test_two_rows_share_a_list_when_they_share_its_entities_and_its_time(
    rows: list[tuple[str, int, int]], by: tuple[str, ...]
) -> None:
    customers, merchants, seconds = (np.array(column) for column in zip(*rows, strict=True))
    entities = {"customer": customers, "merchant": merchants}
    lists = task_of_lists(by=by).lists(
        entities, at("01T00:00:00") + seconds.astype("timedelta64[s]")
    )
    keys = list(zip(*(entities[entity] for entity in by), seconds // 3600, strict=True))
    assert lists is not None
    assert [[a == b for b in keys] for a in keys] == (lists[:, None] == lists[None, :]).tolist()


def test_no_rows_are_no_lists_and_no_figure() -> None:
    nothing = np.empty(0)
    for task in (TASK, task_of_lists(by=("customer", "merchant"))):
        empty = Answered(
            nothing,
            nothing,
            nothing > 0,
            {"customer": nothing.astype(str), "merchant": nothing.astype(str)},
        )
        assert task.support(empty) == 0
        assert task.results(empty).figures["ndcg"].value is None


@pytest.mark.parametrize(
    ("at", "old", "new", "reason"),
    [
        ("label", "by: []", "by: [shop]", "list.by: no shop among entities (customer, merchant)"),
        (
            "label",
            "by: []",
            "by: [merchant, shop]",
            "list.by: no shop among entities (customer, merchant)",
        ),
        (
            "label",
            "item: customer",
            "item: shop",
            "list.item: no shop among entities (customer, merchant)",
        ),
        ("gate", "item: customer", "top: 10", "guards.coverage: label.list.item names no entity"),
        ("  list", "by: []", "by: [customer]", "item: a list by customer holds one customer alone"),
    ],
)
def test_wrong_lists_are_refused_at_their_line(
    tmp_path: Path, at: str, old: str, new: str, reason: str
) -> None:
    path = tmp_path / "spending_order.yaml"
    text = TEXT.replace("    top: 10 ", "    #") if new == "top: 10" else TEXT
    path.write_text(text.replace(old, new))
    line = next(number for number, of in enumerate(TEXT.splitlines(), 1) if of.startswith(at + ":"))
    with pytest.raises(SpecError) as refused:
        load_spec(path)
    assert str(refused.value).startswith(f"{path}:{line}: ")
    assert reason in str(refused.value)


def test_wrong_entities_are_named_themselves_and_not_the_lists_by_them(tmp_path: Path) -> None:
    path = tmp_path / "spending_order.yaml"
    path.write_text(TEXT.replace("by: []", "by: [merchant]").replace("[customer, merchant]", "[]"))
    with pytest.raises(SpecError, match=r"entities: .*at least 1 item") as refused:
        load_spec(path)
    assert "list.by" not in str(refused.value)


def test_lists_by_the_models_own_entities_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "spending_order.yaml"
    path.write_text(TEXT.replace("by: []", "by: [merchant]"))
    spec = load_spec(path)
    assert isinstance(spec, RankingSpec)
    assert spec.label.list.by == ("merchant",)


# ---- what is decided and flagged


def test_the_cut_flags_as_many_candidates_as_the_lists_have_top_ranks() -> None:
    rows = WORLD.answered()
    decision = TASK.decide(rows)
    flagged = TASK.flagged(rows.scores, decision)
    assert set(decision) == {"cut"}
    assert flagged.mean() == pytest.approx(10 / ROWS_AN_HOUR, abs=1 / len(rows.labels))
    other = WORLD.answered(labels=3)
    assert TASK.flagged(other.scores, decision).mean() == pytest.approx(10 / ROWS_AN_HOUR, abs=0.02)


def test_lists_shorter_than_their_top_are_flagged_whole() -> None:
    """Two lists of 5 and one of 30: 20 of 40 candidates."""
    times = at("01T10:00:00").repeat(40)
    times[:5], times[5:10] = at("01T11:00:00"), at("01T12:00:00")
    rows = Answered(
        np.zeros(40), np.random.default_rng(1).permutation(40).astype(float), times=times
    )
    assert TASK.flagged(rows.scores, TASK.decide(rows)).sum() == pytest.approx(20, abs=1)
    short = rows.of(np.arange(10))
    assert TASK.flagged(short.scores, TASK.decide(short)).all()


# ---- answers


def test_instances_of_a_request_are_ranked_among_each_other() -> None:
    given = TASK.answers([0.1, 3.0, -2.0, 3.0], [{"cut": 1.0}] * 4)
    assert [answer.values for answer in given] == [(0.1, 3), (3.0, 1), (-2.0, 4), (3.0, 2)]
    assert [answer.flagged for answer in given] == [False, True, False, True]
    assert TASK.answers([1.0], [{"cut": 1.0}])[0] == ((1.0, 1), True)  # one row, at the cut


def test_without_a_version_instances_keep_the_order_in_which_they_were_sent() -> None:
    given = TASK.answers([0.0] * 5, [None] * 5)
    assert [answer.values[1] for answer in given] == [1, 2, 3, 4, 5]
    assert not any(answer.flagged for answer in given)


def test_each_instance_is_flagged_by_the_cut_of_the_version_that_scored_it() -> None:
    given = TASK.answers([2.0, 2.0, 2.0], [{"cut": 1.0}, {"cut": 3.0}, None])
    assert [answer.flagged for answer in given] == [True, False, False]


@given(st.lists(st.floats(-1e6, 1e6), max_size=30))
def test_ranks_count_from_the_highest_score(scores: list[float]) -> None:
    given = TASK.answers(scores, [None] * len(scores))
    by_rank = sorted(given, key=lambda answer: answer.values[1])
    assert [answer.values[1] for answer in by_rank] == list(range(1, len(scores) + 1))
    assert [answer.values[0] for answer in by_rank] == sorted(scores, reverse=True)


# ---- how good it is


def test_ndcg_is_the_mean_of_lists_with_something_relevant() -> None:
    rows = WORLD.answered()
    silent = replace(
        rows, labels=np.where(rows.times < at("01T05:00:00"), 0.0, rows.labels)
    )  # five hours
    assert (TASK.support(rows), TASK.support(silent)) == (120, 115)
    hours = np.arange(6000) // ROWS_AN_HOUR
    expected = np.nanmean(ndcg_by_list(silent.labels, silent.scores, hours, 10))
    assert (
        TASK.evaluate(silent)["ndcg"]
        == TASK.results(silent).figures["ndcg"].value
        == pytest.approx(expected)
    )
    assert TASK.results(silent).figures["ndcg"].rows == 115
    assert TASK.results(silent).figures["ndcg"].effective == pytest.approx(115, rel=0.01)


def test_random_ndcg_is_what_shuffled_scores_reach() -> None:
    rows, random = WORLD.answered(), np.random.default_rng(2)
    shuffled = [
        TASK.evaluate(rows.scored(random.random(6000), rows.flagged))["ndcg"] for _ in range(20)
    ]
    assert TASK.evaluate(rows)["random_ndcg"] == pytest.approx(np.mean(shuffled), abs=0.01)


def test_top_recall_is_the_share_of_the_highest_grade_that_is_flagged() -> None:
    labels, flagged = (
        np.array([3.0, 3.0, 3.0, 2.0, 0.0]),
        np.array([True, True, False, True, False]),
    )
    rows = Answered(
        labels, np.arange(5.0), flagged, {"customer": np.arange(5)}, at("01T10:00:00").repeat(5)
    )
    found = TASK.evaluate(rows)
    assert (found["top_recall"], found["flagged_share"]) == (
        pytest.approx(2 / 3),
        pytest.approx(3 / 5),
    )
    assert TASK.baseline(rows, {}) == {"top_recall": found["top_recall"]}


def test_coverage_is_the_share_of_items_that_reach_the_top_of_any_list() -> None:
    """Two of three ranks count in each of two hours. Customers c and d are never among them."""
    rows = Answered(
        np.array([3.0, 0, 0, 3, 0, 0]),
        np.array([3.0, 2, 1, 9, 8, 7]),
        np.ones(6, dtype=bool),
        {"customer": np.array(["a", "b", "c", "a", "e", "d"])},
        at("01T10:00:00", "01T11:00:00").repeat(3),
    )
    task = task_of_lists(top=2)
    assert task.evaluate(rows)["catalogue_coverage"] == pytest.approx(3 / 5)
    assert task.evaluate(rows.of(np.arange(3)))["catalogue_coverage"] == pytest.approx(2 / 3)
    assert "catalogue_coverage" not in task_of_lists(item=None).evaluate(rows)


@pytest.mark.parametrize(("shown", "verdict"), [(10, "ok"), (8, "ok"), (7, "veto")])
def test_a_challenger_that_shows_fewer_items_is_vetoed(shown: int, verdict: str) -> None:
    """The champion shows ten items in ten lists, and the challenger the same few again."""
    hours = np.repeat(np.arange(10), 10)
    rows = Answered(
        np.tile([3.0, *[0.0] * 9], 10),
        np.zeros(100),
        np.ones(100, dtype=bool),
        {"customer": np.tile(np.arange(10), 10)},
        at("01T00:00:00") + hours * np.timedelta64(1, "h"),
    )
    task = task_of_lists(top=1)

    def contender(first: np.ndarray) -> Contender:
        scores = (rows.entities["customer"] == first[hours]).astype(float)
        metrics = task.evaluate(rows.scored(scores, rows.flagged))
        return Contender(
            version="1", run_id="run", as_of=datetime(2030, 3, 2, tzinfo=UTC), decision={},
            metrics=metrics, latency_seconds=0.001, size_bytes=1000,
        )  # fmt: skip

    judged = guards(
        task.spec, contender(np.arange(10)), contender(np.minimum(np.arange(10), shown - 1)), ()
    )
    (coverage,) = [guard for guard in judged if guard.name == "coverage"]
    assert (coverage.champion, coverage.challenger) == (1.0, shown / 10)
    assert coverage.verdict == verdict


def test_without_a_limit_coverage_is_no_guard() -> None:
    limits = TASK.spec.gate.guards.model_copy(update={"coverage": None})
    gate = TASK.spec.gate.model_copy(update={"guards": limits})
    task = Ranking(TASK.spec.model_copy(update={"gate": gate}))
    assert [rule.name for rule in task.guards] == ["top_recall"]


def test_a_gain_and_a_loss_are_relative_to_ndcg() -> None:
    champion, challenger = WORLD.answered(), WORLD.answered(noise=0.5)
    before, after = TASK.evaluate(champion)["ndcg"], TASK.evaluate(challenger)["ndcg"]
    assert TASK.gain(champion, challenger, 50).value == pytest.approx(after / before - 1)
    lost = TASK.loss(champion, {"ndcg": after})
    assert lost.value == pytest.approx(1 - before / after)
    assert lost.measured == lost.comparable == pytest.approx(before)


def test_the_scale_of_scores_means_nothing() -> None:
    rows = WORLD.answered()
    stretched = rows.scored(np.exp(5 * rows.scores), rows.flagged)
    assert TASK.evaluate(stretched) == TASK.evaluate(rows)
    assert TASK.gain(rows, stretched, 50).high == 0
    assert TASK.score_edges(TASK.baseline(rows, {})) is None


def test_the_objective_orders_the_ranks_that_count() -> None:
    assert dict(task_of_lists(top=7).objective) == {
        "objective": "lambdarank",
        "metric": "ndcg",
        "eval_at": [7],
        "lambdarank_truncation_level": 14,
    }


# ---- findings


def test_a_drop_of_ndcg_is_relative_to_the_holdouts() -> None:
    holdout, live = (
        TASK.results(WORLD.answered()),
        TASK.results(WORLD.answered(labels=2, noise=2.0)),
    )
    before, now = holdout.figures["ndcg"].value, live.figures["ndcg"].value
    found = TASK.performance(live, holdout)["ndcg"]
    assert before is not None
    assert now is not None
    assert found.value == pytest.approx(1 - now / before)
    assert found.severity == "severe"
    assert found.rows == 120
    assert TASK.performance(holdout, live)["ndcg"].value == 0, "a rise is no drop"


def test_few_lists_are_few_however_many_rows_they_have() -> None:
    holdout = TASK.results(WORLD.answered())
    rows = WORLD.answered(labels=2)
    for lists, judged in ((19, False), (20, True)):
        live = TASK.results(rows.of(np.arange(lists * ROWS_AN_HOUR)))
        assert (TASK.lacking(live) == "") == judged
        assert (TASK.performance(live, holdout)["ndcg"].value is not None) == judged
        assert (TASK.too_few_live(lists, 950) == "") == judged


def test_noise_covers_a_quiet_drop_as_often_as_promised() -> None:
    """Pairs of 30 and 60 lists at a level of 0.4. A fifth of them exceeds it from above."""
    beyond = 0
    for seed in range(300):
        rows = WORLD.answered(90 * ROWS_AN_HOUR, labels=100 + seed)
        live, holdout = (
            TASK.results(rows.of(np.arange(*part))) for part in ((0, 1500), (1500, 4500))
        )
        found = TASK.segment("any", live, holdout, 0.4)
        beyond += found.value is not None and found.noise is not None and found.value > found.noise
    assert 0.13 <= beyond / 300 <= 0.27


# ---- rollouts and experiments


def test_only_the_highest_grade_is_a_trial_of_the_missed_top() -> None:
    for label in (0.0, 1.0, 2.0):
        assert TASK.trials(TASK.kept(0.3, False), label, {}) == {}
    assert TASK.trials(TASK.kept(0.3, False), 3.0, {}) == {"missed_top": True}
    assert TASK.trials(TASK.kept(0.3, True), 3.0, {}) == {"missed_top": False}


def test_the_limit_of_missed_candidates_is_a_drop_below_the_champions_recall() -> None:
    (test,) = TASK.label_tests({"top_recall": 0.8})
    assert (test.name, test.limit, test.needed) == ("missed_top", pytest.approx(1 - 0.8 * 0.8), 100)
    assert TASK.flag_ratio == 2.0


def test_arms_are_compared_by_the_recall_of_the_best_candidates() -> None:
    rows = WORLD.answered()
    (quantity,) = TASK.quantities(rows, np.full(6000, np.nan))
    assert quantity.above.sum() / quantity.below.sum() == pytest.approx(
        TASK.evaluate(rows)["top_recall"]
    )
    assert (quantity.counts == (rows.labels == 3)).all()
    assert (quantity.share, quantity.needed) == (True, 100)


def test_labels_are_grades_of_which_a_believable_share_is_relevant() -> None:
    assert TASK.label_values.allowed == (0, 1, 2, 3)
    assert TASK.label_faults(np.array([0.0, 0, 0, 0, 0, 0, 0, 1, 2, 3])) == []
    (fault,) = TASK.label_faults(np.array([1.0, 2.0, 3.0]))  # for example cents instead of euros
    assert fault.endswith(
        "a share of relevant candidates from 30.00% to 95.00% (spec: training.relevant_rate), found"
        " 100.000% of 3 labels"
    )


def test_grades_that_are_all_alike_order_nothing() -> None:
    assert (
        TASK.part_fault(np.full(7, 3.0))
        == "expected grades that differ, up to 3, found 7 rows with 3 to 3"
    )


def test_a_part_without_the_best_grade_cannot_show_how_many_of_the_best_are_found() -> None:
    assert (
        TASK.part_fault(np.array([0.0, 1.0, 2.0]))
        == "expected grades that differ, up to 3, found 3 rows with 0 to 2"
    )
    assert not TASK.part_fault(np.array([0.0, 3.0]))


def test_lists_of_one_entity_are_one_cluster() -> None:
    """Sixty customers have ten hourly lists each. The other nine lists repeat the first."""
    lists, rows = 600, 8
    random = np.random.default_rng(1)
    customer, hour = (
        np.repeat(np.arange(60), 10 * rows),
        np.tile(np.repeat(np.arange(10), rows), 60),
    )
    grades = random.integers(0, 4, lists * rows).astype(np.float64)
    skill = random.normal(0, 1, 60)[customer]  # some well ordered, some reversed
    answered = Answered(
        labels=grades,
        scores=skill * grades + random.normal(0, 0.1, lists * rows),
        entities={"customer": customer},
        times=at("01T00:00:00") + hour * np.timedelta64(1, "h"),
    )
    figure = task_of_lists(by=("customer",)).results(answered).figures["ndcg"]
    assert figure.rows > 550
    assert figure.effective < 120


def test_early_labels_are_compared_by_relevance() -> None:
    assert TASK.split_labels(np.array([0.0, 1.0, 3.0])).tolist() == [False, True, True]


# ---- pictures


def test_curves_show_ndcg_by_ranks_that_count_and_the_mean_grade_at_each_rank() -> None:
    rows = WORLD.answered()
    ndcg, grades = TASK.curves(rows, "v1")
    assert ndcg.x.tolist() == grades.x.tolist() == list(range(1, 21))
    assert ndcg.y[9] == pytest.approx(TASK.evaluate(rows)["ndcg"])
    assert ndcg.label == f"v1 (NDCG@10 {ndcg.y[9]:.3f})"
    by_hour = np.argsort(-rows.scores.reshape(120, ROWS_AN_HOUR), axis=1)
    graded = np.take_along_axis(rows.labels.reshape(120, ROWS_AN_HOUR), by_hour, axis=1)
    assert grades.y == pytest.approx(graded.mean(axis=0)[:20])
    assert grades.reference == ("random order", (1, 20), pytest.approx((rows.labels.mean(),) * 2))


def test_short_lists_have_no_grade_at_ranks_that_they_lack() -> None:
    rows = WORLD.answered(5)
    assert TASK.curves(rows, "v1")[1].x.tolist() == [1, 2, 3, 4, 5]
