"""What the reports of all workers say together.

Counters and histograms are sums, with the counts of workers that have ended. GAUGES has the rules
of the gauges. Health names per model the oldest route, so a change counts once every worker serves
it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import Metric
from prometheus_client.registry import Collector

from services.gateway.state import NOT_READY, READY, Document
from services.gateway.workers.link import Family, Labels, StateReport

# A worker's state in /healthz and /readyz, besides READY and NOT_READY.
STARTING, SILENT, DOWN = "starting", "does not answer", "down"

Rule = Callable[[float, float], float]


def add(one: float, other: float) -> float:
    return one + other


# How the gauges of several workers become the gateway's. `max` and `min` take the worst worker.
# They also stand where all workers say the same, but for the moment of a change.
GAUGES: Mapping[str, Rule] = {
    "dojo_gateway_arm_weight": max,
    "dojo_gateway_breaker_open": max,  # open in one worker is a trouble
    "dojo_gateway_feature_timeout_seconds": max,
    "dojo_gateway_in_flight_requests": add,
    "dojo_gateway_latency_objective_seconds": max,
    "dojo_gateway_objective_ratio": max,
    "dojo_gateway_result_cache_rows": add,
    "dojo_gateway_shadow_buffered": add,
    "dojo_model_age_seconds": max,  # the oldest that still answers
    "dojo_model_info": max,
    "dojo_prediction_log_buffered_events": add,
    "dojo_prediction_log_spool_limit_bytes": add,
    "dojo_prediction_log_spooled_bytes": add,
    "dojo_route_generation": min,  # what every worker serves
    "dojo_spec_changed": max,
    "dojo_spec_wrong": max,
    "process_max_fds": min,  # with the maximum of the open ones: the process that is nearest to it
    "process_open_fds": max,
    "process_resident_memory_bytes": add,  # shared pages count for each process
    "process_start_time_seconds": min,  # the parent's, which changes with the gateway's restart
    "process_virtual_memory_bytes": add,
    "python_info": max,
}


class Merged(Collector):
    """Families of several processes as one. `generate_latest` writes it."""

    def __init__(self, snapshots: Iterable[Sequence[Family]]) -> None:
        self._families: dict[str, Family] = {}
        self._values: dict[str, dict[tuple[str, Labels], float]] = {}
        for families in snapshots:
            for family in families:
                self._add(family)

    def collect(self) -> Iterator[Metric]:
        for family in self.families():
            metric = Metric(family.name, family.documentation, family.type)
            for name, labels, value in family.samples:
                metric.add_sample(name, dict(labels), value)
            yield metric

    def families(self) -> list[Family]:
        return [
            Family(
                family.name,
                family.documentation,
                family.type,
                [(*key, value) for key, value in self._values[family.name].items()],
            )
            for family in self._families.values()
        ]

    def counts(self) -> list[Family]:
        """Return the counters and histograms. They outlive their worker."""
        return [family for family in self.families() if family.type != "gauge"]

    def _add(self, family: Family) -> None:
        self._families.setdefault(family.name, family)
        values = self._values.setdefault(family.name, {})
        whole = GAUGES.get(family.name, max) if family.type == "gauge" else add
        for name, labels, value in family.samples:
            rule = min if name.endswith("_created") else whole
            key = (name, labels)
            values[key] = rule(values[key], value) if key in values else value


@dataclass(frozen=True, slots=True)
class WorkerState:
    """One worker, as the parent knows it.

    Attributes:
        problem: STARTING, SILENT, DOWN with the reason, or "" when it serves.
        report: The last report of its present life, once it takes requests.
    """

    number: int
    problem: str
    report: StateReport | None

    @property
    def said(self) -> str:
        if self.problem or self.report is None:
            return self.problem
        return READY if self.report.is_ready else NOT_READY


def health(workers: Sequence[WorkerState]) -> Document:
    """Return what /healthz says of the whole gateway."""
    found = [dict(worker.report.health) for worker in workers if worker.report is not None]
    models = _oldest_routes([one.pop("models", {}) for one in found])
    details = {
        name: _detail(name, [one[name] for one in found if name in one])
        for name in dict.fromkeys(name for one in found for name in one)
    }
    return {**details, "models": models, "workers": _said(workers)}


def readiness(workers: Sequence[WorkerState]) -> Document:
    """Return what /readyz says of the whole gateway. It is ready once every worker is."""
    ready = all(worker.said == READY for worker in workers)
    said = health(workers)
    return {
        "status": READY if ready else NOT_READY,
        "models": said["models"],
        "workers": said["workers"],
    }


def _said(workers: Sequence[WorkerState]) -> dict[str, str]:
    return {str(worker.number): worker.said for worker in workers}


def _oldest_routes(reports: Sequence[Any]) -> dict[str, Any]:
    """Return per model the report with the oldest route. A problem comes before none."""

    def age(report: Mapping[str, Any]) -> tuple[int, bool]:
        route = report.get("route")
        return (route["generation"] if route else -1), not report.get("route_problem")

    names = dict.fromkeys(name for models in reports for name in models)
    return {
        name: min((models[name] for models in reports if name in models), key=age) for name in names
    }


def _detail(name: str, values: Sequence[Any]) -> Any:
    """Return one detail of the whole gateway: sums of numbers, and the words of the worst worker.

    The workers' clocks are read within milliseconds, so any of them is the gateway's.
    """
    if all(isinstance(value, int | float) for value in values):
        return sum(values)
    if name == "specs":  # a worker that was replaced may have read a newer file
        models = dict.fromkeys(model for specs in values for model in specs)
        return {
            model: max((specs[model] for specs in values if model in specs), key=len)
            for model in models
        }
    if name == "world_clock":
        return max(values)  # "not set yet" comes after every time
    return next((value for value in values if value != "ok"), values[0])
