"""The table of commands: a call's imports, and the message when packages are missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from dojo.cli.app import COMMANDS

ROOT = Path(__file__).parents[4]

# Packages that take a tenth of a second or more to import.
HEAVY = {
    "feast",
    "mlflow",
    "numpy",
    "pandas",
    "polars",
    "psutil",
    "pydantic",
    "pydantic_settings",
    "redis",
    "rich",
    "structlog",
    "yaml",
}


def dojo(
    *words: str, python: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(python or ("-m", "dojo")), *words]
    env = {**os.environ, "COLUMNS": "160", "TERMINAL_WIDTH": "160", "NO_COLOR": "1", **environment}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, check=False)


def heavy_imports(*words: str, home: Path) -> set[str]:
    ran = dojo(*words, python=("-X", "importtime", "-m", "dojo"), DOJO_HOME=str(home))
    return {
        name.partition(".")[0]
        for name in re.findall(r"^import time:.*\| +(\S+)$", ran.stderr, re.MULTILINE)
    } & HEAVY


def test_the_version_is_said_without_the_platform(tmp_path: Path) -> None:
    assert heavy_imports("--version", home=tmp_path) == set()


def test_help_lists_every_command_and_imports_none(tmp_path: Path) -> None:
    assert heavy_imports("--help", home=tmp_path) == {"rich"}
    shown = dojo("--help").stdout
    for name, row in COMMANDS.items():
        assert re.search(rf"{name} +{re.escape(row.help)}", shown), name


def test_status_of_a_stopped_stack_needs_settings_and_processes_only(tmp_path: Path) -> None:
    assert (
        heavy_imports("status", "--json", home=tmp_path)
        & {"feast", "mlflow", "numpy", "pandas", "polars", "structlog"}
        == set()
    )


def test_a_commands_help_opens_neither_settings_nor_redis(tmp_path: Path) -> None:
    assert (
        heavy_imports("models", "show", "--help", home=tmp_path)
        & {"redis", "pydantic_settings", "polars", "yaml"}
        == set()
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_a_group_shows_the_tables_line_and_a_command_its_own_help(name: str) -> None:
    from typer.core import TyperGroup

    from dojo.cli.app import load

    found = load(name)
    assert found.name == name
    if isinstance(found, TyperGroup):
        assert found.help == COMMANDS[name].help
    else:
        assert "Example" in found.help


def test_every_extra_of_the_table_is_one_of_the_package() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    named = {extra for row in COMMANDS.values() for extra in row.extra.split(",") if extra}
    assert named <= set(extras)


@pytest.mark.parametrize(
    ("missing", "words", "extra"),
    [
        ("polars", ("performance", "fraud_detection"), "recorder"),
        ("psutil", ("status",), "stack"),
        ("pipelines", ("features", "catalog"), "pipelines"),
    ],
)
def test_a_command_whose_packages_are_missing_names_the_extra(
    missing: str, words: tuple[str, ...], extra: str
) -> None:
    without = f"import sys; sys.modules[{missing!r}] = None; from dojo.cli.app import main; main()"
    ran = dojo(*words, python=("-c", without))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert re.search(
        rf"dojo {words[0]} needs {missing}[.\w]*, which is not installed here", ran.stderr
    )
    assert f"mlops-dojo[{extra}]" in ran.stderr


@pytest.mark.parametrize(
    ("typed", "offered"), [("dojo ro", "rollout routes"), ("dojo routes s", "show set switch")]
)
def test_completion_knows_commands_and_their_commands(typed: str, offered: str) -> None:
    words = {
        "_DOJO_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split()) - 1),
    }
    ran = dojo(
        python=("-c", "import sys; sys.argv[0] = 'dojo'; from dojo.cli.app import main; main()"),
        **words,
    )
    assert ran.stdout.split() == offered.split()


def test_a_mistyped_command_is_a_wrong_call_with_a_suggestion() -> None:
    ran = dojo("modles", "list")
    assert ran.returncode == 2
    assert "Did you mean 'models'" in ran.stderr
