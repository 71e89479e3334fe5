"""The monitor's choice of the serving version, with real MLflow and real routes in Redis."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from dojo.core.connections import connect_redis
from dojo.core.registry.promotion import Change, RoleChanges, full_traffic
from dojo.core.registry.tags import VersionTags
from dojo.core.registry.versions import CHAMPION
from dojo.core.state.audit import AuditTrail
from dojo.core.state.inbox import Inbox, Notifier
from dojo.core.state.routes import RouteTable, route_key
from dojo.core.tasks.specs import load_spec
from dojo.stack.overview import read_standing
from pipelines.release.tracking import tracking_client
from services.monitor.metrics import MonitorMetrics
from services.monitor.registry_notices import RegistryNotices
from services.monitor.serving import ServingVersions
from services.monitor.showing.gauges import Gauges
from tests.integration.services.monitor.monitoring import Watch
from tests.support.bundles import make_bundle, register_champion
from tests.support.monitor_events import MODEL, START, profile
from tests.support.registries import sealed_registry
from tests.support.servers import MlflowServer, RedisServer

pytestmark = pytest.mark.integration

OLD, NEW = datetime(2025, 1, 1, 6, tzinfo=UTC), datetime(2025, 1, 5, 6, tzinfo=UTC)
SPEC = load_spec(Path("models/fraud_detection.yaml"))
PROMOTED = Change("test:promoted", "a test", "a test", NEW)


class Roles:
    """Two versions of a model.

    The route gives the first one the traffic; the second was trained later.
    """

    def __init__(
        self, mlflow: MlflowServer, redis: RedisServer, directory: Path, model: str
    ) -> None:
        self.model, self.registry = model, sealed_registry(mlflow.url)
        self.redis = connect_redis(redis.url)
        self.routes = RouteTable(self.redis)
        self.versions = []
        for name, as_of in (("first", OLD), ("second", NEW)):
            version = register_champion(
                self.registry, directory / name, make_bundle(directory / name), model
            ).version
            self.registry.tag(model, version, VersionTags(as_of=as_of))
            self.versions.append(version)
        self.registry.set_alias(model, CHAMPION, self.versions[0])
        self.changes = RoleChanges(self.registry, self.routes, AuditTrail(self.redis))
        self.changes.route(model, "champion", full_traffic(self.versions[0], None), PROMOTED)

    def move_the_alias_by_hand(self) -> None:
        """Move the alias as in MLflow's own UI. Neither route nor audit trail changes."""
        self.registry.set_alias(self.model, CHAMPION, self.versions[1])

    def serving(self) -> ServingVersions:
        return ServingVersions(self.registry, self.routes, AuditTrail(self.redis), ask_seconds=0.0)

    def gauge(self) -> float:
        registry, serving = CollectorRegistry(), self.serving()
        found = serving.of(self.model)
        Gauges(MonitorMetrics(registry)).roles(
            self.model, None if self.model in serving.away else found
        )
        value = registry.get_sample_value("dojo_role_disagreement", {"model": self.model})
        assert value is not None
        return value


@pytest.fixture
def roles(mlflow_server: MlflowServer, redis_server: RedisServer, tmp_path: Path) -> Roles:
    return Roles(mlflow_server, redis_server, tmp_path, f"roles_{tmp_path.name}".replace("-", "_"))


def test_an_alias_that_was_moved_outside_the_platform_is_told_and_changes_no_judgement(
    roles: Roles,
) -> None:
    before = roles.serving().of(roles.model)
    assert roles.gauge() == 0
    roles.move_the_alias_by_hand()
    found = roles.serving().of(roles.model)
    assert found is not None
    assert before is not None
    assert (found.version, found.trained_as_of) == (
        roles.versions[0],
        OLD,
    ), "what answers is judged, not what should answer"
    assert found.champion == roles.versions[1]
    assert (
        found.disagreement
        == f"most traffic goes to version {roles.versions[0]}, the registry's champion is"
        f" {roles.versions[1]}"
    )
    assert roles.gauge() == 1
    roles.changes.promote(
        roles.model, roles.versions[1], Change("test:mended", "a test", "a test", NEW)
    )
    assert roles.gauge() == 0


def test_a_route_without_a_champion_disagrees_and_nothing_at_all_is_unknown(roles: Roles) -> None:
    roles.registry.remove_alias(roles.model, CHAMPION)
    assert roles.gauge() == 1
    roles.redis.delete(route_key(roles.model))
    assert math.isnan(roles.gauge())


