"""A run as a story for an interview: situation, task, action and result, from its record alone.

The sentences have the run's own figures. Calm and teamwork are not in a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from dojo.cli.trace import TracedCommand
from dojo.drills.record import DrillRun
from dojo.drills.scoring.post_mortem import Form
from dojo.drills.scoring.score import CHANGING, begins
from dojo.drills.spans import minutes
from dojo.drills.spec import DrillSpec

# Impact of an answer -> what callers got.
GOT = {
    "none": "Callers got their answers as ever.",
    "degraded": "Callers got answers that missed something.",
    "fallback": "The fallback answered callers.",
    "unanswered": "Callers got no answers.",
}


class Story(msgspec.Struct, frozen=True):
    """The four parts. Each is some sentences."""

    situation: str
    task: str
    action: str
    result: str


def story(
    run: DrillRun,
    spec: DrillSpec,
    commands: Sequence[TracedCommand],
    ended: datetime | None,
    form: Form | None = None,
) -> Story:
    """Tell a run. Pure.

    Args:
        ended: When the harm was over, by the samples.
        form: The person's post-mortem.
    """
    paged = run.marks.get("paged")
    since = [one for one in commands if paged is not None and one.at >= paged]
    return Story(
        situation=_situation(run, spec),
        task=f"I was on call for {_scope(spec)}, and had to end the harm without adding to it.",
        action=" ".join(_actions(run, since)),
        result=" ".join(_results(run, spec, ended, form)),
    )


def _scope(spec: DrillSpec) -> str:
    return "all models" if spec.answer.scope == "all" else spec.answer.scope


def _situation(run: DrillRun, spec: DrillSpec) -> str:
    called = f"The alert {run.alert} paged me." if run.alert else "No alert had paged anyone."
    return f"{spec.title} {called} {GOT[spec.answer.impact]}"


def _actions(run: DrillRun, since: Sequence[TracedCommand]) -> list[str]:
    found = []
    for thought in run.hypotheses:
        found.append(f"I thought of {_words(thought.mechanism)}, because of `{thought.evidence}`.")
        if thought.refuted is not None:
            found.append(f"`{thought.against}` excluded it.")
    if run.diagnoses:
        last = run.diagnoses[-1]
        found.append(f"My diagnosis was {_words(last.mechanism)} in the {_words(last.component)}.")
    found += [f"I told {_words(one.team)}, who ended it." for one in run.told if one.mended]
    changed = [one.said for one in since if begins(one, CHANGING) and one.code == 0]
    if changed:
        found.append(f"I called {', '.join(f'`{one}`' for one in dict.fromkeys(changed))}.")
    return found or ["I wrote nothing down."]


def _results(
    run: DrillRun, spec: DrillSpec, ended: datetime | None, form: Form | None
) -> list[str]:
    paged, found = run.marks.get("paged"), []
    if ended is None or paged is None:
        return ["The harm was not ended."]
    found.append(f"The harm was over {minutes(ended - paged)} min after the page.")
    if {"page", "end"} <= run.unanswered.keys():
        missed = max(0.0, run.unanswered["end"][1] - run.unanswered["page"][1])
        found.append(f"{missed:,.0f} answers did not come meanwhile.")
    if spec.replay and "replayed" in run.marks:
        found.append(f"It stayed away after a restart of {spec.replay}.")
    for one in form.actions if form else ():
        if one.what and one.owner:
            found.append(f"To {one.kind} it: {one.what} ({one.owner}).")
    return found


def _words(word: str) -> str:
    return word.replace("_", " ")
