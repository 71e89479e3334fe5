"""`dojo drill`: practise incidents on the running stack."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from dojo.cli.context import CommandContext
from dojo.cli.output import JsonFlag, err, errors_become_messages, fail, out, print_json
from dojo.drills.catalogue import DrillFileError, UnknownDrillError, any_drill, catalogue, drill
from dojo.drills.record import Diagnosis, DrillRun, Hypothesis, Note, Records
from dojo.drills.spec import DrillSpec
from dojo.drills.taxonomy import COMPONENTS, IMPACTS, MECHANISMS, TEAMS, TRIGGERS

app = typer.Typer(no_args_is_help=True)

DrillName = Annotated[
    str, typer.Argument(help="A drill of `dojo drill list`. Or --random.", metavar="[DRILL]")
]


@app.command("list")
def show_all(as_json: JsonFlag = False) -> None:
    """Show all drills, the easy ones first.

    Example: [bold]dojo drill list[/]
    """
    from rich.table import Table

    with errors_become_messages(DrillFileError):
        found = catalogue()
    if as_json:
        print_json(
            [
                {"id": one.id, "title": one.title, "level": one.level, "designs": one.designs,
                 "needs": one.needs}
                for one in found.values()
            ]
        )  # fmt: skip
        return
    table = Table()
    for name in ("drill", "level", "usual time", "designs", "needs", "what is told"):
        table.add_column(name)
    for one in found.values():
        minutes = f"{one.par.resolve.total_seconds() / 60:.0f} min"
        needs = ", ".join(one.needs).replace("_", " ")
        table.add_row(one.id, str(one.level), minutes, ", ".join(one.designs), needs, one.title)
    out.print(table)
    out.print("next  dojo drill start DRILL", highlight=False)


@app.command()
def start(
    name: DrillName = "",
    by_chance: Annotated[
        bool, typer.Option("--random", help="Let chance choose, and do not say which one.")
    ] = False,
    level: Annotated[
        int, typer.Option(min=0, max=4, help="With --random, only of this level. 0 is any.")
    ] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Inject a drill's fault into the running stack, and wait for its page.

    An independent measurement must see harm before you are paged. Else the drill is undone, and
    counts as invalid. Ctrl-C undoes it too.

    Examples: [bold]dojo drill start two-recorders[/], [bold]dojo drill start --random[/]
    """
    if bool(name) == by_chance:
        raise fail("name a drill, or let chance choose with --random", "dojo drill list", 2)
    from dojo.drills import run as runs

    with (
        CommandContext() as here,
        errors_become_messages(DrillFileError),
        errors_become_messages(UnknownDrillError, next_step="dojo drill list"),
        errors_become_messages(runs.InvalidDrillError, next_step="dojo drill start, once more"),
    ):
        run = runs.start(here, drill(name) if name else any_drill(level), _tell)
    if as_json:
        print_json({"run": run.number, "seal": run.seal, "marks": run.marks})
        return
    out.print("You are on call. The clock runs.", highlight=False)
    for step in (
        "dojo alerts               what was told",
        "dojo drill ack            you have it",
        "dojo drill words          the words of hypotheses and answers",
        "dojo drill resolve        when it is over",
        "dojo drill stop           give up, and undo it",
    ):
        out.print(f"  {step}", highlight=False)


@app.command()
def ack(as_json: JsonFlag = False) -> None:
    """Acknowledge the page.

    Example: [bold]dojo drill ack[/]
    """
    from dojo.drills import run as runs

    with CommandContext() as here:
        run = runs.open_run(here)
        Records(here.settings.home).mark(run, "acked")
    _show(run, as_json, "acknowledged")


@app.command()
def words(as_json: JsonFlag = False) -> None:
    """Show the words of a diagnosis.

    Example: [bold]dojo drill words[/]
    """
    known = {
        "components": COMPONENTS, "mechanisms": MECHANISMS, "triggers": TRIGGERS,
        "impacts": IMPACTS, "teams": TEAMS,
    }  # fmt: skip
    if as_json:
        print_json(known)
        return
    for kind, found in known.items():
        out.print(f"{kind}: {', '.join(found)}", highlight=False, soft_wrap=True)


Mechanism = Annotated[str, typer.Argument(help="`dojo drill words` has them.", metavar="MECHANISM")]
Because = Annotated[
    str,
    typer.Option(help="The command that shows it, without `dojo`, as you called it."),
]


