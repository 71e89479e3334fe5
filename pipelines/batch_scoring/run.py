"""One run: score a world day's requests with one version, chunk by chunk.

    features -> score (a file of the lake per chunk) -> online store -> compare with online answers

A run may be killed at any point and started again. It reads the features that it had computed, and
keeps the chunks that it had written. A finished run does nothing. It begins anew when the day got
late requests, or the bundle or a feature's definition changed. Its files then replace the old ones.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import msgspec
import polars as pl
from redis import Redis

from dojo.core.events.types import Stream
from dojo.core.lake import Lake, file_sha256, write_parquet_atomically
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.clock import wall_now
from feature_repo import catalog
from feature_repo.online_scores import OnlineScore, OnlineScores
from pipelines.batch_scoring.equality import compare_with_online
from pipelines.batch_scoring.record import BatchRun, RunRecord, Spent, fingerprint
from pipelines.batch_scoring.rows import requests_of, with_features
from pipelines.batch_scoring.scores import BatchScorer
from pipelines.features.offline import Progress
from pipelines.training.errors import RefusedError

# Rows of a chunk. A killed run repeats at most one, a quarter of a second. Its features take 8 MB.
CHUNK_ROWS = 50_000


class NoRequestsError(RefusedError):
    """The lake holds no request of the day."""


class DayScoring:
    """Scores one day with one version.

    Args:
        spec: The model's spec.
        scorer: The version.
        bundle_sha256: SHA-256 of the version's bundle.json.
        day: The world day. It must be over.
        lake: Has the requests and gets the scores.
        home: DOJO_HOME, for the run's record.
        chunk_rows: Rows of a chunk.
        progress: Called with a step and its done share.
    """

    def __init__(
        self,
        spec: ModelSpec,
        scorer: BatchScorer,
        bundle_sha256: str,
        day: date,
        lake: Lake,
        home: Path,
        chunk_rows: int = CHUNK_ROWS,
        progress: Progress = lambda _step, _share: None,
    ) -> None:
        self._spec, self._scorer, self._sha256 = spec, scorer, bundle_sha256
        self._day, self._lake, self._chunk_rows, self._progress = day, lake, chunk_rows, progress
        self._record = RunRecord(home, spec.name, scorer.version, day)
        self._service = scorer.bundle.feature_service

    def run(self, online: Redis | None, speed: float) -> BatchRun:
        """Do what is left of the run.

        Args:
            online: The online store. None leaves it alone.
            speed: World seconds per wall second, for the expiry in the online store.

        Raises:
            NoRequestsError: A refusal.
            redis.RedisError, OSError: Run it again, and it goes on.
        """
        run = self._begin()
        if run.finished is not None:
            return run
        run = self._write_scores(self._compute_features(run))
        rows, scored = pl.read_parquet(self._record.rows_file, glob=False), self.scored(run)
        if online is not None and self._spec.batch is not None:
            run = self._write_online(run, scored, online, speed)
        self._progress("comparing with online answers", 0.9)
        with _measured() as spent:
            equality = compare_with_online(
                self._lake, run, rows, scored, self._scorer.bundle.features
            )
        run = self._record.write(
            msgspec.structs.replace(
                _with_spent(run, "compare", spent[0]), equality=equality, finished=wall_now()
            )
        )
        self._record.rows_file.unlink(missing_ok=True)
        return run

    def scored(self, run: BatchRun) -> pl.DataFrame:
        """Return the run's rows of the lake."""
        partition = self._lake.partition(Stream.BATCH_SCORES, self._day)
        files = [partition / f"{name}.parquet" for name in run.chunk_names()]
        return self._lake.scan(Stream.BATCH_SCORES, files=files).collect()

    def _begin(self) -> BatchRun:
        """Return the run as it was left, or a new one."""
        stream = catalog.recorded_requests(self._service).stream
        files = self._lake.manifest(stream, self._day, self._day)
        found = self._record.read()
        if not files:
            if found is not None and found.finished is not None:
                return found  # retention has deleted the day, and its scores with it
            raise NoRequestsError(
                f"{self._spec.name}: the lake holds no {stream} of {self._day}, so there is nothing"
                f" to score"
            )
        inputs = fingerprint(self._sha256, catalog.definition_hash(), files)
        if found is not None and found.inputs == inputs:
            return found
        shutil.rmtree(self._record.directory, ignore_errors=True)
        new = BatchRun(
            model=self._spec.name,
            version=self._scorer.version,
            day=self._day,
            inputs=inputs,
            begun=wall_now(),
            chunk_rows=self._chunk_rows,
        )
        for old in self._files_of(new):
            old.unlink(missing_ok=True)
        return self._record.write(new)

    def _files_of(self, run: BatchRun) -> list[Path]:
        partition = self._lake.partition(Stream.BATCH_SCORES, self._day)
        return sorted(partition.glob(f"{run.prefix}*.parquet"))

    def _compute_features(self, run: BatchRun) -> BatchRun:
        if run.rows is not None and self._record.rows_file.exists():
            return run
        self._progress("features", 0.0)
        workspace = self._record.directory / "features"
        shutil.rmtree(workspace, ignore_errors=True)  # of a killed try
        with _measured() as spent:
            requests = requests_of(self._lake, self._service, self._spec.entities, self._day)
            if requests.is_empty():
                raise NoRequestsError(
                    f"{self._spec.name}: no request of {self._day} in the lake's files"
                )
            rows = with_features(
                self._lake, requests, self._service, self._day, workspace, self._progress
            )
            needed = ["request_id", "event_timestamp", *self._scorer.keys.values()]
            write_parquet_atomically(
                rows.select(list(dict.fromkeys([*needed, *self._scorer.bundle.features]))),
                self._record.rows_file,
            )
            shutil.rmtree(workspace)
        run = msgspec.structs.replace(run, rows=len(rows))
        return self._record.write(_with_spent(run, "features", spent[0]))

    def _write_scores(self, run: BatchRun) -> BatchRun:
        names = run.chunk_names()
        partition = self._lake.partition(Stream.BATCH_SCORES, self._day)
        left = [
            (number, name)
            for number, name in enumerate(names)
            if not _is_whole(partition / f"{name}.parquet", run.chunks.get(name))
        ]
        rows = pl.scan_parquet(self._record.rows_file, glob=False)
        for number, name in left:
            self._progress("scores", number / len(names))
            with _measured() as spent:
                chunk = rows.slice(number * run.chunk_rows, run.chunk_rows).collect()
                target = partition / f"{name}.parquet"
                write_parquet_atomically(self._scorer.score(chunk, run.begun), target)
            run = msgspec.structs.replace(run, chunks={**run.chunks, name: file_sha256(target)})
            run = self._record.write(_with_spent(run, "score", spent[0]))
        return run

    def _write_online(
        self, run: BatchRun, scored: pl.DataFrame, online: Redis, speed: float
    ) -> BatchRun:
        self._progress("online store", 0.8)
        assert self._spec.batch is not None
        with _measured() as spent:
            scores = newest_by_entity(scored, self._spec.entities[0])
            offered = OnlineScores(online, run.model).write(
                scores, self._spec.batch.keep_online, speed
            )
        return self._record.write(
            msgspec.structs.replace(_with_spent(run, "online", spent[0]), online=offered)
        )


def newest_by_entity(scored: pl.DataFrame, entity: str) -> Iterator[OnlineScore]:
    """Yield each entity's newest score of `scored`, rows of the lake in order of time."""
    newest = scored.select(
        pl.col("entity_keys").str.json_path_match(f"$.{entity}").alias("key"),
        *("version", "world_time", "score", "flagged"),
    ).unique("key", keep="last", maintain_order=True)
    return (OnlineScore(*row) for row in newest.iter_rows())


def _with_spent(run: BatchRun, step: str, more: Spent) -> BatchRun:
    return msgspec.structs.replace(
        run, spent={**run.spent, step: run.spent.get(step, Spent()) + more}
    )


def _is_whole(file: Path, sha256: str | None) -> bool:
    return sha256 is not None and file.exists() and file_sha256(file) == sha256


@contextmanager
def _measured() -> Iterator[list[Spent]]:
    """Yield a list that holds the block's work at its end."""
    wall, processor = time.perf_counter(), time.process_time()
    spent: list[Spent] = []
    yield spent
    spent.append(Spent(time.perf_counter() - wall, time.process_time() - processor))
