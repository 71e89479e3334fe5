"""Drift while a world is lived, with any starts, stops and crashes.

Every payment is made once, is the same at each repetition, and gets exactly one label.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dojo.core.spec.schema import Label, LabelDelay
from dojo.shop.datasets import TRANSACTION_SCHEMA
from dojo.shop.drift_kinds import KINDS
from dojo.shop.events import TRANSACTIONS
from dojo.shop.world_drift import ActiveDrift, DriftError, new_drift, settled
from services.simulator.days import WorldDays, start_of
from services.simulator.drift.label_drift import RAMP_STEPS, arrivals, look_back
from services.simulator.feed import Feed
from services.simulator.sources.synthetic import SyntheticSource
from services.simulator.town.intensity import microseconds

MODEL = "a_model"
DELAY = LabelDelay.model_validate(
    {"distribution": "lognormal", "median": "2d", "sigma": 0.8, "maximum": "7d"}
)
LABEL = Label(event="transactions", truth="fraud", delay=DELAY)
FIRST = date(2024, 1, 1)
START = start_of(FIRST)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def slow(
    start: datetime,
    end: datetime | None = None,
    strength: float = 3.0,
    ramp: timedelta = timedelta(0),
) -> ActiveDrift:
    return ActiveDrift(kind="label_delay", started=start, ended=end, strength=strength, ramp=ramp)


def arrival(paid: datetime, work: timedelta, *drifts: ActiveDrift) -> datetime:
    found = arrivals(
        np.array([microseconds(paid)]), np.array([work // timedelta(microseconds=1)]), drifts
    )
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(found[0]))


# One label


def test_a_label_that_arrives_before_the_drift_is_on_time() -> None:
    assert arrival(START, 2 * DAY, slow(START + 2 * DAY)) == START + 2 * DAY


def test_a_label_under_way_takes_longer_for_the_rest_of_its_way() -> None:
    assert arrival(START, 2 * DAY, slow(START + DAY)) == START + DAY + 3 * DAY


def test_a_label_of_a_payment_made_meanwhile_takes_as_many_times_longer() -> None:
    assert arrival(START + DAY, 2 * DAY, slow(START, strength=1.5)) == START + DAY + 3 * DAY


def test_once_the_drift_ends_the_rest_takes_its_usual_time() -> None:
    # Three days at a third of the pace do one of two days of work, and leave one.
    assert arrival(START, 2 * DAY, slow(START, START + 3 * DAY)) == START + 3 * DAY + DAY
    assert (
        arrival(START, 2 * DAY, slow(START, START + 3 * DAY), slow(START + 3 * DAY, strength=2))
        == START + 5 * DAY
    )


def test_a_ramp_slows_down_more_and_more() -> None:
    def late(n: int) -> timedelta:
        paid = START + n * 6 * HOUR
        return arrival(paid, HOUR, slow(START, ramp=DAY)) - paid

    delays = [late(n) for n in range(6)]
    assert delays == sorted(delays)
    assert HOUR < delays[0] < 1.2 * HOUR
    assert delays[4] == delays[5] == 3 * HOUR
    # A ramp from 1 to k over T does T ln(k) / (k - 1) of work. Steps come within their square.
    through = arrival(START, DAY * math.log(3) / 2, slow(START, ramp=DAY)) - START
    assert through / DAY == pytest.approx(1, abs=1 / RAMP_STEPS**2)


MOMENTS = st.integers(0, 30 * 86_400).map(
    lambda second: START + timedelta(seconds=second, microseconds=second % 7)
)
STRENGTHS = st.sampled_from([1.1, 1.5, 3.0, 10.0])
RAMPS = st.sampled_from([timedelta(0), timedelta(microseconds=3), HOUR, DAY, 5 * DAY])


@st.composite
def histories(draw: st.DrawFn) -> list[ActiveDrift]:
    """Return label delays that follow each other. The last one may go on."""
    bounds = sorted(draw(st.lists(MOMENTS, max_size=6)))
    drifts = [
        slow(start, end, draw(STRENGTHS), draw(RAMPS))
        for start, end in zip(bounds[::2], [*bounds[1::2], None], strict=False)
    ]
    return drifts


PAYMENTS = st.lists(st.tuples(MOMENTS, st.integers(0, 7 * 86_400 * 10**6)), min_size=1, max_size=40)


def arrived(payments: list[tuple[datetime, int]], drifts: list[ActiveDrift]) -> list[int]:
    paid = np.array([microseconds(moment) for moment, _ in payments])
    return arrivals(paid, np.array([work for _, work in payments]), drifts).tolist()


@settings(max_examples=200, deadline=None)
@given(payments=PAYMENTS, drifts=histories(), now=MOMENTS)
def test_what_is_started_or_stopped_now_moves_no_label_across_now(
    payments: list[tuple[datetime, int]], drifts: list[ActiveDrift], now: datetime
) -> None:
    """The core of exactly-once.

    A label that arrived before `now` arrived under both tables, at the same microsecond.
    """
    past = [d for d in drifts if d.started <= now and (d.ended is None or d.ended <= now)]
    goes_on = any(d.ended is None for d in past)
    changed = (
        [msgspec.structs.replace(d, ended=d.ended or now) for d in past]
        if goes_on
        else [*past, slow(now)]
    )
    before, after = arrived(payments, past), arrived(payments, changed)
    for one, other in zip(before, after, strict=True):
        assert one == other or min(one, other) >= microseconds(now)


@settings(max_examples=100, deadline=None)
@given(payments=PAYMENTS, drifts=histories())
def test_no_label_is_early_or_later_than_the_slowest_pace_and_order_is_kept(
    payments: list[tuple[datetime, int]], drifts: list[ActiveDrift]
) -> None:
    slowest = max((d.strength for d in drifts), default=1.0)
    for (paid, work), when in zip(payments, arrived(payments, drifts), strict=True):
        assert work <= when - microseconds(paid) <= work * slowest + RAMP_STEPS
    later = [(paid + HOUR, work) for paid, work in payments]
    assert all(
        one <= other
        for one, other in zip(arrived(payments, drifts), arrived(later, drifts), strict=True)
    )


@settings(max_examples=100, deadline=None)
@given(payments=PAYMENTS, drifts=histories(), day=st.integers(0, 60))
def test_looking_back_far_enough_finds_every_label_of_a_day(
    payments: list[tuple[datetime, int]], drifts: list[ActiveDrift], day: int
) -> None:
    today = START + day * DAY
    back = look_back(today, DELAY.maximum, drifts)
    for (paid, _), when in zip(payments, arrived(payments, drifts), strict=True):
        if microseconds(today) <= when < microseconds(today + DAY):
            assert paid >= today - back * DAY


def test_without_drift_it_looks_back_as_far_as_a_label_can_take() -> None:
    assert look_back(START, DELAY.maximum, []) == 7
    assert look_back(START, DELAY.maximum, [slow(START - 100 * DAY, START - 90 * DAY, 10)]) == 7, (
        "a drift that is long over"
    )
    assert look_back(START, DELAY.maximum, [slow(START - 100 * DAY)]) == 21


# The table's bounds


def test_a_bound_in_what_was_lived_moves_behind_it_once() -> None:
    made = new_drift("unit_bug", START)
    (first,) = settled([made], START + HOUR)
    assert first.started == START + HOUR
    assert settled([first], START + 2 * HOUR) == (first,)
    stopped = msgspec.structs.replace(first, ended=START + 90 * HOUR / 60)
    (final,) = settled([stopped], START + 2 * HOUR)
    assert (final.started, final.ended) == (START + HOUR, START + 2 * HOUR)
    assert settled([final], START + DAY) == (final,)


def test_a_bound_ahead_of_a_world_that_catches_up_stays() -> None:
    (final,) = settled(
        [msgspec.structs.replace(new_drift("unit_bug", START + DAY), ended=START + 2 * DAY)], START
    )
    assert (final.started, final.ended) == (START + DAY, START + 2 * DAY)


def test_a_drift_that_was_stopped_before_it_was_seen_never_was() -> None:
    (final,) = settled(
        [msgspec.structs.replace(new_drift("unit_bug", START), ended=START + HOUR)], START + DAY
    )
    assert final.started == final.ended == START + DAY
    assert final.intensity(START + DAY) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_intensity_grows_from_nothing_to_whole_and_ends_at_once(kind: str) -> None:
    about = KINDS[kind]  # type: ignore[index]
    made = new_drift(kind, START)
    assert made.strength == about.default
    assert about.lowest <= about.default <= about.highest
    ramp = about.ramp or timedelta(0)
    assert made.intensity(START - timedelta(microseconds=1)) == 0
    assert made.intensity(START + ramp) == made.intensity(START + 1000 * DAY) == 1
    assert made.intensity(START + ramp / 2) == pytest.approx(0.5 if ramp else 1)
    ended = msgspec.structs.replace(made, ended=START + 10 * DAY)
    assert ended.intensity(START + 10 * DAY) == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"kind": "earthquake"}, "'earthquake' is no kind of drift; those are covariate_gradual"),
        (
            {"kind": "unit_bug", "strength": 1.5},
            "unit_bug: strength is 1.5, wanted 0.01 to 1 of the merchants",
        ),
        ({"kind": "unit_bug", "strength": math.nan}, "strength is nan"),
        ({"kind": "concept", "strength": 0.0}, "strength is 0"),
        ({"kind": "unit_bug", "ramp": -DAY}, "ramp is -1 day"),
        ({"kind": "stale_features", "ramp": DAY}, "on or off and cannot grow"),
    ],
)
def test_a_drift_that_makes_no_sense_is_refused_with_what_would(
    arguments: Mapping[str, object], complaint: str
) -> None:
    with pytest.raises(DriftError, match=complaint):
        new_drift(started=START, **arguments)  # type: ignore[arg-type]


# A life


class TableSource:
    """A test's payments: one every 50 minutes for six days."""

    def __init__(self) -> None:
        times = [START + timedelta(minutes=50 * n) for n in range(170)]
        self._rows = pl.DataFrame(
            {
                "transaction_id": [f"t{n:05d}" for n in range(len(times))],
                "customer_id": "c",
                "merchant_id": [f"m{n % 5}" for n in range(len(times))],
                "time": times,
                "amount": 10.0,
                "label": [int(n % 10 == 0) for n in range(len(times))],
            },
            schema=TRANSACTION_SCHEMA,
        )

    def day(self, day: date) -> pl.DataFrame:
        return self._rows.filter(pl.col("time").dt.date() == day)

    def days(self) -> tuple[date, date | None]:
        return FIRST, FIRST + 6 * DAY

    def identity(self) -> Mapping[str, object]:
        return {"source": "table"}


