"""What a spec names must exist in the catalogue, and what both state must agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from dojo.core.spec.load import ModelSpec, SpecError, load_spec, load_specs
from feature_repo import catalog
from feature_repo.shop.payments import LABEL_DELAY


@pytest.mark.parametrize("spec", load_specs(Path("models")).values(), ids=lambda spec: spec.name)
def test_a_spec_agrees_with_the_feature_catalogue(spec: ModelSpec) -> None:
    assert spec.feature_service in catalog.SERVICES
    assert set(spec.entities) <= set(catalog.ENTITY_KEYS)
    assert spec.label.delay.maximum <= LABEL_DELAY, "merchant risk would rest on the early reporters alone"
    assert set(spec.data.pii) <= set(catalog.ENTITY_KEYS.values())


@pytest.mark.parametrize(
    ("line", "changed", "reason"),
    [
        ("n_estimators: 200", "n_estimators: -5", "n_estimators: expected a number from 1 to 10000, got -5"),
        ("n_estimators: 200", "n_estimatorz: 200", "n_estimatorz: unknown"),
        ("learning_rate: 0.05", "learning_rate: .nan", "learning_rate: expected a number"),
        ("latency_slo: 50ms", "latency_slo: 10d", "latency_slo must not exceed deadline"),
        ("entities: [customer, merchant]", "entities: [customer, customer]", "entities must differ"),
    ],
)
def test_values_that_cannot_be_meant_are_refused_with_the_reason(line: str, changed: str, reason: str, tmp_path: Path) -> None:
    text = Path("models/fraud_detection.yaml").read_text()
    assert line in text
    path = tmp_path / "fraud_detection.yaml"
    path.write_text(text.replace(line, changed))
    with pytest.raises(SpecError, match=reason):
        load_spec(path)
