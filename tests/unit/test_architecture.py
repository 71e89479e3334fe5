"""The rules of DESIGN that hold the tree together: imports point one way, and world time has one source."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("dojo", "feature_repo", "services", "pipelines")

# Whoever asks the machine for the time of day instead of the clock computes with the wrong world.
WALL_CLOCK = {
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
    ("time", "time"),
    ("time", "time_ns"),
    ("Timestamp", "now"),
    ("Timestamp", "utcnow"),
}


def test_imports_point_one_way() -> None:
    linted = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


def calls_of_the_wall_clock(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if (owner, node.attr) in WALL_CLOCK:
                yield node.lineno, f"{owner}.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from ((node.lineno, f"time.{name.name}") for name in node.names if ("time", name.name) in WALL_CLOCK)


@pytest.mark.parametrize("package", PACKAGES)
def test_only_the_clock_asks_for_the_time_of_day(package: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {call}"
        for path in sorted((ROOT / package).rglob("*.py"))
        if path != ROOT / "dojo" / "core" / "state" / "clock.py"
        for line, call in calls_of_the_wall_clock(path.read_text())
    ]
    assert found == [], "use dojo.core.state.clock: a WorldClock for business logic, wall_now() for metadata"


@pytest.mark.parametrize(
    "source",
    [
        "datetime.now(UTC)",
        "datetime.datetime.utcnow()",
        "x = field(default_factory=datetime.now)",
        "time.time()",
        "from time import time",
        "pd.Timestamp.now()",
        "date.today()",
    ],
)
def test_the_check_sees_every_way_to_ask(source: str) -> None:
    assert list(calls_of_the_wall_clock(source))


@pytest.mark.parametrize("source", ["clock.now()", "time.monotonic()", "time.perf_counter()", "wall_now()"])
def test_the_check_leaves_the_right_ways_alone(source: str) -> None:
    assert not list(calls_of_the_wall_clock(source))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folder_is_a_bag_of_odds_and_ends(package: str) -> None:
    names = {"utils", "helpers", "common", "manager", "misc"}
    found = [path for path in (ROOT / package).rglob("*.py") if names & {*path.relative_to(ROOT).parts, path.stem}]
    assert found == []
