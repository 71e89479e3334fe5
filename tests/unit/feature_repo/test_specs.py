"""The specs as processes load them: a model that disagrees with the catalogue is out alone."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry

from dojo.core.settings import load_settings
from dojo.core.specs_in_use import SpecsInUse
from feature_repo.specs import load, load_agreed_spec

RIGHT = Path("models/fraud_detection.yaml").read_text()
SERVICE = "feature_service: fraud_detection_v1"


def test_a_model_of_unknown_features_is_left_out_alone(tmp_path: Path) -> None:
    assert SERVICE in RIGHT
    (tmp_path / "fraud_detection.yaml").write_text(RIGHT)
    wrong = RIGHT.replace("name: fraud_detection", "name: lost", 1)
    (tmp_path / "lost.yaml").write_text(wrong.replace(SERVICE, "feature_service: lost_v1"))
    settings = load_settings(models_dir=tmp_path)
    loaded = load(settings)
    assert list(loaded.specs) == ["fraud_detection"]
    assert loaded.faults["lost"].startswith("lost: feature_service: lost_v1 is not one of")
    shown = SpecsInUse(tmp_path, loaded, CollectorRegistry(), load_agreed_spec).look()
    assert shown["lost"] == {"read": f"wrong: {loaded.faults['lost']}"}, "its file is unchanged"
