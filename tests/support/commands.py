"""Every command of `dojo`, as found by the command line itself."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import typer
from typer.core import TyperGroup

from dojo.cli.app import build


@cache
def every_command() -> frozenset[str]:
    """`dojo audit list`, `dojo up`, ... Without hidden commands, which are earlier names.

    A group that does something alone is among them.
    """
    return frozenset(_leaves(typer.main.get_command(build()), ("dojo",)))


def _leaves(command: object, path: tuple[str, ...]) -> Iterator[str]:
    if not isinstance(command, TyperGroup):
        if not getattr(command, "hidden", False):
            yield " ".join(path)
        return
    if command.invoke_without_command and len(path) > 1:
        yield " ".join(path)
    context = typer.Context(command)
    for name in command.list_commands(context):
        yield from _leaves(command.resolve_command(context, [name])[1], (*path, name))
