"""What a bundle costs a scoring process, measured in a process of its own.

Run as `python -m dojo.scaffold.cost DIRECTORY`. It prints a `ScoringCost` as JSON.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from time import perf_counter

import msgspec

# Rows that are scored singly. The p99 then rests on the slowest 50.
ROWS = 5_000


class ScoringCost(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of a loaded bundle, with ONNX Runtime on one thread as the gateway has it.

    Attributes:
        bytes: Size of the bundle's files.
        memory_bytes: Resident memory that loading and scoring add to the process.
        p50_seconds: Time to score one row, without HTTP and features.
        p99_seconds: The same, which one row in a hundred exceeds.
    """

    bytes: int
    memory_bytes: int
    p50_seconds: float
    p99_seconds: float


def measure(directory: Path) -> ScoringCost:
    """Return the cost of the bundle's files in a directory, from a fresh process.

    Raises:
        subprocess.CalledProcessError: The bundle cannot be loaded. Its reason is on stderr.
    """
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(directory)], stdout=subprocess.PIPE, check=True
    )
    return msgspec.json.decode(done.stdout, type=ScoringCost)


def main(directory: Path) -> None:
    import numpy as np
    from psutil import Process

    from dojo.core.registry.bundle import (
        HASHED_FILES,
        MODEL_FILE,
        PARITY_FILE,
        OnnxScorer,
        Parity,
    )

    parity = msgspec.json.decode((directory / PARITY_FILE).read_bytes(), type=Parity)
    rows = np.asarray(parity.inputs, dtype=np.float32)
    process = Process()
    before = process.memory_info().rss
    scorer = OnnxScorer(directory / MODEL_FILE)
    scorer.score(rows)  # the first run makes the session's buffers
    taken = []
    for number in range(ROWS):
        one = rows[number % len(rows)][np.newaxis]
        begun = perf_counter()
        scorer.score(one)
        taken.append(perf_counter() - begun)
    p50, p99 = np.percentile(taken, [50, 99])
    found = ScoringCost(
        bytes=sum((directory / name).stat().st_size for name in HASHED_FILES),
        memory_bytes=process.memory_info().rss - before,
        p50_seconds=float(p50),
        p99_seconds=float(p99),
    )
    sys.stdout.buffer.write(msgspec.json.encode(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
