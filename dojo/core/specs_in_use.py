"""The specs that a process read at its start, beside the present content of their files.

An edited file takes effect with a restart. A model whose spec was wrong at the start is left out
until then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, Gauge

from dojo.core.spec.compare import SHOWN, spec_hash
from dojo.core.spec.names import WRONG
from dojo.core.spec.read import SpecError
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.specs import LoadedSpecs, load_spec


class SpecsInUse:
    """One per process that reads specs.

    Args:
        directory: Where the files are.
        loaded: What the process read there.
        read: Reads one file, as the process did.
    """

    def __init__(
        self,
        directory: Path,
        loaded: LoadedSpecs,
        registry: CollectorRegistry = REGISTRY,
        read: Callable[[Path], ModelSpec] = load_spec,
    ) -> None:
        self._directory, self._load = directory, read
        self._read = {name: spec_hash(spec)[:SHOWN] for name, spec in loaded.specs.items()} | {
            name: f"{WRONG}{fault}" for name, fault in loaded.faults.items()
        }
        self._files: dict[
            str, tuple[tuple[int, int] | None, str]
        ] = {}  # model -> the file's stamp, and its hash or fault
        self._changed = Gauge(
            "dojo_spec_changed",
            "1 if a model's spec file differs from what this process read at its start.",
            ["model"], registry=registry,
        )  # fmt: skip
        wrong = Gauge(
            "dojo_spec_wrong",
            "1 if this process leaves a model out, because its spec was wrong at the start.",
            ["model"], registry=registry,
        )  # fmt: skip
        for name in self._read:
            wrong.labels(name).set(name in loaded.faults)
        self.faults: Mapping[str, str] = loaded.faults
        self.latest = self.look()

    def look(self) -> Mapping[str, Mapping[str, str]]:
        """Compare with the files. Only a file that was written since the last look is read.

        Returns:
            Model -> `read`, the hash in use. A model that is left out has what was wrong there.
            Where the file differs, `file` is its hash, or what is wrong with it.
        """
        found = {}
        for name, read in self._read.items():
            file = self._file(name)
            found[name] = {"read": read} if read == file else {"read": read, "file": file}
            self._changed.labels(name).set(read != file)
        self.latest = found
        return found

    def _file(self, model: str) -> str:
        path = self._directory / f"{model}.yaml"
        try:
            stamp = path.stat().st_mtime_ns, path.stat().st_size
        except OSError:
            stamp = None
        known = self._files.get(model)
        if known is None or known[0] != stamp:
            try:
                known = stamp, spec_hash(self._load(path))[:SHOWN]
            except SpecError as error:
                known = stamp, f"{WRONG}{error}"
            self._files[model] = known
        return known[1]