@app.command()
def hypothesis(mechanism: Mechanism, because: Because, as_json: JsonFlag = False) -> None:
    """Write down what it may be, and what speaks for it.

    Example: [bold]dojo drill hypothesis saturation_storage --because "logs recorder"[/]
    """
    from dojo.core.state.clock import wall_now
    from dojo.drills import run as runs

    _known(mechanism, MECHANISMS, "mechanism")
    with CommandContext() as here:
        run = runs.open_run(here)
        run.hypotheses.append(Hypothesis(at=wall_now(), mechanism=mechanism, evidence=because))
        Records(here.settings.home).write(run)
    _show(run, as_json, f"{len(run.hypotheses)} written down")


@app.command()
def refute(mechanism: Mechanism, because: Because, as_json: JsonFlag = False) -> None:
    """Write down that a hypothesis is wrong, and what shows it.

    Example: [bold]dojo drill refute saturation_storage --because doctor[/]
    """
    from dojo.core.state.clock import wall_now
    from dojo.drills import run as runs

    with CommandContext() as here:
        run = runs.open_run(here)
        standing = [o for o in run.hypotheses if o.mechanism == mechanism and not o.refuted]
        if not standing:
            raise fail(
                f"no standing hypothesis {mechanism!r}", "dojo drill hypothesis MECHANISM", 2
            )
        standing[0].refuted, standing[0].against = wall_now(), because
        Records(here.settings.home).write(run)
    _show(run, as_json, f"{mechanism} is refuted")


@app.command()
def answer(
    component: Annotated[str, typer.Option(help="Where it is.")],
    mechanism: Annotated[str, typer.Option(help="What it does there.")],
    trigger: Annotated[str, typer.Option(help="What brought it.")],
    impact: Annotated[str, typer.Option(help=f"What callers get: {', '.join(IMPACTS)}.")],
    scope: Annotated[str, typer.Option(help="The models that are hit, or `all`.")] = "all",
    as_json: JsonFlag = False,
) -> None:
    """Give your diagnosis. A second one counts three quarters.

    Example: [bold]dojo drill answer --component lake --mechanism lock --trigger growth --impact
    none[/]
    """
    from dojo.core.state.clock import wall_now
    from dojo.drills import run as runs

    _known(component, COMPONENTS, "component")
    _known(mechanism, MECHANISMS, "mechanism")
    _known(trigger, TRIGGERS, "trigger")
    _known(impact, IMPACTS, "impact")
    with CommandContext() as here:
        run = runs.open_run(here)
        given = Diagnosis(
            at=wall_now(), component=component, mechanism=mechanism, trigger=trigger,
            impact=impact, scope=scope,
        )  # fmt: skip
        run.diagnoses.append(given)
        Records(here.settings.home).write(run)
    _show(run, as_json, "noted")


