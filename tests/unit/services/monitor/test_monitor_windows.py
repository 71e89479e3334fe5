"""Windows count each event once, also after repeated, late or unordered events.

Hours add up to their day.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest

from dojo.core.events.dead_letters import sift
from dojo.core.events.log import Delivery
from dojo.core.events.streams import encode
from dojo.core.events.types import Outcome, Prediction
from dojo.core.registry.reference_profile import FORMAT, ReferenceProfile, UnusableProfileError
from dojo.core.tasks.binary.estimate import expected_pr_auc
from dojo.core.tasks.records import Answered
from dojo.core.tasks.score_bins import score_histogram
from dojo.core.tasks.specs import task_of
from dojo.stats.scores.classification import pr_auc
from pipelines.training.reference import ReferenceHoldout, profile_of
from services.monitor.counting.consumer import model_fault, prediction_fault
from services.monitor.counting.fold import fold_outcomes, fold_predictions
from services.monitor.counting.state import MonitorMemory
from services.monitor.counting.windows import CountedWindow, floor, merged, plan_of
from services.monitor.judging.due import due_windows
from tests.support.monitor_events import (
    MODEL,
    NAMES,
    START,
    THRESHOLD,
    VIEWS,
    Shop,
    profile,
    rows,
    spec,
)

PROFILE = profile()
KEY = (MODEL, "1")
HOUR = timedelta(hours=1)


def known() -> MonitorMemory:
    found = MonitorMemory()
    found.learn(KEY, PROFILE)
    return found


def counts(of: MonitorMemory) -> dict[datetime, list[list[int]]]:
    return {
        hour: window.histogram.counts.tolist()
        for hour, window in of.hours[KEY].items()
        if window.histogram is not None
    }


def test_order_repetition_and_batches_do_not_change_the_counts() -> None:
    events = Shop().predictions(START, 500, timedelta(hours=5))
    in_order, shuffled = known(), known()
    fold_predictions(in_order, events)
    mixed = events + events[:200]
    random.Random(1).shuffle(mixed)
    duplicates = sum(
        fold_predictions(shuffled, mixed[first : first + 37]).duplicates
        for first in range(0, len(mixed), 37)
    )
    assert duplicates == 200
    assert counts(shuffled) == counts(in_order)
    assert sum(window.rows for window in shuffled.hours[KEY].values()) == 500


def test_hours_add_up_to_their_day() -> None:
    events = Shop().predictions(START, 500, timedelta(hours=24))
    of, whole = known(), CountedWindow()
    fold_predictions(of, events)
    matrix = np.array(
        [[*event.features.values(), event.score] for event in events], dtype=np.float32
    )
    whole.add(matrix, 0, 0, (), plan_of(PROFILE))
    day = of.window(KEY, "day", START)
    assert day is not None
    assert day.histogram is not None
    assert whole.histogram is not None
    assert np.array_equal(day.histogram.counts, whole.histogram.counts)
    assert day.rows == of.rows(KEY, "day", START) == 500
    assert day.flagged == sum(event.flagged for event in events)
    assert day.missing == {
        view: sum(event.feature_age_seconds[view] is None for event in events)
        for view in events[0].feature_age_seconds
    }
    assert merged([]).rows == 0


def test_a_value_is_binned_as_the_model_sees_it() -> None:
    """0.7 as float64 lies above the float32 of 0.7.

    An edge there would put every 0.7 into the wrong bin.
    """
    edge = float(np.float32(0.7))
    assert edge < 0.7
    column = msgspec.structs.replace(
        PROFILE.features["amount"], edges=(0.1, edge, 5.0), counts=(1, 1, 1, 1)
    )
    of = MonitorMemory()
    of.learn(KEY, msgspec.structs.replace(PROFILE, features={**PROFILE.features, "amount": column}))
    (event,) = Shop().predictions(START, 1)
    fold_predictions(
        of, [msgspec.structs.replace(event, features={**event.features, "amount": 0.7})]
    )
    histogram = of.hours[KEY][START].histogram
    assert histogram is not None
    assert histogram.column("amount").counts == (0, 1, 0, 0)


def test_windows_survive_their_bytes() -> None:
    of = known()
    fold_predictions(of, Shop().predictions(START, 50))
    window = of.hours[KEY][START]
    again = CountedWindow.from_bytes(window.to_bytes(), of.plans[KEY])
    assert again.to_bytes() == window.to_bytes()
    with pytest.raises(ValueError, match="not known"):
        CountedWindow.from_bytes(window.to_bytes(), None)


def test_answers_without_a_profile_are_counted_and_not_binned() -> None:
    of = MonitorMemory()
    fold_predictions(of, Shop().predictions(START, 50))
    assert of.hours[KEY][START].rows == 50
    assert of.hours[KEY][START].histogram is None
    of.learn(KEY, PROFILE)
    fold_predictions(of, Shop(seed=8).predictions(START, 30))
    window = of.hours[KEY][START]
    assert window.histogram is not None
    assert (window.rows, window.histogram.rows) == (80, 30)


def test_a_feature_that_an_answer_lacks_is_a_null_and_their_order_does_not_matter() -> None:
    of = known()
    first, second = Shop().predictions(START, 2)
    reordered = msgspec.structs.replace(first, features=dict(reversed(first.features.items())))
    without = msgspec.structs.replace(
        second, features={k: v for k, v in second.features.items() if k != "age"}
    )
    fold_predictions(of, [reordered, without])
    histogram = of.hours[KEY][START].histogram
    assert histogram is not None
    assert histogram.column("age").nulls == 1
    assert histogram.column("amount").total == pytest.approx(
        sum(e.features["amount"] - histogram.column("amount").edges[4] for e in (first, second)),
        rel=1e-4,
    )


def test_what_comes_after_its_day_was_closed_is_not_counted() -> None:
    of = known()
    of.open_from = START + timedelta(days=1)
    folded = fold_predictions(of, Shop().predictions(START, 10))
    assert (folded.counted, folded.too_late) == (0, 10)
    assert KEY not in of.hours


def test_labels_count_in_the_hour_of_their_arrival_once() -> None:
    of, shop = MonitorMemory(), Shop()
    outcomes = shop.outcomes(shop.predictions(START, 100), timedelta(hours=5))
    fold_outcomes(of, outcomes)
    fold_outcomes(of, outcomes[:40])
    assert sum(window.rows for window in of.label_hours[MODEL].values()) == 100
    assert set(of.label_hours[MODEL]) == {floor(outcome.world_time, "hour") for outcome in outcomes}
    assert of.labels(MODEL, "day", START).rows == sum(
        outcome.world_time.date() == START.date() for outcome in outcomes
    )


def test_a_hidden_label_is_no_arrival() -> None:
    """It comes with the decision. Counted, it would make labels look quick."""
    of, shop = MonitorMemory(), Shop()
    outcomes = shop.outcomes(shop.predictions(START, 100), timedelta(hours=5))
    hidden = [
        msgspec.structs.replace(o, label=None, hidden_by="declined", world_time=o.request_time)
        for o in outcomes[:60]
    ]
    fold_outcomes(of, [*hidden, *outcomes[60:]])
    assert sum(window.rows for window in of.label_hours[MODEL].values()) == 40


def test_labels_of_two_models_are_counted_apart() -> None:
    of, shop = MonitorMemory(), Shop()
    outcomes = shop.outcomes(shop.predictions(START, 100), timedelta(hours=5))
    others = [
        msgspec.structs.replace(
            o,
            event_id=Outcome.id_for("other", o.request_id),
            model="other",
            world_time=o.request_time + HOUR,
        )
        for o in outcomes[:30]
    ]
    folded = fold_outcomes(of, [*outcomes, *others])
    assert folded.counted == 130
    assert sum(window.rows for window in of.label_hours[MODEL].values()) == 100
    assert of.labels("other", "day", START).rows == 30
    assert of.labels("other", "day", START).median() == pytest.approx(HOUR.total_seconds(), rel=0.1)
    assert {model for model, _ in folded.labels} == {MODEL, "other"}


def test_an_outcome_of_an_unknown_model_is_set_aside_with_its_reason() -> None:
    shop = Shop()
    own, other = shop.outcomes(shop.predictions(START, 2))
    other = msgspec.structs.replace(other, model="nobody's")
    deliveries = [Delivery("1-0", encode(own)), Delivery("2-0", encode(other))]
    good, aside = sift(Outcome, deliveries, lambda event: model_fault(event, {MODEL}, None))
    assert [event for _, event in good] == [own]
    assert [(delivery.message_id, reason) for delivery, reason in aside] == [
        ("2-0", 'no spec for model "nobody\'s"')
    ]


def test_hours_of_other_time_zones_are_utc_hours() -> None:
    (event,) = Shop().predictions(START, 1)
    local = event.world_time.astimezone(datetime.strptime("+0530", "%z").tzinfo)
    of = known()
    fold_predictions(of, [msgspec.structs.replace(event, world_time=local)])
    assert set(of.hours[KEY]) == {START}
    assert floor(local, "day") == datetime(2025, 1, 6, tzinfo=UTC)


def test_an_event_of_another_time_zone_moves_no_other_event() -> None:
    shop = Shop()
    (foreign,), later = shop.predictions(START, 1), shop.predictions(START + timedelta(hours=5), 20)
    local = msgspec.structs.replace(
        foreign, world_time=START.astimezone(datetime.strptime("+0500", "%z").tzinfo)
    )
    of = known()
    fold_predictions(of, [local, *later])
    assert {hour: window.rows for hour, window in of.hours[KEY].items()} == {
        START: 1,
        START + timedelta(hours=5): 20,
    }


def test_bad_messages_are_named_and_good_ones_kept_in_order() -> None:
    good = Shop().predictions(START, 3)
    wrong = msgspec.structs.replace(good[0], score=1.5)
    payloads = [encode(good[0]), b"{", encode(good[1]), encode(wrong), b"\xff", encode(good[2])]
    deliveries = [Delivery(f"{at}-0", payload) for at, payload in enumerate(payloads)]
    events, aside = sift(
        Prediction,
        deliveries,
        lambda event: prediction_fault(event, {MODEL: task_of(spec()).score_bounds}, START + HOUR),
    )
    assert [event for _, event in events] == good
    assert [delivery.message_id for delivery, _ in aside] == ["1-0", "3-0", "4-0"]


def test_windows_are_due_when_they_are_over_and_again_when_they_change() -> None:
    of = known()
    fold_predictions(of, Shop().predictions(START, 20))
    late = timedelta(minutes=30)
    assert due_windows(of, {}, MODEL, "hour", START + HOUR, late) == []
    assert due_windows(of, {}, MODEL, "hour", START + HOUR + late, late) == [(START, [KEY])]
    judged = {(*KEY, "hour", START): 20}
    assert due_windows(of, judged, MODEL, "hour", START + HOUR + late, late) == []
    fold_predictions(of, Shop(seed=9).predictions(START, 1))
    assert due_windows(of, judged, MODEL, "hour", START + HOUR + late, late) == [(START, [KEY])]
    judged[*KEY, "hour", START] = 21
    assert [
        start for start, _ in due_windows(of, judged, MODEL, "hour", START + HOUR * 3 + late, late)
    ] == [
        START + HOUR,
        START + HOUR * 2,
    ], "silence is judged"
    after = due_windows(of, judged, MODEL, "hour", START + timedelta(days=9), late)
    assert max(start for start, _ in after) == START + timedelta(hours=24), (
        "but a version of the past is not expected"
    )


def test_expected_pr_auc_is_what_calibrated_scores_give() -> None:
    random_ = np.random.default_rng(1)
    scores = random_.beta(0.3, 10, 200_000)
    labels = (random_.random(len(scores)) < scores).astype(int)
    expected = expected_pr_auc(*score_histogram(scores))
    assert expected == pytest.approx(pr_auc(labels, scores), abs=0.02)
    assert np.isnan(expected_pr_auc(*score_histogram(np.zeros(0))))


def test_a_profile_of_before_says_why_it_cannot_be_monitored(tmp_path) -> None:
    PROFILE.write(tmp_path / "profile.json")
    assert ReferenceProfile.read(tmp_path / "profile.json").require_monitoring() == PROFILE
    for earlier in range(1, FORMAT):
        with pytest.raises(UnusableProfileError, match="was trained before"):
            msgspec.structs.replace(PROFILE, format=earlier).require_monitoring()
    (tmp_path / "profile.json").write_text('{"rows": 2000}')
    with pytest.raises(UnusableProfileError, match="missing required field"):
        ReferenceProfile.read(tmp_path / "profile.json")


def test_a_holdout_whose_days_differ_knows_it_and_one_of_independent_rows_has_nothing_to_know() -> (
    None
):
    assert all(column.quiet_day < 2e-4 for column in PROFILE.features.values())
    random_ = np.random.default_rng(2)
    days, a_day = 14, 2000
    shifts = random_.normal(0, 0.3, days)
    parts = [rows(random_, a_day, float(shift)) for shift in shifts]
    scores = np.concatenate([scores for _, scores in parts])
    holdout = ReferenceHoldout(
        names=NAMES,
        inputs=np.concatenate([vectors for vectors, _ in parts]).astype(np.float32),
        answered=Answered(
            labels=(random_.random(days * a_day) < 0.02).astype(np.float64),
            scores=scores,
            flagged=scores >= THRESHOLD,
            times=np.datetime64("2025-01-06", "us")
            + np.concatenate(
                [
                    day * 86_400_000_000 + np.sort(random_.integers(0, 86_400_000_000, a_day))
                    for day in range(days)
                ]
            ),
        ),
        missing=dict.fromkeys(VIEWS, 0.0),
    )
    uneven = profile_of(holdout, spec(segment=""))
    assert uneven.features["amount"].quiet_day > 2e-3
    assert uneven.features["age"].quiet_day < 5e-4


def test_a_corrected_label_is_no_arrival() -> None:
    """It would hide a label that is missing, and would look like a late one."""
    of, shop = known(), Shop()
    first = shop.outcomes(shop.predictions(START, 100), timedelta(hours=5))
    fold_outcomes(of, first)
    before = {hour: window.counts.tolist() for hour, window in of.label_hours[MODEL].items()}
    for change in ({"event_id": "other"}, {"label": 1.0}):
        corrected = [
            msgspec.structs.replace(o, world_time=o.world_time + timedelta(hours=30), **change)
            for o in first
        ]
        folded = fold_outcomes(of, corrected)
        assert (folded.counted, folded.duplicates) == (0, 100)
    assert {
        hour: window.counts.tolist() for hour, window in of.label_hours[MODEL].items()
    } == before
