"""The views of orders, against plain Python after the catalogue, and against use of the future."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.orders import CUSTOMER_ORDERS, PRODUCT_ORDERS, SELLER_ORDERS
from feature_repo.orders.events import DELIVERIES, RETURNS
from feature_repo.orders.order_days import customer_orders, product_orders, seller_orders
from feature_repo.views import BatchView, EventSource, published_at

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SPAN_DAYS = 80
DAYS = [START.date() + DAY * n for n in range(0, SPAN_DAYS + 1, 4)]


@dataclass(frozen=True)
class Ordered:
    """An order with its labels, each with the time at which it became known, in this order."""

    order_id: str
    customer: str
    merchant: str
    product: str
    time: datetime
    cents: int
    express: int
    labels: tuple[tuple[int, datetime], ...]

    def label_at(self, midnight: date, source: EventSource) -> int | None:
        """The label that features use at a midnight. None where it is not settled."""
        moment = datetime.combine(midnight, datetime.min.time(), UTC)
        if self.time.date() + source.settled_after + DAY > midnight:
            return None
        known = [label for label, arrival in self.labels if arrival < moment]
        return known[-1] if known else None


@st.composite
def histories(draw: st.DrawFn) -> list[Ordered]:
    drawn = draw(
        st.lists(
            st.tuples(
                st.sampled_from("ab"),
                st.sampled_from("xy"),
                st.sampled_from("pq"),
                st.integers(0, SPAN_DAYS - 1),
                st.sampled_from([0, 1, 43_200, 86_399]),
                st.integers(0, 100_000),
                st.integers(0, 1),
                st.lists(st.tuples(st.integers(0, 5), st.integers(1, 40 * 86_400)), max_size=3),
            ),
            max_size=40,
        )
    )
    orders = []
    for number, (customer, merchant, product, day, second, cents, express, later) in enumerate(
        drawn
    ):
        time = known = START + DAY * day + timedelta(seconds=second)
        labels = []
        for label, wait in later:
            known += timedelta(seconds=wait)
            labels.append((label, known))
        orders.append(
            Ordered(f"o{number}", customer, merchant, product, time, cents, express, tuple(labels))
        )
    return orders


def frames(orders: Sequence[Ordered], before: datetime | None = None) -> tuple[pl.DataFrame, ...]:
    """Orders and outcomes in lake columns, those before a moment."""
    moment = pl.Datetime("us", "UTC")
    rows = pl.DataFrame(
        [
            (o.order_id, o.customer, o.merchant, o.product, o.time, o.cents / 100, o.express, 1.0)
            for o in orders
            if before is None or o.time < before
        ],
        schema={
            **dict.fromkeys(("order_id", "customer_id", "merchant_id", "product_id"), pl.String),
            "world_time": moment,
            **dict.fromkeys(("price", "express", "distance_km"), pl.Float64),
        },
        orient="row",
    )
    known = sorted(
        (arrival, number, o.order_id, float(label))
        for o in orders
        for number, (label, arrival) in enumerate(o.labels)
        if before is None or arrival < before
    )
    outcomes = pl.DataFrame(
        [(order, label, arrival) for arrival, _, order, label in known],
        schema={"request_id": pl.String, "label": pl.Float64, "world_time": moment},
        orient="row",
    )
    return rows, outcomes


def part(values: Sequence[float], of: Sequence[object]) -> float:
    return sum(values) / len(of) if of else 0.0


def within(orders: Sequence[Ordered], midnight: date, days: int, delay: int = 0) -> list[Ordered]:
    end = midnight - DAY * delay
    return [o for o in orders if end - DAY * days <= o.time.date() < end]


def settled(
    orders: Sequence[Ordered], midnight: date, source: EventSource
) -> list[tuple[Ordered, int]]:
    past = within(orders, midnight, 30, source.settled_after.days)
    found = [(o, o.label_at(midnight, source)) for o in past]
    return [(o, label) for o, label in found if label is not None]


def seller_at(orders: Sequence[Ordered], midnight: date) -> list[float]:
    known = settled(orders, midnight, DELIVERIES)
    return [
        len(within(orders, midnight, 7)),
        len(within(orders, midnight, 30)),
        part([label for _, label in known], known),
        len(known),
    ]


def product_at(orders: Sequence[Ordered], midnight: date) -> list[float]:
    month, known = within(orders, midnight, 30), settled(orders, midnight, RETURNS)
    return [
        len(within(orders, midnight, 7)),
        len(month),
        part([o.cents / 100 for o in month], month),
        part([label for _, label in known], known),
    ]


def customer_at(orders: Sequence[Ordered], midnight: date) -> list[float]:
    month, known = within(orders, midnight, 30), settled(orders, midnight, RETURNS)
    return [
        len(month),
        part([o.express for o in month], month),
        part([label for _, label in known], known),
        len(known),
    ]


VIEWS = [
    (SELLER_ORDERS, seller_orders, seller_at, lambda o: o.merchant),
    (PRODUCT_ORDERS, product_orders, product_at, lambda o: o.product),
    (CUSTOMER_ORDERS, customer_orders, customer_at, lambda o: o.customer),
]


@pytest.mark.parametrize(("view", "compute", "expected", "key"), VIEWS)
@given(orders=histories())
@settings(max_examples=40)
def test_each_midnight_is_what_the_catalogue_says(
    view: BatchView,
    compute: Callable[..., pl.DataFrame],
    expected: Callable[..., list[float]],
    key: Callable[[Ordered], str],
    orders: list[Ordered],
) -> None:
    found = compute(*frames(orders), DAYS)
    rows = {
        (row[view.key], row["event_timestamp"]): [row[name] for name in view.names]
        for row in found.to_dicts()
    }
    wanted = {
        (entity, published_at(day)): expected([o for o in orders if key(o) == entity], day)
        for day in DAYS
        for entity in {key(o) for o in orders if timedelta(0) < day - o.time.date() <= view.reach}
    }
    assert rows.keys() == wanted.keys()
    for where, values in wanted.items():
        assert rows[where] == pytest.approx(values), where


@pytest.mark.parametrize(("view", "compute"), [(view, compute) for view, compute, *_ in VIEWS])
@given(orders=histories(), day=st.sampled_from(DAYS))
@settings(max_examples=40)
def test_a_midnight_knows_nothing_of_later(
    view: BatchView, compute: Callable[..., pl.DataFrame], orders: list[Ordered], day: date
) -> None:
    midnight = datetime.combine(day, datetime.min.time(), UTC)
    then = compute(*frames(orders, before=midnight), [day])
    assert compute(*frames(orders), [day]).equals(then)


@pytest.mark.parametrize(("view", "compute"), [(view, compute) for view, compute, *_ in VIEWS])
def test_a_view_without_events_or_days_is_empty_and_has_its_columns(
    view: BatchView, compute: Callable[..., pl.DataFrame]
) -> None:
    order = Ordered("o", "a", "x", "p", START, 100, 1, ())
    for orders, days in (([], DAYS), ([order], [])):
        found = compute(*frames(orders), days)
        assert found.is_empty()
        assert found.columns == [view.key, "event_timestamp", *view.names]
