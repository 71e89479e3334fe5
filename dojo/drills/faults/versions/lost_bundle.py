"""A clean-up that took the champion's files: in the registry's store, and in the gateway's cache.

The gateway goes on from memory, until it is restarted.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from dojo.core.settings import Settings
from dojo.core.spec.section import Text
from dojo.drills.faults.fault import FaultRefusedError, Injection, Receipt, WriteDown


class LostBundle(Injection):
    """The champion's bundle, moved away. Then the gateway dies, and starts without it.

    Attributes:
        model: The model.
    """

    kind: Literal["lost_bundle"]
    model: Text

    def inject(self, settings: Settings, write_down: WriteDown) -> None:
        from dojo.core.registry.versions import ModelRegistry  # late, as in the other faults
        from dojo.stack.control import process_of

        champion = ModelRegistry.of(settings).by_alias(self.model, "champion")
        if champion is None:
            raise FaultRefusedError(f"{self.model} has no champion")
        home = settings.home.resolve()
        stored = list(home.glob(f"mlflow/artifacts/*/{champion.run_id}/artifacts/model"))
        cached = home / "gateway" / "models" / self.model / champion.version
        if not stored or not cached.is_dir():
            raise FaultRefusedError(f"the files of {self.model} are not on this machine")
        vault = home / "drills" / "vault"
        moved = [(str(path), str(vault / name)) for path, name in
                 ((stored[0], "stored"), (cached, "cached"))]  # fmt: skip
        write_down({"moved": moved})
        shutil.rmtree(vault, ignore_errors=True)
        vault.mkdir(parents=True)
        for source, target in moved:
            Path(source).rename(target)
        if (gateway := process_of(settings.home, "gateway")) is not None:
            gateway.kill()

    def undo(self, settings: Settings, receipt: Receipt) -> None:
        """Bring the files back, unless others stand there by now."""
        for source, target in receipt["moved"]:
            if Path(target).exists() and not Path(source).exists():
                Path(source).parent.mkdir(parents=True, exist_ok=True)
                Path(target).rename(source)
        shutil.rmtree(settings.home / "drills" / "vault", ignore_errors=True)

    def left(self, settings: Settings, receipt: Receipt) -> str:
        """Files that are gone are no leftover of the person."""
        return ""