@app.command("tell")
def tell_owner(
    team: Annotated[str, typer.Argument(help="`dojo drill words` has them.", metavar="TEAM")],
    what: Annotated[str, typer.Option(help="The mechanism.", metavar="MECHANISM")],
    since: Annotated[
        datetime,
        typer.Option(
            help="When it began, world time.", formats=["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
        ),
    ],
    as_json: JsonFlag = False,
) -> None:
    """Tell an owner outside the platform what is wrong. They end it if they can find it by that.

    Example: [bold]dojo drill tell checkout --what bad_data_time --since 2025-03-30T01:00[/]
    """
    from dojo.drills import run as runs
    from dojo.drills.owners import tell_owner as tell

    _known(team, TEAMS, "team")
    _known(what, MECHANISMS, "mechanism")
    with CommandContext() as here:
        run = runs.open_run(here)
        reply = tell(here, run, drill(run.drill), team, what, since.replace(tzinfo=UTC))
    _show(run, as_json, reply)


@app.command()
def note(
    text: Annotated[str, typer.Argument(help="What you saw, think or do.", metavar="TEXT")],
    as_json: JsonFlag = False,
) -> None:
    """Write a line into the drill's timeline.

    Example: [bold]dojo drill note "the store is healthy, so it is the path"[/]
    """
    from dojo.core.state.clock import wall_now
    from dojo.drills import run as runs

    with CommandContext() as here:
        run = runs.open_run(here)
        run.notes.append(Note(at=wall_now(), text=text))
        Records(here.settings.home).write(run)
    _show(run, as_json, "written down")


@app.command()
def shell() -> None:
    """Open a shell whose commands are written down, like those of `dojo`.

    Without it, only calls of `dojo` are. Leave it with `exit`.

    Example: [bold]dojo drill shell[/]
    """
    from dojo.drills import run as runs
    from dojo.drills.shell import open_shell

    with CommandContext() as here:
        run = runs.open_run(here)
        directory = Records(here.settings.home).directory(run.number)
    out.print("Every command in this shell is written down until you exit.", highlight=False)
    raise typer.Exit(open_shell(directory))


@app.command()
def hint(as_json: JsonFlag = False) -> None:
    """Take a hint. Each costs five points.

    Example: [bold]dojo drill hint[/]
    """
    from dojo.drills import run as runs

    with CommandContext() as here:
        run = runs.open_run(here)
        hints = drill(run.drill).hints
        if run.hints >= len(hints):
            raise fail("there are no more hints", "dojo drill stop tells the rest")
        run.hints += 1
        Records(here.settings.home).write(run)
    _show(run, as_json, hints[run.hints - 1])


@app.command()
def resolve(as_json: JsonFlag = False) -> None:
    """Say that it is over. The outcome is measured, and then the score is shown.

    Example: [bold]dojo drill resolve[/]
    """
    from dojo.drills import run as runs

    with CommandContext() as here:
        run = runs.open_run(here)
        if not runs.resolve(here, run, drill(run.drill), _tell):
            raise fail(f"it is not over: {run.reason}", "look again, and then dojo drill resolve")
    report(run.number, as_json)


@app.command()
def stop(as_json: JsonFlag = False) -> None:
    """End the drill from any state, and undo what it injected.

    Example: [bold]dojo drill stop[/]
    """
    from dojo.drills import run as runs

    with CommandContext() as here:
        run = runs.stop(here)
    _show(run, as_json, f"stopped, and undone. It was {run.drill}: dojo drill report {run.number}")


@app.command("post-mortem")
def write_up(
    number: Annotated[int, typer.Argument(help="Of `dojo drill history`. 0 is the latest.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Write the form of a run's post-mortem, for you to fill in. The report compares it.

    Example: [bold]dojo drill post-mortem[/]
    """
    from dojo.drills.post_mortem import draft
    from dojo.drills.report import ended_run

    with CommandContext() as here:
        records = Records(here.settings.home)
        run = ended_run(records, number)
        file = draft(run, records.directory(run.number))
    _show(run, as_json, f"fill in {file}, then dojo drill report {run.number}")


@app.command()
def report(
    number: Annotated[int, typer.Argument(help="Of `dojo drill history`. 0 is the latest.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Show a run's score with the evidence of each point, what happened, and the opened seal.

    Example: [bold]dojo drill report[/]
    """
    from dojo.drills.post_mortem import FormError
    from dojo.drills.report import ended_run, scored, show

    with (
        CommandContext() as here,
        errors_become_messages(FormError, next_step="correct the form"),
    ):
        records = Records(here.settings.home)
        run = ended_run(records, number)
        spec = drill(run.drill)
        found = scored(records, run, spec)
    if as_json:
        print_json({"run": run, "score": found, "story": spec.story})
        return
    show(out, run, spec, found)


@app.command("timeline")
def show_timeline(
    number: Annotated[int, typer.Argument(help="Of `dojo drill history`. 0 is the latest.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Show what happened when in a run: the fault, alerts, changes, and what the person did.

    Example: [bold]dojo drill timeline[/]
    """
    from dojo.drills.report import ended_run
    from dojo.drills.score import mitigated_at
    from dojo.drills.timeline import after, read_around, timeline

    with CommandContext() as here:
        records = Records(here.settings.home)
        run = ended_run(records, number)
    around = read_around(records.directory(run.number))
    over = mitigated_at(drill(run.drill), records.samples(run), run)
    moments = timeline(run, records.commands(run), around, over)
    if as_json:
        print_json(moments)
        return
    for moment in moments:
        since = after(moment, run)
        when = "" if since is None else _clocked(since)
        line = f"{when:>8}  {moment.source:<7} {moment.what}"
        out.print(line, highlight=False, markup=False, soft_wrap=True)


def _clocked(since: timedelta) -> str:
    seconds = round(abs(since.total_seconds()))
    sign = "-" if since.total_seconds() < 0 else ""
    return f"{sign}{seconds // 60}:{seconds % 60:02d}"


@app.command()
def history(as_json: JsonFlag = False) -> None:
    """Show all runs of this home.

    Example: [bold]dojo drill history[/]
    """
    from rich.table import Table

    from dojo.drills.post_mortem import FormError
    from dojo.drills.report import scored

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


def _known(word: str, known: tuple[str, ...], kind: str) -> None:
    if word not in known:
        raise fail(f"unknown {kind} {word!r}: {', '.join(known)}", "dojo drill words", 2)


def _tell(line: str) -> None:
    err.print(line, highlight=False, markup=False, soft_wrap=True)


def _show(run: DrillRun, as_json: bool, said: str) -> None:
    if as_json:
        print_json({"run": run.number, "state": run.state, "said": said})
    else:
        out.print(said, highlight=False, markup=False, soft_wrap=True)
