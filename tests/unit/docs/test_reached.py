"""Code cited by a design page is reached: a process, command or DAG imports and uses it."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter, deque
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from dojo.cli.app import COMMANDS

ROOT = Path(__file__).parents[3]
PACKAGES = ("dojo", "feature_repo", "services", "pipelines")
PAGES = sorted((ROOT / "docs" / "designs").glob("*.md"))

# Modules that are started by name, not imported.
STARTED = (
    "services.gateway.sandbox.worker",
    "services.trainer.run_job",
    "services.trainer.run_order",
    "services.trainer.run_night",
    "feature_repo.feast_cli",
)


@cache
def modules() -> dict[str, ast.Module]:
    """Return every module of the platform by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(
                path.read_text()
            )
    return found


def imported_by(name: str) -> Iterator[str]:
    """Yield modules that a module imports, at its top or in its functions.

    A class named in a string counts as an import.
    """
    for node in ast.walk(modules()[name]):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.fullmatch(r"[a-z_]+(\.\w+)+", node.value)
        ):
            yield node.value.rpartition(".")[0]


@cache
def chains() -> dict[str, tuple[str, ...]]:
    """Return module -> the shortest chain of imports to it from a process, a command or a DAG."""
    commands = {command.target.partition(":")[0] for command in COMMANDS.values()}
    entrances = [
        name
        for name in modules()
        if name.endswith("__main__")
        or name.startswith("pipelines.dags.")
        or name in commands
        or name in STARTED
    ]
    found = {name: (name,) for name in entrances}
    waiting = deque(entrances)
    while waiting:
        name = waiting.popleft()
        for target in imported_by(name):
            if target in modules() and target not in found:
                found[target] = (*found[name], target)
                waiting.append(target)
    return found


@cache
def uses() -> Counter[str]:
    """Count the uses of each name in reached code, its definition included."""
    counted: Counter[str] = Counter()
    for name in chains():
        path = ROOT / name.replace(".", "/")
        source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.NAME:
                counted[token.string] += 1
            elif token.type == tokenize.STRING and re.match(
                r"[rR]?[fF]", token.string
            ):  # names within its braces
                counted.update(
                    re.findall(r"\w+", " ".join(re.findall(r"\{([^{}]*)\}", token.string)))
                )
    return counted


def importers(module: str) -> list[str]:
    return sorted(name for name in modules() if module in set(imported_by(name)))


def citations() -> list[tuple[str, str, str]]:
    return [
        (page.name, path, name)
        for page in PAGES
        for path, name in re.findall(r"`([\w/]+\.py): ([\w.]+)`", page.read_text())
        if path.split("/")[0] in PACKAGES
    ]


@pytest.mark.parametrize(("page", "path", "name"), sorted(set(citations())))
def test_what_a_design_page_cites_is_reached(page: str, path: str, name: str) -> None:
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    assert module in chains(), (
        f"{page}: no process, command or DAG leads to {path}; imported by"
        f" {importers(module) or 'tests only'}"
    )
    last = name.rpartition(".")[2]
    chain = " -> ".join(chains()[module])
    assert uses()[last] > 1, f"{page}: {path} is reached ({chain}), but nothing uses {name}"


def test_the_check_sees_what_only_tests_call() -> None:
    assert "dojo.core.service" in chains()
    assert importers("dojo.core.service")
    assert uses()["no_such_name_anywhere"] == 0
