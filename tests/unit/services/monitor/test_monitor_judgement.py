"""A measurement becomes a finding beyond its threshold, beyond chance, and confirmed.

Also the words of a verdict.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec
import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from dojo.core.judging.drift import Finding, confirm, pace, worst
from dojo.core.registry.reference_profile import SLOTS, slot_numbers
from dojo.core.spec.monitoring import Confirmations, Levels
from dojo.core.state.verdict_marks import Mark
from dojo.core.tasks.measured import Measured, level_of
from dojo.core.tasks.records import HoldoutVariation
from dojo.core.tasks.specs import task_of
from services.monitor.checks.freshness_checks import feature_freshness, label_delay, model_freshness
from services.monitor.checks.input_checks import (
    WindowComparison,
    data_quality,
    input_drift,
    proxy_check,
    reference_counts,
)
from services.monitor.counting.state import MonitorMemory
from services.monitor.counting.windows import CountedWindow, LabelWindow, plan_of
from services.monitor.judging.records import HistoryRow, Measure, judgement
from services.monitor.judging.severity import MeasuredBefore, WindowUnderTest, judge_window, raised
from services.monitor.judging.tuning import LEVELS_AT, levels_at, propose, snippet
from services.monitor.judging.verdicts import is_news, make_verdict
from tests.support.monitor_events import (
    MODEL,
    NAMES,
    START,
    THRESHOLD,
    profile,
    rows,
    spec,
)

LEVELS = Levels(warning=0.1, severe=0.2, critical=0.25)
THREE_OF_FOUR = Confirmations(needed=3, of=4)
PROFILE = profile()
SPEC = spec()
TASK = task_of(SPEC)


def measured(value: float | None, noise: float | None = 0.05) -> dict[str, Measured]:
    return {"amount": Measured("amount", value, LEVELS, 400, noise)}


def window(count: int, shift: float = 0.0, seed: int = 3, missing: int = 0) -> CountedWindow:
    vectors, scores = rows(np.random.default_rng(seed), count, shift)
    found = CountedWindow()
    matrix = np.column_stack([vectors, scores]).astype(np.float32)
    found.add(
        matrix, int((scores >= THRESHOLD).sum()), 0, ["customer_daily"] * missing, plan_of(PROFILE)
    )
    return found


def asked(of: CountedWindow, kind: str = "hour") -> WindowComparison:
    return WindowComparison(of, kind, START + timedelta(hours=12), PROFILE, SPEC.drift)


@pytest.mark.parametrize(
    ("value", "severity"), [(0.09, "ok"), (0.1, "warning"), (0.2, "severe"), (0.3, "critical")]
)
def test_a_severity_begins_at_its_threshold(value: float, severity: str) -> None:
    assert level_of(value, LEVELS) == severity


def test_what_chance_reaches_is_no_finding_however_far_beyond_its_threshold() -> None:
    assert Measured("amount", 0.3, LEVELS, 310, noise=0.35).severity == "ok"
    assert Measured("amount", 0.3, LEVELS, 310, noise=0.29).severity == "critical"


@pytest.mark.parametrize(
    ("values", "severity", "confirmed"),
    [
        ([0.3], "ok", "1 of 1, needs 3 of 4"),
        ([0.01, 0.3, 0.3], "ok", "2 of 3, needs 3 of 4"),
        ([0.3, 0.01, 0.3, 0.3], "critical", "3 of 4"),
        ([0.12, 0.12, 0.3, 0.3], "warning", "4 of 4"),
        ([0.3, 0.3, 0.3, 0.01], "ok", ""),
        ([0.3, 0.3, 0.3, 0.3, 0.01, 0.01, 0.3], "ok", "2 of 4, needs 3 of 4"),
    ],
)
def test_a_finding_is_as_bad_as_enough_windows_say(
    values: list[float], severity: str, confirmed: str
) -> None:
    (finding,) = confirm([measured(value) for value in values], THREE_OF_FOUR)
    assert (finding.severity, finding.confirmed) == (severity, confirmed)


def test_without_a_rule_one_look_decides_and_without_a_value_nothing_is_said() -> None:
    assert confirm([measured(0.3)], None)[0].severity == "critical"
    assert (
        confirm([measured(0.3), measured(0.3), measured(None)], THREE_OF_FOUR)[0].severity
        == "insufficient_data"
    )
    assert worst([]) == "insufficient_data"
    assert worst(["insufficient_data", "ok"]) == "ok"


def test_a_jump_is_told_from_a_climb() -> None:
    assert pace([0.01, 0.02, 0.01, 0.31, 0.30]) == "sudden"
    assert pace([0.01, 0.06, 0.11, 0.16, 0.22, 0.27]) == "gradual"
    assert pace([0.3, 0.1]) == ""


def test_trouble_is_dated_from_its_first_window_and_ends_only_when_seen_to() -> None:
    def verdict(value: float | None, hour: int, previous=None):  # type: ignore[no-untyped-def]
        at = START + timedelta(hours=hour)
        return make_verdict(
            model=MODEL,
            version="1",
            check="input_drift",
            window="hour",
            start=at,
            now=at,
            rows=400,
            since=None,
            findings=confirm([measured(value)], None),
            previous=previous,
        )

    first = verdict(0.3, 1)
    unseen = verdict(None, 2, first)
    again = verdict(0.15, 3, unseen)
    over = verdict(0.01, 4, again)
    assert first.since == unseen.since == again.since == START + timedelta(hours=1)
    assert (unseen.severity, over.since) == ("insufficient_data", None)
    assert is_news(first, None)
    assert is_news(over, again)
    assert not is_news(over, over)
    assert not is_news(over, None)
    assert first.event_id != verdict(0.15, 1).event_id, (
        "judged again with another severity: another event"
    )


def test_a_subject_with_data_ends_no_trouble_of_one_without() -> None:
    def verdict(hour: int, previous=None, **values: float | None):  # type: ignore[no-untyped-def]
        at = START + timedelta(hours=hour)
        found = {name: Measured(name, value, LEVELS, 400, 0.05) for name, value in values.items()}
        return make_verdict(
            model=MODEL,
            version="1",
            check="input_drift",
            window="hour",
            start=at,
            now=at,
            rows=400,
            since=None,
            findings=confirm([found], None),
            previous=previous,
        )

    first = verdict(1, amount=0.3, age=0.01, count=None)
    lost = verdict(2, first, amount=None, age=0.01, count=None)
    assert (lost.severity, lost.since) == ("insufficient_data", first.since)
    assert "amount" in lost.summary
    night = verdict(3, lost)
    for unseen in (lost, night):
        assert (unseen.severity, unseen.since) == ("insufficient_data", first.since)
        still = verdict(4, unseen, amount=None, age=0.01, count=None)
        assert (still.severity, still.since) == (
            "insufficient_data",
            first.since,
        ), "however long it is out of sight"
        assert verdict(5, still, amount=0.3, age=0.01, count=None).since == first.since
        over = verdict(5, still, amount=0.01, age=0.01, count=None)
        assert (over.severity, over.since) == ("ok", None), "the count was never in trouble"
    elsewhere = verdict(2, first, amount=None, age=0.3, count=None)
    assert verdict(3, elsewhere, amount=None, age=0.01).severity == "insufficient_data", (
        "another's trouble does not hide it"
    )
    assert verdict(2, first, age=0.01).severity == "ok", "no longer looked at"
    assert verdict(1, amount=None, age=0.01).severity == "ok", "nothing was in trouble"


def test_performance_is_not_ok_by_its_honest_payments_alone() -> None:
    def verdict(**values: float | None):  # type: ignore[no-untyped-def]
        found = {name: Measured(name, value, LEVELS, 400, 0.05) for name, value in values.items()}
        return make_verdict(
            model=MODEL,
            version="1",
            check="performance",
            window="day",
            start=START,
            now=START,
            rows=400,
            since=None,
            findings=confirm([found], None),
            previous=None,
            essential=TASK.essential,
        ).severity

    assert verdict(catch_rate=None, false_positives=0.01, pr_auc=None) == "insufficient_data"
    assert verdict(catch_rate=None, false_positives=0.3, pr_auc=None) == "critical"
    assert verdict(catch_rate=None, false_positives=0.01, pr_auc=0.01) == "ok"


def test_values_out_of_range_are_unknown_and_not_fine_where_too_few_were_binned() -> None:
    unbinned = CountedWindow()
    unbinned.rows = 1000
    assert data_quality(asked(unbinned))["amount"].value is None
    assert "amount" not in data_quality(asked(window(1000)))


def test_trouble_is_news_unless_later_windows_were_judged_before() -> None:
    verdict = make_verdict(
        model=MODEL,
        version="1",
        check="input_drift",
        window="hour",
        start=START,
        now=START,
        rows=400,
        since=None,
        findings=confirm([measured(0.3)], None),
        previous=None,
    )
    assert judgement(verdict, measured(0.3), None, late=False).news
    assert not judgement(verdict, measured(0.3), None, late=True).news


def test_an_hour_is_compared_with_its_own_hour_and_kind_of_day() -> None:
    column = PROFILE.features["amount"]
    assert np.asarray(column.slots).shape == (SLOTS, len(column.counts))
    assert np.asarray(column.slots).sum() == PROFILE.rows
    noon = reference_counts(column, "hour", START + timedelta(hours=12))
    # 60 rows an hour on ten working days. Neighbour windows help until there are 3,000 rows.
    assert noon.sum() >= 3000
    assert noon.sum() == np.asarray(column.slots)[10:15].sum()
    saturday = reference_counts(column, "day", START + timedelta(days=5))
    assert saturday.sum() == np.asarray(column.slots)[24:].sum()


def test_slots_know_weekends() -> None:
    times = np.array(
        ["2025-01-06T00:30", "2025-01-10T23:59", "2025-01-11T00:00", "2025-01-12T13:00"],
        dtype="datetime64[us]",
    )
    assert slot_numbers(times).tolist() == [0, 23, 24, 37]


def test_a_shifted_feature_is_found_alone_and_calendar_features_are_left_out() -> None:
    quiet, shifted = input_drift(asked(window(600))), input_drift(asked(window(600, shift=0.7)))
    assert set(quiet) == set(NAMES) - set(SPEC.drift.calendar)
    assert {m.severity for m in quiet.values()} == {"ok"}
    assert [name for name, m in shifted.items() if m.severity != "ok"] == ["amount"]
    assert input_drift(asked(window(299)))["amount"].value is None


def test_the_noise_of_a_feature_whose_holdout_days_differ_does_not_vanish_with_rows() -> None:
    restless = msgspec.structs.replace(PROFILE.features["amount"], quiet_hour=0.01)
    profile_of_restless = msgspec.structs.replace(
        PROFILE, features={**PROFILE.features, "amount": restless}
    )
    few, many = window(400), window(100_000)
    for of, floor in ((few, 0.0), (many, 0.01 * 20)):
        calm = input_drift(asked(of))["amount"].noise
        unrest = input_drift(WindowComparison(of, "hour", START, profile_of_restless, SPEC.drift))[
            "amount"
        ].noise
        assert calm is not None
        assert unrest is not None
        assert unrest > calm
        assert unrest > floor, "a window is worth a hundred independent rows, however many it has"


def test_missing_values_and_implausible_ones_are_found() -> None:
    found = data_quality(asked(window(1000, missing=400)))
    assert found["customer_daily"].severity == "critical"
    assert found["customer_daily"].value == pytest.approx(0.39)
    assert found["merchant_daily"].severity == "ok"
    cents = data_quality(asked(window(1000, shift=np.log(100))))
    assert cents["amount"].severity in ("warning", "severe", "critical")
    no_answers = WindowComparison(window(700), "hour", START, PROFILE, SPEC.drift, unanswered=300)
    assert data_quality(no_answers)["no_version"].severity == "critical"


def test_flags_that_double_or_vanish_are_found_and_chance_is_not() -> None:
    share = PROFILE.proxies["flagged"].mean
    usual = round(share * 5000)
    for count, severity in (
        (usual, "ok"),
        (round(usual * 2.1), "severe"),
        (usual // 5, "critical"),
    ):
        of = window(5000)
        of.flagged = count
        assert proxy_check(asked(of, "day"), "flagged_rate", TASK)["flagged"].severity == severity
    of = window(300)
    of.flagged = round(share * 300 * 1.4)
    assert proxy_check(asked(of), "flagged_rate", TASK)["flagged"].severity == "ok"


def test_scores_that_no_longer_separate_promise_less() -> None:
    def severity(
        of: CountedWindow, std: float, rates: tuple[float, ...] = PROFILE.calibration
    ) -> str:
        """Return the severity.

        `std`: between the holdout's days, for a mean of 0.1. `rates`: by bin of the score.
        """
        variation = HoldoutVariation(mean=0.1, std=std, days=14)
        proxies = {**PROFILE.proxies, "expected_pr_auc": variation}
        reference = msgspec.structs.replace(PROFILE, proxies=proxies, calibration=rates)
        return estimated(WindowComparison(of, "day", START, reference, SPEC.drift))

    def estimated(comparison: WindowComparison) -> str:
        return proxy_check(comparison, "estimated_performance", TASK)["expected_pr_auc"].severity

    assert estimated(asked(window(5000), "day")) == "ok"
    flat = window(5000)
    flat.score_counts, flat.score_sums = (
        np.zeros_like(flat.score_counts),
        np.zeros_like(flat.score_sums),
    )
    flat.score_counts[20], flat.score_sums[20] = 5000, 100.0  # all scores are 0.02
    assert severity(flat, 0.005) == "critical"
    assert severity(flat, 0.05) == "ok", "where days differ that much it is no finding"
    no_fraud = (0.0,) * len(PROFILE.calibration)
    assert severity(flat, 0.005, no_fraud) == "insufficient_data", (
        "no fraud is expected: nothing can be said of finding them"
    )


def test_few_labelled_frauds_are_insufficient_data() -> None:
    figures = PROFILE.results.figures

    def severity(**positives: float) -> str:
        """Return the severity. `positives`: number of live positives, all of them missed."""
        none_caught = msgspec.structs.replace(figures["catch_rate"], value=0.0, **positives)
        live = msgspec.structs.replace(
            PROFILE.results, figures={**figures, "catch_rate": none_caught}
        )
        return TASK.performance(live, PROFILE.results)["catch_rate"].severity

    assert severity(rows=20) == "insufficient_data"
    assert severity() == "critical"
    assert severity(effective=2.0) == "ok", "all of them one campaign's"


def test_labels_that_take_three_times_as_long_are_found() -> None:
    def labels(median_days: float, count: int = 500) -> LabelWindow:
        found = LabelWindow()
        found.add(np.random.default_rng(1).lognormal(np.log(median_days * 86_400), 0.8, count))
        return found

    assert label_delay(labels(2), SPEC)["median"].severity == "ok"
    assert label_delay(labels(6), SPEC)["median"].severity == "severe"
    assert label_delay(labels(6, 20), SPEC)["median"].severity == "insufficient_data"
    median = labels(2, 20_000).median()
    assert median == pytest.approx(2 * 86_400, rel=0.05)


def test_a_view_that_was_never_written_is_not_fresh_and_an_unknown_champion_not_young() -> None:
    unwritten = feature_freshness({}, {"customer_daily": timedelta(hours=36)}, SPEC, START)
    assert unwritten["customer_daily"].severity == "insufficient_data"
    assert model_freshness(None, SPEC, START)["champion"].severity == "insufficient_data"
    assert model_freshness(START - timedelta(days=22), SPEC, START)["champion"].severity == "severe"


def test_adaptive_thresholds_rise_above_what_quiet_windows_show() -> None:
    higher = raised(LEVELS, [0.08, 0.09, 0.1, 0.11, 0.09, 0.08, 0.1, 0.09])
    assert higher.warning > 0.18
    assert raised(LEVELS, [0.0] * 10) == LEVELS


def test_an_adaptive_features_own_history_silences_what_would_be_a_warning_of_another() -> None:
    """Amounts differ from the holdout at every hour, by as much as ever."""
    known, key = MonitorMemory(), (MODEL, "1")
    known.learn(key, PROFILE)
    for hour in range(30):
        known.hours.setdefault(key, {})[START + timedelta(hours=hour)] = window(
            600, shift=0.5, seed=hour
        )
    start = START + timedelta(hours=29)

    def severity(adaptive: tuple[str, ...]) -> str:
        case = WindowUnderTest(spec(adaptive=adaptive), key, "hour", start, start)
        verdict = next(
            v
            for v, _ in judge_window(case, known, MeasuredBefore(), {})
            if v.check == "input_drift"
        )
        return verdict.severity

    assert severity(()) != "ok"
    assert severity(("amount",)) == "ok"


@pytest.mark.parametrize("hours_in_trouble", [5, 60])
def test_an_adaptive_feature_that_has_fired_becomes_quiet_again_and_its_trouble_excuses_nothing(
    hours_in_trouble: int,
) -> None:
    """Amounts always differ, then differ more, then as always.

    The longer trouble lasts beyond the windows of the look back.
    """
    known, key, memory = MonitorMemory(), (MODEL, "1"), MeasuredBefore()
    known.learn(key, PROFILE)
    first, end = 20, 20 + hours_in_trouble
    usual, moved = window(600, shift=0.5, seed=1), window(600, shift=1.2, seed=2)
    previous: dict = {}  # type: ignore[type-arg]
    told = {}
    for hour in range(end + 6):
        start = START + timedelta(hours=hour)
        known.hours.setdefault(key, {})[start] = moved if first <= hour < end else usual
        if hour < first - 4:
            continue
        judged = judge_window(
            WindowUnderTest(spec(adaptive=("amount",)), key, "hour", start, start),
            known,
            memory,
            previous,
        )
        previous = {verdict.check: verdict for verdict, _ in judged}
        told[hour] = previous["input_drift"]
    assert told[first - 1].severity == "ok"
    assert {told[hour].severity for hour in range(first + 2, end)} == {"critical"}
    assert (told[end + 5].severity, told[end + 5].since) == ("ok", None)


def test_tuning_proposes_what_would_have_kept_false_alarms_silent() -> None:
    def marked(check: str, value: float, subject: str) -> Mark:
        findings = confirm([{subject: Measured(subject, value, LEVELS, 400)}], None)
        verdict = make_verdict(
            model=MODEL,
            version="1",
            check=check,
            window="day",
            start=START,
            now=START,
            findings=findings,
            rows=400,  # type: ignore[arg-type]
            since=None,
            previous=None,
        )
        return Mark(verdict=verdict, kind="false_alarm", who="me", why="holiday", world_time=START)

    found = propose(
        SPEC, [marked("prediction_drift", 0.3, "score"), marked("input_drift", 0.2, "amount")], {}
    )
    assert {p.setting for p in found} == {"drift.thresholds", "drift.adaptive"}
    thresholds = next(p for p in found if p.setting == "drift.thresholds")
    assert thresholds.value == {"warning": 0.33, "severe": 0.43, "critical": 0.48}
    assert "amount" in snippet(found)
    quiet = [
        HistoryRow(START + timedelta(days=d), "1", "ok", 9000, {"age": Measure(0.09, 0.01)})
        for d in range(20)
    ]
    (restless,) = propose(SPEC, [], {("input_drift", "day"): quiet})
    assert sorted(restless.value) == sorted(["age", *SPEC.drift.adaptive]), "the spec's own stay"
    assert propose(SPEC, [], {}) == []


def test_the_levels_of_every_finding_that_tuning_may_raise_stand_in_the_spec() -> None:
    subjects = [
        ("performance", subject) for subject in TASK.performance(PROFILE.results, PROFILE.results)
    ]
    own = [(check, "") for check in ("segments", *TASK.proxy_windows)]
    for check, subject in (*subjects, *own, *((check, "") for check in LEVELS_AT)):
        section, path = SPEC.drift, levels_at(SPEC, check, subject)  # type: ignore[arg-type]
        assert path, f"{check} {subject}"
        for name in path:
            section = getattr(section, name)
        assert isinstance(section, Levels)


def test_a_findings_evidence_has_other_distances_of_the_same_rows() -> None:
    start, name, known = START + timedelta(hours=12), NAMES[0], MonitorMemory()
    shifted = window(400, shift=0.8)
    known.learn((MODEL, "1"), PROFILE)
    known.hours.setdefault((MODEL, "1"), {})[start] = shifted
    judged = judge_window(
        WindowUnderTest(SPEC, (MODEL, "1"), "hour", start, start), known, MeasuredBefore(), {}
    )
    (verdict,) = (verdict for verdict, _ in judged if verdict.check == "input_drift")
    finding = next(finding for finding in verdict.findings if finding.subject == name)
    found, quiet = finding.distances, input_drift(asked(window(400)))[name].distances
    assert found is not None
    assert quiet is not None
    reference, histogram = (
        reference_counts(PROFILE.features[name], "hour", start),
        shifted.histogram,
    )
    assert histogram is not None
    current = histogram.counts[histogram.plan.names.index(name), : len(reference)]
    assert found.jensen_shannon == pytest.approx(jensenshannon(reference, current, base=2) ** 2)
    assert found.kullback_leibler == pytest.approx(
        entropy(np.maximum(current, 0.5), np.maximum(reference, 0.5))
    )
    # The amounts are exp(0.8) times as large. Every measure shows it, and shows little for other
    # amounts.
    assert found.ks[0] > 0.2 > quiet.ks[0]
    assert found.wasserstein is not None
    assert quiet.wasserstein is not None
    assert found.wasserstein > 3 * quiet.wasserstein
    assert msgspec.json.decode(msgspec.json.encode(finding), type=Finding) == finding
