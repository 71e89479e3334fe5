"""What happens in the shop, and what the shop does about its models' answers.

`dojo/core/events/streams.py` reads EVENTS. A further event is a struct and its place there. Its
columns in the lake follow from the struct. The models' requests are about the SHOP_EVENTS.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from dojo.core.categories import MAX_CATEGORY_LENGTH
from dojo.core.events.types import AwareTime, Event, Identifier

MAX_EURO = 1e12  # no payment is larger, and sums of whole cents must fit 64 bits
LONGEST_LIST = 20  # products in one list
MAX_KIND = 1000  # kinds of products
MAX_MEMBER_DAYS = 40_000  # no member is older than 109 years
Euro = Annotated[float, msgspec.Meta(ge=0, le=MAX_EURO)]
Category = Annotated[str, msgspec.Meta(max_length=MAX_CATEGORY_LENGTH)]

TRANSACTIONS, ORDERS, BANNERS = "transactions", "orders", "banners"
MEMBERSHIPS, CREDITS = "memberships", "credits"
SEARCHES, SUGGESTIONS, OFFERS = "searches", "suggestions", "offers"
DECISIONS, SETTLEMENTS = "decisions", "settlements"

# What the shop does about an answer. A declined payment or credit fails. A reviewer looks at a
# rejected payment and lets it fail, and lets an approved one pass. A released event stays as it is
# by chance, so that its label becomes known. A list is ordered by the answers, or a price is chosen
# by them. The others are in uses.py.
Action = Literal[
    "declined",
    "rejected",
    "approved",
    "released",
    "ordered",
    "priced",
    "promised",
    "prepared",
    "upgraded",
    "offered",
    "gifted",
]


class ShopEvent(Event, frozen=True, kw_only=True):
    """The common part of the shop's events.

    Attributes:
        key: The field that names the subject. Requests about it carry its value as `request_id`.
        prefix: Beginning of its `event_id`.
        a_day: Usual number a day, per customer of a synthetic world.
        chosen: True if several are possible, and an answer decides which one happens.
    """

    key: ClassVar[str]
    prefix: ClassVar[str]
    a_day: ClassVar[float]
    chosen: ClassVar[bool] = False

    @classmethod
    def id_for(cls, key: str) -> str:
        """Return the `event_id` of the event with this key."""
        return f"{cls.prefix}-{key}"


class Transaction(ShopEvent, frozen=True, kw_only=True):
    """A card payment was made. `amount` is in euros, the shop's currency unit, >= 0."""

    stream: ClassVar[str] = TRANSACTIONS
    key: ClassVar[str] = "transaction_id"
    prefix: ClassVar[str] = "tx"
    a_day: ClassVar[float] = 2.0

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
        category: The product's category. Empty where it is unknown.
        carrier: Who brings it. Empty where it is unknown.
    """

    stream: ClassVar[str] = ORDERS
    key: ClassVar[str] = "order_id"
    prefix: ClassVar[str] = "order"
    a_day: ClassVar[float] = 0.8

    order_id: str
    customer_id: str
    merchant_id: str
    product_id: str
    price: Euro
    express: Annotated[float, msgspec.Meta(ge=0, le=1)]
    distance_km: Annotated[float, msgspec.Meta(ge=0, le=40_000)]
    category: Category = ""
    carrier: Category = ""


class Banner(ShopEvent, frozen=True, kw_only=True):
    """A customer visited the shop and saw a banner."""

    stream: ClassVar[str] = BANNERS
    key: ClassVar[str] = "impression_id"
    prefix: ClassVar[str] = "banner"
    a_day: ClassVar[float] = 0.6

    impression_id: str
    customer_id: str
    banner_id: str


class Membership(ShopEvent, frozen=True, kw_only=True):
    """A member of the shop's programme got a monthly statement, and then renews or cancels.

    Attributes:
        membership_id: The member's month.
        member_days: Days since the customer first joined.
    """

    stream: ClassVar[str] = MEMBERSHIPS
    key: ClassVar[str] = "membership_id"
    prefix: ClassVar[str] = "membership"
    a_day: ClassVar[float] = 0.028  # one in 30 days, of 84 in 100 customers

    membership_id: str
    customer_id: str
    member_days: Annotated[float, msgspec.Meta(ge=0, le=MAX_MEMBER_DAYS)]


class Credit(ShopEvent, frozen=True, kw_only=True):
    """A customer asked to pay a purchase later, in equal parts over 60 days.

    Attributes:
        amount: Of the purchase, euro.
        parts: Number of equal parts.
        account_days: Age of the customer's account, days.
        age_group: For audits of fairness, never an input. Empty where it is unknown.
    """

    stream: ClassVar[str] = CREDITS
    key: ClassVar[str] = "credit_id"
    prefix: ClassVar[str] = "credit"
    a_day: ClassVar[float] = 0.22  # of the 2 payments, 11 in 100

    credit_id: str
    customer_id: str
    merchant_id: str
    amount: Euro
    parts: Annotated[float, msgspec.Meta(ge=1, le=60)]
    account_days: Annotated[float, msgspec.Meta(ge=0, le=40_000)]
    age_group: str = ""


class Listed(ShopEvent, frozen=True, kw_only=True):
    """A customer saw a product in a list.

    A list's events have one customer and one time, and a request is about all of them.

    Attributes:
        price: Euro.
        position: Place in the list, 1 at the top.
    """

    customer_id: str
    product_id: str
    price: Euro
    position: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_LIST)]


class Search(Listed, frozen=True, kw_only=True):
    """A customer searched, and saw a product among the results.

    Attributes:
        result_id: The search and the product's number in it.
        match: How well the product's text matches the customer's words, 0 to 1.
    """

    stream: ClassVar[str] = SEARCHES
    key: ClassVar[str] = "result_id"
    prefix: ClassVar[str] = "search"
    a_day: ClassVar[float] = 0.8  # twenty results, in four of 100 customers

    result_id: str
    match: Annotated[float, msgspec.Meta(ge=0, le=1)]


class Suggestion(Listed, frozen=True, kw_only=True):
    """A customer opened the shop, and saw a suggested product.

    Attributes:
        suggestion_id: The visit and the product's number in it.
        interest: 1 if the customer has named the product's kind as an interest, else 0.
    """

    stream: ClassVar[str] = SUGGESTIONS
    key: ClassVar[str] = "suggestion_id"
    prefix: ClassVar[str] = "suggestion"
    a_day: ClassVar[float] = 0.8  # twenty products, to four of 100 customers

    suggestion_id: str
    interest: Annotated[float, msgspec.Meta(ge=0, le=1)]


class Offer(ShopEvent, frozen=True, kw_only=True):
    """The shop offered a product at a price, for a day.

    Attributes:
        offer_id: The product's day and the price.
        price: Euro.
        regular_price: Euro, of the same product.
        kind: Number of the product's kind.
        category: The kind's name. Empty where it is unknown.
    """

    stream: ClassVar[str] = OFFERS
    key: ClassVar[str] = "offer_id"
    prefix: ClassVar[str] = "offer"
    a_day: ClassVar[float] = 0.12  # 600 products in a town of 5,000, fewer in a smaller one
    chosen: ClassVar[bool] = True

    offer_id: str
    product_id: str
    price: Euro
    regular_price: Euro
    kind: Annotated[float, msgspec.Meta(ge=0, le=MAX_KIND)]
    category: Category = ""


class Decision(Event, frozen=True, kw_only=True):
    """The shop acted on an answer.

    Attributes:
        model: The model that answered.
        version: The version that answered.
        arm: The arm that answered.
        request_id: The id of the event, the list, or the product's day.
        amount: The amount at stake, the chosen price, the predicted euros, or the promised days. 0
            where every such decision has the same stake.
        action: What the shop did.
        release_share: Share of such answers that are left to chance, a fraction. A label of what is
            released has the weight 1 / release_share. 0 where the action changes no label.
    """

    stream: ClassVar[str] = DECISIONS

    model: Identifier
    version: str
    arm: str
    request_id: Identifier
    amount: Euro
    action: Action
    release_share: Annotated[float, msgspec.Meta(ge=0, le=1)]

    @staticmethod
    def id_for(model: str, request_id: str) -> str:
        return f"decision-{model}-{request_id}"


class Settlement(Event, frozen=True, kw_only=True):
    """What an earlier decision was worth, or a part of it, when the truth is due.

    It belongs to the books of the simulated world. This world knows what other decisions would have
    brought. No model learns from it, and no check reads it.

    Attributes:
        model: The model that answered.
        version: The version that answered.
        arm: The arm that answered.
        request_id: As in the decision.
        request_time: World time of the decision.
        action: What the shop did.
        value_euro: Euros gained against the world without the model. Negative for a loss.
    """

    stream: ClassVar[str] = SETTLEMENTS

    model: Identifier
    version: str
    arm: str
    request_id: Identifier
    request_time: AwareTime
    action: Action
    value_euro: float

    @staticmethod
    def id_for(model: str, request_id: str) -> str:
        """Return the id. A part of a decision has the id of its own request."""
        return f"settlement-{model}-{request_id}"


_HAPPENINGS: tuple[type[ShopEvent], ...] = (
    Transaction,
    Order,
    Banner,
    Membership,
    Credit,
    Search,
    Suggestion,
    Offer,
)

EVENTS: tuple[type[Event], ...] = (*_HAPPENINGS, Decision, Settlement)

SHOP_EVENTS: dict[str, type[ShopEvent]] = {event.stream: event for event in _HAPPENINGS}
