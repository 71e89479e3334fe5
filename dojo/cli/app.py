"""The root of the `dojo` command: it finds a command in the table, imports it, and runs it."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group_from_info
from typer.models import TyperInfo

from dojo import __version__
from dojo.cli import compose as contexts
from dojo.cli.table import COMMANDS
from dojo.stack.environment import adopt


class LazyCommands(TyperGroup):
    """The commands of the table. Help and completion show the table's lines; a call imports its command."""

    def __init__(self, **options: Any) -> None:
        shown = {name: TyperCommand(name, help=row.help) for name, row in COMMANDS.items()}
        super().__init__(**{**options, "commands": shown})

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, _, rest = super().resolve_command(ctx, args)
        assert name is not None
        ctx.invoked_subcommand = name
        return name, load(name), rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            from dojo.cli.output import fail

            name = ctx.invoked_subcommand
            if not COMMANDS[name].extra:
                raise
            step = f"pip install 'mlops-dojo\\[{COMMANDS[name].extra}]'"
            raise fail(f"dojo {name} needs {error.name}, which is not installed here", step) from error


def load(name: str) -> Any:
    """A command of the table, imported."""
    row = COMMANDS[name]
    module, _, attribute = row.target.partition(":")
    found = getattr(import_module(module), attribute)
    if isinstance(found, typer.Typer):
        info = TyperInfo(found, name=name, help=row.help)
        return get_group_from_info(info, pretty_exceptions_short=False, suggest_commands=True, rich_markup_mode="rich")
    alone = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    alone.command(name)(found)
    return get_command(alone)


def build() -> typer.Typer:
    """The whole command tree, in alphabetical order. Nothing of it is imported yet."""
    app = typer.Typer(
        cls=LazyCommands,
        help="MLOps Dojo: a real, runnable miniature of an ML platform. Start with [bold]dojo demo[/].",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def root(
        version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version and exit."),
        context: str = typer.Option(
            "embedded",
            metavar="NAME",
            help="Which stack: embedded (this machine's), or compose (docker-compose.yml). Comes first.",
        ),
    ) -> None: ...

    return app


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dojo {__version__}")
        raise typer.Exit


def main() -> None:
    context, arguments = contexts.split(sys.argv[1:])
    if context != "embedded":
        try:
            contexts.run(context, arguments)
        except typer.Exit as refused:
            sys.exit(refused.exit_code)
        except typer.Abort:
            sys.exit("nothing was deleted")
    adopt(os.environ)  # the settings that this home was started with, where the shell sets no others
    build()()
