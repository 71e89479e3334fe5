"""One version: `python -m services.gateway.sandbox.worker` with six arguments.

The version runs in a process of its own. It may raise, crash, hang or fill the memory. The gateway
then only sees a failed row. `services/gateway/sandbox/sandbox.py` starts and ends this process. It
also ends with its parent.

    SOCKET      file descriptor of a connected stream socket
    PARENT      process id of the gateway
    DIRECTORY   the version's bundle
    SHA256      the hash of its bundle.json
    LIMIT       seconds from which a version is slow
    RUN         rows that are scored in one run: 1, so that a bad row costs no other one its score,
                or the `serving.batching.rows` of the spec
"""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from dojo.core.registry.bundle import CorruptBundleError, OnnxScorer, load_bundle
from services.gateway.children import FrameReader, end_with, frame
from services.gateway.sandbox import pace
from services.gateway.sandbox.frames import ERROR, TIMEOUT, Greeting, Result, ScoringBatch

# Makes the kernel choose this process and not the gateway when memory runs out.
OUT_OF_MEMORY_SCORE = b"500"
# A slow version sends results at this interval, so that it does not count as hanging.
FLUSH_SECONDS = 0.01
DETAIL_LENGTH = 200

_encode = msgspec.msgpack.Encoder().encode


def main() -> None:
    descriptor, parent, directory, sha256, limit, run = (
        int(sys.argv[1]),
        int(sys.argv[2]),
        Path(sys.argv[3]),
        sys.argv[4],
        float(sys.argv[5]),
        int(sys.argv[6]),
    )
    end_with(parent)
    if sys.platform == "linux":
        Path("/proc/self/oom_score_adj").write_bytes(OUT_OF_MEMORY_SCORE)
    with socket.socket(fileno=descriptor) as connection:
        try:
            bundle, scorer = load_bundle(directory, sha256)
        except CorruptBundleError as error:
            connection.sendall(frame(_encode(Greeting(str(error) or "corrupt"))))
            return
        width = len(bundle.features)
        _warm(scorer, width)
        connection.sendall(frame(_encode(Greeting("", _pace(scorer, width, limit, run)))))
        _serve(connection, scorer, width, run)


def _serve(connection: socket.socket, scorer: OnnxScorer, width: int, run: int) -> None:
    """Score incoming rows until the other side closes."""
    reader, decoder = FrameReader(), msgspec.msgpack.Decoder(ScoringBatch)
    while data := connection.recv(1 << 16):
        for payload in reader.feed(data):
            batch = decoder.decode(payload)
            rows = np.frombuffer(batch.values, np.float32).reshape(-1, width)
            results: list[Result] = []
            sent = time.monotonic()
            for at in range(0, len(rows), run):
                together = rows[at : at + run]
                if batch.until and time.monotonic() > batch.until:
                    numbers = range(batch.first + at, batch.first + at + len(together))
                    results += [Result(number, None, 0.0, TIMEOUT) for number in numbers]
                else:
                    results += _scored(scorer, batch.first + at, together)
                if time.monotonic() - sent > FLUSH_SECONDS:
                    connection.sendall(frame(_encode(results)))
                    results, sent = [], time.monotonic()
            if results:
                connection.sendall(frame(_encode(results)))


def _scored(scorer: OnnxScorer, first: int, rows: npt.NDArray[np.float32]) -> list[Result]:
    """Score rows in one run. If that fails, score them one by one.

    Args:
        first: Number of the first row.
    """
    started = time.perf_counter()
    try:
        scores = scorer.score(rows).tolist()
    except Exception as error:  # this process exists so that a version may raise anything
        if len(rows) > 1:
            parts = [_scored(scorer, first + at, rows[at : at + 1]) for at in range(len(rows))]
            return [result for part in parts for result in part]
        detail = f"{type(error).__name__}: {error}"[:DETAIL_LENGTH]
        return [Result(first, None, time.perf_counter() - started, ERROR, detail)]
    seconds = (time.perf_counter() - started) / len(rows)
    return [Result(first + at, score, seconds) for at, score in enumerate(scores)]


def _warm(scorer: OnnxScorer, width: int) -> None:
    row = np.zeros((1, width), np.float32)
    pace.warm_up(lambda: _scored(scorer, 0, row))


def _pace(scorer: OnnxScorer, width: int, limit: float, run: int) -> pace.VersionPace:
    """Measure the version. A run that raises counts with its time, and its rows fail later."""
    return pace.measure(lambda rows: _scored(scorer, 0, rows), width, limit, run=run)


if __name__ == "__main__":
    main()
