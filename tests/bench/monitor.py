"""How many prediction events a second the monitor counts on one core.

Also measures how its memory grows with world time.

python -m tests.bench.monitor [--json]         about a minute
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import psutil
from prometheus_client import CollectorRegistry

from dojo.core.connections import connect_redis
from dojo.core.events.log import RedisEventLog
from dojo.core.events.types import Outcome, Prediction
from dojo.core.settings import load_settings
from dojo.core.state.clock import RedisWorldClock
from dojo.core.tasks.records import Answered
from dojo.core.tasks.specs import load_spec
from feature_repo import catalog
from pipelines.training.reference import ReferenceHoldout, profile_of
from services.monitor.__main__ import build
from services.monitor.counting.state import Store
from services.monitor.loop import Monitor
from services.monitor.metrics import MonitorMetrics
from tests.support.servers import RedisServer

ROOT = Path(__file__).parents[2]
MODEL = "fraud_detection"
THRESHOLD = 0.5

# Limits promised by the issue.
EVENTS_PER_SECOND = 5_000
# Resident memory after DAYS relative to BASE_DAYS. By then all windows of three days exist.
GROWTH = 1.1

EVENTS = 40_000  # 2 kB each, so Redis holds 80 MB of them
DAYS, BASE_DAYS = 30, 6
# Answers a day. Windows cost the same for any content, and the ids of three days take 8 bytes each.
A_DAY = 2_400


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    parser.add_argument("--measure", choices=["speed", "memory"], help=argparse.SUPPRESS)
    parser.add_argument("--redis", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        measured = {"speed": speed, "memory": memory}[options.measure](options.redis)
        print(json.dumps(measured))  # noqa: T201
        return 0
    report = {**_in_a_process("speed"), **_in_a_process("memory")}
    report["passed"] = (
        report["events_per_second"] >= EVENTS_PER_SECOND
        and report["memory_mb"][-1] <= GROWTH * report["memory_mb"][0]
    )
    print(json.dumps(report) if options.json else table(report))  # noqa: T201
    return 0 if report["passed"] else 1


def table(report: dict) -> str:  # type: ignore[type-arg]
    memory = ", ".join(
        f"day {day}: {mb:.0f} MB"
        for day, mb in zip(report["memory_days"], report["memory_mb"], strict=True)
    )
    return (
        f"counted on one core: {report['events_per_second']:,.0f} prediction events/s (limit"
        f" {EVENTS_PER_SECOND:,}), {report['payload_bytes']:,} bytes each; CPU of the monitor"
        f" alone: {report['events_per_cpu_second']:,.0f} events/s\njudging:"
        f" {report['judging_ms_per_window']:.1f} ms a window of all checks\nresident memory:"
        f" {memory} (limit {GROWTH:g} times the first)"
    )


def speed(redis_url: str, count: int = EVENTS) -> dict[str, float]:
    """Measure the way from the log into windows: read, decode, count, save, acknowledge."""
    monitor, log, clock = _monitor(redis_url)
    start = clock.now()
    events = _events(count, start, timedelta(hours=6))
    for first in range(0, len(events), 1000):
        log.append(events[first : first + 1000])
    stopped = threading.Event()
    stopped.set()
    monitor.round(stopped)  # loads, asks the registry, reads nothing
    before, cpu = time.perf_counter(), time.process_time()
    assert monitor.known is not None
    drained = monitor._consumer.drain(monitor.known, start, lambda: False)
    seconds, cpu_seconds = time.perf_counter() - before, time.process_time() - cpu
    counted = sum(window.rows for window in monitor.known.hours[MODEL, "1"].values())
    assert drained
    assert counted == count, f"{counted} of {count} were counted"
    clock.set(start + timedelta(hours=8), 0)
    before = time.perf_counter()
    windows = monitor._judging.windows(monitor.known, clock.now())
    return {
        "events_per_second": count / seconds,
        "events_per_cpu_second": count / cpu_seconds,
        "payload_bytes": len(msgspec.json.encode(events[0])),
        "judging_ms_per_window": (time.perf_counter() - before) / windows * 1000,
    }


def memory(redis_url: str) -> dict[str, list[float]]:
    """Measure resident memory of a process that lives through DAYS world days, hour by hour."""
    monitor, log, clock = _monitor(redis_url)
    process, start = psutil.Process(), clock.now()
    days, sizes = [], []
    for day in range(DAYS):
        for hour in range(24):
            at = start + timedelta(days=day, hours=hour)
            log.append(_events(A_DAY // 24, at, timedelta(hours=1)))
            log.append(_outcomes(A_DAY // 24, at))
            clock.set(at + timedelta(hours=1, minutes=31), 0)
            monitor.round(threading.Event())
        if day + 1 >= BASE_DAYS and (day + 1) % BASE_DAYS == 0:
            days.append(day + 1)
            sizes.append(process.memory_info().rss / 1e6)
    return {"memory_days": days, "memory_mb": sizes}


def _in_a_process(what: str) -> dict:  # type: ignore[type-arg]
    """Measure in a separate process on one core. Redis has the other cores."""
    with tempfile.TemporaryDirectory() as directory:
        redis = RedisServer(Path(directory))
        redis.start()
        try:
            command = [
                sys.executable,
                "-m",
                "tests.bench.monitor",
                "--measure",
                what,
                "--redis",
                redis.url,
            ]
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, preexec_fn=_one_core
            )
        finally:
            redis.stop()
    if done.returncode:
        raise RuntimeError(f"{what} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def _one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _monitor(redis_url: str) -> tuple[Monitor, RedisEventLog, RedisWorldClock]:
    redis = connect_redis(redis_url, timedelta(seconds=10))
    clock = RedisWorldClock(redis)
    spec = load_spec(ROOT / "models" / f"{MODEL}.yaml")
    holdout = _holdout()
    clock.set(HOLDOUT_END, 0)
    store = Store(redis, "bench")
    store.acquire()
    store.remember_profile((MODEL, "1"), profile_of(holdout, spec))
    store.release()
    with tempfile.TemporaryDirectory() as home:
        settings = load_settings(
            home=Path(home), redis_url=redis_url, mlflow_url="http://127.0.0.1:9"
        )
    monitor = build(
        settings, {MODEL: spec}, MonitorMetrics(CollectorRegistry()), timedelta(minutes=1), clock
    )
    return monitor, RedisEventLog(redis, max_length=10 * EVENTS), clock


HOLDOUT_DAYS, HOLDOUT_END = 14, datetime(2025, 1, 6, tzinfo=UTC)
_RANDOM = np.random.default_rng(1)
_NAMES = catalog.SERVICES["fraud_detection_v1"].features


def _holdout() -> ReferenceHoldout:
    rows = HOLDOUT_DAYS * 2000
    times = (
        np.datetime64(HOLDOUT_END.replace(tzinfo=None), "us")
        - np.sort(_RANDOM.integers(1, HOLDOUT_DAYS * 86_400_000_000, rows))[::-1]
    )
    scores = _RANDOM.beta(0.3, 20, rows)
    return ReferenceHoldout(
        names=_NAMES,
        inputs=_RANDOM.lognormal(1, 1, (rows, len(_NAMES))).astype(np.float32),
        answered=Answered(
            labels=(_RANDOM.random(rows) < np.clip(scores, 0.005, 1)).astype(np.float64),
            scores=scores,
            flagged=scores >= THRESHOLD,
            entities={"customer": _RANDOM.integers(0, 500, rows).astype(str)},
            times=times,
        ),
        missing=dict.fromkeys(catalog.VIEWS, 0.0),
    )


_numbers = iter(range(10**9))


def _events(count: int, start: datetime, length: timedelta) -> list[Prediction]:
    vectors = _RANDOM.lognormal(1, 1, (count, len(_NAMES))).tolist()
    scores = _RANDOM.beta(0.3, 20, count).tolist()
    found = []
    for at, (vector, score) in enumerate(zip(vectors, scores, strict=True)):
        key, moment = f"{next(_numbers):08d}", start + length * (at / count)
        found.append(
            Prediction(
                event_id=Prediction.id_for(key),
                world_time=moment,
                wall_time=moment,
                prediction_id=key,
                request_id=key,
                model=MODEL,
                version="1",
                arm="champion",
                entity_keys={"customer": f"C{at % 500}", "merchant": f"M{at % 700}"},
                features=dict(zip(_NAMES, vector, strict=True)),
                feature_age_seconds=dict.fromkeys(catalog.VIEWS, 3600.0),
                score=score,
                flagged=score >= THRESHOLD,
                latency_seconds=0.002,
                route_generation=1,
            )
        )
    return found


def _outcomes(count: int, start: datetime) -> list[Outcome]:
    found = []
    for _ in range(count):
        key, delay = (
            f"{next(_numbers):08d}",
            timedelta(days=2) * float(np.exp(_RANDOM.normal(0, 0.8))),
        )
        found.append(
            Outcome(
                event_id=Outcome.id_for(MODEL, key),
                world_time=start,
                wall_time=start,
                model=MODEL,
                request_id=key,
                request_time=start - delay,
                label=0,
            )
        )
    return found


if __name__ == "__main__":
    sys.exit(main())
