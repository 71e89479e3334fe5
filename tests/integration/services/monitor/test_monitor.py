"""The monitor on real Redis: its counts, its verdicts, and its resistance to faults.

No single message, restart or outage may change them.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from redis.exceptions import ResponseError

from dojo.core.events.columns import frame_of
from dojo.core.events.dead_letters import DEAD_LETTERS, KEY, DeadLetters
from dojo.core.events.log import PAYLOAD_FIELD, stream_key
from dojo.core.events.types import Event, Stream, Verdict
from dojo.core.lake import Lake
from dojo.core.state.freshness import record_freshness
from dojo.core.state.skew import SkewMeasurement, latest_skew
from dojo.core.state.verdict_marks import VerdictMarks
from services.monitor.counting.state import DAYS_KEPT, HOURS_KEPT, NotOwnerError
from services.monitor.metrics import LEVELS
from tests.integration.services.monitor.monitoring import (
    HOUR,
    PER_HOUR,
    Watch,
    recount,
    turn,
    windows_of,
)
from tests.support.monitor_events import MODEL, START, Shop, profile, spec
from tests.support.servers import RedisServer, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def watch(redis_server: RedisServer, tmp_path: Path) -> Watch:
    found = Watch(redis_server, tmp_path)
    found.monitoring.knows(profile())
    return found


def test_a_shift_is_told_when_three_of_four_hours_confirm_it_and_its_end_when_they_do_not(
    watch: Watch,
) -> None:
    watch.hours(8, 12)
    assert watch.verdict("input_drift").severity == "ok"
    assert watch.gauge("input_drift") == LEVELS["ok"]
    watch.hours(12, 14, shift=1.0)
    unconfirmed = watch.verdict("input_drift")
    assert unconfirmed.severity == "ok"
    assert "2 of 4, needs 3 of 4" in unconfirmed.summary
    assert watch.told("input_drift") == []

    watch.hours(14, 15, shift=1.0)
    verdict = watch.verdict("input_drift")
    assert verdict.severity == "critical"
    assert verdict.since == START + HOUR * 12, "the first window of the trouble"
    assert verdict.findings[0].subject == "amount"
    assert verdict.findings[0].confirmed == "3 of 4"
    assert verdict.findings[0].value > 0.25 > verdict.findings[0].noise  # type: ignore[operator]
    assert verdict.summary.startswith("sudden: amount PSI")
    assert [f.subject for f in verdict.findings if f.severity != "ok"] == ["amount"]
    assert watch.gauge("input_drift") == LEVELS["critical"]
    assert (
        watch.metrics.psi.labels(MODEL, "amount", "hour")._value.get() == verdict.findings[0].value
    )

    watch.hours(15, 18)
    assert watch.verdict("input_drift").severity == "ok"
    assert watch.verdict("input_drift").since is None
    assert watch.told("input_drift")[0].severity == "critical"
    assert watch.told("input_drift")[-1].severity == "ok", "back to ok is an event, too"
    assert watch.gauge("input_drift") == LEVELS["ok"]


def test_a_poisoned_event_is_set_aside_with_a_copy_and_stops_nothing(watch: Watch) -> None:
    good, counted = (
        watch.shop.predictions(START, 50),
        DEAD_LETTERS.labels(Stream.PREDICTIONS)._value.get(),
    )
    watch.append(good[:25])
    redis, key = watch.monitoring.client, stream_key(Stream.PREDICTIONS)
    poison = [b'{"event_id": "p1", "wrong": "schema"}', b"\xff\xfe no text at all", b""]
    for payload in poison:
        redis.xadd(key, {PAYLOAD_FIELD: payload})
    redis.xadd(key, {b"another_field": b"x"})
    other_model = Shop(seed=3).predictions(START, 1)
    watch.append([_replaced(other_model[0], model="nobody")])
    watch.append(
        [
            _replaced(event, world_time=START + timedelta(days=400))
            for event in Shop(seed=4).predictions(START, 1)
        ]
    )
    watch.append(good[25:])
    watch.look(START + HOUR)

    known = watch.monitoring.counted()
    assert known.hours[MODEL, "1"][START].rows == 50
    assert watch.monitoring.lag() == 0, "nothing waits behind it"
    aside = DeadLetters(redis, "monitor").newest(10)
    assert len(aside) == len(poison) + 3
    assert DEAD_LETTERS.labels(Stream.PREDICTIONS)._value.get() - counted == len(aside)
    by_reason = {copy.reason: copy for copy in aside}
    assert any('"wrong": "schema"' in copy.payload and copy.message_id for copy in aside)
    assert "no spec for model 'nobody'" in by_reason
    assert any("lies in the future" in reason for reason in by_reason)


def test_an_event_is_acknowledged_only_after_its_letter_is_kept(watch: Watch) -> None:
    redis, key = watch.monitoring.client, KEY.format(service="monitor")
    redis.set(key, "no sorted set: Redis refuses the letter")
    redis.xadd(stream_key(Stream.PREDICTIONS), {PAYLOAD_FIELD: b"{"})
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        watch.look(START + HOUR)
    assert watch.monitoring.lag() == 1
    redis.delete(key)
    watch.monitor.forget()
    watch.look(START + HOUR)
    assert [letter.payload for letter in DeadLetters(redis, "monitor").newest(9)] == ["{"]
    assert watch.monitoring.lag() == 0


def test_late_and_disordered_events_count_in_their_window_which_is_judged_again(
    watch: Watch,
) -> None:
    watch.hours(8, 11)
    shifted = watch.shop.predictions(START + HOUR * 11, 200, shift=1.0)
    watch.append(shifted[::-1])
    watch.look(START + HOUR * 13)
    first = watch.verdict("input_drift")
    assert (first.window_start, first.severity, first.rows) == (
        START + HOUR * 11,
        "insufficient_data",
        200,
    )

    late = watch.shop.predictions(START + HOUR * 11, 300, shift=1.0) + watch.shop.predictions(
        START + HOUR * 9, 10
    )
    watch.append(late)
    watch.look(START + HOUR * 13 + timedelta(minutes=1))
    assert watch.verdict("input_drift").rows == 500
    assert watch.verdict("input_drift").severity == "ok", "not confirmed"
    known = watch.monitoring.counted()
    assert known.hours[MODEL, "1"][START + HOUR * 9].rows == PER_HOUR + 10
    assert [row.rows for row in watch.monitoring.records.history(MODEL, "input_drift", "hour")][
        1
    ] == PER_HOUR + 10


def test_an_old_window_that_is_judged_again_corrects_the_course_and_tells_nothing(
    watch: Watch,
) -> None:
    watch.hours(8, 12)
    watch.hours(12, 15, shift=1.0)
    watch.hours(15, 19)
    over = watch.verdict("input_drift")
    assert (over.severity, over.since) == ("ok", None)
    told, gauge = len(watch.told("input_drift")), watch.gauge("input_drift")
    troubles = len(VerdictMarks(watch.monitoring.client).troubles(MODEL))
    psi = watch.metrics.psi.labels(MODEL, "amount", "hour")._value.get()

    watch.append(watch.shop.predictions(START + HOUR * 14, 10, shift=1.0))
    watch.look(START + HOUR * 19 + timedelta(minutes=46))
    course = {
        row.start: row for row in watch.monitoring.records.history(MODEL, "input_drift", "hour")
    }
    assert (course[START + HOUR * 14].rows, course[START + HOUR * 14].severity) == (
        PER_HOUR + 10,
        "critical",
    )
    assert watch.verdict("input_drift") == over, "the latest window is that of before"
    assert len(watch.told("input_drift")) == told
    assert len(VerdictMarks(watch.monitoring.client).troubles(MODEL)) == troubles
    assert watch.gauge("input_drift") == gauge == LEVELS["ok"]
    watch.restart()
    watch.look(START + HOUR * 19 + timedelta(minutes=47))
    assert watch.metrics.psi.labels(MODEL, "amount", "hour")._value.get() == psi, (
        "of the newest window, not of what was written last"
    )


def test_a_restart_goes_on_without_gap_double_or_a_second_telling(watch: Watch) -> None:
    events = watch.shop.predictions(START + HOUR * 8, 900, HOUR * 3)
    watch.append(events[:500])
    watch.look(START + HOUR * 9)
    watch.restart()
    watch.append(events[400:])  # a hundred of them for the second time
    watch.look(START + HOUR * 11)
    reference = profile()
    assert windows_of(watch.monitoring.counted(), reference) == recount(events, reference)
    assert watch.metrics.duplicates.labels(Stream.PREDICTIONS)._value.get() == 100

    watch.hours(12, 16, shift=1.0)
    told, since = len(watch.told("input_drift")), watch.verdict("input_drift").since
    watch.restart()
    watch.look(START + HOUR * 16 + timedelta(minutes=50))
    assert len(watch.told("input_drift")) == told, "windows that were judged are not judged again"
    assert watch.gauge("input_drift") == LEVELS["critical"], "what was judged before shows at once"
    assert (
        watch.metrics.judged_until.labels("hour")._value.get() == (START + HOUR * 16).timestamp()
    ), "and how far that was"
    watch.hours(16, 17, shift=1.0)
    assert watch.verdict("input_drift").since == since == START + HOUR * 12
    assert len(watch.told("input_drift")) == told + 1


def test_a_failed_transaction_counts_nothing_and_the_next_round_everything(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.look(START)
    events = watch.shop.predictions(START, 100)
    watch.append(events)
    watch.monitoring.client.set(
        "dojo:monitor:owner", "another"
    )  # another monitor took over during the read
    with pytest.raises(NotOwnerError):
        watch.monitor._consumer.drain(watch.monitor.known, START, lambda: False)
    assert (MODEL, "1") not in watch.monitoring.counted().hours
    watch.monitor.forget()
    watch.look(START + HOUR * 2)
    assert watch.monitoring.counted().hours[MODEL, "1"][START].rows == 100


def test_a_second_monitor_waits_and_takes_over_when_the_first_is_gone(watch: Watch) -> None:
    watch.look(START)
    second = watch.start()
    assert not turn(second)
    watch.append(watch.shop.predictions(START, 10))
    watch.look(START + HOUR)
    wait_until(lambda: turn(second), 10, "the lease of the silent one runs out")
    watch.append(watch.shop.predictions(START, 10))
    assert turn(second)
    assert watch.monitoring.counted().hours[MODEL, "1"][START].rows == 20
    with pytest.raises(NotOwnerError):
        watch.monitor._store.write(lambda pipe: pipe.set("dojo:monitor:open_from", "x"))


def test_each_version_has_windows_of_its_own_and_one_without_profile_is_never_ok(
    watch: Watch,
) -> None:
    new, unknown = Shop(seed=2, version="2"), Shop(seed=3, version="3")
    watch.monitoring.knows(profile(seed=5), "2")
    for hour in range(8, 12):
        start = START + HOUR * hour
        watch.append(
            watch.shop.predictions(start, PER_HOUR)
            + new.predictions(start, 40)
            + unknown.predictions(start, PER_HOUR)
        )
        watch.look(start + HOUR + timedelta(minutes=45))
    assert watch.verdict("input_drift").severity == "ok"
    tiny = watch.verdict("input_drift", version="2")
    assert (tiny.severity, tiny.rows) == ("insufficient_data", 40)
    assert "300 are needed" in tiny.summary
    nobody = watch.verdict("input_drift", version="3")
    assert nobody.severity == "insufficient_data"
    assert "registry" in nobody.summary
    # All traffic moves. The old version's silence gives no verdict. The new one is judged by its
    # own profile.
    for hour in range(12, 16):
        start = START + HOUR * hour
        watch.append(new.predictions(start, PER_HOUR, shift=1.0))
        watch.look(start + HOUR + timedelta(minutes=45))
    assert watch.verdict("input_drift", version="2").severity == "critical"
    assert watch.verdict("input_drift", version="1").severity == "insufficient_data"
    assert watch.gauge("input_drift") == LEVELS["critical"]


def test_silence_is_insufficient_data_and_no_trouble_ends_by_it(watch: Watch) -> None:
    watch.hours(8, 9)
    watch.hours(9, 13, shift=1.0)
    assert watch.gauge("input_drift") == LEVELS["critical"]
    watch.look(START + HOUR * 15)
    silent = watch.verdict("input_drift")
    assert (silent.severity, silent.rows) == ("insufficient_data", 0)
    assert silent.since == START + HOUR * 9, "the trouble was not seen to end"
    assert watch.gauge("input_drift") == LEVELS["critical"], "nor does its alert"
    assert watch.told("input_drift")[-1].severity == "insufficient_data"


def test_missing_values_and_delayed_labels_are_told(watch: Watch) -> None:
    for hour in range(8, 12):
        start = START + HOUR * hour
        answers = watch.shop.predictions(start, PER_HOUR, missing=0.5)
        watch.append(answers)
        labelled = watch.shop.predictions(start - timedelta(days=6), PER_HOUR)
        outcomes = [
            _replaced(o, world_time=o.request_time + timedelta(days=6))
            for o in watch.shop.outcomes(labelled)
        ]
        watch.append(outcomes)
        watch.look(start + HOUR + timedelta(minutes=45))
    quality = watch.verdict("data_quality")
    assert quality.severity == "critical"
    assert {f.subject for f in quality.findings if f.severity == "critical"} == {
        "customer_daily",
        "merchant_daily",
    }
    delay = watch.verdict("label_delay")
    assert delay.severity == "severe", "six days for two, in three of four hours"
    assert abs(delay.findings[0].value - 3.0) < 0.1  # type: ignore[operator]


def test_late_labels_correct_their_hour_and_tell_nothing(watch: Watch) -> None:
    def labels(hour: int, count: int, days: int) -> None:
        answers = watch.shop.predictions(START + HOUR * hour - timedelta(days=days), count)
        watch.append(
            [
                _replaced(o, world_time=o.request_time + timedelta(days=days))
                for o in watch.shop.outcomes(answers)
            ]
        )

    for hour in (8, 9):
        labels(hour, PER_HOUR, days=2)
        watch.look(START + HOUR * (hour + 1) + timedelta(minutes=45))
    before = watch.verdict("label_delay", version="")
    assert (before.severity, before.window_start) == ("ok", START + HOUR * 9)
    labels(8, PER_HOUR, days=6)
    watch.look(START + HOUR * 10 + timedelta(minutes=46))
    assert [row.rows for row in watch.monitoring.records.history(MODEL, "label_delay", "hour")] == [
        2 * PER_HOUR,
        PER_HOUR,
    ]
    assert watch.verdict("label_delay", version="") == before
    assert watch.told("label_delay") == []


def test_labelled_answers_are_judged_against_the_versions_own_holdout(watch: Watch) -> None:
    """Half of the positives get past.

    This catch rate is far below the holdout's, with enough positives as proof.
    """
    watch.spec = spec(
        performance=watch.spec.drift.performance.model_copy(update={"minimum_positives": 30})
    )
    watch.restart()
    caught = _results(watch, fraud_flagged=True)
    assert caught.severity == "ok", caught.summary
    missed = _results(watch, fraud_flagged=False, day=10)
    assert missed.severity == "critical", missed
    assert missed.findings[0].subject == "catch_rate"
    assert missed.since == START + timedelta(days=10)
    assert watch.metrics.performance.labels(MODEL, "1", "catch_rate")._value.get() == 0.0


def test_a_version_that_lost_its_traffic_rings_no_more_by_the_labels_of_before(
    watch: Watch,
) -> None:
    watch.spec = spec(
        performance=watch.spec.drift.performance.model_copy(update={"minimum_positives": 30})
    )
    watch.restart()
    watch.monitoring.knows(profile(), "2")
    watch.restart()
    missed = _results(watch, fraud_flagged=False)
    assert watch.gauge("performance", "day") == LEVELS[missed.severity] == LEVELS["critical"]
    watch.append(Shop(seed=9, version="2").predictions(START + timedelta(days=4), 10))
    watch.look(START + timedelta(days=5, minutes=45))
    assert watch.verdict("performance", "day") == missed, "it is not judged again"
    assert watch.verdict("performance", "day", "2").severity == "insufficient_data"
    assert watch.gauge("performance", "day") == LEVELS["insufficient_data"]


def test_stale_features_and_measured_skew_are_told(watch: Watch) -> None:
    redis, now = watch.monitoring.client, START + timedelta(days=3)
    watch.look(now)
    known = watch.monitor.known
    assert known is not None
    stale = timedelta(hours=36) * 2.5
    for view, age in (
        ("customer_daily", stale),
        ("merchant_daily", HOUR),
        ("customer_activity", HOUR / 2),
    ):
        record_freshness(redis, view, now - age, timedelta(hours=36))
    watch.monitor._judging.present(known, now)
    assert ("feature_freshness", "now", "") not in watch.monitoring.records.latest(MODEL), (
        "two looks say nothing"
    )
    watch.monitor._judging.present(known, now)
    assert watch.verdict("feature_freshness", "now", "").severity == "ok", (
        "stale at two looks of three"
    )
    watch.monitor._judging.present(known, now)
    fresh = watch.verdict("feature_freshness", "now", "")
    assert fresh.severity == "severe"
    assert [f.subject for f in fresh.findings if f.severity == "severe"] == ["customer_daily"]
    assert {f.subject for f in fresh.findings if f.severity == "insufficient_data"} == {
        "merchant_activity"
    }, "never written"
    watch.monitor._judging.present(known, now + timedelta(minutes=1))
    assert len(watch.told("feature_freshness")) == 1, "once an hour"

    sampled = {
        "sampled": 200,
        "rows": 60,
        "share": 0.3,
        "differing": {"amount": 60},
        "excused": {},
        "late": {},
    }
    measurement = SkewMeasurement(model=MODEL, day=START, as_of=now, **sampled)
    latest_skew(redis, MODEL).put(measurement)
    for _ in range(2):
        watch.monitor._judging.present(known, now)
    skew = watch.verdict("skew", "day", "")
    assert (skew.severity, skew.window_start, skew.rows) == ("severe", START, 200)
    assert "amount (60)" in skew.findings[0].note
    assert len(watch.told("skew")) == 1
    latest_skew(redis, MODEL).put(
        msgspec.structs.replace(
            measurement, day=START + timedelta(days=1), sampled=0, rows=0, share=None
        )
    )
    watch.monitor._judging.present(known, now)
    assert watch.verdict("skew", "day", "").severity == "insufficient_data"


def test_a_measurement_of_skew_from_long_ago_says_nothing_of_now(watch: Watch) -> None:
    watch.look(START + timedelta(days=3))
    known = watch.monitor.known
    assert known is not None
    measurement = SkewMeasurement(
        model=MODEL,
        day=START,
        as_of=START + timedelta(days=1),
        sampled=200,
        rows=0,
        share=0.0,
        differing={},
        excused={},
        late={},
    )
    latest_skew(watch.monitoring.client, MODEL).put(measurement)
    watch.monitor._judging.present(known, START + timedelta(days=3))
    assert (watch.verdict("skew", "day", "").severity, watch.gauge("skew", "day")) == (
        "ok",
        LEVELS["ok"],
    )
    for _ in range(2):
        watch.monitor._judging.present(known, START + timedelta(days=3, minutes=1))
    overdue = watch.verdict("skew", "day", "")
    assert (overdue.severity, overdue.window_start) == (
        "insufficient_data",
        START + timedelta(days=2),
    )
    assert "not measured since 2025-01-06" in overdue.summary
    assert watch.gauge("skew", "day") == LEVELS["insufficient_data"]
    latest_skew(watch.monitoring.client, MODEL).put(
        msgspec.structs.replace(measurement, day=START + timedelta(days=2))
    )
    watch.monitor._judging.present(known, START + timedelta(days=3, minutes=2))
    assert (watch.verdict("skew", "day", "").severity, watch.gauge("skew", "day")) == (
        "ok",
        LEVELS["ok"],
    )


def test_labels_that_stop_are_insufficient_data_and_not_the_last_ok(watch: Watch) -> None:
    answers = watch.shop.predictions(START + HOUR * 8 - timedelta(days=2), PER_HOUR)
    watch.append(
        [
            _replaced(o, world_time=o.request_time + timedelta(days=2))
            for o in watch.shop.outcomes(answers)
        ]
    )
    watch.look(START + timedelta(days=1, minutes=45))
    assert watch.verdict("label_delay", "day", "").severity == "ok"
    watch.look(START + timedelta(days=2, minutes=45))
    stopped = watch.verdict("label_delay", "day", "")
    assert (stopped.severity, stopped.window_start, stopped.rows) == (
        "insufficient_data",
        START + timedelta(days=1),
        0,
    )
    assert watch.gauge("label_delay", "day") == LEVELS["insufficient_data"]
    judged = len(watch.monitoring.records.history(MODEL, "label_delay", "hour"))
    watch.look(START + timedelta(days=6))
    assert watch.verdict("label_delay", "day", "").severity == "insufficient_data"
    assert len(watch.monitoring.records.history(MODEL, "label_delay", "hour")) <= judged + 24, (
        "a silence is told, not for ever"
    )


def test_labels_that_are_due_and_do_not_come_are_told_in_world_time_while_answers_go_on(
    watch: Watch,
) -> None:
    day = timedelta(days=1)
    answered = []
    for number in range(12):
        answered.append(watch.shop.predictions(START + day * number, 600, day))
        watch.append(answered[number])
        if 2 <= number < 8:  # then the labels' source stops
            labels = watch.shop.outcomes(answered[number - 2])
            watch.append([_replaced(o, world_time=o.request_time + day * 2) for o in labels])
        watch.look(START + day * (number + 1) + timedelta(minutes=45))
    course = {
        row.start: row.severity
        for row in watch.monitoring.records.history(MODEL, "labels_missing", "day")
    }
    assert all(severity == "ok" for start, severity in course.items() if start < START + day * 8), (
        course
    )
    stopped = watch.verdict("labels_missing", "day")
    assert (stopped.severity, stopped.window_start, stopped.rows) == (
        "critical",
        START + day * 11,
        0,
    )
    assert stopped.since is not None
    assert START + day * 8 <= stopped.since <= START + day * 9
    assert watch.gauge("labels_missing", "day") == LEVELS["critical"]
    assert [verdict.severity for verdict in watch.told("labels_missing")][-1] == "critical"

    for number in range(12, 24):  # requests have stopped, so in the end no label is due
        watch.look(START + day * (number + 1) + timedelta(minutes=45))
    silent = watch.verdict("labels_missing", "day")
    assert silent.severity == "insufficient_data", (
        "the last verdict does not stand for days without any label due"
    )
    assert silent.since is not None, "the trouble goes on until labels are seen again"


def test_hours_become_days_and_old_days_are_forgotten(watch: Watch) -> None:
    watch.hours(8, 9)
    day = START + HOURS_KEPT + timedelta(days=1, hours=2)
    watch.append(watch.shop.predictions(day, 30))
    watch.look(day + HOUR)
    known = watch.monitoring.counted()
    assert known.days[MODEL, "1"][START].rows == PER_HOUR
    assert set(known.hours[MODEL, "1"]) == {day}
    assert all(hour >= START + timedelta(days=1) for _, hour in known.seen)
    # Events for a closed day are not counted, and a metric says so.
    watch.append(watch.shop.predictions(START + HOUR * 8, 5))
    watch.look(day + HOUR)
    assert watch.metrics.too_late.labels(Stream.PREDICTIONS)._value.get() == 5
    assert watch.monitoring.counted().days[MODEL, "1"][START].rows == PER_HOUR
    watch.look(START + DAYS_KEPT + timedelta(days=9))
    assert watch.monitoring.counted().days == {}


def _results(watch: Watch, fraud_flagged: bool, day: int = 3) -> Verdict:
    """Write a day of answers and labels into the lake. Return the verdict on them."""
    start = START + timedelta(days=day)
    answers = Shop(seed=100 + day).predictions(start, 3000, timedelta(hours=23))
    labels = [
        _replaced(o, world_time=o.request_time + HOUR) for o in Shop(seed=50).outcomes(answers)
    ]
    positives = {o.request_id for o in labels if o.label}
    share = (profile().results.figures["catch_rate"].value or 0.0) if fraud_flagged else 0.0
    flagged = set(sorted(positives)[: round(share * len(positives))])
    answers = [_replaced(a, flagged=a.request_id in flagged) for a in answers]
    lake = Lake(watch.directory / "lake")
    lake.write(Stream.PREDICTIONS, frame_of(Stream.PREDICTIONS, answers), f"day{day}")
    lake.write(Stream.OUTCOMES, frame_of(Stream.OUTCOMES, labels), f"day{day}")
    watch.append(answers[:10])
    watch.look(start + timedelta(days=1, minutes=45))
    return watch.verdict("performance", "day")


def _replaced(event: Event, **fields: object) -> Event:
    return msgspec.structs.replace(event, **fields)
