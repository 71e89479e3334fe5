"""What is shown of ended drills: score, timeline, post-mortem and history."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from dojo.cli.context import CommandContext
from dojo.cli.output import JsonFlag, errors_become_messages, out, print_json
from dojo.drills.catalogue import catalogue, drill
from dojo.drills.commands.saying import say
from dojo.drills.record import DrillRun, Records
from dojo.drills.spans import minutes
from dojo.drills.spec import DrillSpec


def add_to(app: typer.Typer) -> None:
    """Add the commands, in the order of the help."""
    app.command("post-mortem")(write_up)
    app.command()(report)
    app.command("timeline")(show_timeline)
    app.command("story")(show_story)
    app.command()(history)


@contextmanager
def _ended(number: int) -> Iterator[tuple[Records, DrillRun]]:
    """Give an ended run and the records. 0 is the latest. A wrong form becomes a message."""
    from dojo.drills.scoring.post_mortem import FormError
    from dojo.drills.scoring.report import ended_run

    with (
        CommandContext() as here,
        errors_become_messages(FormError, next_step="correct the form"),
    ):
        records = Records(here.settings.home)
        yield records, ended_run(records, number)


def write_up(
    number: Annotated[int, typer.Argument(help="Of `dojo drill history`. 0 is the latest.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Write the form of a run's post-mortem, for you to fill in. The report compares it.

    Example: [bold]dojo drill post-mortem[/]
    """
    from dojo.drills.scoring.post_mortem import draft

    with _ended(number) as (records, run):
        file = draft(run, records.directory(run.number))
    say(run, as_json, f"fill in {file}, then dojo drill report {run.number}")


def report(
    number: Annotated[int, typer.Argument(help="Of `dojo drill history`. 0 is the latest.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Show a run's score with the evidence of each point, what happened, and the opened seal.

    Example: [bold]dojo drill report[/]
    """
    from dojo.drills.scoring.report import scored, show

    with _ended(number) as (records, run):
        spec = drill(run.drill)
        found = scored(records, run, spec)
    if as_json:
        print_json({"run": run, "score": found, "story": spec.story})
        return
    show(out, run, spec, found)


def show_timeline(
    number: Annotated[int, typer.Argument(help="Of `dojo drill history`. 0 is the latest.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Show what happened when in a run: the fault, alerts, changes, and what the person did.

    Example: [bold]dojo drill timeline[/]
    """
    from dojo.drills.scoring.score import mitigated_at
    from dojo.drills.scoring.timeline import after, read_around, timeline

    with _ended(number) as (records, run):
        around = read_around(records.directory(run.number))
        over = mitigated_at(drill(run.drill), records.samples(run), run)
        moments = timeline(run, records.commands(run), around, over)
    if as_json:
        print_json(moments)
        return
    for moment in moments:
        since = after(moment, run)
        when = "" if since is None else minutes(since)
        line = f"{when:>8}  {moment.source:<7} {moment.what}"
        out.print(line, highlight=False, markup=False, soft_wrap=True)


def show_story(
    number: Annotated[int, typer.Argument(help="Of `dojo drill history`. 0 is the latest.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Tell a run as in an interview: situation, task, action, result. From its record alone.

    Example: [bold]dojo drill story[/]
    """
    import msgspec

    from dojo.drills.scoring.post_mortem import read_form
    from dojo.drills.scoring.score import mitigated_at
    from dojo.drills.scoring.star import story

    with _ended(number) as (records, run):
        spec = drill(run.drill)
        over = mitigated_at(spec, records.samples(run), run)
        form = read_form(records.directory(run.number))
        told = story(run, spec, records.commands(run), over, form)
    if as_json:
        print_json(told)
        return
    for part, text in msgspec.structs.asdict(told).items():
        out.print(f"[bold]{part}[/]", highlight=False)
        out.print(text, highlight=False, markup=False, soft_wrap=True)


def history(as_json: JsonFlag = False) -> None:
    """Show all runs of this home.

    Example: [bold]dojo drill history[/]
    """
    from rich.table import Table

    from dojo.drills.scoring.post_mortem import FormError
    from dojo.drills.scoring.report import scored

    with CommandContext() as here, errors_become_messages(FormError):
        records = Records(here.settings.home)
        rows = []
        for run in records.all():
            told = run.state in ("closed", "stopped", "invalid")
            spec: DrillSpec | None = catalogue().get(run.drill)
            of = scored(records, run, spec) if spec and run.state == "closed" else None
            rows.append((run, run.drill if told else "sealed", of))
    if as_json:
        print_json(
            [
                {"run": run.number, "drill": name, "state": run.state,
                 "points": of.total if of else None, "grade": of.grade if of else None}
                for run, name, of in rows
            ]
        )  # fmt: skip
        return
    table = Table()
    for column in ("run", "drill", "state", "points", "grade"):
        table.add_column(column)
    for run, name, of in rows:
        points, grade = (f"{of.total:g}", of.grade) if of else ("-", "-")
        table.add_row(str(run.number), name, run.state, points, grade)
    out.print(table if rows else "no drill so far: dojo drill list")
