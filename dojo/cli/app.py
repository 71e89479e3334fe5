"""The root of the `dojo` command: the table of all commands, and how the called one is run.

A command is named here, and imported when it is called. So rooms above this room (the demo, the
drills) have their rows too. An image with only some roles lists every command. A command without
its packages says which extra brings them.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group_from_info
from typer.models import TyperInfo

from dojo import __version__
from dojo.cli import compose as contexts
from dojo.cli.plain import print_plainly_where_needed
from dojo.cli.signals import end_in_order
from dojo.cli.trace import traced
from dojo.core.private import keep_private
from dojo.stack.environment import adopt


class CommandRow(NamedTuple):
    """One command or group of commands.

    Attributes:
        target: `module:name` of a function or a Typer app.
        help: What it does, in a line.
        extra: The extras that carry its packages. "" where the base carries them.
    """

    target: str
    help: str
    extra: str = ""


COMMANDS = {
    "alerts": CommandRow(
        "dojo.cli.monitoring.alerts:alerts", "What people were told, newest last."
    ),
    "audit": CommandRow(
        "dojo.cli.serving.audit:app",
        "The audit trail: every change of a role, route, gate or rollout.",
    ),
    "backtest": CommandRow(
        "dojo.cli.training.train:backtest",
        "Train and test on a file under the public book's protocol.",
        "pipelines",
    ),
    "bandit": CommandRow(
        "dojo.cli.serving.bandit:app",
        "Shares of traffic that follow the rewards of the versions.",
    ),
    "compare": CommandRow(
        "dojo.cli.training.batch:compare_app",
        "Ways of serving one model beside each other.",
        "pipelines",
    ),
    "config": CommandRow(
        "dojo.cli.stack.config:app",
        "Edited specs: what they would change, and letting them take effect.",
        "stack",
    ),
    "data": CommandRow(
        "dojo.cli.world.data:app", "Bring recorded data in and build a world's history.", "world"
    ),
    "dead-letters": CommandRow(
        "dojo.cli.monitoring.dead_letters:dead_letters",
        "Messages that services set aside, and why.",
    ),
    "demo": CommandRow(
        "dojo.demo.cli:demo", "The whole loop in one command, shown live.", "embedded"
    ),
    "drill": CommandRow(
        "dojo.drills.commands.app:app",
        "Practise incidents: a real fault, and an honest score.",
        "embedded",
    ),
    "doctor": CommandRow(
        "dojo.cli.stack.doctor:doctor", "Check what this machine lacks for the stack.", "stack"
    ),
    "down": CommandRow(
        "dojo.cli.stack.commands:down", "Stop the stack. Data stays, unless --purge.", "stack"
    ),
    "drift": CommandRow(
        "dojo.cli.monitoring.drift:app",
        "The monitor's verdicts on a model's inputs, answers and results.",
        "monitor,reports",
    ),
    "experiment": CommandRow(
        "dojo.cli.serving.experiment:app",
        "A/B tests and canaries: what the split showed.",
        "pipelines",
    ),
    "explain": CommandRow(
        "dojo.cli.serving.explain:explain",
        "Why a version gave an answer, and what a refused person reads.",
        "pipelines",
    ),
    "features": CommandRow(
        "dojo.cli.training.features:app", "Bring features online, look them up.", "pipelines"
    ),
    "gate": CommandRow(
        "dojo.cli.training.retrain:gate_app",
        "What the gate between a challenger and the champion decided.",
        "pipelines",
    ),
    "incidents": CommandRow(
        "dojo.cli.monitoring.incidents:app", "Troubles that people were told of, and who has them."
    ),
    "logs": CommandRow(
        "dojo.cli.stack.commands:logs", "Show what the processes wrote, in the order of time."
    ),
    "metrics": CommandRow("dojo.cli.stack.operate:metrics", "Show what a process measures now."),
    "models": CommandRow(
        "dojo.cli.serving.models:app",
        "The fleet: how each model is doing. Registered versions and their roles.",
    ),
    "orders": CommandRow(
        "dojo.cli.training.orders:app",
        "Open work orders: give up or release a waiting retraining.",
        "pipelines",
    ),
    "performance": CommandRow(
        "dojo.cli.monitoring.performance:performance",
        "How good a model's predictions turned out.",
        "recorder",
    ),
    "redis": CommandRow(
        "dojo.cli.stack.operate:redis", "Ask the stack's Redis, without its address and password."
    ),
    "reproduce": CommandRow(
        "dojo.cli.training.train:reproduce",
        "Rebuild a version from its record and compare.",
        "pipelines",
    ),
    "responder": CommandRow(
        "dojo.cli.monitoring.responder:app",
        "What the platform does about verdicts: see, stop, dry run.",
    ),
    "restart": CommandRow(
        "dojo.cli.stack.operate:restart",
        "End a process, even a hanging one, and let it start again.",
        "stack",
    ),
    "restore": CommandRow(
        "dojo.cli.serving.restore:restore",
        "After Redis has lost state: see the repair, let automatic actions go on.",
    ),
    "retrain": CommandRow(
        "dojo.cli.training.retrain:retrain",
        "Retrain a model, and roll it out if it beats its champion.",
        "pipelines",
    ),
    "rollout": CommandRow(
        "dojo.cli.serving.rollout:app",
        "Roll a version out step by step, and overrule its controller.",
    ),
    "routes": CommandRow("dojo.cli.serving.routes:app", "Which versions answer a model's traffic."),
    "runbook": CommandRow(
        "dojo.cli.stack.operate:runbook", "What an alert means and what to do first."
    ),
    "score": CommandRow(
        "dojo.cli.training.batch:score_app",
        "Score a whole world day at once, and read what that left online.",
        "pipelines",
    ),
    "snapshot": CommandRow(
        "dojo.cli.stack.snapshot:app",
        "Keep a stopped stack's state, and go back to it.",
        "embedded",
    ),
    "status": CommandRow(
        "dojo.cli.stack.commands:status",
        "Show each process, the world's time, champions and freshness.",
        "stack",
    ),
    "study": CommandRow(
        "dojo.studies.cli:app",
        "Long experiments in a smaller town, and their results.",
        "pipelines,world",
    ),
    "train": CommandRow(
        "dojo.cli.training.train:train", "Train and register a version without a gate.", "pipelines"
    ),
    "up": CommandRow("dojo.cli.stack.up:up", "Start the stack on this machine.", "embedded"),
    "value": CommandRow(
        "dojo.cli.serving.value:value",
        "What acting on the models' answers was worth, in euros.",
        "recorder",
    ),
    "world": CommandRow("dojo.cli.world.clock:app", "The world: its clock, and drift on purpose."),
}


class LazyCommands(TyperGroup):
    """The commands of the table.

    Help and completion show the table's lines. A call imports its command.
    """

    def __init__(self, **options: Any) -> None:
        shown = {name: TyperCommand(name, help=row.help) for name, row in COMMANDS.items()}
        super().__init__(**{**options, "commands": shown})

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        from dojo.cli.output import begin

        begin(reads_json="--json" in args)
        name, _, rest = super().resolve_command(ctx, args)
        assert name is not None
        ctx.invoked_subcommand = name
        return name, load(name), rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.TyperException as error:  # a wrong call
            from dojo.cli.output import answer_error

            called = f" {ctx.invoked_subcommand}" if ctx.invoked_subcommand in COMMANDS else ""
            answer_error(error.format_message(), f"dojo{called} --help", error.exit_code)
            raise
        except ModuleNotFoundError as error:
            from dojo.cli.output import fail

            name = ctx.invoked_subcommand
            if not COMMANDS[name].extra:
                raise
            step = f"pip install 'mlops-dojo[{COMMANDS[name].extra}]'"
            raise fail(
                f"dojo {name} needs {error.name}, which is not installed here", step
            ) from error


def load(name: str) -> Any:
    """A command of the table, imported."""
    row = COMMANDS[name]
    module, _, attribute = row.target.partition(":")
    found = getattr(import_module(module), attribute)
    if isinstance(found, typer.Typer):
        info = TyperInfo(found, name=name, help=row.help)
        return get_group_from_info(
            info, pretty_exceptions_short=False, suggest_commands=True, rich_markup_mode="rich"
        )
    alone = typer.Typer(
        add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False
    )
    alone.command(name)(found)
    return get_command(alone)


def build() -> typer.Typer:
    """The whole command tree, in alphabetical order. Nothing of it is imported yet."""
    app = typer.Typer(
        cls=LazyCommands,
        help=(
            "MLOps Dojo: a real, runnable miniature of an ML platform. Start with [bold]dojo"
            " demo[/]."
        ),
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def root(
        version: bool = typer.Option(
            False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
        context: str = typer.Option(
            "embedded",
            metavar="NAME",
            help=(
                "Which stack: embedded (this machine's), or compose (docker-compose.yml)."
                " Comes before the command."
            ),
        ),
    ) -> None: ...

    return app


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dojo {__version__}")
        raise typer.Exit


def main() -> None:
    print_plainly_where_needed()
    end_in_order()
    context, arguments = contexts.split(sys.argv[1:])
    if context != "embedded":
        try:
            contexts.run(context, arguments)
        except typer.Exit as refused:
            sys.exit(refused.exit_code)
        except typer.Abort:
            sys.exit("nothing was deleted")
    keep_private()
    try:
        # The settings that this home was started with, where the shell sets no others.
        adopt(os.environ)
    except PermissionError as error:
        from dojo.cli.output import fail

        step = "run it as the user who started the stack, or set DOJO_HOME to a directory of yours"
        sys.exit(fail(f"{error.filename} belongs to another user", step).exit_code)
    with traced(arguments):
        build()()
