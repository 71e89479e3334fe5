"""What the platform vouches for itself.

MLflow keeps versions, and each caller who reaches its port may rewrite their tags.

    seal       a tag of each version: a keyed hash of what its registration wrote
    anchors    a file below the home: the audit entries that made a version champion

MLflow has neither the key of the seals nor access to the anchors. Redis has no access to them
either.

What this protects against, and what not: docs/adr/0034-mlflow-is-no-trust-boundary.md.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping

import msgspec

from dojo.core.keys import seal_key
from dojo.core.settings import Settings
from dojo.core.state.audit import EntryAnchor


class Seals:
    """The platform's own word on versions and audit entries."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._anchors = settings.home / "audit" / "anchors.jsonl"

    def seal(self, model: str, version: str, run_id: str, record: Mapping[str, str]) -> str:
        """Return the keyed hash (HMAC-SHA256, hexadecimal) of a version's record.

        Args:
            record: The tags that registration wrote, as they are stored.
        """
        content = msgspec.json.encode([model, version, run_id, sorted(record.items())])
        return hmac.digest(seal_key(self._settings).encode(), content, "sha256").hex()

    def fits(
        self, seal: str, model: str, version: str, run_id: str, record: Mapping[str, str]
    ) -> bool:
        return hmac.compare_digest(
            seal.encode(), self.seal(model, version, run_id, record).encode()
        )

    def anchor(self, sequence: int, entry_hash: str) -> None:
        """Write down an audit entry. A repetition writes nothing."""
        anchor = EntryAnchor(sequence, entry_hash)
        if anchor in self.anchors():
            return
        self._anchors.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._anchors, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(
                descriptor, msgspec.json.encode(anchor) + b"\n"
            )  # one write: lines of two processes do not mix
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def anchors(self) -> list[EntryAnchor]:
        """Every anchor ever written, the oldest first.

        When two have one number, the audit trail began anew in between.
        """
        try:
            lines = self._anchors.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        return [msgspec.json.decode(line, type=EntryAnchor) for line in lines if line]
