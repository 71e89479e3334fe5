"""Batch and online scoring of one model beside each other: latency and cost, both measured.

Online latency comes from the logged predictions of the run's day. Online processor time comes from
the gateway's own counter, over all its answers since its start. So it includes idle rounds, as a
bill does. Batch figures come from the run's record, features included.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec
import polars as pl
from prometheus_client.parser import text_string_to_metric_families

from dojo.core.events.types import Stream
from dojo.core.lake import Lake, start_of
from pipelines.batch_scoring.record import BatchRun, Equality, Spent

SECONDS_PER_HOUR = 3600.0


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One way of scoring. None is not measured.

    Attributes:
        predictions: Predictions behind the latencies.
        latency_p50: Median wall time of a prediction, seconds.
        latency_p99: 99th percentile of it, seconds. Batch has one figure for all rows.
        processor_seconds: Processor time of one prediction.
        cost_per_1000: Cost of 1,000 predictions, in the unit of the price.
        why_not: Why something was not measured. Empty when all was.
    """

    predictions: int
    latency_p50: float | None
    latency_p99: float | None
    processor_seconds: float | None
    cost_per_1000: float | None
    why_not: str = ""


class SideBySide(msgspec.Struct, frozen=True, kw_only=True):
    """Both ways for one model and day.

    Attributes:
        price: Price of one core-hour (DOJO_CORE_HOUR_PRICE).
        equality: The run's comparison with the online answers.
    """

    model: str
    version: str
    day: str
    price: float
    online: Figures
    batch: Figures
    equality: Equality | None


def side_by_side(run: BatchRun, lake: Lake, gateway: str | None, price: float) -> SideBySide:
    """Compare a finished run with the online answers of its day.

    Args:
        run: The run.
        lake: The lake with the predictions.
        gateway: The gateway's metrics as text. None when it does not answer.
        price: Price of one core-hour.
    """
    return SideBySide(
        model=run.model,
        version=run.version,
        day=run.day.isoformat(),
        price=price,
        online=_online(run, lake, gateway, price),
        batch=_batch(run, price),
        equality=run.equality,
    )


def processor_seconds_per_answer(metrics: str) -> float | None:
    """Return the gateway's processor seconds per answered instance. None before the first."""
    seconds = answers = 0.0
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name == "process_cpu_seconds_total":
                seconds += sample.value
            elif sample.name == "dojo_gateway_predictions_total":
                answers += sample.value
    return seconds / answers if answers and seconds else None


def cost_per_1000(processor_seconds: float, price: float) -> float:
    """Return the cost of 1,000 predictions.

    Args:
        processor_seconds: Processor time of one.
        price: Price of one core-hour.
    """
    return 1000 * processor_seconds * price / SECONDS_PER_HOUR


def _online(run: BatchRun, lake: Lake, gateway: str | None, price: float) -> Figures:
    start = start_of(run.day)
    latency = (
        lake.scan(Stream.PREDICTIONS, start, start + timedelta(days=1))
        .filter((pl.col("model") == run.model) & (pl.col("version") == run.version))
        .select("latency_seconds")
        .collect()["latency_seconds"]
    )
    processor = processor_seconds_per_answer(gateway) if gateway is not None else None
    faults = []
    if latency.is_empty():
        faults.append(f"version {run.version} answered nothing on {run.day}")
    if processor is None:
        faults.append(
            "the gateway does not answer" if gateway is None else "the gateway has answered nothing"
        )
    return Figures(
        predictions=len(latency),
        latency_p50=latency.quantile(0.5),
        latency_p99=latency.quantile(0.99),
        processor_seconds=processor,
        cost_per_1000=None if processor is None else cost_per_1000(processor, price),
        why_not="; ".join(faults),
    )


def _batch(run: BatchRun, price: float) -> Figures:
    steps = [step for name, step in run.spent.items() if name != "compare"]
    spent, rows = sum(steps, Spent()), run.rows or 0
    if not rows:
        return Figures(
            predictions=0,
            latency_p50=None,
            latency_p99=None,
            processor_seconds=None,
            cost_per_1000=None,
            why_not="the run scored nothing",
        )
    each = spent.processor / rows
    return Figures(
        predictions=rows,
        latency_p50=spent.wall / rows,
        latency_p99=spent.wall / rows,
        processor_seconds=each,
        cost_per_1000=cost_per_1000(each, price),
    )