class Life:
    """The live loop without servers.

    Table, cursor and promise survive a crash, the feed does not.
    """

    def __init__(self, source: object) -> None:
        self._source = source
        self.table: tuple[ActiveDrift, ...] = ()
        self.cursor = self.promised = START
        # Every payment and label as first seen, with those of an interrupted batch.
        self.made: dict[str, tuple[object, ...]] = {}
        self.known: dict[str, tuple[object, ...]] = {}
        # Payments and labels of batches behind the cursor. A repeated one is listed repeatedly.
        self.finished: list[str] = []
        self.contradictions: list[str] = []
        self.restart()

    def restart(self) -> None:
        self._feed = Feed(WorldDays(self._source, {MODEL: LABEL}, 3, FIRST))

    def live(self, now: datetime, limit: int, crash: bool = False) -> None:
        """Emit everything up to `now`. With `crash`, emit one batch and never move its cursor."""
        while self.cursor < now:
            self.promised = max(self.promised, self.cursor)
            self.table = settled(self.table, self.promised)
            self._feed.drift(self.table)
            batch = self._feed.due(self.cursor, now, limit)
            self.promised = max(self.promised, batch.until)
            self._remember(self.made, batch.events[TRANSACTIONS].select(*TRANSACTION_SCHEMA))
            self._remember(self.known, batch.outcomes.drop("model"))
            if crash:
                self.restart()
                return
            self.finished += [f"made {i}" for i in batch.events[TRANSACTIONS]["transaction_id"]]
            self.finished += [f"known {i}" for i in batch.outcomes["request_id"]]
            self.cursor = batch.until

    def _remember(self, record: dict[str, tuple[object, ...]], rows: pl.DataFrame) -> None:
        for row in rows.iter_rows():
            if record.setdefault(row[0], row) != row:
                self.contradictions.append(f"{record[row[0]]} became {row}")


