"""`dojo drill`: practise incidents on the running stack."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

import typer

from dojo.cli.context import CommandContext
from dojo.cli.output import JsonFlag, errors_become_messages, fail, out, print_json
from dojo.drills.catalogue import DrillFileError, UnknownDrillError, any_drill, catalogue, drill
from dojo.drills.commands import afterwards, thinking
from dojo.drills.commands.afterwards import report
from dojo.drills.commands.saying import progress, say
from dojo.drills.record import Records

app = typer.Typer(no_args_is_help=True)

Automation = Literal["on", "off"]

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
    unpaged: Annotated[
        bool, typer.Option("--unpaged", help="Wait for harm, and for no page. You find out.")
    ] = False,
    automation: Annotated[
        Automation, typer.Option(help="`off` pauses the responder before the fault.")
    ] = "on",
    noise: Annotated[
        bool, typer.Option("--noise", help="A service dies beside it, and comes back.")
    ] = False,
    decoy: Annotated[
        bool, typer.Option("--decoy", help="A harmless deployment comes just before it.")
    ] = False,
    countdown: Annotated[
        int, typer.Option(min=0, help="End it so many minutes after the page. 0 is never.")
    ] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Inject a drill's fault into the running stack, and wait for its page.

    An independent measurement must see harm before you are paged. Else the drill is undone, and
    counts as invalid. Ctrl-C undoes it too.

    Examples: [bold]dojo drill start two-recorders[/],
    [bold]dojo drill start --random --level 2 --noise --countdown 30[/]
    """
    if bool(name) == by_chance:
        raise fail("name a drill, or let chance choose with --random", "dojo drill list", 2)
    from dojo.drills.running import begin
    from dojo.drills.running.terms import Terms

    terms = Terms(
        unpaged=unpaged,
        automation=automation == "on",
        noise=noise,
        decoy=decoy,
        limit=timedelta(minutes=countdown) if countdown else None,
    )
    with (
        CommandContext() as here,
        errors_become_messages(DrillFileError),
        errors_become_messages(UnknownDrillError, next_step="dojo drill list"),
        errors_become_messages(begin.InvalidDrillError, next_step="dojo drill start, once more"),
    ):
        spec = drill(name) if name else any_drill(catalogue(), level)
        run = begin.start(here, spec, progress, terms)
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


thinking.add_to(app)


@app.command()
def shell() -> None:
    """Open a shell. Its commands are written down, like calls of `dojo`.

    Without it, only calls of `dojo` are. Leave it with `exit`.

    Example: [bold]dojo drill shell[/]
    """
    from dojo.drills.running import end
    from dojo.drills.running.shell import open_shell

    with CommandContext() as here:
        run = end.open_run(here)
        directory = Records(here.settings.home).directory(run.number)
    out.print("Every command in this shell is written down until you exit.", highlight=False)
    raise typer.Exit(open_shell(directory))


@app.command()
def resolve(as_json: JsonFlag = False) -> None:
    """Say that it is over. The outcome is measured, and then the score is shown.

    Example: [bold]dojo drill resolve[/]
    """
    from dojo.drills.running import end

    with CommandContext() as here:
        run = end.open_run(here)
        if not end.resolve(here, run, drill(run.drill), progress):
            raise fail(f"it is not over: {run.reason}", "look again, and then dojo drill resolve")
    report(run.number, as_json)


@app.command()
def stop(as_json: JsonFlag = False) -> None:
    """End the drill from any state, and undo what it injected.

    Example: [bold]dojo drill stop[/]
    """
    from dojo.drills.running import end

    with CommandContext() as here:
        run = end.stop(here)
    say(run, as_json, f"stopped, and undone. It was {run.drill}: dojo drill report {run.number}")


afterwards.add_to(app)
