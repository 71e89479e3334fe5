"""What is known about a world before it is started: whether first trainings will be refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import polars as pl

from dojo.core.lake import start_of
from dojo.core.settings import Settings
from dojo.core.spec.read import SpecError, with_lines
from dojo.shop.truths import truth
from feature_repo.specs import load
from pipelines.training.dataset.forecast import refusals
from services.simulator.sources.replay import ReplaySource
from services.simulator.sources.span import Span, TooShortError, history_span


def at_the_end(span: Span) -> datetime:
    """When a world's own time begins. A training that sees all of its past is not earlier."""
    return start_of(span.end)


def training_refusals(
    dataset: Path,
    settings: Settings,
    model: str = "",
    as_of: Callable[[Span], datetime] = at_the_end,
) -> list[str]:
    """Why first trainings in a world that replays `dataset` will be refused.

    Each reason names the line that decides. An empty list means that no reason is known.

    Args:
        dataset: Data set that an import wrote.
        model: Name of the only model to check. "" stands for every model that learns from these
            events.
        as_of: When they are trained, in a world with this past.
    """
    try:
        loaded = load(settings)
        span = history_span(ReplaySource(dataset), settings.history_days)
    except (SpecError, TooShortError) as error:
        return [str(error)]
    if fault := loaded.faults.get(model):
        return [fault]
    rows = pl.read_parquet(dataset, glob=False).filter(pl.col("time") >= start_of(span.start))
    found = [] if model else list(loaded.faults.values())
    for name, spec in loaded.specs.items():
        if spec.label.event == ReplaySource.stream and model in ("", name):
            events = rows.with_columns(label=truth(spec.label.truth)).rename({"time": "world_time"})
            file = settings.models_dir / f"{name}.yaml"
            found += [with_lines(reason, file) for reason in refusals(events, spec, as_of(span))]
    return found