# A label that never comes has its own test, in test_world_drift_days.py.
KEEPING = [kind for kind in KINDS if kind != "label_stop"]
ACTIONS = st.lists(
    st.tuples(
        st.integers(0, 28).map(
            lambda part: timedelta(hours=6 * part)
        ),  # start times; few of them, so that a look and a start often meet
        st.sampled_from(
            ["look", "crash", "restart", *KEEPING, *(f"stop {kind}" for kind in KEEPING)]
        ),
        st.sampled_from([timedelta(0), HOUR, 2 * DAY]),  # a drift's ramp
    ),
    max_size=18,
)


def lived(
    source: object, actions: list[tuple[timedelta, str, timedelta]], limit: int, until: timedelta
) -> Life:
    life = Life(source)
    kinds = [
        kind for kind in KINDS if hasattr(source, "day_under") or not KINDS[kind].synthetic_only
    ]
    for elapsed, action, ramp in sorted(actions, key=lambda a: a[0]):
        now = START + elapsed
        # The command reads its clock, then the world goes on. So its start lies in time already
        # lived.
        slip = 2 * HOUR
        if action in ("look", "crash"):
            life.live(now, limit, crash=action == "crash")
        elif action == "restart":
            life.restart()
        elif action in kinds:
            if not any(d.kind == action and d.ended is None for d in life.table):
                grows = ramp if KINDS[action].ramp is not None else timedelta(0)
                life.table = (*life.table, new_drift(action, now - slip, ramp=grows))
        elif action.startswith("stop"):
            life.table = tuple(
                (
                    msgspec.structs.replace(d, ended=max(now - slip, d.started))
                    if f"stop {d.kind}" == action and d.ended is None
                    else d
                )
                for d in life.table
            )
    life.live(START + until, limit)
    return life


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(actions=ACTIONS, limit=st.integers(5, 60))
def test_every_payment_is_made_once_and_labelled_once_whatever_is_done_to_the_world(
    actions: list[tuple[timedelta, str, timedelta]], limit: int
) -> None:
    life = lived(TableSource(), actions, limit, 30 * DAY)
    every = sorted(f"t{n:05d}" for n in range(170))
    assert life.contradictions == []
    assert sorted(life.finished) == sorted(
        [*(f"made {i}" for i in every), *(f"known {i}" for i in every)]
    )
    for transaction_id, (_, time, label, *_) in life.known.items():
        assert (time, label) == (
            life.made[transaction_id][3],
            life.made[transaction_id][5],
        ), "the label is that payment's"


