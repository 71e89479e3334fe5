"""The root of the `dojo` command.

`dojo` (the package) imports neither services nor pipelines, so their commands plug in through the entry-point group
`dojo.commands` in pyproject.toml: a Typer app becomes a group, a function a command. An image that carries only some roles
has only their commands.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points

import typer

from dojo import __version__
from dojo.cli import compose as contexts
from dojo.cli.output import errors_become_messages, out
from dojo.core.settings import SettingsError
from dojo.stack.environment import adopt

COMMAND_GROUP = "dojo.commands"


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"dojo {__version__}", highlight=False)
        raise typer.Exit


def build() -> typer.Typer:
    """The whole command tree, in the alphabetical order of the entry points' names."""
    app = typer.Typer(
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

    for point in sorted(entry_points(group=COMMAND_GROUP), key=lambda p: p.name):
        command = point.load()
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=point.name)
        else:
            app.command(name=point.name)(command)
    return app


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
    with errors_become_messages(SettingsError):
        build()()
