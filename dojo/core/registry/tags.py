"""A version's tags in the registry, with their types.

This is the only place that knows the tags' names and their spelling.

Each field of VersionTags is a tag of its name. `metric.<name>` and `audit.<sequence>` are families.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal, get_type_hints

import msgspec

from dojo.core.events.types import AwareTime
from dojo.core.judging.gate.decision import GateVerdict

# The tags that are asked for by name: to search, to delete, to show apart.
GATE_VERDICT, APPROVAL, ROLLED_BACK = "gate_verdict", "approval", "rolled_back"

# The tags that come after registration, or leave again. The seal covers all others.
_LATER = {APPROVAL, ROLLED_BACK, "rollout", "drift_report", "seal"}

_METRIC, _ANCHOR = "metric.", "audit."

Interval = tuple[float, float]


class ApprovalNote(msgspec.Struct, frozen=True):
    """Who let the version's rollout begin, when (world time) and why."""

    who: str
    when: str
    why: str


class VersionTags(msgspec.Struct, frozen=True, kw_only=True):
    """What the registry says of a version.

    A value that cannot be read counts as absent. `raw` still has it.

    The first eight and `made` are the reproducibility record (pipelines/reproduce.py).

    Attributes:
        as_of: World time until which the training data goes.
        made: How a smaller version was made, such as "pruned from version 3". None for a version of
            its own.
        bundle_sha256: SHA-256 of bundle.json.
        gate_gain: Gain of the gate's primary metric over the champion's, relative.
        gate_interval: Ends of the gain's interval.
        proposed_by: Who asked for the training. Another person must approve, where approval is
            required. None in versions from before it was kept.
        rolled_back: Why the version was taken back.
        rollout: Id of the rollout that the version was given. A version is given one.
        drift_report: Address of the newest drift report, a page in the run's artifacts.
        seal: The platform's keyed hash of what registration wrote (dojo/core/registry/seals.py).
        primary_metric: The name among `metrics` that the gate compares versions by.
        metrics: Of the holdout, by name.
        anchors: Sequence -> hash of each audit entry that made the version champion
            (dojo/core/state/audit.py).
        raw: Everything as it is stored.
    """

    data_sha256: str | None = None
    feature_sha256: str | None = None
    model_sha256: str | None = None
    spec_sha256: str | None = None
    git_commit: str | None = None
    lock_sha256: str | None = None
    seed: int | None = None
    as_of: AwareTime | None = None
    made: str | None = None
    bundle_sha256: str | None = None
    gate_verdict: GateVerdict | Literal["first"] | None = None
    gate_gain: float | None = None
    gate_interval: Interval | None = None
    proposed_by: str | None = None
    approval: ApprovalNote | None = None
    rolled_back: str | None = None
    rollout: str | None = None
    drift_report: str | None = None
    seal: str | None = None
    primary_metric: str | None = None
    metrics: dict[str, float] = {}
    anchors: dict[int, str] = {}
    raw: Mapping[str, str] = {}

    @property
    def won(self) -> bool:
        """Whether the gate found the version better than the champion."""
        return self.gate_verdict == "improved"

    def recorded(self) -> VersionTags:
        """The tags that a version gets when it is registered, and keeps. Its run has the same."""
        return VersionTags(
            data_sha256=self.data_sha256,
            feature_sha256=self.feature_sha256,
            model_sha256=self.model_sha256,
            spec_sha256=self.spec_sha256,
            git_commit=self.git_commit,
            lock_sha256=self.lock_sha256,
            seed=self.seed,
            as_of=self.as_of,
            made=self.made,
            bundle_sha256=self.bundle_sha256,
            gate_verdict=self.gate_verdict,
            gate_gain=self.gate_gain,
            gate_interval=self.gate_interval,
            primary_metric=self.primary_metric,
        )

    @property
    def sealed(self) -> dict[str, str]:
        """The tags that the seal covers, as they are stored."""
        return {
            name: text
            for name, text in self.raw.items()
            if name.startswith(_METRIC) or name in _KINDS.keys() - _LATER
        }

    @classmethod
    def read(cls, raw: Mapping[str, str]) -> VersionTags:
        """Tags as they are stored, with their types. Ignores tags of other names."""
        values: dict[str, Any] = {"raw": raw, "metrics": {}, "anchors": {}}
        for name, text in raw.items():
            with suppress(msgspec.MsgspecError):
                if name in _KINDS:
                    values[name] = _value(text, _KINDS[name])
                elif name.startswith(_METRIC):
                    values["metrics"][name.removeprefix(_METRIC)] = _value(text, float)
                elif name.startswith(_ANCHOR):
                    values["anchors"][_value(name.removeprefix(_ANCHOR), int)] = text
        return cls(**values)

    def written(self) -> dict[str, str]:
        """The tags that have a value, as they are stored. Leaves `raw` out."""
        fields = {name: getattr(self, name) for name in _KINDS}
        fields |= {f"{_METRIC}{name}": value for name, value in self.metrics.items()}
        fields |= {f"{_ANCHOR}{sequence}": value for sequence, value in self.anchors.items()}
        return {name: _text(value) for name, value in fields.items() if value is not None}


_FAMILIES = ("metrics", "anchors", "raw")
_KINDS = {
    name: kind
    for name, kind in get_type_hints(VersionTags, include_extras=True).items()
    if name not in _FAMILIES
}


def _value(text: str, kind: Any) -> Any:
    if kind == ApprovalNote | None:
        return msgspec.json.decode(text, type=ApprovalNote)
    return msgspec.convert(text.split() if kind == Interval | None else text, kind, strict=False)


def _text(value: object) -> str:
    match value:
        case float():
            return f"{value:.6f}"
        case datetime():
            return value.isoformat()
        case ApprovalNote():
            return msgspec.json.encode(value).decode()
        case (low, high):
            return f"{_text(low)} {_text(high)}"
        case _:
            return str(value)
