"""Names in a spec must exist in the catalogue, and facts stated in both must agree."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dojo.core.spec.read import SpecError
from dojo.core.spec.regulated import Fairness, Regulated
from dojo.core.tasks.specs import load_spec, load_specs
from feature_repo import catalog
from feature_repo.orders.requests import CARRIER
from feature_repo.shop.payments import PAYMENTS
from feature_repo.views import Feature


def test_the_specs_of_this_repository_agree_with_the_feature_catalogue() -> None:
    assert set(catalog.agreed(load_specs(Path("models")))) == {"fraud_detection"}


def test_all_specs_of_this_repository_agree_with_the_catalogue_of_all_models() -> None:
    code = (
        "from pathlib import Path\n"
        "from dojo.core.tasks.specs import load_specs\n"
        "from feature_repo.catalog import agreed\n"
        "print(*agreed(load_specs(Path('models'), ('all',))))\n"
    )
    environment = {**os.environ, "DOJO_MODELS": "all"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == sorted(path.stem for path in Path("models").glob("*.yaml"))


def test_entities_must_name_everyone_whom_features_are_about() -> None:
    spec = load_spec(Path("models", "fraud_detection.yaml"))
    lonely = spec.model_copy(update={"entities": ("customer",)})
    with pytest.raises(SpecError, match="fraud_detection_v1 has features of merchant, so callers"):
        catalog.agreed({lonely.name: lonely})


@pytest.mark.parametrize(
    ("line", "changed", "reason"),
    [
        (
            "    maximum: 7d",
            "    maximum: 30d",
            "label.delay.maximum: 30d is longer than features wait for its labels, 7d",
        ),
        (
            "feature_service: fraud_detection_v1",
            "feature_service: fraud_v9",
            "feature_service: fraud_v9 is not one of fraud_detection_v1",
        ),
        (
            "  event: transactions",
            "  event: clicks",
            (
                "label.event: clicks is not transactions, where requests of fraud_detection_v1 are"
                " recorded"
            ),
        ),
        (
            "entities: [customer, merchant]",
            "entities: [customer, shop]",
            "entities: no shop; there are customer, merchant",
        ),
        (
            "data:\n",
            "result_cache: {keep: 27h, rows: 100}\ndata:\n",
            "result_cache.keep: 27h is longer than features of customer_activity may be old, 1h",
        ),
    ],
)
def test_a_spec_that_disagrees_with_the_catalogue_stops_the_start(
    line: str, changed: str, reason: str, tmp_path: Path
) -> None:
    text = Path("models/fraud_detection.yaml").read_text()
    assert line in text
    (tmp_path / "fraud_detection.yaml").write_text(text.replace(line, changed))
    with pytest.raises(SpecError, match=f"fraud_detection: {reason}"):
        catalog.agreed(load_specs(tmp_path))


def test_personal_keys_are_those_of_views_about_one_person() -> None:
    assert catalog.personal_keys("fraud_detection_v1") == ("customer_id",)


@pytest.mark.parametrize(
    ("line", "changed", "reason"),
    [
        (
            "n_estimators: 200",
            "n_estimators: -5",
            "n_estimators: expected a number from 1 to 10000, got -5",
        ),
        ("n_estimators: 200", "n_estimatorz: 200", "n_estimatorz: unknown"),
        ("learning_rate: 0.05", "learning_rate: .nan", "learning_rate: expected a number"),
        ("latency_slo: 50ms", "latency_slo: 10d", "latency_slo must not exceed deadline"),
        (
            "latency_slo: 50ms",
            "latency_slo: 60ms",
            "latency_slo must not exceed 50ms in the latency_class fast, got 60ms",
        ),
        (
            "entities: [customer, merchant]",
            "entities: [customer, customer]",
            "entities must differ",
        ),
    ],
)
def test_values_that_cannot_be_meant_are_refused_with_the_reason(
    line: str, changed: str, reason: str, tmp_path: Path
) -> None:
    text = Path("models/fraud_detection.yaml").read_text()
    assert line in text
    path = tmp_path / "fraud_detection.yaml"
    path.write_text(text.replace(line, changed))
    with pytest.raises(SpecError, match=reason):
        load_spec(path)


def reasons(*but: str) -> dict[str, str]:
    features = catalog.SERVICES["fraud_detection_v1"].features
    return {name: "What you buy." for name in features if name not in but}


@pytest.mark.parametrize(
    ("protected", "texts", "reason"),
    [
        (
            "merchant_id",
            reasons(),
            "regulated.protected: fraud_detection_v1 reads merchant_id, and merchant_id must never",
        ),
        ("amount", reasons(), "reads amount, amount_to_mean_30d, .* must never be an input"),
        ("shoe_size", reasons(), "regulated.protected: transactions does not record shoe_size"),
        ("wall_time", reasons("amount"), "regulated.reasons: no reason for amount, which may"),
        ("wall_time", {**reasons(), "age": "Age."}, "fraud_detection_v1 has no age"),
    ],
)
def test_a_regulated_model_must_not_see_the_protected_attribute_and_must_have_reasons(
    protected: str, texts: dict[str, str], reason: str
) -> None:
    spec = load_spec(Path("models", "fraud_detection.yaml"))
    fair = Fairness(granted=0.1, true_positive=0.1, false_positive=0.1, minimum_rows=100)
    rules = Regulated(
        protected=protected, fairness=fair, refusal="No.", review="Ask.", reasons=texts
    )
    with pytest.raises(SpecError, match=reason):
        catalog.agreed({spec.name: spec.model_copy(update={"regulated": rules})})


@pytest.mark.parametrize(
    ("inputs", "segment", "reason"),
    [
        ((), "customer_tx_count_30d", "has categories that callers do not send: carrier"),
        ((CARRIER,), "carrier", "drift.segment: carrier is a category"),
        ((CARRIER,), "customer_tx_count_30d", ""),
    ],
)
def test_a_category_must_be_sent_and_cuts_no_segments(
    inputs: tuple[Feature, ...], segment: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = load_specs(Path("models"), ("fraud_detection",))["fraud_detection"]
    spec = spec.model_copy(update={"drift": spec.drift.model_copy(update={"segment": segment})})
    known = catalog.SERVICES["fraud_detection_v1"]
    events = replace(PAYMENTS, columns=(*PAYMENTS.columns, "carrier"))
    request = replace(
        known.request,
        inputs=(*known.request.inputs, *inputs),
        recorded=events,
        features=(*known.request.features, CARRIER),
    )
    service = replace(known, features=(*known.features, "carrier"), request=request)
    monkeypatch.setitem(catalog.SERVICES, service.name, service)
    if reason:
        with pytest.raises(SpecError, match=reason):
            catalog.agreed({spec.name: spec})
    else:
        assert catalog.agreed({spec.name: spec})
