"""A process knows the spec that it read, and reports when the file differs."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from dojo.core.spec.compare import SHOWN, FieldChange, field_changes, plain, spec_hash
from dojo.core.specs_in_use import SpecsInUse
from dojo.core.tasks.specs import load_right_specs, load_spec

VALID = Path("models/fraud_detection.yaml").read_text()
MODEL = "fraud_detection"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / f"{MODEL}.yaml").write_text(VALID)
    return tmp_path


def edit(models: Path, right: str, wrong: str) -> Path:
    path = models / f"{MODEL}.yaml"
    text = path.read_text()
    assert right in text
    path.write_text(text.replace(right, wrong))
    return path


def test_the_hash_is_of_values_and_not_of_comments_or_spelling(models: Path) -> None:
    before = spec_hash(load_spec(models / f"{MODEL}.yaml"))
    assert spec_hash(load_spec(edit(models, "# The contract of", "# A contract of"))) == before
    assert spec_hash(load_spec(edit(models, "schedule: 7d", "schedule: 168h"))) == before
    assert spec_hash(load_spec(edit(models, "schedule: 168h", "schedule: 8d"))) != before


def test_changes_are_named_by_their_path_with_both_values(models: Path) -> None:
    before = plain(load_spec(models / f"{MODEL}.yaml"))
    edit(models, "error_ratio: 1.0", "error_ratio: 1.5")
    after = plain(load_spec(edit(models, "canary_time: 4h", "canary_time: 90m")))
    assert field_changes(before, after) == {
        "rollout.canary_time": FieldChange("4h", "90m"),
        "rollout.checks.error_ratio": FieldChange(1.0, 1.5),
    }
    assert field_changes({"a": {"b": 1}}, {"a": {"c": 2}}) == {
        "a.b": FieldChange(1, None),
        "a.c": FieldChange(None, 2),
    }


def test_an_edited_file_shows_until_it_is_put_back(models: Path) -> None:
    registry = CollectorRegistry()
    in_use = SpecsInUse(models, load_right_specs(models), registry)
    read = spec_hash(load_spec(models / f"{MODEL}.yaml"))[:SHOWN]

    def changed() -> float | None:
        return registry.get_sample_value("dojo_spec_changed", {"model": MODEL})

    assert in_use.look() == {MODEL: {"read": read}}
    assert changed() == 0
    edited = edit(models, "canary_time: 4h", "canary_time: 90m")
    assert in_use.look() == {MODEL: {"read": read, "file": spec_hash(load_spec(edited))[:SHOWN]}}
    assert changed() == 1
    edit(models, "canary_time: 90m", "canary_time: ninety")
    assert "rollout.canary_time: " in in_use.look()[MODEL]["file"], (
        "a wrong file is told with its reason"
    )
    assert changed() == 1
    edited.unlink()
    assert "cannot be read" in in_use.look()[MODEL]["file"]
    edited.write_text(VALID)
    assert in_use.look() == {MODEL: {"read": read}}
    assert changed() == 0


def test_a_spec_that_was_wrong_at_the_start_stays_so_until_a_restart(models: Path) -> None:
    (models / "other.yaml").write_text(VALID.replace(f"name: {MODEL}", "name: other"))
    edited = edit(models, "canary_time: 4h", "canary_time: ninety")
    registry = CollectorRegistry()
    in_use = SpecsInUse(models, load_right_specs(models), registry)

    def gauges(model: str) -> tuple[float | None, float | None]:
        names = ("dojo_spec_wrong", "dojo_spec_changed")
        wrong, changed = (registry.get_sample_value(name, {"model": model}) for name in names)
        return wrong, changed

    assert list(in_use.look()[MODEL]) == ["read"]
    assert "rollout.canary_time: " in in_use.look()[MODEL]["read"]
    assert (gauges(MODEL), gauges("other")) == ((1, 0), (0, 0))
    edited.write_text(VALID)
    assert in_use.look()[MODEL]["file"] == spec_hash(load_spec(edited))[:SHOWN]
    assert (gauges(MODEL), gauges("other")) == ((1, 1), (0, 0))
