"""Specs as plain values, to hash them and to name the differences between two specs.

Only values count. Comments and spelling do not, so `7d` and `168h` are the same spec.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from dojo.core.spec.durations import format_duration
from dojo.core.spec.schema import ModelSpec

# Characters of a hash in texts for people.
SHOWN = 12


class FieldChange(NamedTuple):
    """One field of a spec before and after. None where the field is absent."""

    before: Any
    after: Any


def plain(spec: ModelSpec) -> dict[str, Any]:
    """Return the spec as in YAML, with durations in their shortest spelling.

    An absent section is absent.
    """
    found: dict[str, Any] = _plain(spec.model_dump(exclude_none=True))
    return found


def spec_hash(spec: ModelSpec) -> str:
    """Return the SHA-256 of the spec's values, hexadecimal."""
    return hashlib.sha256(json.dumps(plain(spec), sort_keys=True).encode()).hexdigest()


def field_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, FieldChange]:
    """Return the fields that differ, by their path (`drift.thresholds.warning`).

    Args:
        before: Values as from `plain`.
        after: Values as from `plain`.
    """
    old, new = dict(_fields(before)), dict(_fields(after))
    paths = dict.fromkeys((*old, *new))
    return {
        path: FieldChange(old.get(path), new.get(path))
        for path in paths
        if old.get(path) != new.get(path)
    }


def _fields(values: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    found = []
    for name, value in values.items():
        found += (
            _fields(value, f"{above}{name}.")
            if isinstance(value, Mapping)
            else [(f"{above}{name}", value)]
        )
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return format_duration(value) if isinstance(value, timedelta) else value
