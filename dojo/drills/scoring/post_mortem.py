"""The post-mortem of a drill: a form that the person fills in, compared with the record.

Style is not judged. What can be compared is compared, and each action must have an owner and a day.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

import yaml
from pydantic import Field, ValidationError

from dojo.core.spec.read import faults_of
from dojo.core.spec.section import Section
from dojo.drills.record import DrillRun
from dojo.drills.scoring.score import ScoreLine
from dojo.drills.spec import DrillSpec

FORM_FILE = "post-mortem.yaml"

# How far a written time may be from the record's, and an impact from the measured one.
NEAR = timedelta(minutes=2)
NEAR_SHARE = 0.2

Mark = Literal["began", "paged", "acknowledged", "ended"]
MARKS: tuple[Mark, ...] = get_args(Mark)


class FormError(ValueError):
    """The form cannot be read. The message names the field and the reason."""


class ActionItem(Section):
    """What will be done. `kind` says whether it prevents such a fault, or detects it earlier."""

    kind: Literal["prevent", "detect"]
    what: str
    owner: str
    due: date | None


class Form(Section):
    """What the person wrote.

    Attributes:
        unanswered: Answers that callers did not get, from the page to the end.
        timeline: Each of MARKS -> wall time, UTC.
        cause: The mechanism.
        detection_gap: What should have told earlier, or why nothing could.
        went_well: For readers.
        actions: At least one of each kind.
    """

    unanswered: int | None = None
    timeline: dict[Mark, datetime | None] = Field(default_factory=dict)
    cause: str = ""
    detection_gap: str = ""
    went_well: str = ""
    actions: tuple[ActionItem, ...] = ()


def draft(run: DrillRun, directory: Path) -> Path:
    """Write the empty form beside the run, unless there is one. Return its path."""
    file = directory / FORM_FILE
    if not file.exists():
        file.write_text(
            f"# Post-mortem of drill {run.number}. Times are UTC, as 2026-11-30T12:34:56Z.\n"
            "# What is compared with the record: all but went_well.\n\n"
            "unanswered:          # answers that callers did not get, from the page to the end\n"
            "timeline:\n"
            + "".join(f"  {name}:\n" for name in MARKS)
            + 'cause: ""            # a mechanism of `dojo drill words`\n'
            'detection_gap: ""    # what should have told earlier\n'
            'went_well: ""\n'
            "actions:             # what, owner, due (2026-12-31). One of each kind at least.\n"
            '  - {kind: prevent, what: "", owner: "", due: }\n'
            '  - {kind: detect, what: "", owner: "", due: }\n'
        )
    return file


def read_form(directory: Path) -> Form | None:
    """Return the form. None if there is none.

    Raises:
        FormError: It is wrong.
    """
    file = directory / FORM_FILE
    try:
        return Form.model_validate(yaml.safe_load(file.read_text()) or {})
    except FileNotFoundError:
        return None
    except yaml.YAMLError as error:
        raise FormError(f"{file}: {error}") from error
    except ValidationError as error:
        raise FormError(faults_of(error, str(file))) from error


def compared(
    form: Form | None, run: DrillRun, spec: DrillSpec, ended: datetime | None
) -> tuple[ScoreLine, ...]:
    """Compare a form with the record. Without a form every line has no points.

    Args:
        ended: When the harm was over, by the samples.
    """
    found = form or Form()
    measured: dict[Mark, datetime | None] = {
        "began": run.marks.get("injected"),
        "paged": run.marks.get("paged"),
        "acknowledged": run.marks.get("acked"),
        "ended": ended,
    }
    near = [name for name in MARKS if _is_near(found.timeline.get(name), measured[name])]
    done = {one.kind for one in found.actions if one.what and one.owner and one.due}
    missed = _missed(run)
    said = "not written" if form is None else ""
    return (
        _line("impact within a fifth", _agrees(found.unanswered, missed), said or _told(missed)),
        _line(
            "all four times within two minutes", len(near) == len(MARKS), said or ", ".join(near)
        ),
        _line("the cause", found.cause == spec.answer.mechanism, said or found.cause),
        _line("what should have told", bool(found.detection_gap.strip()), said or "written"),
        _line(
            "actions that prevent and detect, with owner and day",
            done == {"prevent", "detect"},
            said or ", ".join(sorted(done)),
        ),
    )


def _line(what: str, is_right: bool, evidence: str) -> ScoreLine:
    return ScoreLine("post-mortem", what, 2.0 if is_right else 0.0, 2, evidence or "nothing")


def _is_near(written: datetime | None, measured: datetime | None) -> bool:
    if written is None or measured is None:
        return False
    aware = written if written.tzinfo else written.replace(tzinfo=measured.tzinfo)
    return abs(aware - measured) <= NEAR


def _missed(run: DrillRun) -> float | None:
    if not {"page", "end"} <= run.unanswered.keys():
        return None
    missed = run.unanswered["end"][1] - run.unanswered["page"][1]
    return missed if missed >= 0 else None


def _agrees(written: int | None, missed: float | None) -> bool:
    return (
        written is not None and missed is not None and abs(written - missed) <= NEAR_SHARE * missed
    )


def _told(missed: float | None) -> str:
    return "not measured" if missed is None else f"measured: {missed:,.0f}"
