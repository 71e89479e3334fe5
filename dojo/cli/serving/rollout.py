"""`dojo rollout`: start a challenger's rollout, see why it is where it is, and overrule its controller."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from dojo.actions import rollouts as actions
from dojo.cli.context import CommandContext, ModelArgument, Who, Why
from dojo.cli.output import JsonFlag, fail, out, print_json

app = typer.Typer(no_args_is_help=True)

REFRESH_SECONDS = 0.5

TAKEN = {
    "pause": "stays in its stage until you resume it; checks go on, and would still roll it back",
    "resume": "goes on",
    "promote": "skips the waiting",
    "abort": "goes back to the champion",
}


@app.command()
def start(
    model: ModelArgument,
    version: Annotated[str, typer.Argument(help="The registered version, a number (dojo models list).")],
    why: Why,
    who: Who = "",
    force: Annotated[bool, typer.Option("--force", help="Even if the gate has not found the version better.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Roll a version out by hand, as retraining does with a challenger that wins.

    Example: [bold]dojo rollout start fraud_detection 4 --why "fixed features"[/]
    """
    with CommandContext() as here:
        started = actions.start(here, model, version, who, why, force)
    rollout = started.rollout
    if as_json:
        print_json(rollout)
    elif started.is_new:
        follow = f"Follow it: dojo rollout show {model} --watch"
        out.print(f"{model}: rollout of version {version} started ({rollout.stage}). {follow}", highlight=False)
    else:
        out.print(f"{model}: version {version} is being rolled out already ({rollout.stage})", highlight=False)


@app.command("list")
def list_(as_json: JsonFlag = False) -> None:
    """The latest rollout of every model, active or over.

    Example: [bold]dojo rollout list[/]
    """
    from rich.table import Table

    from dojo.cli.serving.rollout_view import summary

    with CommandContext() as here:
        rollouts = [rollout for name in here.models if (rollout := here.rollouts.get(name)) is not None]
    if as_json:
        print_json(rollouts)
        return
    if not rollouts:
        out.print("Nothing was rolled out yet. Retraining starts one for each challenger that wins.", highlight=False)
        return
    table = Table()
    for heading in ("model", "version", "champion", "stage", "since (world)", "why"):
        table.add_column(heading, overflow="fold")
    for rollout in rollouts:
        table.add_row(*summary(rollout))
    out.print(table)


@app.command()
def show(
    model: ModelArgument,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep showing it until it is over, or Ctrl-C.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Explain a rollout: its stage, each check with what was measured against which limit, and its history with reasons.

    Example: [bold]dojo rollout show fraud_detection --watch[/]
    """
    with CommandContext() as here:
        rollout = actions.latest_rollout(here, model)
        if as_json:
            print_json(rollout)
            return
        from rich.live import Live

        from dojo.cli.serving.rollout_view import explain

        spec = here.spec(model)
        if not watch:
            out.print(explain(rollout, spec, here.now_if_set()), highlight=False)
            return
        with Live(console=out, auto_refresh=False) as live:
            while True:
                rollout = actions.latest_rollout(here, model)
                live.update(explain(rollout, spec, here.now_if_set()), refresh=True)
                if not rollout.active:
                    break
                time.sleep(REFRESH_SECONDS)


@app.command()
def pause(model: ModelArgument, why: Why, who: Who = "", as_json: JsonFlag = False) -> None:
    """Keep a rollout in its stage. Its checks go on and would still roll it back.

    Example: [bold]dojo rollout pause fraud_detection --why "wait for Monday's traffic"[/]
    """
    _overrule(model, "pause", who, why, as_json)


@app.command()
def resume(model: ModelArgument, why: Why, who: Who = "", as_json: JsonFlag = False) -> None:
    """Let a paused rollout go on.

    Example: [bold]dojo rollout resume fraud_detection --why "it is Monday"[/]
    """
    _overrule(model, "resume", who, why, as_json)


@app.command()
def promote(model: ModelArgument, why: Why, who: Who = "", as_json: JsonFlag = False) -> None:
    """Skip the waiting: from shadow or canary to all traffic, from watch to done.

    Example: [bold]dojo rollout promote fraud_detection --why "the old version is broken"[/]
    """
    _overrule(model, "promote", who, why, as_json)


@app.command()
def abort(model: ModelArgument, why: Why, who: Who = "", as_json: JsonFlag = False) -> None:
    """Give all traffic back to the old champion and end the rollout.

    Example: [bold]dojo rollout abort fraud_detection --why "wrong training data"[/]
    """
    _overrule(model, "abort", who, why, as_json)


def _overrule(model: str, action: actions.Overruling, who: str, why: str, as_json: bool) -> None:
    with CommandContext() as here:
        done = actions.overrule(here, model, action, who, why)
    if as_json:
        print_json(done.rollout)
    if not done.taken:
        within = f"{actions.TAKEN_WITHIN_SECONDS:g} s"
        raise fail(
            f"{model}: {action} is noted, but no controller took it within {within}; it will when it runs again", "dojo status"
        )
    if not as_json:
        said = done.refusal or f"version {done.rollout.version} {TAKEN[action]}"
        out.print(f"{model}: {said}. It is in {done.rollout.stage} now.", highlight=False)
