"""Changes in MLflow past the platform are found, and the printed command mends them.

Real MLflow, Redis and commands.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from redis import Redis
from typer.testing import CliRunner, Result

from dojo.cli.app import build
from dojo.core.connections import connect_redis
from dojo.core.registry.bundle import BUNDLE_FILE, HASHED_FILES
from dojo.core.registry.faults import ServingRecord, find_faults, serving_record
from dojo.core.registry.promotion import Change, RoleChanges
from dojo.core.registry.tags import VersionTags
from dojo.core.registry.versions import CHAMPION, PREVIOUS_CHAMPION, ModelRegistry
from dojo.core.state.audit import AuditTrail
from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.registry_faults import FaultKind, RegistryFault
from dojo.core.state.routes import RouteTable
from pipelines.release.tracking import tracking_client
from pipelines.training.errors import RegistryChangedError
from pipelines.training.job import Job
from pipelines.training.registry_check import require_registry
from tests.support.registries import roles_of, sealed_registry
from tests.support.servers import MlflowServer, RedisServer

pytestmark = pytest.mark.integration

NOON = datetime(2030, 3, 1, 12, tzinfo=UTC)
TAGS = VersionTags(
    data_sha256="d",
    model_sha256="m",
    as_of=NOON,
    bundle_sha256="b",
    gate_verdict="improved",
    gate_gain=0.25,
)


@dataclass(frozen=True)
class Promoted:
    """A model with two versions. The platform promoted version 1, then version 2."""

    model: str
    registry: ModelRegistry
    redis: Redis
    files: Path
    run_command: Callable[..., Result]

    @property
    def record(self) -> ServingRecord:
        return serving_record(
            RouteTable(self.redis).get(self.model),
            AuditTrail(self.redis).newest_champion(self.model),
        )

    def faults(self) -> tuple[RegistryFault, ...]:
        return find_faults(self.registry, self.model, self.record)

    def kinds(self) -> list[FaultKind]:
        return [fault.kind for fault in self.faults()]

    def roles(self) -> dict[str, str]:
        return roles_of(self.registry, self.model)

    def champions_run(self) -> str:
        return self.registry.get(self.model, "2").run_id

    def experiment(self) -> str:
        return self.registry.api.get_experiment(self.model).experiment_id

    def bundle(self) -> Path:
        (found,) = self.files.rglob(f"{self.champions_run()}/artifacts/model")
        return found

    def job(self, gate: bool) -> Job:
        return Job(model=self.model, key="k", as_of=NOON, reason="r", who="w", gate=gate)


@pytest.fixture
def promoted(
    mlflow_server: MlflowServer,
    redis_server: RedisServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Promoted:
    model = f"faults_{tmp_path.name}".replace("-", "_")
    registry = sealed_registry(mlflow_server.url, home=tmp_path)
    redis = connect_redis(redis_server.url)
    client = tracking_client(registry)
    experiment = client.create_experiment(model)
    (bundle := tmp_path / "model").mkdir()
    for name in (BUNDLE_FILE, *HASHED_FILES):
        (bundle / name).write_text("{}")
    changes = RoleChanges(registry, RouteTable(redis), AuditTrail(redis))
    for number in ("1", "2"):
        run = client.create_run(experiment, tags=TAGS.written()).info
        client.log_artifacts(run.run_id, str(bundle), "model")
        registry.register(model, run.run_id, f"{run.artifact_uri}/model", TAGS)
        changes.promote(
            model, number, Change(f"tests:{number}", "tests", "tests", NOON), keep_standby=False
        )
    RedisWorldClock(redis).set(NOON, 0)
    models = tmp_path / "models"
    models.mkdir()
    (models / f"{model}.yaml").touch()
    for name, value in {
        "DOJO_REDIS_URL": redis_server.url,
        "DOJO_MLFLOW_URL": mlflow_server.url,
        "DOJO_MODELS_DIR": str(models),
        "DOJO_HOME": str(tmp_path),
        "COLUMNS": "200",
    }.items():
        monkeypatch.setenv(name, value)
    commands = build()

    def run_command(*arguments: str) -> Result:
        return CliRunner().invoke(commands, list(arguments))

    return Promoted(model, registry, redis, mlflow_server.log.parent, run_command)


def printed(next_step: str) -> list[str]:
    """The first command of a next step, as a shell takes it."""
    words = shlex.split(next_step.partition("; or")[0])
    assert words[0] == "dojo"
    return words[1:]


def role_removed(it: Promoted) -> None:
    it.registry.remove_alias(it.model, CHAMPION)


def role_moved(it: Promoted) -> None:
    it.registry.set_alias(it.model, CHAMPION, "1")


def tag_edited(it: Promoted) -> None:
    it.registry.tag(it.model, "2", VersionTags(bundle_sha256="another"))


def tag_removed(it: Promoted) -> None:
    it.registry.api.delete_model_version_tag(it.model, "2", "as_of")


def tag_edited_in_run_and_version(it: Promoted) -> None:
    tracking_client(it.registry).set_tag(it.champions_run(), "bundle_sha256", "another")
    tag_edited(it)


def run_deleted(it: Promoted) -> None:
    tracking_client(it.registry).delete_run(it.champions_run())


def experiment_deleted(it: Promoted) -> None:
    tracking_client(it.registry).delete_experiment(it.experiment())


def version_deleted(it: Promoted) -> None:
    tracking_client(it.registry).delete_model_version(it.model, "2")


def files_deleted(it: Promoted) -> None:
    (it.bundle() / HASHED_FILES[0]).unlink()


def directory_deleted(it: Promoted) -> None:
    shutil.rmtree(it.bundle())


def model_deleted(it: Promoted) -> None:
    tracking_client(it.registry).delete_registered_model(it.model)


def model_renamed(it: Promoted) -> None:
    tracking_client(it.registry).rename_registered_model(it.model, f"{it.model}_other")


RESTORED = [
    (role_removed, "role"),
    (role_moved, "role"),
    (tag_edited, "tags"),
    (tag_removed, "tags"),
    (tag_edited_in_run_and_version, "tags"),
    (run_deleted, "run"),
    (experiment_deleted, "experiment"),
]
REPLACED = [(version_deleted, "version"), (files_deleted, "bundle"), (directory_deleted, "bundle")]
GONE = [(model_deleted, "model"), (model_renamed, "model")]


def test_what_the_platform_did_is_no_fault(promoted: Promoted) -> None:
    assert promoted.faults() == ()
    assert promoted.record.champion == promoted.record.serving == "2"
    refused = promoted.run_command("models", "restore", promoted.model, "--why", "x", "--yes")
    assert (refused.exit_code, "the registry is as the platform left it" in refused.output) == (
        1,
        True,
    )


def refuses_the_gate(promoted: Promoted, kind: FaultKind) -> None:
    """Check that no gate decides without the champion that serves, and what can go on."""

    def asked(gate: bool) -> None:
        require_registry(promoted.job(gate), promoted.registry, promoted.redis)

    if kind == "run":  # its files are there, and it can be restored
        asked(gate=True)
        return
    with pytest.raises(
        RegistryChangedError, match=r"changed past the platform:\n  .*Next: "
    ) as refused:
        asked(gate=True)
    assert promoted.faults()[0].next_step in str(refused.value)
    if kind in ("model", "experiment"):
        with pytest.raises(RegistryChangedError):
            asked(gate=False)
    else:
        asked(gate=False)


@pytest.mark.parametrize(("change", "kind"), RESTORED)
def test_what_can_be_put_back_stops_the_gate_and_is_put_back_by_the_printed_command(
    promoted: Promoted, change: Callable[[Promoted], None], kind: FaultKind
) -> None:
    before, route = (
        promoted.registry.versions(promoted.model),
        RouteTable(promoted.redis).get(promoted.model),
    )
    change(promoted)
    (fault,) = promoted.faults()
    assert fault.kind == kind
    refuses_the_gate(promoted, kind)
    mended = promoted.run_command(*printed(fault.next_step), "--yes")
    assert mended.exit_code == 0, mended.output
    assert promoted.faults() == ()
    after = promoted.registry.versions(promoted.model)
    assert [(v.version, v.aliases, v.tags.recorded()) for v in after] == [
        (v.version, v.aliases, v.tags.recorded()) for v in before
    ]
    assert promoted.roles() == {CHAMPION: "2", PREVIOUS_CHAMPION: "1"} or kind == "role"
    assert RouteTable(promoted.redis).get(promoted.model) == route
    newest = next(AuditTrail(promoted.redis).entries(newest_first=True))
    assert (newest.kind, "in MLflow" in newest.why) == (
        "alias" if kind == "role" else "registry",
        True,
    )


@pytest.mark.parametrize(("change", "kind"), REPLACED)
def test_a_version_that_cannot_be_put_back_gives_way_to_the_one_before_by_the_printed_command(
    promoted: Promoted, change: Callable[[Promoted], None], kind: FaultKind
) -> None:
    change(promoted)
    (fault,) = promoted.faults()
    assert fault.kind == kind
    refuses_the_gate(promoted, kind)
    command = fault.next_step.partition("backup, or ")[2] or fault.next_step
    assert promoted.run_command(*printed(command), "--yes").exit_code == 0
    assert promoted.faults() == ()
    assert promoted.roles() == {CHAMPION: "1"}
    assert promoted.record.serving == "1"


@pytest.mark.parametrize(("change", "kind"), GONE)
def test_no_gate_decides_without_the_model(
    promoted: Promoted, change: Callable[[Promoted], None], kind: FaultKind
) -> None:
    assert (
        require_registry(promoted.job(gate=True), promoted.registry, promoted.redis)
        == promoted.record
    )
    change(promoted)
    refuses_the_gate(promoted, kind)


def test_an_experiment_that_is_deleted_is_found_before_the_first_version(
    promoted: Promoted,
) -> None:
    promoted.redis.flushdb()
    experiment_deleted(promoted)
    with pytest.raises(
        RegistryChangedError, match=r"experiment .* is deleted: no training can log its run there"
    ):
        require_registry(promoted.job(gate=True), promoted.registry, promoted.redis)


def test_a_model_that_was_renamed_is_whole_under_its_name(promoted: Promoted) -> None:
    model_renamed(promoted)
    assert promoted.kinds() == ["model"]
    tracking_client(promoted.registry).rename_registered_model(
        f"{promoted.model}_other", promoted.model
    )
    assert promoted.faults() == ()


def test_a_model_that_is_deleted_for_good_is_retired_and_begins_anew(promoted: Promoted) -> None:
    refused = promoted.run_command("models", "retire", promoted.model, "--why", "x", "--yes")
    assert (refused.exit_code, "MLflow has the registered model" in refused.output) == (1, True)
    model_deleted(promoted)
    (fault,) = promoted.faults()
    command = fault.next_step.partition("for good, ")[2].partition(", then")[0]
    retired = promoted.run_command(*printed(command), "--yes")
    assert retired.exit_code == 0, retired.output
    assert (promoted.faults(), promoted.record.versions) == ((), frozenset())
    assert RouteTable(promoted.redis).get(promoted.model) is None
    assert (
        require_registry(promoted.job(gate=True), promoted.registry, promoted.redis).champion == ""
    )
    assert AuditTrail(promoted.redis).verify().faults == ()


def test_an_arm_whose_version_is_deleted_is_named_and_stops_no_training(promoted: Promoted) -> None:
    asked = ("--strategy", "ab", "--challenger", "1", "--why", "x", "--yes")
    assert promoted.run_command("routes", "set", promoted.model, *asked).exit_code == 0
    tracking_client(promoted.registry).delete_model_version(promoted.model, "1")
    (fault,) = promoted.faults()
    assert fault.kind == "arm"
    require_registry(promoted.job(gate=True), promoted.registry, promoted.redis)
    assert promoted.run_command(*printed(fault.next_step), "--yes").exit_code == 0
    assert promoted.faults() == ()


def test_while_the_role_is_missing_a_version_that_lost_at_the_gate_needs_force(
    promoted: Promoted,
) -> None:
    client = tracking_client(promoted.registry)
    experiment = client.get_experiment_by_name(promoted.model).experiment_id
    run = client.create_run(experiment).info
    lost = msgspec.structs.replace(TAGS, gate_verdict="worse")
    promoted.registry.register(promoted.model, run.run_id, f"{run.artifact_uri}/model", lost)
    role_removed(promoted)
    asked = ("models", "promote", f"{promoted.model}@3", "--why", "x", "--yes")
    refused = promoted.run_command(*asked)
    assert (refused.exit_code, "did not win at the gate (worse)" in refused.output) == (1, True)
    assert promoted.run_command(*asked, "--force").exit_code == 0


def test_without_a_role_the_route_says_none_and_offers_the_command(promoted: Promoted) -> None:
    role_removed(promoted)
    (fault,) = promoted.faults()
    shown = promoted.run_command("routes", "show", promoted.model).stdout
    assert "registry's champion: none" in shown
    assert fault.what in shown
    assert fault.next_step in shown
    refused = promoted.run_command(
        "routes", "set", promoted.model, "--strategy", "champion", "--why", "x", "--yes"
    )
    assert (refused.exit_code, fault.next_step in refused.output) == (1, True)


def test_a_switch_by_hand_is_no_fault(promoted: Promoted) -> None:
    set_ = (
        "routes",
        "set",
        promoted.model,
        "--strategy",
        "blue-green",
        "--challenger",
        "1",
        "--why",
        "x",
        "--yes",
    )
    assert promoted.run_command(*set_).exit_code == 0
    assert (
        promoted.run_command("routes", "switch", promoted.model, "--why", "x", "--yes").exit_code
        == 0
    )
    assert promoted.record.serving == "1"
    assert promoted.faults() == ()


def test_the_trail_keeps_the_tags_that_a_champion_was_registered_with(promoted: Promoted) -> None:
    assert promoted.record.tags == TAGS.written()
    kept = promoted.registry.get(promoted.model, "2").tags.recorded()
    assert kept == msgspec.structs.replace(TAGS, raw={})


def test_a_tag_that_is_edited_in_the_run_alone_is_not_put_into_the_version(
    promoted: Promoted,
) -> None:
    tracking_client(promoted.registry).set_tag(promoted.champions_run(), "bundle_sha256", "another")
    assert promoted.faults() == ()
