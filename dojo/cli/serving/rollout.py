"""`dojo rollout`: start a challenger's rollout, see its state, overrule its controller."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.markup import escape

from dojo.actions import rollouts as actions
from dojo.cli.context import CommandContext, Who, Why, Yes, confirm
from dojo.cli.naming import ModelArgument, VersionArgument, model_version
from dojo.cli.output import JsonFlag, WatchFlag, fail, out, print_json
from dojo.cli.output import watch as keep_showing
from dojo.core.judging.rollout.stages import Stage

app = typer.Typer(no_args_is_help=True)

TAKEN = {
    "pause": "stays in its stage until you resume it; checks go on, and would still roll it back",
    "resume": "goes on",
    "promote": "skips the waiting",
    "abort": "goes back to the champion",
}


@app.command()
def start(
    version: VersionArgument,
    why: Why,
    number: Annotated[str, typer.Argument(hidden=True)] = "",
    who: Who = "",
    force: Annotated[
        bool, typer.Option("--force", help="Even if the gate has not found the version better.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Roll a version out by hand. Retraining does the same with a challenger that wins.

    Example: [bold]dojo rollout start fraud_detection@4 --why "fixed features"[/]
    """
    model, wanted = model_version(version, number)
    with CommandContext() as here:
        started = actions.start(here, model, wanted, who, why, force)
    rollout = started.rollout
    if as_json:
        print_json(rollout)
    elif started.is_new:
        follow = f"Follow it: dojo rollout show {model} --watch"
        out.print(
            f"{model}: rollout of version {wanted} started ({rollout.stage}). {follow}",
            highlight=False,
        )
    else:
        out.print(
            f"{model}: version {wanted} is being rolled out already ({rollout.stage})",
            highlight=False,
        )


@app.command("list")
def list_(as_json: JsonFlag = False) -> None:
    """The queue: the latest rollout of every model. Those that wait for approval come first.

    The owner of the model approves. Example: [bold]dojo rollout list[/]
    """
    from rich.table import Table

    from dojo.cli.serving.rollout_view import summary

    with CommandContext() as here:
        found = [here.rollouts.get(name) for name in here.models]
        rollouts = sorted(
            (rollout for rollout in found if rollout is not None),
            key=lambda one: (not one.active, one.stage is not Stage.AWAITING_APPROVAL, one.model),
        )
        owners = {one.model: here.owner(one.model) for one in rollouts}
    if as_json:
        print_json([{**msgspec.to_builtins(one), "owner": owners[one.model]} for one in rollouts])
        return
    if not rollouts:
        out.print(
            "Nothing was rolled out yet. Retraining starts one for each challenger that wins.",
            highlight=False,
        )
        return
    table = Table()
    for heading in ("model", "version", "champion", "stage", "since (world)", "why", "owner"):
        table.add_column(heading, overflow="fold")
    for rollout in rollouts:
        table.add_row(*summary(rollout), escape(owners[rollout.model]))
    out.print(table)


@app.command()
def show(
    model: ModelArgument,
    watch: WatchFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Explain a rollout: its stage, its checks, and its history with reasons.

    Each check shows the measured value and the limit.

    Example: [bold]dojo rollout show fraud_detection --watch[/]
    """
    with CommandContext() as here:
        if as_json and not watch:
            print_json(actions.latest_rollout(here, model))
            return
        from dojo.cli.serving.rollout_view import explain

        spec = here.spec(model)

        def explained() -> bool:
            rollout = actions.latest_rollout(here, model)
            out.print(explain(rollout, spec, here.now_if_set()), highlight=False)
            return rollout.active

        keep_showing(explained) if watch else explained()


@app.command()
def pause(model: ModelArgument, why: Why, who: Who = "", as_json: JsonFlag = False) -> None:
    """Keep a rollout in its stage. Its checks go on and can still roll it back.

    Example: [bold]dojo rollout pause fraud_detection --why "wait for Monday's traffic"[/]
    """
    _overrule(model, "pause", who, why, as_json)


@app.command()
def resume(model: ModelArgument, why: Why, who: Who = "", as_json: JsonFlag = False) -> None:
    """Let a rollout go on that was paused, or that waits for its error budget.

    Example: [bold]dojo rollout resume fraud_detection --why "it is Monday"[/]
    """
    _overrule(model, "resume", who, why, as_json)


@app.command()
def finish(
    model: ModelArgument, why: Why, who: Who = "", yes: Yes = False, as_json: JsonFlag = False
) -> None:
    """Skip the waiting: from shadow or canary to all traffic, from watch to done.

    Example: [bold]dojo rollout finish fraud_detection --why "the old version is broken"[/]
    """
    _confirm(model, "gets all traffic at once, without the rest of its checks", yes)
    _overrule(model, "promote", who, why, as_json)


@app.command()
def approve(model: ModelArgument, why: Why, who: Who = "", as_json: JsonFlag = False) -> None:
    """Let a rollout that waits for approval begin.

    Who approved and why is recorded on the version and in the audit trail.

    Example: [bold]dojo rollout approve fraud_detection --why "reviewed its segments with the
    team"[/]
    """
    from dojo.actions import approvals

    with CommandContext() as here:
        approval = approvals.approve(here, model, here.change(who, why))
    if as_json:
        print_json(approval)
    else:
        said = (
            f"{model}: version {approval.version} is approved by {escape(approval.who)}; its"
            " rollout begins"
        )
        out.print(said, highlight=False)


# The earlier name of `finish`.
app.command("promote", hidden=True)(finish)


@app.command()
def abort(
    model: ModelArgument, why: Why, who: Who = "", yes: Yes = False, as_json: JsonFlag = False
) -> None:
    """Give all traffic back to the old champion and end the rollout.

    Example: [bold]dojo rollout abort fraud_detection --why "wrong training data"[/]
    """
    _confirm(model, "goes back, and the old champion gets all traffic", yes)
    _overrule(model, "abort", who, why, as_json)


def _confirm(model: str, what: str, yes: bool) -> None:
    with CommandContext() as here:
        confirm(f"{model}: version {actions.latest_rollout(here, model).version} {what}.", yes)


def _overrule(model: str, action: actions.Overruling, who: str, why: str, as_json: bool) -> None:
    with CommandContext() as here:
        done = actions.overrule(here, model, action, who, why)
    if as_json:
        print_json(done.rollout)
    if not done.taken:
        within = f"{actions.TAKEN_WITHIN_SECONDS:g} s"
        raise fail(
            f"{model}: {action} is noted, but no controller took it within {within}; it will when"
            " it runs again",
            "dojo status",
        )
    if not as_json:
        said = done.refusal or f"version {done.rollout.version} {TAKEN[action]}"
        out.print(f"{model}: {said}. It is in {done.rollout.stage} now.", highlight=False)
