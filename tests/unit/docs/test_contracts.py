"""docs/events.md and docs/metrics.md name exactly the fields and metrics of the code."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from dojo.core.events.streams import LAKE_TYPES
from dojo.core.events.types import Event

ROOT = Path(__file__).parents[3]
EVENTS = (ROOT / "docs" / "events.md").read_text()
METRICS = (ROOT / "docs" / "metrics.md").read_text()


def documented_fields(heading: str) -> list[str]:
    section = EVENTS.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def test_the_fields_of_every_event_are_documented_in_order() -> None:
    assert documented_fields("Every event") == [
        field.name for field in msgspec.structs.fields(Event)
    ]


@pytest.mark.parametrize("stream", LAKE_TYPES)
def test_the_fields_of_each_stream_are_documented_in_order(stream: str) -> None:
    shared = set(documented_fields("Every event"))
    own = [
        field.name
        for field in msgspec.structs.fields(LAKE_TYPES[stream])
        if field.name not in shared
    ]
    assert documented_fields(stream) == own


@pytest.mark.parametrize("stream", LAKE_TYPES)
def test_the_event_ids_prefix_is_documented(stream: str) -> None:
    id_for = LAKE_TYPES[stream].id_for  # type: ignore[attr-defined]
    prefix, _, _ = id_for(*"<" * len(inspect.signature(id_for).parameters)).partition("<")
    assert f"`event_id` is `{prefix}<" in re.sub(r"\s+", " ", EVENTS)


@dataclass(frozen=True, order=True)
class Metric:
    name: str
    kind: str
    labels: tuple[str, ...]


def metrics_in_code() -> set[Metric]:
    found = set()
    for package in ("dojo", "feature_repo", "services", "pipelines"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                metric = _metric(node) if isinstance(node, ast.Call) else None
                if metric:
                    found.add(metric)
    return found


def _metric(call: ast.Call) -> Metric | None:
    kind = getattr(call.func, "id", getattr(call.func, "attr", "")).removeprefix("Deferred")
    strings = [
        a.value for a in call.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str)
    ]
    if (
        kind not in ("Counter", "Gauge", "Histogram", "Summary")
        or not strings
        or not strings[0].startswith("dojo_")
    ):
        return None
    name = strings[0].removesuffix("_total") + "_total" if kind == "Counter" else strings[0]
    given = list(call.args[2:3]) + [k.value for k in call.keywords if k.arg == "labelnames"]
    labels = tuple(ast.literal_eval(given[0])) if given else ()
    return Metric(name, kind.lower(), labels)


def documented_metrics() -> set[Metric]:
    rows = re.findall(r"^\| `(dojo_\w+)` \| (\w+) \| ([^|]*) \|", METRICS, re.MULTILINE)
    return {
        Metric(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows
    }


def test_every_metric_is_documented_with_its_kind_and_labels() -> None:
    assert metrics_in_code() - documented_metrics() == set(), "add them to docs/metrics.md"


def test_no_documented_metric_is_gone() -> None:
    assert documented_metrics() - metrics_in_code() == set(), "remove them from docs/metrics.md"


def test_metrics_follow_prometheus_naming() -> None:
    metrics = metrics_in_code()
    assert len({metric.name for metric in metrics}) == len(metrics), "one name, one meaning"
    for metric in metrics:
        assert not re.search(r"_(ms|millis|milliseconds|minutes|hours|kb|mb)(_|$)", metric.name), (
            f"{metric.name}: not a base unit"
        )
        assert set(metric.labels) <= {
            *("model", "version", "arm", "view", "feature", "window", "stream"),
            *(
                "code",
                "reason",
                "cause",
                "outcome",
                "task",
                "process",
                "job",
                "check",
                "stage",
                "dag",
                "action",
                "severity",
            ),
            *("le", "layer", "objective", "receiver", "status", "measure", "subject"),
        }, f"{metric.name}: is this label bounded?"
