"""The past that a check learns from: the lake's, or a small world made for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from dojo.core.events.types import Stream
from dojo.core.lake import Lake, start_of
from dojo.core.settings import Settings
from dojo.core.spec.schema import ModelSpec
from dojo.shop.events import SHOP_EVENTS
from feature_repo.specs import labels_of
from services.simulator.days import WorldDays
from services.simulator.history import build_history
from services.simulator.sources.span import SYNTHETIC_HISTORY_END, Span
from services.simulator.sources.synthetic import SyntheticSource
from services.simulator.world import World

# People and shops of the small world, at least. With 600, most events pass 5,000 in six weeks.
TOWN = 600

# A world for rarer events has this many times the events that the spec needs.
MARGIN = 1.2

# Share of the default labels' positives. Twice the default, so that a small world has enough.
POSITIVE_RATE = 0.03

# The world begins this much before the training's window, so that a month's habits are known.
WARM_UP = timedelta(days=30)


def lake_with_labels(settings: Settings, model: str) -> tuple[Lake, datetime] | None:
    """Return the home's lake and when its newest label of the model became known.

    None where the lake has no labels of the model.
    """
    lake = Lake(settings.lake_dir)
    if not settings.lake_dir.is_dir():
        return None
    known = lake.scan(Stream.OUTCOMES).filter(pl.col("model") == model)
    newest = known.select(pl.col("world_time").max()).collect().item()
    return None if newest is None else (lake, newest)


def small_world(
    specs: Mapping[str, ModelSpec],
    model: str,
    settings: Settings,
    directory: Path,
    progress: Callable[[str, float], None],
) -> tuple[Lake, datetime]:
    """Make a world without servers, long enough for one training of the model.

    Args:
        specs: The models with labels in it. Features may need other models' labels.
        model: The model to train.
        settings: The world's seed.
        directory: Where its lake is written.
        progress: Called with a step and the done share of it, 0 to 1.

    Returns:
        The lake and the world's end.
    """
    spec, end = specs[model], SYNTHETIC_HISTORY_END
    length = spec.training.window + spec.label.delay.maximum + WARM_UP
    span = Span(end - timedelta(days=length.days + 1), end)
    needed = MARGIN * spec.training.minimum_rows / spec.training.window.days
    people = max(TOWN, math.ceil(needed / SHOP_EVENTS[spec.label.event].a_day))
    source = SyntheticSource(settings.seed, people, people, POSITIVE_RATE)
    labels = labels_of(specs, settings.models_dir)
    lake = Lake(directory / "lake")
    days = WorldDays(source, labels, settings.seed, span.start)
    build_history(World({}, {}, span.start, span.end), days, lake, progress)
    return lake, start_of(end)
