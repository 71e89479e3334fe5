"""Seals of versions and anchors of the audit trail: what the platform vouches for itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from dojo.core.registry.errors import UnsealedVersionError
from dojo.core.registry.seals import Seals
from dojo.core.registry.tags import VersionTags
from dojo.core.registry.versions import ModelRegistry, Version
from dojo.core.settings import Settings
from dojo.core.state.audit import EntryAnchor
from tests.support.registries import sealed_registry

RECORD = {"bundle_sha256": "b" * 64, "gate_verdict": "improved", "metric.pr_auc": "0.700000"}
NOWHERE = "http://127.0.0.1:1"


def version(registry: ModelRegistry, **changes: str) -> Version:
    """Version 2 as MLflow gives it, sealed as `RECORD`, with other tags since."""
    seal = registry.seals.seal("m", "2", "run", RECORD)
    return Version(
        "m",
        "2",
        "run",
        "mlflow-artifacts:/x",
        VersionTags.read({**RECORD, "seal": seal, **changes}),
        (),
    )


def test_a_record_as_it_was_registered_is_relied_on() -> None:
    registry = sealed_registry(NOWHERE)
    later = {
        "approval": "{}",
        "rolled_back": "slow",
        "rollout": "r",
        "drift_report": "u",
        "audit.3": "x",
        "of.a.person": "y",
    }
    found = version(registry, **later)
    assert registry.seal_fault(found) == ""
    assert registry.sealed_sha256(found) == "b" * 64


@pytest.mark.parametrize(
    "changes",
    [
        {"bundle_sha256": "c" * 64},
        {"gate_verdict": "first"},
        {"gate_gain": "0.5"},
        {"metric.pr_auc": "0.700001"},
        {"metric.more": "1"},
        {"seal": "0" * 64},
        {"seal": "ünlesbar"},
    ],
)
def test_a_record_that_was_changed_in_mlflow_is_not_relied_on(changes: dict[str, str]) -> None:
    registry = sealed_registry(NOWHERE)
    with pytest.raises(
        UnsealedVersionError, match="the record of m@2 in MLflow is not what was sealed"
    ):
        registry.require_seal(version(registry, **changes))
    from dojo.core.registry.bundle import CorruptBundleError

    with pytest.raises(CorruptBundleError, match="dojo models seal m@2"):
        registry.sealed_sha256(version(registry, **changes))


def test_a_seal_is_of_one_version_of_one_platform(tmp_path: Path) -> None:
    registry = sealed_registry(NOWHERE)
    found = version(registry)
    for other in (
        Version("m", "3", "run", found.source, found.tags, ()),
        Version("n", "2", "run", found.source, found.tags, ()),
        Version("m", "2", "other", found.source, found.tags, ()),
    ):
        assert registry.seal_fault(other)
    elsewhere = ModelRegistry(
        NOWHERE, seals=Seals(Settings(home=tmp_path, seal_key=""))
    )  # a key of its own
    assert elsewhere.seal_fault(found)
    assert "no seal" in registry.seal_fault(
        Version("m", "2", "run", found.source, VersionTags.read(RECORD), ())
    )


def test_a_registry_without_seals_relies_on_nothing() -> None:
    with pytest.raises(RuntimeError, match="without seals"):
        ModelRegistry(NOWHERE).sealed_sha256(version(sealed_registry(NOWHERE)))


def test_two_processes_of_one_home_have_one_key_and_only_its_user_reads_it(tmp_path: Path) -> None:
    one, other = (Seals(Settings(home=tmp_path, seal_key="")) for _ in range(2))
    assert one.fits(other.seal("m", "1", "r", RECORD), "m", "1", "r", RECORD)
    assert (tmp_path / "keys" / "seal").stat().st_mode & 0o777 == 0o600


def test_anchors_are_kept_once_each_and_survive(tmp_path: Path) -> None:
    seals = Seals(Settings(home=tmp_path))
    assert seals.anchors() == []
    for sequence, entry_hash in ((3, "a"), (7, "b"), (3, "a"), (3, "of a trail that began anew")):
        seals.anchor(sequence, entry_hash)
    kept = [EntryAnchor(3, "a"), EntryAnchor(7, "b"), EntryAnchor(3, "of a trail that began anew")]
    assert Seals(Settings(home=tmp_path)).anchors() == kept
    assert (tmp_path / "audit" / "anchors.jsonl").stat().st_mode & 0o777 == 0o600
