"""Whether the registry holds what a training needs.

It is asked before the minutes of work, and again before each step that relies on it.
"""

from __future__ import annotations

from redis import Redis

from dojo.core.registry.faults import ServingRecord, find_faults, serving_record
from dojo.core.registry.versions import ModelRegistry
from dojo.core.state.audit import AuditTrail
from dojo.core.state.registry_faults import FaultKind
from dojo.core.state.routes import RouteTable
from pipelines.training.errors import RegistryChangedError
from pipelines.training.job import Job

# A training needs a place for its run, and version numbers that go on.
TRAINING_NEEDS: frozenset[FaultKind] = frozenset({"model", "experiment"})

# What the gate cannot do without: the champion that it compares with, and that champion's record.
GATE_NEEDS: frozenset[FaultKind] = TRAINING_NEEDS | {"version", "role", "bundle", "record", "tags"}


def require_registry(job: Job, registry: ModelRegistry, redis: Redis) -> ServingRecord:
    """Return the serving versions by the platform's own record.

    It returns only when the registry holds all that the job needs.

    Without a champion in the registry, the gate would let any challenger pass as the model's first
    version.

    Raises:
        RegistryChangedError: A refusal that names each fault and its repair.
        RegistryUnavailableError: MLflow does not answer.
    """
    record = serving_record(
        RouteTable(redis).get(job.model), AuditTrail(redis).newest_champion(job.model)
    )
    needed = GATE_NEEDS if job.gate else TRAINING_NEEDS
    faults = [fault for fault in find_faults(registry, job.model, record) if fault.kind in needed]
    if faults:
        lines = "".join(f"\n  {fault}" for fault in faults)
        raise RegistryChangedError(
            f"{job.model}: the registry was changed past the platform:{lines}"
        )
    return record
