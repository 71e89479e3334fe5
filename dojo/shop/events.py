"""What happens in the shop: the events that its models' requests are about.

`dojo/core/events/streams.py` reads EVENTS. A further event is a struct and its place there. Its
columns in the lake follow from the struct.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from dojo.core.events.types import Event

MAX_EURO = 1e12  # no payment is larger, and sums of whole cents must fit 64 bits
Euro = Annotated[float, msgspec.Meta(ge=0, le=MAX_EURO)]

TRANSACTIONS, ORDERS, BANNERS = "transactions", "orders", "banners"


class ShopEvent(Event, frozen=True, kw_only=True):
    """The common part of the shop's events.

    Attributes:
        key: The field that names the subject. Requests about it carry its value as `request_id`.
        prefix: Beginning of its `event_id`.
    """

    key: ClassVar[str]
    prefix: ClassVar[str]

    @classmethod
    def id_for(cls, key: str) -> str:
        """Return the `event_id` of the event with this key."""
        return f"{cls.prefix}-{key}"


class Transaction(ShopEvent, frozen=True, kw_only=True):
    """A card payment was made. `amount` is in euros, the shop's currency unit, >= 0."""

    stream: ClassVar[str] = TRANSACTIONS
    key: ClassVar[str] = "transaction_id"
    prefix: ClassVar[str] = "tx"

    transaction_id: str
    customer_id: str
    merchant_id: str
    amount: Euro


class Order(ShopEvent, frozen=True, kw_only=True):
    """A customer ordered a product from a merchant. It is delivered, and perhaps returned.

    Attributes:
        price: Euro.
        express: 1 if the customer pays for a quick delivery, else 0.
        distance_km: From the merchant to the customer, kilometres.
    """

    stream: ClassVar[str] = ORDERS
    key: ClassVar[str] = "order_id"
    prefix: ClassVar[str] = "order"

    order_id: str
    customer_id: str
    merchant_id: str
    product_id: str
    price: Euro
    express: Annotated[float, msgspec.Meta(ge=0, le=1)]
    distance_km: Annotated[float, msgspec.Meta(ge=0, le=40_000)]


class Banner(ShopEvent, frozen=True, kw_only=True):
    """A customer visited the shop and saw a banner."""

    stream: ClassVar[str] = BANNERS
    key: ClassVar[str] = "impression_id"
    prefix: ClassVar[str] = "banner"

    impression_id: str
    customer_id: str
    banner_id: str


EVENTS: tuple[type[ShopEvent], ...] = (Transaction, Order, Banner)

SHOP_EVENTS: dict[str, type[ShopEvent]] = {event.stream: event for event in EVENTS}
