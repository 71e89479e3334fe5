"""A run's report: score, evidence, times and the opened seal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from dojo.actions.errors import NothingToActOnError
from dojo.drills.record import OPEN_STATES, DrillRun, Records
from dojo.drills.scoring.post_mortem import compared, read_form
from dojo.drills.scoring.score import Score, mitigated_at, score
from dojo.drills.seal import seal
from dojo.drills.spans import minutes
from dojo.drills.spec import DrillSpec


def ended_run(records: Records, number: int) -> DrillRun:
    """Return an ended run. 0 is the latest.

    Raises:
        NothingToActOnError: There is none, or it is still open.
    """
    runs = records.all()
    run = next((one for one in reversed(runs) if number in (0, one.number)), None)
    if run is None:
        raise NothingToActOnError("there is no such run", "dojo drill history")
    if run.state in OPEN_STATES:
        raise NothingToActOnError(
            f"drill {run.number} is open, so it has no report", "dojo drill resolve, or stop"
        )
    return run


def scored(records: Records, run: DrillRun, spec: DrillSpec) -> Score:
    """Score a run with its post-mortem.

    Raises:
        FormError: The form of the post-mortem is wrong.
    """
    samples = records.samples(run)
    ended = mitigated_at(spec, samples, run)
    form = read_form(records.directory(run.number))
    return score(run, spec, records.commands(run), samples, compared(form, run, spec, ended))


def show(console: Console, run: DrillRun, spec: DrillSpec, found: Score) -> None:
    """Print the report."""
    table = Table(title=f"drill {run.number}: {spec.id}, {run.state}", title_justify="left")
    for name in ("part", "what", "points", "of", "evidence"):
        table.add_column(name, justify="right" if name in ("points", "of") else "left")
    last = ""
    for part in found.parts:
        table.add_row(
            part.part if part.part != last else "",
            part.what,
            f"{part.points:g}",
            f"{part.most:g}",
            part.evidence,
        )
        last = part.part
    console.print(table)
    console.print(f"[bold]{found.total:g} points: {found.grade}[/]", highlight=False)
    for gate in found.gates:
        console.print(f"  {gate}", highlight=False, markup=False)
    for line in times(run, spec):
        console.print(f"  {line}", highlight=False, markup=False)
    console.print(spec.story, highlight=False, markup=False, soft_wrap=True)
    opened = "opens" if seal(run.drill, run.salt) == run.seal else "DOES NOT OPEN"
    console.print(
        f"seal {run.seal}: {opened} with {run.drill}:{run.salt}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def times(run: DrillRun, spec: DrillSpec) -> list[str]:
    """Return how long each step took since the page, beside the usual time. Hardly scored."""
    paged = run.marks.get("paged")
    if paged is None:
        return [f"invalid: {run.reason}"]
    answered = run.diagnoses[0].at if run.diagnoses else None
    of = (
        ("acknowledged", run.marks.get("acked"), spec.par.acknowledge),
        ("answered", answered, spec.par.answer),
        ("resolved", run.marks.get("held"), spec.par.resolve),
    )
    return [
        f"{name} after {minutes(at - paged)} (usual: {minutes(par)})"
        for name, at, par in of
        if at is not None
    ]
