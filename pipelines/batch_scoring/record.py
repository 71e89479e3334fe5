"""What a run remembers on disk, so that a killed run goes on and a repeated one changes nothing.

<home>/batch/<model>/<day>-v<version>/run.json       `BatchRun`
<home>/batch/<model>/<day>-v<version>/rows.parquet   requests with features
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path

import msgspec

from dojo.core.lake import LakeFile

RUN_FILE = "run.json"
ROWS_FILE = "rows.parquet"


class Spent(msgspec.Struct, frozen=True):
    """Work of one step, over all tries that got to its end.

    Attributes:
        wall: Wall time, seconds.
        processor: Processor time of the process, seconds.
    """

    wall: float = 0.0
    processor: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.wall + other.wall, self.processor + other.processor)


class Equality(msgspec.Struct, frozen=True, kw_only=True):
    """Batch scores against the online answers of the same requests by the same version.

    Attributes:
        compared: Requests with a whole online answer of this version.
        same_features: Those whose features were the same float32 numbers.
        wrong: Those with the same features and another score or flag, beyond SCORE_TOLERANCE.
        largest: Largest difference of two scores with the same features. 0 without any.
        differing: Feature -> requests in which it differed, the most first.
        examples: Ids of requests whose features differed, at most EXAMPLES.
    """

    compared: int
    same_features: int
    wrong: int
    largest: float
    differing: dict[str, int]
    examples: tuple[str, ...]


class BatchRun(msgspec.Struct, frozen=True, kw_only=True):
    """One version's run over one day.

    Attributes:
        model: The model.
        version: The version.
        day: The world day.
        inputs: Fingerprint of the bundle, the feature definitions and the day's request files.
        begun: Wall time of the first try, UTC. It stands in every row.
        chunk_rows: Rows of a chunk.
        rows: Number of requests. None until their features are there.
        chunks: Name of a written file without its ending -> SHA-256 of its bytes.
        spent: Step -> its work.
        online: Entities offered to the online store. None until then, and where the spec has no
            batch.keep_online.
        equality: Comparison with the online answers. None until then.
        finished: Wall time of the end, UTC. None before.
    """

    model: str
    version: str
    day: date
    inputs: str
    begun: datetime
    chunk_rows: int
    rows: int | None = None
    chunks: dict[str, str] = {}
    spent: dict[str, Spent] = {}
    online: int | None = None
    equality: Equality | None = None
    finished: datetime | None = None

    @property
    def prefix(self) -> str:
        """The begin of the names of the run's files in the lake."""
        return f"{self.model}-v{self.version}-"

    def chunk_names(self) -> list[str]:
        """Return the name of each chunk, in order of its rows."""
        return [
            f"{self.prefix}{number:05d}"
            for number in range(-(-(self.rows or 0) // self.chunk_rows))
        ]


class RunRecord:
    """Reads and writes one run's record. Every write is whole or not there."""

    def __init__(self, home: Path, model: str, version: str, day: date) -> None:
        self.directory = home / "batch" / model / f"{day.isoformat()}-v{version}"

    @property
    def rows_file(self) -> Path:
        return self.directory / ROWS_FILE

    def read(self) -> BatchRun | None:
        """Return the run. None before the first one, and where the record cannot be read."""
        try:
            return msgspec.json.decode((self.directory / RUN_FILE).read_bytes(), type=BatchRun)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def write(self, run: BatchRun) -> BatchRun:
        self.directory.mkdir(parents=True, exist_ok=True)
        temporary = self.directory / f".{RUN_FILE}.{os.getpid()}.tmp"
        with temporary.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(run), indent=2))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.directory / RUN_FILE)
        return run


def latest_run(home: Path, model: str, day: date | None = None) -> BatchRun | None:
    """Return the finished run of the latest day, or of `day`. Of two versions the later run."""
    found = [
        run
        for file in (home / "batch" / model).glob(f"{day or '*'}-v*/{RUN_FILE}")
        if (run := msgspec.json.decode(file.read_bytes(), type=BatchRun)).finished is not None
    ]
    return max(found, key=lambda run: (run.day, run.begun), default=None)


def fingerprint(bundle_sha256: str, definitions: str, files: Iterable[LakeFile]) -> str:
    """Return the fingerprint of a run's inputs."""
    digest = hashlib.sha256(f"{bundle_sha256}|{definitions}".encode())
    for file in files:
        digest.update(f"|{file.path}:{file.sha256}".encode())
    return digest.hexdigest()