def test_without_a_route_the_champion_serves_and_an_unreadable_route_stops_nothing(
    roles: Roles,
) -> None:
    roles.move_the_alias_by_hand()
    for content in (None, b"no route"):
        (
            roles.redis.delete(route_key(roles.model))
            if content is None
            else roles.redis.set(route_key(roles.model), content)
        )
        found = roles.serving().of(roles.model)
        assert found is not None
        assert (found.version, found.trained_as_of, found.disagreement) == (
            roles.versions[1],
            NEW,
            "",
        )


def test_while_the_registry_is_away_the_gauge_is_unknown_and_what_was_known_is_judged(
    roles: Roles,
) -> None:
    serving = roles.serving()
    known = serving.of(roles.model)
    serving._registry = sealed_registry("http://127.0.0.1:9", timeout_seconds=1, retries=0)
    assert serving.of(roles.model) == known
    assert serving.away == {roles.model}
    nobody = ServingVersions(serving._registry, roles.routes, AuditTrail(roles.redis))
    assert nobody.of(roles.model) is None


def test_the_monitor_exports_it_as_unknown_without_a_registry(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    watch = Watch(redis_server, tmp_path)
    watch.monitoring.knows(profile())
    watch.look(START + timedelta(hours=1))
    assert math.isnan(watch.metrics.role_disagreement.labels(MODEL)._value.get())


def promoted(roles: Roles) -> Roles:
    """The same roles, given by the platform: the audit trail knows the champion."""
    roles.changes.promote(roles.model, roles.versions[0], PROMOTED)
    return roles


def test_a_role_that_was_removed_is_told_at_the_second_look_once_and_so_is_its_end(
    roles: Roles,
) -> None:
    serving, spec = promoted(roles).serving(), SPEC.model_copy(update={"name": roles.model})
    notices = RegistryNotices(
        roles.redis, Notifier(roles.redis, "monitor"), {roles.model: spec}, serving
    )
    notices.look(NEW)
    roles.registry.remove_alias(roles.model, CHAMPION)
    notices.look(NEW)
    assert Inbox(roles.redis).newest(9) == [], "a promotion under way looks the same"
    for _ in range(3):
        notices.look(NEW)
    (told,) = Inbox(roles.redis).newest(9)
    assert (told.urgency, told.to, told.title) == (
        "warning",
        spec.owner,
        f"{roles.model}: the registry was changed past the platform",
    )
    assert f"version {roles.versions[0]} lost the champion's role in MLflow" in told.text
    command = f'dojo models restore {roles.model} --why "its role was removed in MLflow"'
    assert command in told.text
    again = RegistryNotices(
        roles.redis, Notifier(roles.redis, "monitor"), {roles.model: spec}, serving
    )
    again.look(NEW)  # a restarted monitor
    assert len(Inbox(roles.redis).newest(9)) == 1
    answering, faults = read_standing(redis_url_of(roles), [roles.model])
    assert (answering, [fault.kind for fault in faults[roles.model]]) == (
        {roles.model: roles.versions[0]},
        ["role"],
    )
    roles.registry.set_alias(roles.model, CHAMPION, roles.versions[0])
    again.look(NEW)
    assert (
        Inbox(roles.redis).newest(1)[0].title
        == f"resolved: {roles.model}: the registry is as the platform left it"
    )
    assert read_standing(redis_url_of(roles), [roles.model])[1] == {}
    roles.registry.remove_alias(roles.model, CHAMPION)
    for _ in range(2):
        again.look(NEW)
    assert [told.urgency for told in Inbox(roles.redis).newest(9)] == ["warning", "info", "warning"]


def test_a_version_that_was_deleted_pages_and_goes_on_being_judged(roles: Roles) -> None:
    serving, spec = promoted(roles).serving(), SPEC.model_copy(update={"name": roles.model})
    notices = RegistryNotices(
        roles.redis, Notifier(roles.redis, "monitor"), {roles.model: spec}, serving
    )
    tracking_client(roles.registry).delete_model_version(roles.model, roles.versions[0])
    for _ in range(2):
        notices.look(NEW)
    (told,) = Inbox(roles.redis).newest(9)
    assert told.urgency == "page"
    assert f"version {roles.versions[0]} serves and is not in the registry any more" in told.text
    found = serving.of(roles.model)
    assert found is not None
    assert found.version == roles.versions[0]
    registry = CollectorRegistry()
    Gauges(MonitorMetrics(registry)).roles(roles.model, found)
    of = {"model": roles.model}
    assert registry.get_sample_value("dojo_registry_fault", {**of, "subject": "version"}) == 1
    assert registry.get_sample_value("dojo_registry_fault", {**of, "subject": "role"}) == 0


def redis_url_of(roles: Roles) -> str:
    kwargs = roles.redis.connection_pool.connection_kwargs
    return f"redis://{kwargs['host']}:{kwargs['port']}/0"
