"""The recorder's metrics, all named dojo_recorder_*."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from dojo.core.events.streams import EVENT_TYPES

# Why a round can fail (loop.py).
CAUSES = ("redis", "lake", "unforeseen")


class RecorderMetrics:
    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.events = Counter(
            "dojo_recorder_events", "Events written to the lake.", ["stream"], registry=registry
        )
        self.duplicates = Counter(
            "dojo_recorder_duplicates",
            "Events dropped because the lake had them.",
            ["stream"],
            registry=registry,
        )
        self.lag = Gauge(
            "dojo_recorder_lag_messages",
            "Messages not yet in the lake.",
            ["stream"],
            registry=registry,
        )
        self.waiting = Gauge(
            "dojo_recorder_waiting",
            "1 while another recorder holds the lake's lock.",
            registry=registry,
        )
        self.newest = Gauge(
            "dojo_recorder_newest_world_timestamp_seconds",
            "World time of the newest event written, unix seconds.",
            ["stream"],
            registry=registry,
        )
        self.write_seconds = Histogram(
            "dojo_recorder_write_seconds",
            "Time to write one file, fsync and rename included.",
            ["stream"],
            # A few ms on an SSD, 10-100 ms on a busy or networked disk. Beyond a second the disk is
            # in trouble.
            buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
            registry=registry,
        )
        self.failures = Counter(
            "dojo_recorder_failures",
            "Rounds that failed and are tried again, by cause.",
            ["cause"],
            registry=registry,
        )
        self.kept = Gauge(
            "dojo_recorder_stream_limit_messages",
            "Messages that the event log keeps per stream (DOJO_STREAM_MAX_LENGTH): a consumer that"
            " lags by more loses the oldest.",
            registry=registry,
        )
        # They exist before the first failure. A counter that appears with it hides it from
        # increase().
        for stream in EVENT_TYPES:
            self.events.labels(stream)
        for cause in CAUSES:
            self.failures.labels(cause)
