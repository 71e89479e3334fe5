"""`dojo drift` on a monitor's verdicts, and the source of a version's profile.

Redis and MLflow are real.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
import yaml
from redis import Redis
from typer.testing import CliRunner, Result

from dojo.cli.app import build
from dojo.core.events.log import PAYLOAD_FIELD, stream_key
from dojo.core.events.types import Stream
from dojo.core.registry.bundle import BUNDLE_FILE, PROFILE_FILE, Bundle, write_bundle
from dojo.core.state.audit import AuditTrail
from services.monitor.counting.profiles import Profiles
from tests.integration.services.monitor.monitoring import HOUR, PER_HOUR, Watch
from tests.support.bundles import make_bundle, register_champion
from tests.support.monitor_events import MODEL, START, profile
from tests.support.registries import sealed_registry
from tests.support.servers import MlflowServer, RedisServer

pytestmark = pytest.mark.integration


def test_a_person_sees_a_verdict_marks_it_and_is_told_which_threshold_would_have_been_silent(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    watch = Watch(redis_server, tmp_path)
    watch.monitoring.knows(profile())
    watch.hours(8, 12)
    watch.hours(12, 16, shift=1.0)
    watch.monitoring.client.xadd(
        stream_key(Stream.PREDICTIONS), {PAYLOAD_FIELD: b'{"not": "ours"}'}
    )
    watch.look(START + HOUR * 17)

    def dojo(*arguments: str) -> Result:
        return CliRunner().invoke(
            build(),
            ["drift", *arguments],
            env={"DOJO_REDIS_URL": redis_server.url, "COLUMNS": "200"},
        )

    shown = dojo("show", MODEL)
    assert shown.exit_code == 0, shown.output
    assert "amount PSI" in shown.output
    assert "█" in shown.output, "the course of the worst subject"
    details = dojo("show", MODEL, "--check", "input_drift", "--window", "hour").output
    found = json.loads(
        dojo("show", MODEL, "--check", "input_drift", "--window", "hour", "--json").stdout
    )["verdicts"]
    assert [v["severity"] for v in found] == ["critical"]
    identity = found[0]["event_id"]
    for part in (identity, "amount", "4 of 4", "2025-01-06 12:00", str(PER_HOUR)):
        assert part in details.replace("\n", ""), part
    assert "nothing to change" in dojo("tune", MODEL).output

    assert dojo("mark", MODEL, identity, "--why", "x").exit_code == 2, "what was it?"
    assert dojo("mark", MODEL, "verdict-nothing", "--false-alarm", "--why", "x").exit_code == 1
    marked = dojo("mark", MODEL, identity, "--false-alarm", "--why", "a new price list")
    assert marked.exit_code == 0, marked.output
    assert (
        "a new price list"
        in dojo("show", MODEL, "--check", "input_drift", "--window", "hour").output
    )
    (entry,) = [
        e for e in AuditTrail(Redis.from_url(redis_server.url)).entries() if e.kind == "drift"
    ]
    assert (entry.model, entry.why) == (MODEL, "a new price list")

    tuned = json.loads(dojo("tune", MODEL, "--json").stdout)
    assert yaml.safe_load(tuned["yaml"]) == {"drift": {"adaptive": ["amount", "merchant_risk_30d"]}}
    assert "false alarm" in tuned["proposals"][0]["why"]
    assert yaml.safe_load(Path("models", f"{MODEL}.yaml").read_text())["drift"]["adaptive"] == [
        "merchant_risk_30d"
    ], "nobody's spec was changed"

    def dead_letters(*arguments: str) -> str:
        return (
            CliRunner()
            .invoke(build(), ["dead-letters", *arguments], env={"DOJO_REDIS_URL": redis_server.url})
            .stdout
        )

    (aside,) = json.loads(dead_letters("--json"))["monitor"]
    assert aside["payload"] == '{"not": "ours"}'
    assert "monitor" in dead_letters("monitor")
    assert "nothing was set aside" in dead_letters("streamer")
    assert dojo("show", "nobody").exit_code == 2
    assert dojo("show", MODEL, "--check", "nothing").exit_code == 2


def test_a_versions_profile_comes_from_its_bundle_and_an_unusable_one_is_named(
    mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    registry, name = sealed_registry(mlflow_server.url), "monitored_profiles"
    reference = profile()
    bundle = tmp_path / "good"
    make_bundle(bundle)
    reference.write(bundle / PROFILE_FILE)
    sha256 = write_bundle(
        bundle, msgspec.json.decode((bundle / BUNDLE_FILE).read_bytes(), type=Bundle)
    )
    good = register_champion(registry, bundle, sha256, name)
    old = tmp_path / "old"
    before = register_champion(registry, old, make_bundle(old), name)  # without a usable profile

    profiles = Profiles(registry)
    assert profiles.fetch((name, good.version)) == reference
    assert profiles.fetch((name, before.version)) is None
    assert "missing required field" in profiles.why[name, before.version]
    assert profiles.fetch((name, "99")) is None
    assert "the registry has no profile for it yet" in profiles.why[name, "99"]


def test_an_absent_registry_costs_new_versions_only() -> None:
    profiles = Profiles(sealed_registry("http://127.0.0.1:9", timeout_seconds=1, retries=0))
    assert profiles.fetch((MODEL, "1")) is None
    assert "did not answer" in profiles.why[MODEL, "1"]
