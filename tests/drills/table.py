"""`python -m tests.drills.table`: writes what was played into docs/drills.md."""

from __future__ import annotations

from pathlib import Path

from dojo.drills.catalogue import catalogue
from dojo.drills.scoring.score import score
from dojo.drills.spec import DrillSpec
from tests.drills.play import Recorded, file_of, read

PAGE = Path(__file__).parents[2] / "docs" / "drills.md"
BEGIN, END = "<!-- played -->\n", "<!-- /played -->\n"
HEAD = (
    "| drill | level | what is told | page, after the injection | right work | nothing | played |\n"
    "|---|---|---|---|---|---|---|\n"
)


def table() -> str:
    """Return the table of all drills, those that were not played too."""
    return HEAD + "".join(_line(spec) for spec in catalogue().values())


def written() -> str:
    """Return the table that stands on the page."""
    return PAGE.read_text().partition(BEGIN)[2].partition(END)[0]


def _line(spec: DrillSpec) -> str:
    gold, nothing = _played(spec, "gold"), _played(spec, "nothing")
    shown = gold or nothing
    page = when = "-"
    if shown is not None:
        marks = shown.run.marks
        seconds = (marks["paged"] - marks["injected"]).total_seconds()
        page = f"{shown.run.alert}, {seconds:.0f} s"
        when = f"{marks['paged']:%Y-%m-%d}, {shown.commit}"
    points = (_points(spec, one) for one in (gold, nothing))
    cells = (spec.id, str(spec.level), spec.title, page, *points, when)
    return f"| {' | '.join(cells)} |\n"


def _played(spec: DrillSpec, responder: str) -> Recorded | None:
    file = file_of(spec.id, responder)
    return read(file) if file.exists() else None


def _points(spec: DrillSpec, one: Recorded | None) -> str:
    if one is None:
        return "not played"
    return f"{score(one.run, spec, one.calls(), one.samples).total:g}"


def main() -> None:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}{table()}{END}{after}")


if __name__ == "__main__":
    main()
