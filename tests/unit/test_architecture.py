"""Rules of DESIGN for the whole tree: imports point one way, and world time has one source."""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import sys
import tokenize
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("dojo", "feature_repo", "services", "pipelines")

# Code that asks the machine for the time, instead of the clock, computes with the wrong world.
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
            owner = (
                node.value.attr
                if isinstance(node.value, ast.Attribute)
                else getattr(node.value, "id", "")
            )
            if (owner, node.attr) in WALL_CLOCK:
                yield node.lineno, f"{owner}.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (
                (node.lineno, f"time.{name.name}")
                for name in node.names
                if ("time", name.name) in WALL_CLOCK
            )


@pytest.mark.parametrize("package", PACKAGES)
def test_only_the_clock_asks_for_the_time_of_day(package: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {call}"
        for path in sorted((ROOT / package).rglob("*.py"))
        if path != ROOT / "dojo" / "core" / "state" / "clock.py"
        for line, call in calls_of_the_wall_clock(path.read_text())
    ]
    assert found == [], (
        "use dojo.core.state.clock: a WorldClock for business logic, wall_now() for metadata"
    )


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


@pytest.mark.parametrize(
    "source", ["clock.now()", "time.monotonic()", "time.perf_counter()", "wall_now()"]
)
def test_the_check_leaves_the_right_ways_alone(source: str) -> None:
    assert not list(calls_of_the_wall_clock(source))


READERS = {
    "read_parquet",
    "scan_parquet",
    "read_csv",
    "scan_csv",
    "read_ndjson",
    "scan_ndjson",
    "read_ipc",
    "scan_ipc",
}


def reads_of_patterns(source: str) -> Iterator[int]:
    """Lines where Polars takes a path for a pattern: brackets in it would match nothing."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {
            f"pl.{reader}" for reader in READERS
        }:
            exact = any(
                keyword.arg == "glob" and ast.unparse(keyword.value) == "False"
                for keyword in node.keywords
            )
            yield from [] if exact else [node.lineno]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_path_is_read_as_a_pattern(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in files
        for line in reads_of_patterns(path.read_text())
    ]
    assert found == [], "say glob=False, and list the files where there are several"


def test_the_check_sees_a_read_of_a_pattern() -> None:
    assert list(reads_of_patterns("pl.scan_parquet(directory / '*.parquet')")) == [1]
    assert list(reads_of_patterns("pl.read_parquet(file, glob=False)")) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folder_is_a_bag_of_odds_and_ends(package: str) -> None:
    names = {"utils", "helpers", "common", "manager", "misc"}
    found = [
        path
        for path in (ROOT / package).rglob("*.py")
        if names & {*path.relative_to(ROOT).parts, path.stem}
    ]
    assert found == []


def test_a_class_name_stands_for_one_thing() -> None:
    found = defaultdict(set)
    for package in (*PACKAGES, "monitoring"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef):
                    found[node.name].add(str(path.relative_to(ROOT)))
    assert {name: sorted(paths) for name, paths in found.items() if len(paths) > 1} == {}


# ---- the example domain stays in its rooms

DOMAIN = tomllib.loads((ROOT / "tests" / "unit" / "domain_words.toml").read_text())


def words_of(text: str) -> list[str]:
    """`FraudDriftSource`, `customer_id` or "two payments" as lower-case words."""
    return re.findall(r"[a-z]+", re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", text).lower())


def domain_words(source: str) -> Iterator[tuple[int, str]]:
    """Return identifiers and string literals with a domain word.

    Docstrings and comments may use one in an example.
    """
    docstrings = {
        (node.value.lineno, node.value.col_offset)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        literal = token.type == tokenize.STRING and token.start not in docstrings
        if literal or token.type == tokenize.NAME:
            words = words_of(token.string)
            if {word.removesuffix("s") for word in words} & set(DOMAIN["words"]) and " ".join(
                words
            ) not in DOMAIN["other_meanings"]:
                yield token.start[0], token.string


def files_that_say_domain_words() -> dict[str, list[tuple[int, str]]]:
    rooms = [ROOT / room for room in DOMAIN["rooms"]]
    paths = (
        path
        for package in ("dojo", "services", "pipelines")
        for path in sorted((ROOT / package).rglob("*.py"))
    )
    outside = [path for path in paths if not any(path.is_relative_to(room) for room in rooms)]
    return {
        str(path.relative_to(ROOT)): found
        for path in outside
        if (found := list(domain_words(path.read_text())))
    }


def test_only_the_example_domain_says_its_words() -> None:
    found = files_that_say_domain_words()
    assert {path: said for path, said in found.items() if path not in DOMAIN["not_yet"]} == {}, (
        "say it in words of any model"
    )
    assert set(DOMAIN["not_yet"]) - set(found) == set(), (
        "these say no domain word any more: strike them off the list"
    )


@pytest.mark.parametrize(
    "source",
    [
        "fraud_rate = 1",
        "class MerchantDaily: ...",
        "f('two Payments')",
        "x.customer_id",
        "f(payments=2)",
    ],
)
def test_the_check_sees_a_domain_word(source: str) -> None:
    assert list(domain_words(source))


@pytest.mark.parametrize(
    "source",
    [
        '"""A payment."""',
        "x = 1  # a payment",
        "pipe(transaction=True)",
        "defrauded = 1",
        "model_card = 1",
    ],
)
def test_the_check_leaves_examples_and_other_meanings_alone(source: str) -> None:
    assert not list(domain_words(source))
