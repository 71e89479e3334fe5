"""Thresholds that a model's own history suggests. Pure.

These are proposals. The spec belongs to its team, and this code never writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from dojo.core.events.types import Check
from dojo.core.spec.monitoring import Levels
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.verdict_marks import Mark
from dojo.core.tasks.specs import task_of
from services.monitor.judging.records import HistoryRow
from services.monitor.judging.severity import ADAPTIVE_WINDOWS
from services.monitor.judging.verdicts import TROUBLE

# Factor above a marked false alarm, so that a value of the same size is silent next time.
MARGIN = 1.1

# Share of the warning threshold. If a feature's quiet windows reach it (99th percentile), they will
# cross the threshold by themselves sooner or later.
RESTLESS = 0.7

# Place of a check's levels in the spec, for checks that every task has.
LEVELS_AT: dict[Check, tuple[str, ...]] = {
    "prediction_drift": ("thresholds",),
    "data_quality": ("missing",),
    "label_delay": ("performance", "label_delay_ratio"),
    "labels_missing": ("performance", "labels_missing"),
    "skew": ("skew", "levels"),
    "model_freshness": ("champion_age",),
}


@dataclass(frozen=True, slots=True)
class Proposal:
    """One change of the spec's drift section.

    Attributes:
        path: Keys below `drift`.
        value: The value as in YAML.
    """

    path: tuple[str, ...]
    value: object
    now: str
    proposed: str
    why: str

    @property
    def setting(self) -> str:
        return ".".join(("drift", *self.path))


def propose(
    spec: ModelSpec,
    marks: Sequence[Mark],
    history: Mapping[tuple[Check, str], Sequence[HistoryRow]],
) -> list[Proposal]:
    """Return the changes that would have silenced false alarms, and the never quiet features.

    Args:
        marks: The marked false alarms.
        history: (check, window) -> measurements of its windows.
    """
    adaptive = _adaptive(spec, marks, history)
    found = [_make_adaptive(spec, adaptive)] if adaptive else []
    # The highest value of any false alarm, by the levels that it crossed.
    reached: dict[tuple[str, ...], tuple[float, str]] = {}
    for mark in marks:
        for finding in mark.verdict.findings:
            path = levels_at(spec, mark.verdict.check, finding.subject)
            if finding.severity in TROUBLE and finding.value is not None and path:
                reached[path] = max(reached.get(path, (0.0, "")), (finding.value, finding.subject))
    for path, (value, subject) in sorted(reached.items()):
        levels = _levels(spec, path)
        higher = _raised_above(levels, value * MARGIN)
        why = f"{subject} reached {value:.3g} and was marked as a false alarm"
        found.append(Proposal(path, higher.model_dump(), _text(levels), _text(higher), why))
    return found


def snippet(found: Sequence[Proposal]) -> str:
    """Return the proposals as a part of the spec's YAML, for copying by hand."""
    tree: dict[str, object] = {}
    for proposal in found:
        at = tree
        for key in proposal.path[:-1]:
            at = at.setdefault(key, {})  # type: ignore[assignment]
        at[proposal.path[-1]] = proposal.value
    return yaml.safe_dump({"drift": tree}, sort_keys=False) if tree else ""


def _adaptive(
    spec: ModelSpec,
    marks: Sequence[Mark],
    history: Mapping[tuple[Check, str], Sequence[HistoryRow]],
) -> dict[str, str]:
    """Return the features that need thresholds of their own -> reason."""
    found = {
        finding.subject: f"PSI {finding.value:.3g} was marked as a false alarm"
        for mark in marks
        if mark.verdict.check == "input_drift"
        for finding in mark.verdict.findings
        if finding.severity in TROUBLE and finding.value is not None
    }
    warning = spec.drift.thresholds.warning
    for (check, window), rows in history.items():
        if check != "input_drift":
            continue
        quiet: dict[str, list[float]] = {}
        for row in rows:
            if row.severity == "ok":
                for name, measure in row.values.items():
                    # Noise is not restlessness, so only values beyond it count.
                    beyond = measure.value is not None and measure.value > (measure.noise or 0.0)
                    quiet.setdefault(name, []).append(
                        measure.value if beyond and measure.value is not None else 0.0
                    )
        for name, values in quiet.items():
            high = sorted(values)[int(0.99 * (len(values) - 1))]
            if len(values) >= ADAPTIVE_WINDOWS and high >= RESTLESS * warning:
                found.setdefault(
                    name, f"one quiet {window} in a hundred reaches PSI {high:.3g} of {warning:g}"
                )
    return {name: why for name, why in found.items() if name not in spec.drift.adaptive}


def _make_adaptive(spec: ModelSpec, features: Mapping[str, str]) -> Proposal:
    together = sorted({*spec.drift.adaptive, *features})
    why = "; ".join(f"{name}: {why}" for name, why in sorted(features.items()))
    return Proposal(("adaptive",), together, str(list(spec.drift.adaptive)), str(together), why)


def levels_at(spec: ModelSpec, check: Check, subject: str) -> tuple[str, ...]:
    """Return the place of a subject's levels in the spec.

    () if the spec has no levels for it. Features also get (), because they become adaptive instead.
    """
    own = task_of(spec).level_keys.get(subject if check == "performance" else check)
    return ("performance", own) if own is not None else LEVELS_AT.get(check, ())


def _levels(spec: ModelSpec, path: Sequence[str]) -> Levels:
    at: object = spec.drift
    for name in path:
        at = getattr(at, name)
    assert isinstance(at, Levels)
    return at


def _raised_above(levels: Levels, value: float) -> Levels:
    """Return the levels shifted as a whole, so that the warning begins above a value."""
    shift = max(0.0, value - levels.warning)
    return Levels(
        warning=round(levels.warning + shift, 3),
        severe=round(levels.severe + shift, 3),
        critical=round(levels.critical + shift, 3),
    )


def _text(levels: Levels) -> str:
    return f"{levels.warning:g} / {levels.severe:g} / {levels.critical:g}"
