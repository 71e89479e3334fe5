"""Views of orders, banners and members, against plain Python, and against use of the future."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.banners import BANNER_CLICKS, CUSTOMER_CLICKS
from feature_repo.banners.banner_days import banner_clicks, customer_clicks
from feature_repo.banners.events import CLICKS
from feature_repo.credits.credit_days import customer_credits
from feature_repo.credits.views import CUSTOMER_CREDITS
from feature_repo.memberships import CUSTOMER_MEMBERSHIP, CUSTOMER_SERVICE, CUSTOMER_SPENDING
from feature_repo.memberships.events import CANCELLATIONS
from feature_repo.memberships.membership_days import (
    customer_membership,
    customer_service,
    customer_spending,
)
from feature_repo.offers.offer_days import product_offers
from feature_repo.offers.views import PRODUCT_OFFERS, UNITS
from feature_repo.orders import CUSTOMER_ORDERS, PRODUCT_ORDERS, SELLER_ORDERS
from feature_repo.orders.events import DELIVERIES, RETURNS
from feature_repo.orders.order_days import customer_orders, product_orders, seller_orders
from feature_repo.searches.search_days import product_searches
from feature_repo.searches.views import GRADES, PRODUCT_SEARCHES
from feature_repo.views import BatchView, EventSource, published_at

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SPAN_DAYS = 80
REGULAR_EURO = 497.0  # no number of cents is a half thousandth of it
# The later ones are for windows that are longer than the span. The longest has 180 days.
MIDNIGHTS = (*range(0, SPAN_DAYS + 1, 4), *range(SPAN_DAYS + 10, SPAN_DAYS + 200, 13))
DAYS = [START.date() + DAY * n for n in MIDNIGHTS]


@dataclass(frozen=True)
class Happened:
    """An order, or a banner of a product. Each label has the time at which it became known."""

    key: str
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
def histories(draw: st.DrawFn) -> list[Happened]:
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
            Happened(f"o{number}", customer, merchant, product, time, cents, express, tuple(labels))
        )
    return orders


def frames(orders: Sequence[Happened], before: datetime | None = None) -> tuple[pl.DataFrame, ...]:
    """Orders and outcomes in lake columns, those before a moment."""
    moment = pl.Datetime("us", "UTC")
    rows = pl.DataFrame(
        [
            (o.key, o.customer, o.merchant, o.product, o.time, o.cents / 100, o.express, 1.0)
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
        (arrival, number, o.key, float(label))
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


def banner_frames(
    shown: Sequence[Happened], before: datetime | None = None
) -> tuple[pl.DataFrame, ...]:
    rows, outcomes = frames(shown, before)
    return (
        rows.select("customer_id", "world_time", impression_id="order_id", banner_id="product_id"),
        outcomes,
    )


def payment_frames(
    paid: Sequence[Happened], before: datetime | None = None
) -> tuple[pl.DataFrame, ...]:
    rows, _ = frames(paid, before)
    return (rows.select("customer_id", "world_time", transaction_id="order_id", amount="price"),)


def service_frames(
    orders: Sequence[Happened], before: datetime | None = None
) -> tuple[pl.DataFrame, ...]:
    """Each label stands for both outcomes of an order: twice as many days, and a return."""
    rows, outcomes = frames(orders, before)
    return rows, outcomes.with_columns(pl.col("label") * 2), outcomes


def statement_frames(
    sent: Sequence[Happened], before: datetime | None = None
) -> tuple[pl.DataFrame, ...]:
    rows, outcomes = frames(sent, before)
    return (
        rows.select("customer_id", "world_time", membership_id="order_id", member_days="price"),
        outcomes,
    )


def credit_frames(
    bought: Sequence[Happened], before: datetime | None = None
) -> tuple[pl.DataFrame, ...]:
    rows, _ = frames(bought, before)
    return (rows.select("customer_id", "world_time", credit_id="order_id", amount="price"),)


def list_frames(
    shown: Sequence[Happened], before: datetime | None = None
) -> tuple[pl.DataFrame, ...]:
    rows, outcomes = frames(shown, before)
    positions = [position(one) for one in shown if before is None or one.time < before]
    return (
        rows.select("product_id", "world_time", result_id="order_id").with_columns(
            position=pl.Series(positions, dtype=pl.Int8)
        ),
        outcomes,
    )


def offer_frames(
    offered: Sequence[Happened], before: datetime | None = None
) -> tuple[pl.DataFrame, ...]:
    rows, outcomes = frames(offered, before)
    return (
        rows.select("product_id", "world_time", "price", offer_id="order_id").with_columns(
            regular_price=pl.lit(REGULAR_EURO)
        ),
        outcomes,
    )


def position(one: Happened) -> int:
    return 1 + one.cents % 20


def part(values: Sequence[float], of: Sequence[object]) -> float:
    return sum(values) / len(of) if of else 0.0


def within(orders: Sequence[Happened], midnight: date, days: int, delay: int = 0) -> list[Happened]:
    end = midnight - DAY * delay
    return [o for o in orders if end - DAY * days <= o.time.date() < end]


def settled(
    orders: Sequence[Happened], midnight: date, source: EventSource, days: int = 30
) -> list[int]:
    past = within(orders, midnight, days, source.settled_after.days)
    found = [o.label_at(midnight, source) for o in past]
    return [label for label in found if label is not None]


def seller_at(orders: Sequence[Happened], midnight: date) -> list[float]:
    known = settled(orders, midnight, DELIVERIES)
    return [
        len(within(orders, midnight, 7)),
        len(within(orders, midnight, 30)),
        part(known, known),
        len(known),
    ]


def product_at(orders: Sequence[Happened], midnight: date) -> list[float]:
    month, known = within(orders, midnight, 30), settled(orders, midnight, RETURNS)
    return [
        len(within(orders, midnight, 7)),
        len(month),
        part([o.cents / 100 for o in month], month),
        part(known, known),
    ]


def customer_at(orders: Sequence[Happened], midnight: date) -> list[float]:
    month, known = within(orders, midnight, 30), settled(orders, midnight, RETURNS)
    return [
        len(month),
        part([o.express for o in month], month),
        part(known, known),
        len(known),
    ]


def banner_at(shown: Sequence[Happened], midnight: date) -> list[float]:
    week, month = (settled(shown, midnight, CLICKS, days) for days in (7, 30))
    return [len(within(shown, midnight, 7)), part(week, week), part(month, month)]


def visitor_at(shown: Sequence[Happened], midnight: date) -> list[float]:
    month = settled(shown, midnight, CLICKS)
    return [len(within(shown, midnight, 30)), part(month, month)]


def spending_at(paid: Sequence[Happened], midnight: date) -> list[float]:
    past = within(paid, midnight, 180)
    cents, days = sum(o.cents for o in past), (midnight - min(o.time.date() for o in past)).days
    month = sum(o.cents for o in within(paid, midnight, 30))
    return [cents / 100, cents / days / 100, month / 100]


def service_at(orders: Sequence[Happened], midnight: date) -> list[float]:
    month, moment = (
        within(orders, midnight, 30),
        datetime.combine(midnight, datetime.min.time(), UTC),
    )
    known = [[label for label, arrival in o.labels if arrival < moment][-1:] for o in month]
    latest = min(((midnight - o.time.date()).days for o in month), default=0)
    return [
        sum(label * 2 > 6 for labels in known for label in labels),
        sum(label for labels in known for label in labels),
        1 / latest if latest else 0,
    ]


def member_at(sent: Sequence[Happened], midnight: date) -> list[float]:
    return [len(within(sent, midnight, 90)), sum(settled(sent, midnight, CANCELLATIONS, 90))]


def borrower_at(bought: Sequence[Happened], midnight: date) -> list[float]:
    month = within(bought, midnight, 30)
    return [len(within(bought, midnight, 7)), len(month), sum(o.cents for o in month) / 100]


def result_at(shown: Sequence[Happened], midnight: date) -> list[float]:
    def appeal(days: int) -> float:
        past = within(shown, midnight, days, GRADES.settled_after.days)
        known = [(one, one.label_at(midnight, GRADES)) for one in past]
        looks = sum(round(position(one) ** -0.6, 3) for one, label in known if label is not None)
        return sum(label or 0 for _, label in known) / (looks + 10)

    return [len(within(shown, midnight, 7)), appeal(7), appeal(30)]


def offered_at(offered: Sequence[Happened], midnight: date) -> list[float]:
    week, month = (settled(offered, midnight, UNITS, days) for days in (7, 28))
    past = within(offered, midnight, 28, UNITS.settled_after.days)
    known = [one for one in past if one.label_at(midnight, UNITS) is not None]
    levels = [round(one.cents / 100 / REGULAR_EURO, 3) for one in known]
    return [part(week, week), part(month, month), part(levels, levels)]


@dataclass(frozen=True)
class Case:
    """A view, its computation on lake columns, and the same in plain Python for one entity."""

    view: BatchView
    compute: Callable[..., pl.DataFrame]
    frames: Callable[..., tuple[pl.DataFrame, ...]]
    expected: Callable[[Sequence[Happened], date], list[float]]
    entity: str


CASES = [
    Case(SELLER_ORDERS, seller_orders, frames, seller_at, "merchant"),
    Case(PRODUCT_ORDERS, product_orders, frames, product_at, "product"),
    Case(CUSTOMER_ORDERS, customer_orders, frames, customer_at, "customer"),
    Case(BANNER_CLICKS, banner_clicks, banner_frames, banner_at, "product"),
    Case(CUSTOMER_CLICKS, customer_clicks, banner_frames, visitor_at, "customer"),
    Case(CUSTOMER_SPENDING, customer_spending, payment_frames, spending_at, "customer"),
    Case(CUSTOMER_SERVICE, customer_service, service_frames, service_at, "customer"),
    Case(CUSTOMER_MEMBERSHIP, customer_membership, statement_frames, member_at, "customer"),
    Case(CUSTOMER_CREDITS, customer_credits, credit_frames, borrower_at, "customer"),
    Case(PRODUCT_OFFERS, product_offers, offer_frames, offered_at, "product"),
    Case(PRODUCT_SEARCHES, product_searches, list_frames, result_at, "product"),
]
each_view = pytest.mark.parametrize("case", CASES, ids=[case.view.name for case in CASES])


@each_view
@given(happened=histories())
@settings(max_examples=40)
def test_each_midnight_is_what_the_catalogue_says(case: Case, happened: list[Happened]) -> None:
    view = case.view
    found = case.compute(*case.frames(happened), DAYS)
    rows = {
        (row[view.key], row["event_timestamp"]): [row[name] for name in view.names]
        for row in found.to_dicts()
    }
    of: dict[str, list[Happened]] = {}
    for one in happened:
        of.setdefault(getattr(one, case.entity), []).append(one)
    wanted = {
        (entity, published_at(day)): case.expected(theirs, day)
        for entity, theirs in of.items()
        for day in DAYS
        if any(timedelta(0) < day - one.time.date() <= view.reach for one in theirs)
    }
    assert rows.keys() == wanted.keys()
    for where, values in wanted.items():
        assert rows[where] == pytest.approx(values), where


@each_view
@given(happened=histories(), day=st.sampled_from(DAYS))
@settings(max_examples=40)
def test_a_midnight_knows_nothing_of_later(case: Case, happened: list[Happened], day: date) -> None:
    midnight = datetime.combine(day, datetime.min.time(), UTC)
    then = case.compute(*case.frames(happened, before=midnight), [day])
    assert case.compute(*case.frames(happened), [day]).equals(then)


@each_view
def test_a_view_without_events_or_days_is_empty_and_has_its_columns(case: Case) -> None:
    one = Happened("o", "a", "x", "p", START, 100, 1, ())
    for happened, days in (([], DAYS), ([one], [])):
        found = case.compute(*case.frames(happened), days)
        assert found.is_empty()
        assert found.columns == [case.view.key, "event_timestamp", *case.view.names]
