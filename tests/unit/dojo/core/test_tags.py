"""A version's tags: written values can be read, unreadable ones count as absent.

No other module spells out a tag.
"""

from __future__ import annotations

import ast
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.core.registry.tags import ApprovalNote, VersionTags

ROOT = Path(__file__).parents[4]
NAMES = st.text("abcdefghijklmnopqrstuvwxyz_0123456789", min_size=1)
HUNDREDTHS = st.integers(-(10**9), 10**9).map(lambda whole: whole / 100)

EVERYTHING = VersionTags(
    data_sha256="d",
    seed=7,
    as_of=datetime(2025, 1, 1, 6, tzinfo=UTC),
    bundle_sha256="null",
    gate_verdict="improved",
    gate_gain=0.012,
    gate_interval=(0.001, 0.02),
    proposed_by="Yann",
    approval=ApprovalNote(who="Zoë", when="2025-01-02T00:00:00Z", why="reviewed"),
    rolled_back="it was slow",
    rollout="rollout-1",
    drift_report="http://x/#/y",
    primary_metric="pr_auc",
    metrics={"pr_auc": 0.8125},
    anchors={12: "abc"},
)


def without_raw(tags: VersionTags) -> dict[str, object]:
    return {name: getattr(tags, name) for name in tags.__struct_fields__ if name != "raw"}


def test_what_is_written_is_read() -> None:
    stored = EVERYTHING.written()
    assert stored["gate_interval"] == "0.001000 0.020000"
    assert (stored["metric.pr_auc"], stored["audit.12"]) == ("0.812500", "abc")
    assert "raw" not in stored
    assert without_raw(VersionTags.read(stored)) == without_raw(EVERYTHING)
    assert VersionTags.read({**stored, "mlflow.user": "ada"}).raw["mlflow.user"] == "ada"


@given(
    st.dictionaries(NAMES, HUNDREDTHS),
    st.dictionaries(st.integers(1), st.text()),
    st.none() | st.text(),
)
def test_families_and_texts_survive(
    metrics: dict[str, float], anchors: dict[int, str], why: str | None
) -> None:
    tags = VersionTags(metrics=metrics, anchors=anchors, rolled_back=why)
    assert without_raw(VersionTags.read(tags.written())) == without_raw(tags)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("seed", "seven"),
        ("as_of", "yesterday"),
        ("as_of", "2025-01-01T06:00:00"),
        ("gate_verdict", "splendid"),
        ("gate_gain", "much"),
        ("gate_interval", "0.1"),
        ("approval", '{"who": "ada"}'),
        ("approval", "yes"),
        ("metric.pr_auc", "high"),
        ("audit.twelve", "abc"),
    ],
)
def test_a_value_that_cannot_be_read_is_absent_and_the_others_are_there(
    name: str, text: str
) -> None:
    tags = VersionTags.read({name: text, "bundle_sha256": "b"})
    assert without_raw(tags) == without_raw(VersionTags(bundle_sha256="b"))
    assert tags.raw[name] == text


def test_only_an_improvement_has_won() -> None:
    assert VersionTags(gate_verdict="improved").won
    assert not any(
        VersionTags(gate_verdict=verdict).won
        for verdict in ("worse", "inconclusive", "first", None)
    )  # type: ignore[arg-type]


# Spelled out only when a tag is meant. Some other words of the platform look the same ("rollout",
# "as_of").
UNMISTAKABLE = {
    "bundle_sha256",
    "gate_verdict",
    "gate_gain",
    "gate_interval",
    "lock_sha256",
    "feature_sha256",
    "metric.",
    "audit.",
}


def spelled(tree: ast.AST) -> set[str]:
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value in UNMISTAKABLE
    }


@pytest.mark.parametrize("room", ["dojo", "services", "pipelines"])
def test_no_other_module_spells_a_tag_or_asks_for_one_by_its_name(room: str) -> None:
    found = {}
    for path in sorted((ROOT / room).rglob("*.py")):
        name, source = path.relative_to(ROOT).as_posix(), path.read_text()
        if name == "dojo/core/registry/tags.py":
            assert spelled(ast.parse(source)) >= {
                "gate_verdict",
                "metric.",
                "audit.",
            }, "this test finds them"
            continue
        by_name = re.findall(
            r"(?:\.tags|\btags\.raw)(?:\[\"|\.get\(\")|model_version_tag\(", source
        )
        if (
            name != "dojo/core/registry/mlflow_api.py"
            and name != "dojo/core/registry/versions.py"
            and by_name
        ):
            found[name] = by_name
        if words := spelled(ast.parse(source)):
            found[name] = sorted(words)
    assert found == {}, "use dojo.core.registry.tags.VersionTags"