TOWN = SyntheticSource(5, customers=60, merchants=40, fraud_rate=0.1)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(actions=ACTIONS)
def test_fraudsters_who_change_their_ways_leave_no_payment_without_its_label(
    actions: list[tuple[timedelta, str, timedelta]],
) -> None:
    """Payments come and go with the drift here.

    Each made payment gets a label, and no other does.
    """
    life = lived(TOWN, actions, 400, 30 * DAY)
    assert life.contradictions == []
    assert len(set(life.finished)) == len(life.finished)
    assert set(life.finished) == {
        *(f"made {i}" for i in life.made),
        *(f"known {i}" for i in life.known),
    }
    owed = {i for i, row in life.made.items() if row[3] < START + 9 * DAY}  # type: ignore[operator]
    assert owed <= set(life.known) <= set(life.made)
    assert len(owed) > 700


def test_a_life_with_a_crash_is_the_life_without() -> None:
    drifts = [
        (DAY, "label_delay", HOUR),
        (DAY, "concept", HOUR),
        (2 * DAY, "prediction", HOUR),
        (3 * DAY, "stop label_delay", HOUR),
    ]
    looks = [(elapsed - timedelta(minutes=1), "look", HOUR) for elapsed, _, _ in drifts]
    crashes = [(elapsed + 5 * HOUR, "crash", HOUR) for elapsed, _, _ in drifts]
    calm, broken = (lived(TOWN, [*drifts, *looks, *more], 100, 12 * DAY) for more in ([], crashes))
    assert not broken.contradictions
    assert (broken.made, broken.known) == (calm.made, calm.known)


@pytest.mark.parametrize("at", [timedelta(hours=18), timedelta(hours=20, minutes=7)])
def test_a_drift_started_while_a_batch_is_under_way_spares_that_batch(at: timedelta) -> None:
    """The command's clock said `at`.

    The batch up to 23 h was promised. Its process died before it could report the end.
    """
    life = Life(TOWN)
    life.live(START + 20 * HOUR, 1000)
    life.live(START + 23 * HOUR, 1000, crash=True)
    assert life.cursor == START + 20 * HOUR
    seen = dict(life.made)
    life.table = (new_drift("unit_bug", START + at, strength=1.0), new_drift("concept", START + at))
    life.live(START + 60 * HOUR, 1000)
    assert life.contradictions == []
    assert {i: life.made[i] for i in seen} == seen
    assert life.table[0].started >= max(row[3] for row in seen.values())  # type: ignore[type-var]
    late = [row for row in life.made.values() if row[3] >= life.table[0].started]
    assert late
    assert min(row[4] for row in late) > 40, "cents for euros from then on"
