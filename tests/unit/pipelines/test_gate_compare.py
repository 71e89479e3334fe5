"""The gate's verdicts, guards and outcomes, on made-up holdouts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dojo.core.judging.gate.compare import GateJudgement, judge
from dojo.core.judging.gate.decision import Contender, GateDecision, Guard
from dojo.core.judging.gate.guards import guards
from dojo.core.judging.gate.holdout import Candidate
from dojo.core.spec.regulated import Fairness, Regulated
from dojo.core.tasks.specs import load_spec
from pipelines.gate.report import NOTHING, html_page, markdown, write_report
from tests.support.answers import FLEET, task_world
from tests.support.gate_worlds import END, candidate, holdout, labels, noisy_scores, spec

LABELS = labels()
GOOD, BETTER = noisy_scores(LABELS, 2.0, seed=2), noisy_scores(LABELS, 2.8, seed=3)


def decide(
    old: np.ndarray, new: np.ndarray, y: np.ndarray = LABELS, **new_candidate: float
) -> GateDecision:
    return judge(
        spec(), "job", holdout(y), candidate(old, "1"), candidate(new, **new_candidate)
    ).decision  # type: ignore[arg-type]


def guard(decision: GateDecision, name: str) -> Guard:
    return next(guard for guard in decision.guards if guard.name == name)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), rate=st.floats(0.02, 0.3), signal=st.floats(0, 3))
def test_identical_models_never_win(seed: int, rate: float, signal: float) -> None:
    y = labels(1500, rate, seed)
    scores = noisy_scores(y, signal, seed)
    decision = judge(
        spec(100), "job", holdout(y, seed), candidate(scores, "1"), candidate(scores.copy())
    ).decision
    if decision.verdict != "insufficient_data":
        assert (decision.verdict, decision.outcome) == ("inconclusive", "keep")
        assert (decision.gain, decision.low, decision.high) == (0, 0, 0)
        assert decision.vetoes == ()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_clearly_better_model_wins(seed: int) -> None:
    y = labels(6000, 0.05, seed)
    old, new = noisy_scores(y, 1.5, seed + 1), noisy_scores(y, 3.0, seed + 2)
    decision = judge(
        spec(100), "job", holdout(y, seed), candidate(old, "1"), candidate(new)
    ).decision
    assert (decision.verdict, decision.outcome, decision.vetoes) == ("improved", "promote", ())


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_permuted_challenger_is_worse(seed: int) -> None:
    new = np.random.default_rng(seed).permutation(GOOD)
    decision = decide(GOOD, new)
    assert (decision.verdict, decision.outcome) == ("worse", "regression")


@pytest.mark.parametrize(
    ("allowed", "latency", "outcome", "said"),
    [
        (0.9, 1e-6, "promote", "loses at most 90.0%, and no guard objects"),
        (0.01, 1e-6, "keep", "may lose more than 1.0%"),
        (0.9, 1.0, "keep", "vetoed by latency"),
    ],
)
def test_a_smaller_version_need_not_win_and_may_lose_what_is_allowed(
    allowed: float, latency: float, outcome: str, said: str
) -> None:
    champion = candidate(BETTER, "1", latency=1e-6)
    random = np.random.default_rng(5)
    close = np.where(random.random(len(BETTER)) < 0.01, random.permutation(BETTER), BETTER)
    challenger = replace(candidate(close, latency=latency), batch_seconds=2e-5)
    judged = judge(spec(), "job", holdout(LABELS), champion, challenger, "", allowed)
    assert judged.decision.verdict != "improved"
    assert (judged.decision.outcome, judged.decision.allowed_loss) == (outcome, allowed)
    assert said in judged.decision.reason
    shown = markdown(judged.decision, {})
    assert f"may reach a loss of {allowed:.1%}" in shown
    assert ("smaller version is good enough" in shown) == (outcome == "promote")


def test_the_whole_interval_of_a_smaller_versions_loss_must_be_allowed() -> None:
    random = np.random.default_rng(5)
    close = np.where(random.random(len(BETTER)) < 0.01, random.permutation(BETTER), BETTER)
    pair = candidate(BETTER, "1"), candidate(close)
    found = judge(spec(), "job", holdout(LABELS), *pair, "", 0.9).decision
    assert found.gain is not None
    assert found.low is not None
    assert found.low < found.gain < 0
    between = -(found.low + found.gain) / 2
    decided = judge(spec(), "job", holdout(LABELS), *pair, "", between).decision
    assert (found.outcome, decided.outcome) == ("promote", "keep")


def test_swapping_the_two_swaps_the_verdict() -> None:
    assert decide(GOOD, BETTER).verdict == "improved"
    assert decide(BETTER, GOOD).verdict == "worse"


def test_a_sure_gain_below_the_minimum_is_inconclusive() -> None:
    """Both agree, except for one legitimate payment that the challenger ranks a little lower."""
    new = GOOD.copy()
    highest_legitimate = np.flatnonzero(LABELS == 0)[np.argmax(GOOD[LABELS == 0])]
    new[highest_legitimate] -= 0.05
    decision = decide(GOOD, new)
    assert decision.gain is not None
    assert 0 < decision.gain < spec().gate.minimum_gain
    assert (decision.verdict, decision.outcome) == ("inconclusive", "keep")


def test_the_gain_is_relative_to_the_champions_value() -> None:
    decision = decide(GOOD, BETTER)
    assert decision.champion is not None
    old, new = decision.champion.metrics["pr_auc"], decision.challenger.metrics["pr_auc"]
    assert decision.gain == pytest.approx((new - old) / old)
    assert decision.low is not None
    assert decision.high is not None
    assert 0 < decision.low < decision.gain < decision.high


def test_too_few_frauds_are_insufficient_data() -> None:
    y = np.zeros(6000, dtype=np.int64)
    y[:29] = 1
    decision = decide(noisy_scores(y, 1, 1), noisy_scores(y, 3, 2), y)
    assert (decision.verdict, decision.outcome, decision.gain) == (
        "insufficient_data",
        "keep",
        None,
    )
    assert "the holdout has 29 positives in 6,000 rows, at least 30 are needed" in decision.reason


def test_an_obstacle_is_insufficient_data_and_named() -> None:
    judged = judge(
        spec(),
        "job",
        holdout(LABELS),
        candidate(None, "1"),
        candidate(BETTER),
        "it needs feature x",
    )
    assert (judged.decision.verdict, judged.decision.outcome) == ("insufficient_data", "keep")
    assert "it needs feature x" in judged.decision.reason
    assert judged.decision.champion is not None
    assert judged.decision.champion.metrics == {}
    assert judged.decision.baseline == {}


def test_the_first_version_has_nobody_to_beat() -> None:
    decision = judge(spec(), "job", holdout(LABELS), None, candidate(GOOD)).decision
    assert (decision.verdict, decision.outcome, decision.champion) == (
        "insufficient_data",
        "first",
        None,
    )
    assert decision.challenger.metrics["pr_auc"] > 0.3


@pytest.mark.parametrize(
    ("latency", "verdict"),
    [
        (11e-6, "ok"),
        (400e-6, "ok"),
        (900e-6, "veto"),
    ],  # the champion takes 12 microseconds; below half a millisecond, ratios do not count
)
def test_a_slow_artefact_is_vetoed(latency: float, verdict: str) -> None:
    decision = decide(GOOD, BETTER, latency=latency)
    assert guard(decision, "latency").verdict == verdict
    assert decision.outcome == ("keep" if verdict == "veto" else "promote")
    assert decision.verdict == "improved"


@pytest.mark.parametrize(("size", "verdict"), [(900_000, "ok"), (1_000_001, "veto")])
def test_a_large_artefact_is_vetoed(size: int, verdict: str) -> None:
    decision = decide(GOOD, BETTER, size=size)
    assert guard(decision, "size").verdict == verdict
    assert decision.vetoes == (("size",) if verdict == "veto" else ())


def test_scores_that_are_no_probabilities_any_more_are_vetoed() -> None:
    """The order and the PR-AUC are the same, but other systems multiply the score with euros."""
    decision = decide(GOOD, BETTER**0.5)
    assert decision.gain == pytest.approx(decide(GOOD, BETTER).gain)
    assert (decision.outcome, decision.vetoes) == ("keep", ("calibration",))
    assert "vetoed by calibration" in decision.reason


@pytest.mark.parametrize("name", ["precision_at_1pct_fpr", "recall_at_50pct_precision"])
def test_what_reviewers_lose_is_guarded_relative_to_what_they_had(name: str) -> None:
    lost, kept = guard(decide(BETTER, GOOD), name), guard(decide(GOOD, BETTER), name)
    assert lost.champion is not None
    assert lost.challenger is not None
    assert lost.change == pytest.approx((lost.champion - lost.challenger) / lost.champion)
    assert lost.change > lost.limit
    assert (lost.verdict, kept.verdict) == ("veto", "ok")


def test_a_customer_segment_that_pays_for_the_average_is_a_veto() -> None:
    world = holdout(LABELS)
    new = BETTER.copy()
    rare = world.segments["rare"]
    new[rare] = np.random.default_rng(1).permutation(GOOD[rare])
    decision = decide(GOOD, new)
    worst = guard(decision, "worst_segment")
    assert worst.verdict == "veto"
    assert "segment rare" in worst.note
    assert decision.outcome != "promote"


def test_segments_with_too_few_frauds_are_named_and_do_not_veto() -> None:
    y = LABELS.copy()
    world = holdout(y)
    y[world.segments["rare"][20:]] = 0  # leaves at most 20 rows for fraud
    old, new = noisy_scores(y, 1.5, 1), noisy_scores(y, 3.0, 2)
    new[world.segments["rare"]] = 0.01
    decision = decide(old, new, y)
    worst = guard(decision, "worst_segment")
    assert worst.verdict == "ok"
    assert "too few positives to judge: rare" in worst.note
    assert decision.outcome == "promote"


def test_a_segments_loss_within_chance_is_no_veto() -> None:
    """With 40 positives in a segment, two equally good models often differ by a tenth."""
    y = labels(2600, 0.05, seed=8)
    losses = 0
    for seed in range(12):
        decision = decide(noisy_scores(y, 1.5, 100 + seed), noisy_scores(y, 1.5, 200 + seed), y)
        worst = guard(decision, "worst_segment")
        assert worst.change is not None
        losses += worst.change > worst.limit
        assert worst.verdict == "ok"
    assert losses >= 3, "the test would not see a guard that vetoes by chance"


def test_the_rollouts_baseline_is_the_champion_at_its_own_threshold() -> None:
    judged = judge(
        spec(),
        "job",
        holdout(LABELS),
        candidate(GOOD, "1", threshold=0.3),
        candidate(BETTER, threshold=0.9),
    )
    flagged = GOOD >= 0.3
    assert judged.decision.baseline == {
        "recall_at_threshold": pytest.approx(flagged[LABELS == 1].mean()),
        "false_positive_rate_at_threshold": pytest.approx(flagged[LABELS == 0].mean()),
    }


def test_a_decision_survives_its_file(tmp_path: Path) -> None:
    decision = decide(GOOD, BETTER)
    assert GateDecision.read(decision.write(tmp_path)) == decision
    assert "NaN" not in msgspec.json.encode(decision).decode()


def test_the_report_says_it_all_and_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    champion, challenger = candidate(GOOD, "7"), candidate(BETTER**0.5)
    judged = judge(spec(), "job", holdout(LABELS), champion, challenger)
    write_report(
        judged, spec(), holdout(LABELS), {"champion": champion, "challenger": challenger}, tmp_path
    )
    text, page = (tmp_path / "gate.md").read_text(), (tmp_path / "gate.html").read_text()
    for found in (text, page):
        assert "The champion stays (vetoed: calibration)" in found
        assert "version 7" in found
        assert f"{judged.decision.gain:+.2%}" in found
        assert "VETO" in found
    assert "http" not in page
    assert page.count("data:image/png;base64,") == 2
    for guarded in judged.decision.guards:
        assert guarded.measures in text


@pytest.mark.parametrize("judged", [
    judge(spec(), "job", holdout(LABELS), None, candidate(GOOD)),
    judge(
        spec(), "job", holdout(LABELS), candidate(None, "1"), candidate(GOOD),
        "<b>features</b> & more are missing",
    ),
])  # fmt: skip
def test_a_report_without_a_comparison_says_why(judged: GateJudgement) -> None:
    text, page = markdown(judged.decision, {}), html_page(judged.decision, {})
    assert judged.decision.reason in text
    assert "<b>features" not in page


FAIR = Fairness(granted=0.1, true_positive=0.3, false_positive=0.1, minimum_rows=200)
REGULATED = Regulated(
    protected="attribute", fairness=FAIR, refusal="No.", review="Ask us.", reasons={}
)


def judge_regulated(scores: np.ndarray, champion: Candidate | None = None) -> GateDecision:
    """Judge a version over two groups, the second of them the odd rows."""
    groups = {"a": np.arange(0, len(LABELS), 2), "b": np.arange(1, len(LABELS), 2)}
    rules = spec(100).model_copy(update={"regulated": REGULATED})
    rows = replace(holdout(LABELS), protected=groups)
    return judge(rules, "job", rows, champion, candidate(scores)).decision


def against_b(scores: np.ndarray) -> np.ndarray:
    """Return scores that refuse every third row of group b."""
    unfair = scores.copy()
    unfair[1::6] = 0.99
    return unfair


def test_a_first_version_that_is_unfair_is_kept_out_and_a_fair_one_is_not() -> None:
    fair, unfair = judge_regulated(GOOD), judge_regulated(against_b(GOOD))
    assert (fair.outcome, fair.vetoes) == ("first", ())
    assert [guard.verdict for guard in fair.guards[:1]] == ["ok"]
    assert unfair.outcome == "keep"
    assert unfair.vetoes == ("fair_granted", "fair_false_positive")
    assert "fair_granted" in unfair.reason
    assert "VETO" in markdown(unfair, {})
    assert "The first version is kept out (vetoed: fair_granted" in markdown(unfair, {})


def test_a_better_challenger_that_is_unfair_is_vetoed_with_both_versions_gaps() -> None:
    champion = candidate(GOOD, "1")
    assert judge_regulated(BETTER, champion).outcome == "promote"
    decision = judge_regulated(np.maximum(BETTER, against_b(np.zeros(len(LABELS)))), champion)
    found = guard(decision, "fair_granted")
    assert found.verdict == "veto"
    assert found.champion is not None
    assert found.challenger is not None
    assert found.champion < 0.05 < 0.25 < found.challenger
    assert "b " in found.note
    assert "interval" in found.note
    assert "Groups of the protected attribute" in html_page(decision, {})


def test_each_version_is_judged_by_its_own_interval_and_the_challengers_goes_to_the_rollout() -> (
    None
):
    world = task_world("regression")
    rows, twice = world.answered(2000), {"interval_low": -25.0, "interval_high": 25.0}
    old, new = (
        replace(candidate(rows.scores, version), decision={**world.decision, **own})
        for version, own in (("1", {}), ("2", twice))
    )
    on = replace(holdout(LABELS[:2000]), labels=rows.labels)
    shown = markdown(judge(world.spec, "job", on, replace(old, decision={}), new).decision, {})
    without = f"| share of labels inside the interval; absolute loss | {NOTHING} | "
    assert without in shown, "a champion without intervals"
    assert "at most +0.0500" in shown
    decision = judge(world.spec, "job", on, old, new).decision
    assert decision.champion is not None
    assert decision.champion.metrics["interval_coverage"] == pytest.approx(0.8, abs=0.03)
    assert decision.challenger.metrics["interval_coverage"] > 0.97
    assert guard(decision, "coverage").verdict == "ok"
    assert guard(decision, "pinball_loss").verdict == "veto", "it is too wide"
    assert {name: decision.baseline[name] for name in twice} == twice


@pytest.mark.parametrize(
    ("champion", "challenger", "verdict", "change"),
    [
        (0.80, 0.76, "ok", 0.04),
        (0.80, 0.74, "veto", 0.06),
        (0.90, 0.79, "ok", 0.01),  # more than the promise is no merit
        (0.70, 0.71, "ok", -0.01),  # a change for the better, below the promise
        (None, 0.74, "veto", 0.06),  # a champion without intervals
    ],
)
def test_coverage_is_lost_from_the_promise_or_from_the_champions_where_that_is_lower(
    champion: float | None, challenger: float, verdict: str, change: float
) -> None:
    found = interval_guards(champion, challenger)["coverage"]
    assert found.verdict == verdict
    assert found.change == pytest.approx(change)
    assert found.note == "0.8 is promised"


def test_a_pinball_loss_without_one_to_compare_with_vetoes_nothing() -> None:
    assert interval_guards(None, 0.8)["pinball_loss"].verdict == "insufficient_data"
    assert interval_guards(0.8, 0.8)["pinball_loss"].verdict == "veto"


def interval_guards(champion: float | None, challenger: float) -> dict[str, Guard]:
    """Return the guards of two coverages. The challenger's pinball loss is 20 % higher."""
    amounts = load_spec(FLEET / "expected_amount.yaml")
    others = {"relative_bias": 0.0, "p90_error": 1.0}
    old, new = (
        Contender(
            version="1", run_id="run", as_of=END, decision={}, latency_seconds=1e-5, size_bytes=1,
            metrics=others
            if coverage is None
            else {**others, "interval_coverage": coverage, "pinball_loss": loss},
        )
        for coverage, loss in ((champion, 1.0), (challenger, 1.2))
    )  # fmt: skip
    return {guard.name: guard for guard in guards(amounts, old, new, ())}
