"""Features of another team, as a module for DOJO_FEATURE_MODULES.

One streaming view, two services.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from dojo.shop.events import TRANSACTIONS
from feature_repo.services import Choose, FeatureService, RequestFeatures, choose_scalar
from feature_repo.shop import CUSTOMER_DAILY
from feature_repo.shop.payments import PAYMENTS
from feature_repo.views import CATEGORY_UNIT, EventSource, Feature, StreamingView, Window

# A second view of an entity, with other windows than its first view.
PULSE = StreamingView(
    name="customer_pulse",
    entity="customer",
    owner="checkout",
    sources=(PAYMENTS,),
    value="amount",
    scale=100,
    freshness_sla=timedelta(hours=1),
    pii=True,
    description="The customer's last minutes, as of the latest transaction.",
    features=(
        Feature("pulse_time", "unix seconds", "When.", Window("latest_time")),
        Feature(
            "pulse_count_10m",
            "transactions",
            "In ten minutes.",
            Window("count", timedelta(minutes=10)),
        ),
        Feature("pulse_sum_2h", "euro", "In two hours.", Window("sum", timedelta(hours=2))),
        Feature("pulse_max_2d", "euro", "In two days.", Window("max", timedelta(days=2))),
    ),
)


def per_visit(inputs: Mapping[str, Any], choose: Choose = choose_scalar) -> dict[str, Any]:
    busy = inputs["pulse_count_10m"] > 0
    return {
        "items": inputs["items"],
        "channel": inputs["channel"],
        "items_per_visit": choose(busy, inputs["items"] / (inputs["pulse_count_10m"] + 1), 1.0),
    }


ITEMS = Feature("items", "items", "Items in the basket.")
CHANNEL = Feature("channel", CATEGORY_UNIT, "Where the customer shops.")

RETURNS_V1 = FeatureService(
    name="returns_v1",
    model="returns",
    owner="checkout",
    features=("items", "channel", "items_per_visit", "pulse_sum_2h"),
    request=RequestFeatures(
        name="basket",
        inputs=(ITEMS, CHANNEL),
        time_input="checkout_time",
        recorded=EventSource(
            TRANSACTIONS, "transaction_id", ("transaction_id", "world_time", "items", "channel")
        ),
        stored=("pulse_count_10m",),
        features=(
            ITEMS,
            CHANNEL,
            Feature("items_per_visit", "items", "Items by visits of the last ten minutes."),
        ),
        compute=per_visit,
    ),
)

# No feature is computed in the request. Callers send the key, and perhaps a time.
HABITS_V1 = FeatureService(
    name="habits_v1", model="habits", owner="checkout", features=CUSTOMER_DAILY.names[:4]
)

VIEWS = (PULSE,)
SERVICES = (RETURNS_V1, HABITS_V1)


def write_specs(directory: Path) -> Path:
    """Write the shipped model's spec, and a similar one for each of these services.

    `returns` and `habits` are of a customer alone. `habits` has a result cache.
    """
    text = Path("models/fraud_detection.yaml").read_text()
    directory.mkdir()
    (directory / "fraud_detection.yaml").write_text(text)
    for service in SERVICES:
        name = service.name.removesuffix("_v1")
        changed = text.replace("name: fraud_detection", f"name: {name}", 1).replace(
            "fraud_detection_v1", service.name, 1
        )
        changed = changed.replace("entities: [customer, merchant]", "entities: [customer]", 1)
        if service is HABITS_V1:
            changed += "\nresult_cache: {keep: 1h, rows: 100}\n"
        (directory / f"{name}.yaml").write_text(changed)
    return directory
