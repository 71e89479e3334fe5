"""What a person does in an open drill: acknowledge, think aloud, answer, and tell an owner."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from dojo.cli.context import CommandContext
from dojo.cli.output import JsonFlag, fail, out, print_json
from dojo.drills.catalogue import drill
from dojo.drills.commands.saying import say
from dojo.drills.record import Diagnosis, Hypothesis, Note, Records
from dojo.drills.taxonomy import COMPONENTS, IMPACTS, MECHANISMS, TEAMS, TRIGGERS


def add_to(app: typer.Typer) -> None:
    """Add the commands, in the order of the help."""
    for command in (ack, words, hypothesis, refute, answer):
        app.command()(command)
    app.command("tell")(tell_owner)
    app.command()(note)
    app.command()(hint)


def ack(as_json: JsonFlag = False) -> None:
    """Acknowledge the page.

    Example: [bold]dojo drill ack[/]
    """
    from dojo.drills.running import end

    with CommandContext() as here:
        run = end.open_run(here)
        Records(here.settings.home).mark(run, "acked")
    say(run, as_json, "acknowledged")


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


def hypothesis(mechanism: Mechanism, because: Because, as_json: JsonFlag = False) -> None:
    """Write down what it may be, and what speaks for it.

    Example: [bold]dojo drill hypothesis saturation_storage --because "logs recorder"[/]
    """
    from dojo.core.state.clock import wall_now
    from dojo.drills.running import end

    _known(mechanism, MECHANISMS, "mechanism")
    with CommandContext() as here:
        run = end.open_run(here)
        run.hypotheses.append(Hypothesis(at=wall_now(), mechanism=mechanism, evidence=because))
        Records(here.settings.home).write(run)
    say(run, as_json, f"{len(run.hypotheses)} written down")


def refute(mechanism: Mechanism, because: Because, as_json: JsonFlag = False) -> None:
    """Write down that a hypothesis is wrong, and what shows it.

    Example: [bold]dojo drill refute saturation_storage --because doctor[/]
    """
    from dojo.core.state.clock import wall_now
    from dojo.drills.running import end

    with CommandContext() as here:
        run = end.open_run(here)
        standing = [o for o in run.hypotheses if o.mechanism == mechanism and not o.refuted]
        if not standing:
            raise fail(
                f"no standing hypothesis {mechanism!r}", "dojo drill hypothesis MECHANISM", 2
            )
        standing[0].refuted, standing[0].against = wall_now(), because
        Records(here.settings.home).write(run)
    say(run, as_json, f"{mechanism} is refuted")


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
    from dojo.drills.running import end

    _known(component, COMPONENTS, "component")
    _known(mechanism, MECHANISMS, "mechanism")
    _known(trigger, TRIGGERS, "trigger")
    _known(impact, IMPACTS, "impact")
    with CommandContext() as here:
        run = end.open_run(here)
        given = Diagnosis(
            at=wall_now(), component=component, mechanism=mechanism, trigger=trigger,
            impact=impact, scope=scope,
        )  # fmt: skip
        run.diagnoses.append(given)
        Records(here.settings.home).write(run)
    say(run, as_json, "noted")


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
    from dojo.drills.running import end
    from dojo.drills.running.owners import tell_owner as tell

    _known(team, TEAMS, "team")
    _known(what, MECHANISMS, "mechanism")
    with CommandContext() as here:
        run = end.open_run(here)
        reply = tell(here, run, drill(run.drill), team, what, since.replace(tzinfo=UTC))
    say(run, as_json, reply)


def note(
    text: Annotated[str, typer.Argument(help="What you saw, think or do.", metavar="TEXT")],
    as_json: JsonFlag = False,
) -> None:
    """Write a line into the drill's timeline.

    Example: [bold]dojo drill note "the store is healthy, so it is the path"[/]
    """
    from dojo.core.state.clock import wall_now
    from dojo.drills.running import end

    with CommandContext() as here:
        run = end.open_run(here)
        run.notes.append(Note(at=wall_now(), text=text))
        Records(here.settings.home).write(run)
    say(run, as_json, "written down")


def hint(as_json: JsonFlag = False) -> None:
    """Take a hint. Each costs five points.

    Example: [bold]dojo drill hint[/]
    """
    from dojo.drills.running import end

    with CommandContext() as here:
        run = end.open_run(here)
        hints = drill(run.drill).hints
        if run.hints >= len(hints):
            raise fail("there are no more hints", "dojo drill stop tells the rest")
        run.hints += 1
        Records(here.settings.home).write(run)
    say(run, as_json, hints[run.hints - 1])


def _known(word: str, known: tuple[str, ...], kind: str) -> None:
    if word not in known:
        raise fail(f"unknown {kind} {word!r}: {', '.join(known)}", "dojo drill words", 2)
