"""The closed words of a diagnosis: component, mechanism and trigger, and how near two of them are.

A diagnosis is compared by these words alone. A component one hop away earns a part of the points.
So does a mechanism of the same family.
"""

from __future__ import annotations

from collections.abc import Mapping

# Component -> those that it talks to. The distance is the number of hops.
_NEIGHBOURS: Mapping[str, tuple[str, ...]] = {
    "world": ("caller", "labels_feed"),
    "caller": ("gateway",),
    "gateway": ("model_version", "route", "online_store", "event_log", "host", "registry"),
    "model_version": ("registry", "training_data"),
    "route": ("rollout", "registry"),
    "online_store": ("streamer", "materializer", "network", "store_client"),
    "network": ("gateway",),
    "store_client": (),
    "event_log": ("streamer", "recorder", "monitor", "labels_feed"),
    "recorder": ("lake", "stray_process"),
    "stray_process": ("host", "lake"),
    "lake": ("materializer", "training_data", "monitor", "host"),
    "streamer": (),
    "materializer": ("host",),
    "training_data": ("trainer",),
    "trainer": ("airflow", "registry", "host"),
    "airflow": (),
    "registry": ("rollout",),
    "rollout": ("monitor",),
    "monitor": ("responder", "alerting"),
    "responder": ("rollout", "trainer"),
    "alerting": ("alert_rule",),
    "alert_rule": (),
    "labels_feed": (),
    "host": (),
}
COMPONENTS = tuple(sorted(_NEIGHBOURS))

# Mechanism -> its family.
_FAMILY: Mapping[str, str] = {
    "saturation_cpu": "saturation",
    "out_of_memory": "saturation",
    "saturation_storage": "saturation",
    "saturation_connections": "saturation",
    "traffic_surge": "saturation",
    "metastable": "saturation",
    "hot_key": "saturation",
    "slow_dependency": "dependency",
    "unreachable": "dependency",
    "lock": "dependency",
    "job_not_running": "dependency",
    "bad_data_fields": "data",
    "bad_data_units": "data",
    "bad_data_time": "data",
    "bad_labels": "data",
    "missing_labels": "data",
    "lost_data": "data",
    "corrupt_data": "data",
    "eviction": "data",
    "misconfiguration": "change",
    "bad_code": "change",
    "bad_model": "change",
    "slow_model": "change",
    "pinned_old_version": "change",
    "alert_misconfigured": "alerting",
    "alert_muted": "alerting",
    "real_world_change": "world",
    "none": "world",
}
MECHANISMS = tuple(_FAMILY)

TRIGGERS = (
    "manual_command",
    "deploy_config",
    "deploy_code",
    "deploy_model",
    "upstream_change",
    "scheduled_job",
    "interrupted_copy",
    "growth",
    "traffic",
    "planned_event",
    "none",
)

# Who owns what lies outside the platform.
TEAMS = (
    "checkout",
    "chargebacks",
    "partner_integration",
    "customer_support",
    "fraud_operations",
    "marketing",
)

# What callers get meanwhile.
IMPACTS = ("none", "degraded", "fallback", "unanswered")


def hops(first: str, second: str) -> int | None:
    """Return the number of hops between two components. None if no way leads there.

    Raises:
        KeyError: A component is unknown.
    """
    linked: dict[str, set[str]] = {name: set(near) for name, near in _NEIGHBOURS.items()}
    for name, near in _NEIGHBOURS.items():
        for other in near:
            linked[other].add(name)
    _ = linked[second]
    distance, reached, edge = 0, {first}, set(linked[first]) if first != second else set()
    while second not in reached:
        if not edge - reached:
            return None
        distance += 1
        reached |= edge
        edge = set().union(*(linked[name] for name in edge))
    return distance


def are_siblings(first: str, second: str) -> bool:
    """Return whether two mechanisms are of one family.

    Raises:
        KeyError: A mechanism is unknown.
    """
    return _FAMILY[first] == _FAMILY[second]
