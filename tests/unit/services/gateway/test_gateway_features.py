from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import msgspec
import pytest

from dojo.core.registry.bundle import Bundle, CorruptBundleError, OnnxScorer
from dojo.core.tasks.specs import load_spec
from feature_repo import catalog
from feature_repo.online_layout import MalformedValueError, ViewLayout, layout_of
from services.gateway.features.breaker import FAILURES_TO_OPEN, CircuitBreaker
from services.gateway.features.lookup import FeaturePlan, FeatureSource
from services.gateway.features.online_store import (
    EntityFields,
    EntityRow,
    OnlineStoreUnavailableError,
)
from services.gateway.versions.serving import ServedModel
from tests.support.further_features import HABITS_V1

SERVICE = "fraud_detection_v1"


def plan_bundle(
    features: tuple[str, ...] = catalog.SERVICES[SERVICE].features, service: str = SERVICE
) -> Bundle:
    return Bundle(
        model="m",
        feature_service=service,
        features=features,
        stored_defaults={"customer_tx_count_30d": 4.0, "customer_amount_mean_30d": 50.0},
        decision={"threshold": 0.5},
        trained_as_of=datetime(2018, 6, 1, tzinfo=UTC),
        sha256={},
    )


def plan(
    features: tuple[str, ...] = catalog.SERVICES[SERVICE].features, service: str = SERVICE
) -> FeaturePlan:
    return FeaturePlan(plan_bundle(features, service))


