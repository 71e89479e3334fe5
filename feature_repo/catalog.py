"""The feature catalogue: each feature once, with owner, source, transformation, freshness SLA and PII tag.

Plain data, no Feast import: the gateway reads it on its hot path's start-up, Feast's objects are built from it in
`definitions.py`, `dojo features catalog` prints it and tests hold the computations to it.

Three kinds (D2.3):

- *batch*: one row per entity and day, computed from everything before midnight, published at midnight + PUBLISH_DELAY.
- *streaming*: the entity's state at its latest transaction, pushed as transactions arrive.
- *on-demand*: computed in the request from the other two, the amount and the time (`on_demand.py`).

A stored value that does not exist (an entity without history) is 0 everywhere: in training and in serving.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from dojo.core.spec.durations import format_duration
from dojo.core.spec.load import ModelSpec, SpecError
from feature_repo import on_demand

Kind = Literal["batch", "streaming", "on_demand"]
Entity = Literal["customer", "merchant"]

# When the day's batch features become visible, after midnight. The job takes seconds of wall time; at demo speed
# (2,400 world seconds a second) that is hours of world time. Training sees exactly what serving could have seen.
PUBLISH_DELAY = timedelta(hours=6)

# Merchant risk looks only at payments whose label has certainly arrived: those older than the label delay's maximum.
LABEL_DELAY = timedelta(days=7)

# A streak of fraud ends when this many days pass at a merchant without a new fraud.
STREAK_GAP_DAYS = 10

# "Never" and "longer than it matters" for the days-since features, days.
DAYS_CAP = 90.0

# How far the streamer may be behind, not how long an entity may be silent: the shortest window, beyond which counts are wrong. At
# demo speed it is 1.5 s of wall time.
STREAMING_SLA = timedelta(hours=1)

MOMENT_UNIT = "unix seconds"

ENTITY_KEYS: dict[Entity, str] = {"customer": "customer_id", "merchant": "merchant_id"}


@dataclass(frozen=True, slots=True)
class Feature:
    """One stored feature. `unit` is what its number counts."""

    name: str
    unit: str
    description: str


@dataclass(frozen=True, slots=True)
class View:
    """Features that are computed, stored and refreshed together.

    Attributes:
        freshness_sla: the age of a value beyond which it is stale, world time.
        pii: the values describe one natural person (pseudonymous customers count).
    """

    name: str
    kind: Kind
    entity: Entity
    owner: str
    source: str
    freshness_sla: timedelta
    pii: bool
    description: str
    features: tuple[Feature, ...]


def _counts(entity: str) -> tuple[Feature, ...]:
    return tuple(
        Feature(
            f"{entity}_tx_count_{days}d", "transactions", f"The {entity}'s transactions in the {days} days before midnight."
        )
        for days in (1, 7, 30)
    )


CUSTOMER_DAILY = View(
    name="customer_daily",
    kind="batch",
    entity="customer",
    owner="payments-risk",
    source="lake: transactions",
    freshness_sla=timedelta(hours=36),  # a day plus half a day: one late job is noticed before a second is missed
    pii=True,
    description="Spending habits of a customer, as of midnight.",
    features=(
        *_counts("customer"),
        *(
            Feature(
                f"customer_amount_mean_{days}d",
                "euro",
                f"Mean amount of the customer's transactions in the {days} days before midnight.",
            )
            for days in (1, 7, 30)
        ),
        Feature(
            "customer_amount_std_30d",
            "euro",
            "Standard deviation (population) of the customer's amounts in the 30 days before midnight.",
        ),
        Feature("customer_amount_max_7d", "euro", "Largest amount of the customer in the 7 days before midnight."),
        Feature(
            "customer_amount_max_30d_settled",
            "euro",
            "Largest amount of the customer in the 30 days that ended a label delay before midnight: what was normal before a possible compromise.",
        ),
    ),
)

MERCHANT_DAILY = View(
    name="merchant_daily",
    kind="batch",
    entity="merchant",
    owner="payments-risk",
    source="lake: transactions, outcomes (labels respected with their delay)",
    freshness_sla=timedelta(hours=36),
    pii=False,
    description="Traffic and known fraud of a merchant, as of midnight.",
    features=(
        *_counts("merchant"),
        *(
            Feature(
                f"merchant_risk_{days}d",
                "fraction",
                f"Share of fraud among the merchant's labelled transactions in the {days} days that ended a label delay before midnight.",
            )
            for days in (1, 7, 30)
        ),
        *(
            Feature(
                f"merchant_fraud_count_{days}d",
                "transactions",
                f"Known frauds at the merchant in the {days} days that ended a label delay before midnight.",
            )
            for days in (14, 30)
        ),
        Feature("merchant_last_risk", "fraction", "Share of fraud on the merchant's latest day whose labels have all arrived."),
        Feature(
            "merchant_fraud_age_days",
            "days",
            f"Days since the merchant's latest known fraud; {DAYS_CAP:g} for longer ago or never.",
        ),
        Feature(
            "merchant_streak_age_days",
            "days",
            f"Days since the merchant's latest streak of fraud began (a fraud with none known in the {STREAK_GAP_DAYS} days before it); "
            f"{DAYS_CAP:g} for longer ago or never. A compromise is found and repaired after weeks: its age tells whether it still goes on.",
        ),
    ),
)

CUSTOMER_ACTIVITY = View(
    name="customer_activity",
    kind="streaming",
    entity="customer",
    owner="payments-risk",
    source="stream: transactions",
    freshness_sla=STREAMING_SLA,
    pii=True,
    description="The customer's last day and hour, as of the customer's latest transaction (which is included).",
    features=(
        Feature("customer_last_tx_time", MOMENT_UNIT, "When the customer's latest transaction was made."),
        Feature("customer_last_tx_count_1h", "transactions", "Transactions in the hour up to and with the latest one."),
        Feature("customer_last_amount_1h", "euro", "Sum of amounts in the hour up to and with the latest transaction."),
        Feature("customer_last_tx_count_24h", "transactions", "Transactions in the 24 hours up to and with the latest one."),
        Feature("customer_last_amount_24h", "euro", "Sum of amounts in the 24 hours up to and with the latest transaction."),
        Feature(
            "customer_last_amount_max_24h", "euro", "Largest amount in the 24 hours up to and with the latest transaction."
        ),
    ),
)

MERCHANT_ACTIVITY = View(
    name="merchant_activity",
    kind="streaming",
    entity="merchant",
    owner="payments-risk",
    source="stream: transactions",
    freshness_sla=STREAMING_SLA,
    pii=False,
    description="The merchant's last hour, as of the merchant's latest transaction (which is included).",
    features=(
        Feature("merchant_last_tx_time", MOMENT_UNIT, "When the merchant's latest transaction was made."),
        Feature("merchant_last_tx_count_1h", "transactions", "Transactions in the hour up to and with the latest one."),
        Feature("merchant_last_amount_1h", "euro", "Sum of amounts in the hour up to and with the latest transaction."),
    ),
)

VIEWS: dict[str, View] = {v.name: v for v in (CUSTOMER_DAILY, MERCHANT_DAILY, CUSTOMER_ACTIVITY, MERCHANT_ACTIVITY)}

# A feature service is what one model reads: its input vector, in order. Values of batch views, then request-time features.
SERVICES: dict[str, tuple[str, ...]] = {
    "fraud_detection_v1": (
        *(f.name for f in CUSTOMER_DAILY.features),
        *(f.name for f in MERCHANT_DAILY.features),
        *on_demand.FEATURES,
    ),
}


# Stored features whose value is a moment. What stands in for an unreachable one is an age: a moment would grow old.
MOMENTS = frozenset(f.name for view in VIEWS.values() for f in view.features if f.unit == MOMENT_UNIT)

# Counts have no range: there may be as many as there are (a sale's shops), and no unit that could be wrong. That they moved is input drift.
COUNTS = frozenset(
    {feature.name for view in VIEWS.values() for feature in view.features if feature.unit == "transactions"}
    | {name for name, (unit, _) in on_demand.FEATURES.items() if unit == "transactions"}
)


def views_of(service: str) -> tuple[View, ...]:
    """The stored views that a service needs, directly or through request-time features. Raises KeyError: unknown service."""
    wanted = set(SERVICES[service])
    if wanted & set(on_demand.FEATURES):
        wanted |= set(on_demand.STORED_INPUTS)
    return tuple(v for v in VIEWS.values() if wanted & {f.name for f in v.features})


def agreed(specs: Mapping[str, ModelSpec]) -> Mapping[str, ModelSpec]:
    """The specs, once each agrees with the catalogue. For a process to ask at its start.

    Raises:
        SpecError: A spec names what is not here, or its labels may arrive after their payments already count as legitimate.
    """
    for spec in specs.values():
        if spec.feature_service not in SERVICES:
            raise SpecError(f"{spec.name}: feature_service: {spec.feature_service} is not one of {', '.join(SERVICES)}")
        if unknown := set(spec.entities) - set(ENTITY_KEYS):
            raise SpecError(f"{spec.name}: entities: no {', '.join(sorted(unknown))}; there are {', '.join(ENTITY_KEYS)}")
        if spec.label.delay.maximum > LABEL_DELAY:
            raise SpecError(
                f"{spec.name}: label.delay.maximum: {format_duration(spec.label.delay.maximum)} is longer than LABEL_DELAY in "
                f"feature_repo/catalog.py, {format_duration(LABEL_DELAY)}: features would take payments without a label for legitimate"
            )
    return specs


def personal_keys(service: str) -> tuple[str, ...]:
    """The entity keys of a service that stand for one natural person each. Raises KeyError: unknown service."""
    return tuple(sorted({ENTITY_KEYS[view.entity] for view in views_of(service) if view.pii}))


def definition_hash(*sources: object) -> str:
    """SHA-256 of what decides feature values: this catalogue, the request-time formulas, and `sources` (modules that compute)."""
    digest = hashlib.sha256()
    digest.update(repr((sorted(VIEWS.items()), sorted(SERVICES.items()), PUBLISH_DELAY, LABEL_DELAY)).encode())
    for module in (on_demand, *sources):
        digest.update(inspect.getsource(module).encode())  # type: ignore[arg-type]
    return digest.hexdigest()
