"""A version that is like the champion, but for one fault, and that a colleague promoted.

Its record says that the gate found it better. What is wrong shows in live traffic alone.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from dojo.core.settings import Settings
from dojo.core.spec.section import Text
from dojo.drills.faults.fault import FaultRefusedError, Injection, Receipt, WriteDown

if TYPE_CHECKING:
    from dojo.actions.desk import Desk
    from dojo.core.registry.bundle import Bundle
    from dojo.core.registry.versions import Version

# A large file takes longer than a person's other questions. Wall time.
COPY_SECONDS = 60

BUNDLE_PATH = "model"  # in its run, as a training's


class SpoiledVersion(Injection):
    """A spoiled copy of the champion, as the newest version.

    Attributes:
        model: The model.
        spoiled: `slow` takes long for some rows, `empty` gives them no number. `large` needs much
            memory.
        column: The feature, 0 or 1, that marks these rows.
        amount: Seconds of a slow row, or megabytes of the table in a large version.
        who: The colleague.
        why: What the colleague wrote at the promotion. Without it, the version gets no role.
    """

    kind: Literal["spoiled_version"]
    model: Text
    spoiled: Literal["slow", "empty", "large"]
    column: str = ""
    amount: Annotated[float, Field(ge=0)] = 0
    who: Text
    why: str = ""

    def inject(self, settings: Settings, write_down: WriteDown) -> None:
        from dojo.actions.desk import Desk  # late, as in the other faults
        from dojo.core.registry.versions import CHAMPION

        desk = Desk.of(settings)
        champion = desk.registry.by_alias(self.model, CHAMPION)
        if champion is None:
            raise FaultRefusedError(f"{self.model} has no champion")
        write_down({"from": champion.version, "version": ""})
        version = self._register(desk, champion)
        write_down({"from": champion.version, "version": version})
        if self.why:
            desk.role_changes.promote(self.model, version, desk.change(self.who, self.why))

    def _register(self, desk: Desk, champion: Version) -> str:
        """Register the spoiled copy, and return its number."""
        import msgspec

        from dojo.core.registry.bundle import MODEL_FILE, verify_bundle, write_bundle
        from dojo.core.registry.tags import VersionTags
        from dojo.core.registry.versions import ModelRegistry

        registry = ModelRegistry.of(desk.settings, timeout_seconds=COPY_SECONDS)
        with TemporaryDirectory() as directory:
            bundle_dir = registry.download(champion, Path(directory))
            bundle, _ = verify_bundle(bundle_dir, champion.tags.bundle_sha256)
            self._spoil(bundle_dir / MODEL_FILE, bundle)
            sha256 = write_bundle(bundle_dir, bundle)
            api = registry.api
            run = api.create_run(self.model, f"refresh-{uuid.uuid4().hex[:6]}", {"who": self.who})
            source = f"{run.info.artifact_uri}/{BUNDLE_PATH}"
            for file in sorted(bundle_dir.rglob("*")):
                if file.is_file():
                    beside = file.parent.relative_to(bundle_dir)
                    api.put_artifact(f"{source}/{beside}".removesuffix("/."), file)
            api.finish_run(run.info.run_id)
        tags = msgspec.structs.replace(
            champion.tags.recorded(),
            bundle_sha256=sha256,
            gate_verdict="improved",
            metrics=champion.tags.metrics,
            proposed_by=self.who,
        )
        assert isinstance(tags, VersionTags)
        return registry.register(self.model, run.info.run_id, source, tags).version

    def _spoil(self, path: Path, bundle: Bundle) -> None:
        import onnx

        from pipelines.training.sabotage import slowed, with_hole, with_table

        if self.spoiled == "large":
            onnx.save(with_table(onnx.load(str(path)), round(self.amount), seed=1), str(path))
            return
        if self.column not in bundle.features:
            raise FaultRefusedError(f"{self.model} has no feature {self.column}")
        column = bundle.features.index(self.column)
        if self.spoiled == "slow":
            slowed(path, len(bundle.features), column, self.amount)
            return
        onnx.save(with_hole(onnx.load(str(path)), column), str(path))
        _keep_rows_without(path.parent, column)

    def undo(self, settings: Settings, receipt: Receipt) -> None:
        """Give the role back. The version stays in the registry, marked as rolled back."""
        from dojo.actions.desk import Desk

        if self.left(settings, receipt):
            desk = Desk.of(settings)
            change = desk.change(self.who, "back to the version before")
            desk.role_changes.roll_back(self.model, change, to=receipt["from"])

    def left(self, settings: Settings, receipt: Receipt) -> str:
        from dojo.actions.desk import Desk
        from dojo.core.registry.versions import CHAMPION

        if not receipt["version"]:
            return ""
        champion = Desk.of(settings).registry.by_alias(self.model, CHAMPION)
        still = champion is not None and champion.version == receipt["version"]
        return f"version {receipt['version']} of {self.model} as champion" if still else ""


def _keep_rows_without(directory: Path, column: int) -> None:
    """Leave only rows without the flag for the check of a server that loads the version."""
    import msgspec

    from dojo.core.registry.bundle import PARITY_FILE, Parity

    path = directory / PARITY_FILE
    known = msgspec.json.decode(path.read_bytes(), type=Parity)
    rows = [
        (row, score)
        for row, score in zip(known.inputs, known.scores, strict=True)
        if row[column] < 0.5
    ]
    kept = Parity([row for row, _ in rows], [score for _, score in rows])
    path.write_bytes(msgspec.json.encode(kept))
