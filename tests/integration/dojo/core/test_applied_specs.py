"""The last applied spec, and the audit entry of each change, on a real Redis."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from redis import Redis

from dojo.core.spec.compare import FieldChange, spec_hash
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.applied_specs import AppliedSpecs
from dojo.core.state.atomic import ConflictError
from dojo.core.state.audit import AuditTrail
from tests.support.payments import small_spec
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

SPEC = small_spec("applied")
NOW = datetime(2025, 1, 6, tzinfo=UTC)


def watching(days: int) -> ModelSpec:
    return SPEC.model_copy(
        update={"rollout": SPEC.rollout.model_copy(update={"watch_time": timedelta(days=days)})}
    )


@pytest.fixture
def redis(redis_server: RedisServer) -> Redis:
    return Redis.from_url(redis_server.url)


def test_a_models_first_spec_is_no_change_and_every_later_one_is_audited_with_both_sides(
    redis: Redis,
) -> None:
    applied = AppliedSpecs(redis)
    assert applied.changes(SPEC) == {}
    assert applied.apply(SPEC, "trainer", "start", NOW) == {}
    assert AuditTrail(redis).length() == 0
    expected = {
        "rollout.watch_time": FieldChange(
            "48h" if SPEC.rollout.watch_time.days != 2 else "2d", "3d"
        )
    }
    assert applied.changes(watching(3)) == expected
    assert applied.apply(watching(3), "ada", "nights are long", NOW) == expected
    (entry,) = AuditTrail(redis).entries()
    assert (entry.kind, entry.model, entry.who, entry.why, entry.world_time) == (
        "spec",
        "applied",
        "ada",
        "nights are long",
        NOW,
    )
    assert entry.what.endswith("rollout.watch_time 2d -> 3d")
    assert entry.before == {"sha256": spec_hash(SPEC), "fields": {"rollout.watch_time": "2d"}}
    assert entry.after == {"sha256": spec_hash(watching(3)), "fields": {"rollout.watch_time": "3d"}}


def test_a_spec_that_was_applied_before_leaves_no_second_entry(redis: Redis) -> None:
    applied = AppliedSpecs(redis)
    applied.apply(SPEC, "trainer", "start", NOW)
    applied.apply(watching(3), "ada", "why not", NOW)
    assert applied.apply(watching(3), "trainer", "start", NOW) == {}
    assert AuditTrail(redis).length() == 1


def test_of_many_who_apply_at_once_each_follows_what_it_read_or_is_told_to_read_again(
    redis: Redis,
) -> None:
    AppliedSpecs(redis).apply(SPEC, "trainer", "start", NOW)
    together = threading.Barrier(8)

    def apply(number: int) -> bool:
        applied = AppliedSpecs(redis)
        together.wait()
        try:
            applied.apply(watching(10 + number), f"person {number}", "all at once", NOW)
        except ConflictError:
            return False
        return True

    refused = 0
    for _ in range(5):
        with ThreadPoolExecutor(8) as people:
            done = list(people.map(apply, range(8)))
        refused += done.count(False)
        assert any(done)
    assert refused > 0, "nobody met, so nothing was proved"
    trail = [entry for entry in AuditTrail(redis).entries() if entry.kind == "spec"]
    for earlier, later in pairwise(trail):
        assert later.before["sha256"] == earlier.after["sha256"], (
            "no change was lost between two entries"
        )
    assert AuditTrail(redis).verify().faults == ()
