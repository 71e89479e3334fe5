"""`dojo responder`: what it does and did about verdicts, and the switch that stops it."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from dojo.actions import responder as actions
from dojo.cli.context import CommandContext, Who, Why
from dojo.cli.naming import AnyModel
from dojo.cli.output import JsonFlag, WatchFlag, out, print_json
from dojo.cli.output import watch as keep_showing
from dojo.core.severity import marked
from dojo.core.state.responder_control import EVERY_MODEL, read_control
from services.responder.state import Incident, ModelState, StateStore

app = typer.Typer(no_args_is_help=True)

OnOff = Annotated[
    Literal["on", "off"],
    typer.Argument(help="Only say what would be done, or act again.", metavar="on|off"),
]


@app.command()
def status(model: AnyModel = "", watch: WatchFlag = False, as_json: JsonFlag = False) -> None:
    """Known troubles, the action in flight, the reason for doing nothing, and the cooldown.

    Example: dojo responder status fraud_detection
    """
    with CommandContext() as here:
        if watch:
            keep_showing(lambda: _show_status(here, model, as_json))
        else:
            _show_status(here, model, as_json)


def _show_status(here: CommandContext, model: str, as_json: bool) -> bool:
    specs = {model: here.spec(model)} if model else here.right_specs()
    control = read_control(here.redis)
    states = [StateStore(here.redis).load(name) for name in specs]
    if as_json:
        print_json({"control": control, "models": [_plain(state) for state in states]})
        return False
    for what, switched in (*control.paused.items(), ("dry run", control.dry_run)):
        if switched is not None:
            name = {"dry run": "dry run", EVERY_MODEL: "paused"}.get(what, f"paused for {what}")
            out.print(
                f"[bold yellow]{escape(name)}[/] by {escape(switched.who)}: {escape(switched.why)}",
                highlight=False,
            )
    for state in states:
        spec = specs[state.model]
        out.print(f"[bold]{escape(state.model)}[/]", highlight=False)
        for action in state.under_way:
            out.print(
                f"  [bold]in flight[/] {action.kind}, since {action.begun:%Y-%m-%d %H:%M}"
                f" ({escape(action.id)})"
            )
            out.print(f"    {escape(action.why)}", highlight=False, soft_wrap=True)
            if action.waits:
                out.print(
                    f"    [yellow]waits:[/] {escape(action.waits)}", highlight=False, soft_wrap=True
                )
        if state.ended is not None:
            until = state.ended + spec.response.cooldown
            out.print(
                f"  last: {escape(state.intervention)}; cooldown until {until:%Y-%m-%d %H:%M}",
                highlight=False,
            )
        if not state.troubles:
            out.print("  no trouble is known", highlight=False)
        for trouble in sorted(state.troubles.values(), key=lambda trouble: trouble.since):
            _show(trouble)
    return True


@app.command()
def log(
    model: AnyModel = "",
    limit: Annotated[int, typer.Option(min=1, help="Number of newest entries.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """What the responder did and with which result, newest last.

    Reasons and evidence come from the audit trail.

    Example: dojo responder log fraud_detection --limit 5
    """
    with CommandContext() as here:
        ours = (
            e
            for e in here.audit.entries(newest_first=True)
            if e.kind == "response" and model in ("", e.model)
        )
        entries = list(islice(ours, limit))[::-1]
    if as_json:
        print_json(entries)
        return
    if not entries:
        out.print("Nothing was done yet.", highlight=False)
    for entry in entries:
        when = f"{entry.world_time:%Y-%m-%d %H:%M}" if entry.world_time else "-"
        head = f"[bold]{entry.sequence}[/]  {when}  {escape(entry.model)}  {escape(entry.who)}"
        out.print(f"{head}  [bold]{escape(entry.what)}[/]", highlight=False, soft_wrap=True)
        out.print(f"    {escape(entry.why)}", highlight=False, soft_wrap=True)


@app.command()
def pause(why: Why, model: AnyModel = "", who: Who = "", as_json: JsonFlag = False) -> None:
    """The kill switch: no action begins until it is resumed.

    The responder still reads and reports verdicts. It follows a begun action to its end.

    Example: [bold]dojo responder pause fraud_detection --why "we change the feed today"[/]
    """
    _switch(model, True, who, why, as_json)


@app.command()
def resume(why: Why, model: AnyModel = "", who: Who = "", as_json: JsonFlag = False) -> None:
    """Let it act again. It acts on trouble that is still there.

    Example: [bold]dojo responder resume --why "the feed is as before"[/]
    """
    _switch(model, False, who, why, as_json)


@app.command("dry-run")
def dry_run(state: OnOff, why: Why, who: Who = "", as_json: JsonFlag = False) -> None:
    """Only say what it would do, in the audit trail and to the owner.

    Example: [bold]dojo responder dry-run on --why "new thresholds"[/]
    """
    with CommandContext() as here:
        changed = actions.set_dry_run(here, state == "on", who, why)
    if as_json:
        print_json({"dry_run": state, "changed": changed})
    else:
        out.print(f"dry run is {state}{'' if changed else ' already'}", highlight=False)


def _switch(model: str, on: bool, who: str, why: str, as_json: bool) -> None:
    with CommandContext() as here:
        changed = (actions.pause if on else actions.resume)(here, model, who, why)
        control = read_control(here.redis)
    if as_json:
        print_json({"changed": changed, "control": control})
        return
    said = "paused" if on else "acting again"
    out.print(
        f"{escape(model) or 'every model'}: {said}{'' if changed else ' already'}", highlight=False
    )
    if not on and model and control.pause_of(model) is not None:
        out.print("all models are still paused: dojo responder resume --why ...", highlight=False)


def _plain(state: ModelState) -> dict[str, Any]:
    troubles = [
        {
            "version": trouble.version,
            "check": trouble.check,
            "severity": trouble.severity,
            "since": trouble.since,
            "summary": trouble.worst.summary,
            "held": trouble.held,
            "evaluation": trouble.evaluation,
        }
        for trouble in state.troubles.values()
    ]
    return {
        "model": state.model,
        "action": state.action,
        "aside": state.aside,
        "troubles": troubles,
        "ended": state.ended,
        "intervention": state.intervention,
    }


def _show(trouble: Incident) -> None:
    head = (
        f"  {marked(trouble.severity)} {trouble.check} of version {escape(trouble.version)} since"
        f" {trouble.since:%Y-%m-%d %H:%M}"
    )
    out.print(head, highlight=False, soft_wrap=True)
    out.print(f"    {escape(trouble.worst.summary)}", highlight=False, soft_wrap=True)
    if trouble.evaluation:
        out.print(
            f"    evaluated: {escape(str(trouble.evaluation.get('reason', '')))}",
            highlight=False,
            soft_wrap=True,
        )
    if trouble.held:
        out.print(f"    held back: {escape(trouble.held)}", highlight=False)
