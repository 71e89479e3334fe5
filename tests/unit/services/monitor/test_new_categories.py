"""A category's drift: PSI over its categories, and the names of those that a version never saw."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from dojo.core.categories import category_number
from dojo.core.events.types import Prediction
from dojo.core.judging.drift import confirm
from dojo.core.registry.reference_profile import ReferenceProfile
from dojo.core.tasks.measured import Measured
from dojo.core.tasks.records import Answered
from pipelines.training.reference import ReferenceHoldout, profile_of
from services.monitor.checks.input_checks import WindowComparison, data_quality, input_drift
from services.monitor.counting.fold import fold_predictions
from services.monitor.counting.state import MonitorMemory
from services.monitor.counting.windows import MOST_NAMES, CountedWindow, plan_of
from services.monitor.judging.verdicts import make_verdict
from services.monitor.showing.view import _beside
from tests.support.monitor_events import MODEL, START, spec

SPEC = spec()
KNOWN, SHARES = ("post", "parcelline", "swift"), (0.6, 0.3, 0.1)
NAMES = ("price", "carrier")
HOURS, AN_HOUR = 14 * 24, 100
KEY = (MODEL, "1")


def carriers(random: np.random.Generator, count: int, new: float = 0.0) -> np.ndarray:
    found = random.choice(KNOWN, count, p=SHARES).astype("<U32")
    found[random.random(count) < new] = "skyhook"
    return found


def profile() -> ReferenceProfile:
    random, count = np.random.default_rng(1), HOURS * AN_HOUR
    numbers = [category_number(name) for name in carriers(random, count)]
    inputs = np.column_stack([random.random(count), numbers]).astype(np.float32)
    hours = np.repeat(np.arange(HOURS), AN_HOUR) * np.timedelta64(1, "h")
    times = np.datetime64((START - timedelta(days=14)).replace(tzinfo=None), "us") + hours
    labels, scores = (random.random(count) < 0.1).astype(float), random.random(count)
    answered = Answered(labels, scores, scores > 0.9, {"customer": np.full(count, "c")}, times)
    return profile_of(ReferenceHoldout(NAMES, inputs, answered, {}, {"carrier": KNOWN}), SPEC)


PROFILE = profile()


def answers(sent: np.ndarray) -> list[Prediction]:
    """Return the gateway's answers about parcels of these carriers, within START's day."""
    return [
        Prediction(
            event_id=f"e{at}",
            world_time=START + timedelta(seconds=at),
            wall_time=START,
            prediction_id=str(at),
            request_id=str(at),
            model=MODEL,
            version="1",
            arm="champion",
            entity_keys={},
            features={"price": (at % 97) / 97, "carrier": category_number(name)},
            feature_age_seconds={},
            score=(at % 89) / 89,
            flagged=False,
            latency_seconds=0.001,
            new_categories={} if name in KNOWN else {"carrier": str(name)},
        )
        for at, name in enumerate(sent)
    ]


def counted(sent: np.ndarray) -> CountedWindow:
    known = MonitorMemory()
    known.learn(KEY, msgspec.json.decode(msgspec.json.encode(PROFILE), type=ReferenceProfile))
    fold_predictions(known, answers(sent))
    window = known.window(KEY, "day", START)
    assert window is not None
    return CountedWindow.from_bytes(window.to_bytes(), plan_of(PROFILE))


def judged(sent: np.ndarray) -> Measured:
    asked = WindowComparison(counted(sent), "day", START, PROFILE, SPEC.drift)
    if asked.enough:
        assert "carrier" not in data_quality(asked), "codes have no range"
    return input_drift(asked)["carrier"]


def test_the_profile_counts_each_known_category_and_one_bin_more() -> None:
    found = PROFILE.features["carrier"]
    assert found.categories == KNOWN
    assert np.array(found.counts) / PROFILE.rows == pytest.approx([*SHARES, 0], abs=0.01)
    assert PROFILE.features["price"].categories == ()


def test_a_quiet_day_is_no_drift_and_a_known_carrier_that_takes_over_is() -> None:
    random = np.random.default_rng(2)
    quiet = judged(carriers(random, 2000))
    assert (quiet.severity, quiet.note) == ("ok", "")
    gone = judged(random.choice(KNOWN, 2000, p=(0.1, 0.3, 0.6)))
    assert (gone.severity, gone.note) == ("critical", "")


def test_distances_are_scipys_over_categories_with_the_unknown_ones_as_one_more() -> None:
    sent = carriers(np.random.default_rng(3), 3000, new=0.2)
    reference = np.array(PROFILE.features["carrier"].slots[:24]).sum(axis=0)  # START is a Monday
    current = np.array([*((sent == name).sum() for name in KNOWN), (sent == "skyhook").sum()])
    found = judged(sent)
    r, c = (np.maximum(side, 0.5) / np.maximum(side, 0.5).sum() for side in (reference, current))
    assert found.value == pytest.approx(entropy(r, c) + entropy(c, r), rel=1e-9)
    assert found.distances is not None
    divergence = jensenshannon(reference, current, base=2) ** 2
    assert found.distances.jensen_shannon == pytest.approx(divergence, abs=1e-12)
    assert (found.distances.ks, found.distances.wasserstein) == (None, None)
    assert _beside(found.distances) == f"JS {divergence:.3f}"


def test_a_new_category_is_named_and_judged_by_threshold_chance_and_windows() -> None:
    few = judged(carriers(np.random.default_rng(4), 99, new=0.3))
    assert few.severity == "insufficient_data"
    sent = carriers(np.random.default_rng(4), 2000, new=0.3)
    found = judged(sent)
    share = f"{(sent == 'skyhook').mean():.1%}"
    assert found.severity == "critical"
    assert found.note == f"new: skyhook {share}"

    quiet = {"carrier": judged(carriers(np.random.default_rng(5), 2000))}
    first = confirm([quiet, quiet, {"carrier": found}], SPEC.drift.daily)
    assert first[0].severity == "ok"
    assert first[0].note == found.note, "named before it is confirmed"
    confirmed = confirm([quiet, {"carrier": found}, {"carrier": found}], SPEC.drift.daily)
    assert confirmed[0].severity == "critical"
    verdict = make_verdict(
        model=MODEL,
        version="1",
        check="input_drift",
        window="day",
        start=START,
        now=START,
        findings=confirmed,
        rows=2000,
        since=None,
        previous=None,
    )
    assert f"skyhook {share}" in verdict.summary


def test_a_caller_who_invents_names_fills_no_memory() -> None:
    sent = np.array([f"invented-{at:03}" for at in range(500)] + ["post"] * 500)
    window = counted(sent)
    assert len(window.new_categories["carrier"]) == MOST_NAMES
    both = counted(np.array(["skyhook"] * 300))
    both.merge(window)
    assert both.new_categories["carrier"]["skyhook"] == 300
    assert len(both.new_categories["carrier"]) == MOST_NAMES
    note = judged(sent).note
    assert note.startswith("new: invented-000 0.1%, ")
    assert note.endswith(f" and {MOST_NAMES - 5} more; 50.0% in all")
