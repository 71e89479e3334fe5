"""A deployment of one service: what it writes, what a release holds, and what is taken back."""

from __future__ import annotations

from pathlib import Path

import pytest

from dojo.core.settings import Settings, load_settings
from dojo.core.tasks.specs import load_spec
from dojo.drills.catalogue import catalogue
from dojo.drills.faults.addresses import filled
from dojo.drills.faults.fault import FaultRefusedError, Receipt
from dojo.drills.faults.processes.service_override import CODE, ServiceOverride
from dojo.stack.supervisor.overrides import override_file, read_override

RELEASES = [
    (spec.id, fault)
    for spec in catalogue().values()
    for fault in spec.faults
    if isinstance(fault, ServiceOverride) and fault.release
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path)


@pytest.mark.parametrize("fault", [one for _, one in RELEASES], ids=[name for name, _ in RELEASES])
def test_a_release_differs_in_its_edits_alone(fault: ServiceOverride, tmp_path: Path) -> None:
    fault._make(tmp_path)
    edited = {edit.file for edit in fault.edits}
    assert edited
    for path in tmp_path.rglob("*"):
        if path.is_dir() or "__pycache__" in path.parts:
            continue
        name = path.relative_to(tmp_path)
        same = path.read_bytes() == (CODE / name).read_bytes()
        assert same != (name in edited), name
        assert "drill" not in str(name), name


@pytest.mark.parametrize("fault", [one for _, one in RELEASES], ids=[name for name, _ in RELEASES])
def test_a_release_has_specs_that_a_service_can_read(
    fault: ServiceOverride, tmp_path: Path
) -> None:
    fault._make(tmp_path)
    for file in (tmp_path / "models").glob("*.yaml"):
        load_spec(file)


def test_a_text_that_is_not_there_is_refused(tmp_path: Path) -> None:
    edit = {"file": "models/fraud_detection.yaml", "shipped": "no such line", "changed": "x"}
    fault = ServiceOverride.model_validate(
        {"kind": "service_override", "service": "gateway", "release": "r-1", "edits": [edit]}
    )
    with pytest.raises(FaultRefusedError, match="no such line"):
        fault._make(tmp_path)


def test_a_service_that_does_not_run_is_refused_and_its_override_is_taken_back(
    settings: Settings,
) -> None:
    written: list[Receipt] = []
    fault = ServiceOverride.model_validate(
        {
            "kind": "service_override",
            "service": "gateway",
            "environment": {"DOJO_ONLINE_STORE_URL": "{side_store}"},
            "memory_mb": 300,
        }
    )
    with pytest.raises(FaultRefusedError, match="gateway does not run here"):
        fault.inject(settings, written.append)
    found = read_override(settings.home, "gateway")
    assert found.memory_mb == 300
    assert found.environment == {"DOJO_ONLINE_STORE_URL": filled("{side_store}", settings)}
    assert fault.left(settings, written[0]).startswith("the override ")
    for _ in range(2):
        fault.undo(settings, written[0])
        assert fault.left(settings, written[0]) == ""
    assert not override_file(settings.home, "gateway").exists()


def test_a_persons_own_override_is_neither_replaced_nor_removed(settings: Settings) -> None:
    file = override_file(settings.home, "gateway")
    file.parent.mkdir()
    file.write_text("memory_mb: 5\n")
    fault = ServiceOverride.model_validate({"kind": "service_override", "service": "gateway"})
    with pytest.raises(FaultRefusedError, match="is there already"):
        fault.inject(settings, lambda _: None)
    fault.undo(settings, {"file": str(file), "text": "memory_mb: 6\n", "release": ""})
    assert file.read_text() == "memory_mb: 5\n"


def test_texts_get_the_addresses_of_this_stack(settings: Settings) -> None:
    port = settings.redis_online_port
    assert filled("{online_store}", settings) == f"redis://127.0.0.1:{port}/0"
    assert filled("{side_store} {side_port}", settings) == (
        f"redis://127.0.0.1:{port + 400}/0 {port + 400}"
    )
    with pytest.raises(KeyError):
        filled("{kitchen}", settings)
