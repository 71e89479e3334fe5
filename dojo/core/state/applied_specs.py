"""The specs that took effect, in Redis.

An edited file is compared with them. The audit trail gets both sides of a change from here.

`dojo config apply` writes them before it restarts the processes. The trainer writes what it finds
at its start. So the audit trail also holds a change by another way, such as a new image or
`docker compose restart`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

import msgspec
from redis import Redis

from dojo.core.spec.compare import SHOWN, FieldChange, field_changes, plain, spec_hash
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.audit import Entry
from dojo.core.state.documents import Document, Stored

# Changed fields that an audit entry names in words. `before` and `after` hold all of them.
NAMED = 3


class AppliedSpec(msgspec.Struct, frozen=True):
    """A spec in the form of `dojo.core.spec.compare.plain`, and its hash."""

    sha256: str
    spec: dict[str, Any]


class AppliedSpecs:
    """Every method raises redis.RedisError when Redis is out of reach."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def has(self, model: str) -> bool:
        return self._document(model).get() is not None

    def changes(self, spec: ModelSpec) -> dict[str, FieldChange]:
        """Return what applying a spec would change.

        Empty for a model without an applied spec, because its first spec is no change.
        """
        return _changes(self._document(spec.name).read(), spec)

    def apply(
        self, spec: ModelSpec, who: str, why: str, world_time: datetime | None
    ) -> dict[str, FieldChange]:
        """Record that a spec takes effect, with its audit entry. Returns what changed.

        Raises:
            ConflictError: Another process applied a spec of this model meanwhile. Nothing was
                written.
        """
        document = self._document(spec.name)
        stored = document.read()
        changed, after = _changes(stored, spec), AppliedSpec(spec_hash(spec), plain(spec))
        if stored.value is None:
            document.replace(stored.revision, after)
        elif changed:
            entry = Entry(
                entry_id=f"spec:{spec.name}:{uuid4().hex}",
                kind="spec",
                model=spec.name,
                who=who,
                what=(
                    f"spec {stored.value.sha256[:SHOWN]} -> {after.sha256[:SHOWN]}:"
                    f" {_in_words(changed)}"
                ),
                why=why,
                before={
                    "sha256": stored.value.sha256,
                    "fields": {path: change.before for path, change in changed.items()},
                },
                after={
                    "sha256": after.sha256,
                    "fields": {path: change.after for path, change in changed.items()},
                },
                world_time=world_time,
            )
            document.replace(stored.revision, after, entry)
        return changed

    def _document(self, model: str) -> Document[AppliedSpec]:
        return Document(self._redis, "dojo:spec:{model}", AppliedSpec, model=model)


def _changes(stored: Stored[AppliedSpec], spec: ModelSpec) -> dict[str, FieldChange]:
    return field_changes(stored.value.spec, plain(spec)) if stored.value is not None else {}


def _in_words(changed: Mapping[str, FieldChange]) -> str:
    named = [
        f"{path} {change.before} -> {change.after}"
        for path, change in list(changed.items())[:NAMED]
    ]
    more = len(changed) - len(named)
    return ", ".join(named) + (f", and {more} more" if more else "")
