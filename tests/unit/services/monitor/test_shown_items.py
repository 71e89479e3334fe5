"""What a ranking shows is compared with its holdout, before any label arrives."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import numpy as np

from dojo.core.registry.reference_profile import ReferenceProfile
from dojo.core.tasks.item_bins import ITEM_BINS, item_histogram
from dojo.core.tasks.records import Answered
from pipelines.training.reference import ReferenceHoldout, profile_of
from services.monitor.checks.input_checks import ITEMS, WindowComparison, prediction_drift
from services.monitor.counting.fold import fold_predictions
from services.monitor.counting.state import MonitorMemory
from services.monitor.counting.windows import CountedWindow, plan_of
from tests.support.answers import task_world
from tests.support.monitor_events import MODEL, NAMES, START, Shop, rows

SPEC = task_world("ranking").spec
HOURS, SHOWN = 14 * 24, 40  # a fortnight, with flagged answers of each hour
CATALOGUE = 50


def popular(random: np.random.Generator, count: int, drift: float = 0.0) -> np.ndarray:
    """Return items, of which some are shown more often. Drift prefers the most popular ones."""
    share = (1 + np.arange(CATALOGUE)) ** -(0.5 + drift)
    return random.choice(CATALOGUE, count, p=share / share.sum()).astype(str)


def profile(item: bool = True) -> ReferenceProfile:
    random, count = np.random.default_rng(1), HOURS * SHOWN * 2
    vectors, scores = rows(random, count)
    offsets = np.repeat(np.arange(HOURS), SHOWN * 2) * np.timedelta64(1, "h")
    answered = Answered(
        random.integers(0, 4, count).astype(float),
        scores,
        np.arange(count) % 2 == 0,
        {"customer": popular(random, count), "merchant": np.full(count, "m")},
        np.datetime64((START - timedelta(days=14)).replace(tzinfo=None), "us") + offsets,
    )
    rule = SPEC.label.list.model_copy(update={"item": "customer" if item else None})
    label = SPEC.label.model_copy(update={"list": rule})
    holdout = ReferenceHoldout(NAMES, vectors.astype(np.float32), answered, {})
    return profile_of(holdout, SPEC.model_copy(update={"label": label}))


PROFILE = profile()


def judged(items: np.ndarray, of: ReferenceProfile = PROFILE) -> dict[str, float | None]:
    window = CountedWindow()
    vectors, scores = rows(np.random.default_rng(2), len(items))
    matrix = np.column_stack([vectors, scores]).astype(np.float32)
    window.add(matrix, len(items), 0, (), plan_of(of), items)
    asked = WindowComparison(window, "day", START, of, SPEC.drift)
    return {
        name: None if one.value is None else one.value * (one.severity != "ok")
        for name, one in prediction_drift(asked).items()
    }


def test_only_flagged_answers_of_the_holdout_are_shown_items() -> None:
    assert PROFILE.shown is not None
    assert PROFILE.shown.entity == "customer"
    assert sum(PROFILE.shown.bins.counts) == HOURS * SHOWN
    assert np.sum(PROFILE.shown.bins.slots) == HOURS * SHOWN
    assert PROFILE.shown.bins.quiet_day < 0.0001, "days differ by chance alone"
    assert profile(item=False).shown is None
    read = msgspec.json.decode(msgspec.json.encode(PROFILE), type=ReferenceProfile)
    assert read.shown == PROFILE.shown


def test_a_quiet_day_is_no_drift_and_a_narrower_choice_is() -> None:
    random = np.random.default_rng(3)
    assert judged(popular(random, 960))[ITEMS] == 0
    narrow = judged(popular(random, 960, drift=0.6))[ITEMS]
    assert narrow is not None
    assert narrow > SPEC.drift.thresholds.warning
    assert judged(np.full(960, "new"))[ITEMS] > 1  # a catalogue of one
    assert judged(popular(random, 299))[ITEMS] is None
    assert ITEMS not in judged(popular(random, 960), profile(item=False))


def test_few_quiet_days_exceed_what_chance_reaches() -> None:
    """The spec's significance is 1 %. Each day has 400 shown items, of some 30 bins."""
    random, beyond = np.random.default_rng(4), 0
    for _ in range(100):
        window = CountedWindow()
        window.items = item_histogram(popular(random, 400))
        window.rows = 400
        of = prediction_drift(WindowComparison(window, "day", START, PROFILE, SPEC.drift))[ITEMS]
        assert of.value is not None
        assert of.noise is not None
        beyond += of.value > of.noise
    assert beyond <= 5


def test_the_monitor_counts_the_items_of_flagged_answers_once() -> None:
    known = MonitorMemory()
    known.learn((MODEL, "1"), PROFILE)
    events = Shop().predictions(START, 200)
    fold_predictions(known, events)
    fold_predictions(known, events)
    window = known.window((MODEL, "1"), "hour", START)
    assert window is not None
    keys = [event.entity_keys["customer"] for event in events if event.flagged]
    assert 0 < len(keys) < 200
    assert window.items.tolist() == item_histogram(keys).tolist()
    day = known.window((MODEL, "1"), "day", START)
    assert day is not None
    assert day.items.tolist() == window.items.tolist()
    kept = CountedWindow.from_bytes(window.to_bytes(), known.plans[MODEL, "1"])
    assert kept.items.tolist() == window.items.tolist()


def test_a_window_from_before_items_were_counted_has_none() -> None:
    stored = msgspec.msgpack.decode(CountedWindow().to_bytes())
    old = CountedWindow.from_bytes(msgspec.msgpack.encode(stored[:-1]), None)
    assert old.items.tolist() == [0] * ITEM_BINS


def test_an_answer_without_the_item_or_without_a_profile_counts_without_it() -> None:
    known = MonitorMemory()
    known.learn((MODEL, "1"), PROFILE)
    events = [
        msgspec.structs.replace(event, entity_keys={"merchant": "m"})
        for event in Shop().predictions(START, 50)
    ]
    fold_predictions(known, events)
    fold_predictions(known, Shop(version="2").predictions(START, 50))
    for version in ("1", "2"):
        window = known.window((MODEL, version), "hour", START)
        assert window is not None
        assert (window.rows, window.items.sum()) == (50, 0)
