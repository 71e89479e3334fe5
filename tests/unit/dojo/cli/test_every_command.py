"""Rules for every command: a form for scripts, a reason for the trail, machine-readable errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.testing import CliRunner

from dojo.cli.app import COMMANDS, build, load

# Commands that repeat on a terminal until Ctrl-C.
WATCHED = {
    "status",
    "alerts",
    "performance",
    "value",
    "rollout show",
    "drift show",
    "responder status",
}

# Commands with an optional reason, because a first version needs none.
REASON_BY_DEFAULT = {"train"}

# What a call needs beside its arguments, so that it fails only for its missing reason.
NEEDED = {"responder dry-run": ["on"], "routes set": ["--strategy", "champion"]}


def commands() -> Iterator[tuple[str, Any]]:
    for name in COMMANDS:
        found = load(name)
        if isinstance(found, TyperGroup):
            yield from ((f"{name} {sub}", command) for sub, command in walk(found))
        else:
            yield name, found


def walk(group: TyperGroup) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from ((f"{name} {sub}", below) for sub, below in walk(command))
        else:
            yield name, command


ALL = dict(commands())


def options(command: Any) -> set[str]:
    return {
        option
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("-")
    }


# Opens a terminal for a person.
INTERACTIVE = {"drill shell"}


@pytest.mark.parametrize("name", [name for name in ALL if name not in INTERACTIVE])
def test_every_command_has_a_form_for_scripts(name: str) -> None:
    assert "--json" in options(ALL[name])


@pytest.mark.parametrize("name", ALL)
def test_who_and_why_belong_together(name: str) -> None:
    given = options(ALL[name])
    assert ("--who" in given) == ("--why" in given)


@pytest.mark.parametrize("name", ALL)
def test_what_is_watched_says_so_in_the_same_words(name: str) -> None:
    given = options(ALL[name])
    assert ({"--watch", "-w"} <= given) == (name in WATCHED)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, command in ALL.items()
        if "--why" in options(command) and name not in REASON_BY_DEFAULT
    ],
)
def test_a_script_that_gives_no_reason_is_refused_and_can_read_why(name: str) -> None:
    """Arguments are read before options, so a word stands for each required argument."""
    required = [
        parameter
        for parameter in ALL[name].params
        if parameter.param_type_name == "argument" and parameter.required
    ]
    words = ["a@1" for _ in required[len(NEEDED.get(name, ())) :]]
    ran = CliRunner().invoke(build(), [*name.split(), *words, *NEEDED.get(name, ()), "--json"])
    assert ran.exit_code == 2
    assert json.loads(ran.stdout)["error"].startswith("--why is missing")
    assert "--why is missing" in ran.stderr


@pytest.mark.parametrize("name", ALL)
def test_a_wrong_call_is_one_json_document_on_stdout(name: str) -> None:
    ran = CliRunner().invoke(build(), [*name.split(), "--no-such-option", "--json"])
    assert ran.exit_code == 2
    answer = json.loads(ran.stdout)
    assert (answer["code"], answer["next"]) == (2, f"dojo {name.split()[0]} --help")
    assert "--no-such-option" in answer["error"]
    assert "--no-such-option" in ran.stderr, "a person reads it too"


def test_watching_is_for_people() -> None:
    ran = CliRunner().invoke(build(), ["status", "--watch", "--json"])
    assert ran.exit_code == 2
    assert "--watch is for people" in json.loads(ran.stdout)["error"]


def test_without_json_an_error_leaves_stdout_empty() -> None:
    ran = CliRunner().invoke(build(), ["status", "--no-such-option"])
    assert (ran.exit_code, ran.stdout) == (2, "")