class DictionaryStore:
    """A fake online store. It has rows by (entity, key), and is reachable or not."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], EntityRow] = {}
        self.reachable = True

    async def read(
        self, wanted: Sequence[tuple[EntityFields, str]], timeout: float
    ) -> list[EntityRow]:
        if not self.reachable:
            raise OnlineStoreUnavailableError
        return [self.rows.get((fields.entity, key), fields.unknown) for fields, key in wanted]


def row(fields: EntityFields, value: float) -> EntityRow:
    return EntityRow((value,) * len(fields.features), (1000.0,) * len(fields.views))


def test_the_fallback_chain_is_store_then_last_known_then_defaults() -> None:
    wanted, store = plan(), DictionaryStore()
    source = FeatureSource(store, remembered=2)
    customer, merchant = wanted.entities
    store.rows = {("customer", "c"): row(customer, 7.0), ("merchant", "m"): row(merchant, 8.0)}

    def fetch(customer_id: str, merchant_id: str = "m") -> tuple[tuple[str, ...], list[float]]:
        (stored,) = asyncio.run(
            source.fetch(wanted, [{"customer": customer_id, "merchant": merchant_id}], 0.03)
        )
        return stored.degraded, [r.values[2] for r in stored.rows]

    assert fetch("c") == ((), [7.0, 8.0])
    assert fetch("stranger") == (("cold_start",), [0.0, 8.0])
    store.reachable = False
    assert fetch("stranger") == (("features_last_known",), [0.0, 8.0])
    assert fetch("c") == (
        ("features_default", "features_last_known"),
        [4.0, 8.0],
    )  # only two rows are remembered
    store.reachable = True
    assert fetch("c") == ((), [7.0, 8.0])


def test_without_time_left_nothing_is_asked() -> None:
    store = DictionaryStore()
    (stored,) = asyncio.run(
        FeatureSource(store).fetch(plan(), [{"customer": "c", "merchant": "m"}], -0.01)
    )
    assert stored.degraded == ("features_default",)


def test_the_vector_is_in_the_versions_own_order() -> None:
    wanted = plan(("amount", "merchant_risk_7d", "customer_tx_count_7d"))
    customer, merchant = wanted.entities
    vector = wanted.vector(
        [row(customer, 3.0), row(merchant, 0.25)], {"amount": 9.0, "transaction_time": 5000.0}
    )
    assert list(vector) == [9.0, 0.25, 3.0]


def test_missing_values_are_zero_and_ages_count_from_the_views_timestamp() -> None:
    wanted = plan(("customer_tx_count_7d",))
    (customer,) = wanted.entities
    assert customer.views == ("customer_daily",)
    assert list(wanted.vector([customer.unknown], {})) == [0.0]
    assert wanted.ages([row(customer, 1.0)], now=1600.0) == {"customer_daily": 600.0}
    assert wanted.ages([customer.unknown], now=1600.0) == {"customer_daily": None}


def test_a_version_that_wants_what_the_catalogue_lacks_is_refused() -> None:
    with pytest.raises(CorruptBundleError, match="shoe_size"):
        plan(("amount", "shoe_size"))
    with pytest.raises(CorruptBundleError, match="fraud_detection_v9"):
        plan(service="fraud_detection_v9")


def test_a_version_whose_service_wants_what_callers_do_not_send_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(catalog.SERVICES, HABITS_V1.name, HABITS_V1)
    spec = load_spec(Path("models/fraud_detection.yaml"))
    bundle = msgspec.structs.replace(plan_bundle(), model=spec.name)
    scorer = cast("OnnxScorer", None)  # no row is scored
    assert ServedModel(spec, "1", "0", bundle, scorer).plan.features == bundle.features
    changed = spec.model_copy(update={"feature_service": HABITS_V1.name, "entities": ("customer",)})
    with pytest.raises(
        CorruptBundleError,
        match=r"wants \['amount', 'merchant', 'transaction_time'\], which callers of fraud",
    ):
        ServedModel(changed, "1", "0", bundle, scorer)


def test_the_breaker_opens_after_failures_in_a_row_and_closes_on_a_success() -> None:
    changes: list[bool] = []
    breaker = CircuitBreaker(changes.append)
    for _ in range(FAILURES_TO_OPEN - 1):
        breaker.failed()
    breaker.succeeded()
    for _ in range(FAILURES_TO_OPEN - 1):
        breaker.failed()
    assert not breaker.is_open
    breaker.failed()
    breaker.failed()
    assert breaker.is_open
    breaker.succeeded()
    assert not breaker.is_open
    assert changes == [True, False]


def test_a_default_moment_is_an_age_before_the_request_and_a_remembered_one_stays_a_moment() -> (
    None
):
    wanted = FeaturePlan(
        Bundle(
            model="m",
            feature_service=SERVICE,
            features=("customer_seconds_since_tx", "merchant_seconds_since_tx"),
            stored_defaults={"customer_last_tx_time": 7200.0, "merchant_last_tx_time": 60.0},
            decision={"threshold": 0.5},
            trained_as_of=datetime(2018, 6, 1, tzinfo=UTC),
            sha256={},
        )
    )
    now = 1_528_000_000.0
    inputs = {"amount": 10.0, "transaction_time": now}
    assert wanted.vector(wanted.defaults, inputs) == (7200.0, 60.0)
    customer, _ = wanted.entities
    remembered = EntityRow(
        tuple(now - 30 if name == "customer_last_tx_time" else 0.0 for name in customer.features),
        (now,) * len(customer.views),
    )
    assert wanted.vector((remembered, wanted.defaults[1]), inputs) == (30.0, 60.0)


TIME = datetime(2018, 6, 15, 6, tzinfo=UTC)
HABITS, ACTIVITY = layout_of("customer_daily"), layout_of("customer_activity")


def numbered(layout: ViewLayout) -> bytes:
    return layout.pack(TIME, [float(number) for number in range(len(layout.features))])


def test_a_reader_finds_its_features_by_name_whatever_part_and_order_it_wants() -> None:
    wanted = [("customer_activity", ACTIVITY.features[2]), ("customer_daily", HABITS.features[5])]
    fields = EntityFields("customer", [*wanted, ("customer_activity", ACTIVITY.features[0])])
    found = fields.row([numbered(ACTIVITY), numbered(HABITS)])
    assert found == EntityRow((2.0, 5.0, 0.0), (TIME.timestamp(),) * 2)
    assert (
        fields.command("zo\xeb")
        == b"*4\r\n$5\r\nHMGET\r\n$27\r\ndojo:features:customer:zo\xc3\xab\r\n"
        b"$17\r\ncustomer_activity\r\n$14\r\ncustomer_daily\r\n"
    )


def test_a_missing_view_and_a_missing_value_are_zero() -> None:
    fields = EntityFields(
        "customer",
        [("customer_daily", HABITS.features[0]), ("customer_activity", ACTIVITY.features[1])],
    )
    values = (7.0, None, *[0.0] * (len(ACTIVITY.features) - 2))
    assert fields.row([None, ACTIVITY.pack(TIME, values)]) == EntityRow(
        (0.0, 0.0), (None, TIME.timestamp())
    )
    assert fields.row([None, None]) == fields.unknown
    assert fields.unknown.is_unknown


def test_a_row_for_other_features_or_without_a_finite_number_is_refused() -> None:
    fields = EntityFields("customer", [("customer_daily", name) for name in HABITS.features[:2]])
    with pytest.raises(MalformedValueError, match="other features"):
        fields.row([numbered(ViewLayout("customer_daily", HABITS.features[::-1]))])
    rest = [0.0] * (len(HABITS.features) - 2)
    for wrong in (float("nan"), float("inf"), float("-inf")):
        with pytest.raises(MalformedValueError, match="not finite"):
            fields.row([HABITS.pack(TIME, [1.0, wrong, *rest])])
