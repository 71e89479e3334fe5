"""The scripts of the right work call commands that exist, with options that they have."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from dojo.cli.app import COMMANDS, load
from dojo.drills.catalogue import catalogue
from dojo.drills.spec import DrillSpec

GOLD = Path(__file__).parents[3] / "drills" / "gold"
ALL = catalogue()


def calls(spec: DrillSpec) -> list[list[str]]:
    """Return the calls of `dojo` in a drill's script, one by one."""
    text = (GOLD / f"{spec.id}.sh").read_text().replace("\\\n", "")
    text = re.sub(r"\$\([a-z_ ]+\)", "2025-01-06T00:00", text)  # a time that the script reads
    lines = [line.strip().removesuffix(" || true") for line in text.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("dojo ")]


def test_every_drill_has_its_right_work_and_no_script_is_left_over() -> None:
    assert {path.stem for path in GOLD.glob("*.sh")} == set(ALL)


@pytest.mark.parametrize("spec", ALL.values(), ids=list(ALL))
def test_each_call_can_be_read_by_its_command(spec: DrillSpec) -> None:
    found = calls(spec)
    assert found[0] == ["drill", "ack"]
    assert found[-1] == ["drill", "resolve"]
    for words in found:
        assert words[0] in COMMANDS, words
        require_readable(load(words[0]), words)


def require_readable(command: Any, words: list[str]) -> None:
    """Parse a call down to its last subcommand. A wrong one raises a usage error."""
    with command.make_context(words[0], words[1:]) as context:
        if hasattr(command, "resolve_command"):
            rest = [*context._protected_args, *context.args]
            if not rest:  # a group that answers by itself
                return
            _, inner, left = command.resolve_command(context, rest)
            require_readable(inner, [rest[0], *left])
