"""Conditions that the demo waits for. A running stack answers them over HTTP and Redis."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from http import HTTPStatus

from redis import Redis

from dojo.core.events.types import Stream
from dojo.core.settings import Settings
from dojo.core.spec.schema import ModelSpec
from dojo.core.state.freshness import read_freshness
from dojo.shop.events import TRANSACTIONS
from dojo.stack.answers import get_json
from dojo.stack.overview import UNKNOWN, read_champions

# The age of the demo's first version when its viewer comes. It learned before the synthetic world's
# fraudsters changed their methods (DOJO_SYNTHETIC_FRAUD_SHIFT). In any other world it is just a
# stale model.
FIRST_VERSION_AGE = timedelta(days=49)

# The shortest past that a version can be trained on. It holds 14 days to learn, a week of
# validation, a holdout of 14 days, and a week without labels.
SHORTEST_PAST = timedelta(days=42)


def features_online(redis: Redis, settings: Settings) -> str | None:
    """The words to show once the materializer has nothing left to do. None before."""
    status, details = get_json(f"{settings.url_of('materializer')}/healthz")
    if status != HTTPStatus.OK or not str(details.get("state", "")).startswith(
        "waiting for the next midnight"
    ):
        return None
    return ", ".join(
        f"{name} as of {view.as_of:%m-%d %H:%M}"
        for name, view in sorted(read_freshness(redis).items())
    )


def ready(settings: Settings) -> bool:
    """Whether the gateway has a version for every model."""
    status, _ = get_json(f"{settings.gateway_url}/readyz")
    return status == HTTPStatus.OK


def registry_answers(settings: Settings) -> bool:
    """Whether MLflow says which champions there are."""
    return UNKNOWN not in read_champions(settings).values()


def serves(settings: Settings, model: str, version: str) -> bool:
    """Whether a version is an arm of the route that the gateway really serves."""
    _, health = get_json(f"{settings.gateway_url}/healthz")
    route = health.get("models", {}).get(model, {}).get("route") or {}
    return any(arm["version"] == version for arm in route.get("arms", ()))


def first_version_as_of(first: date, now: datetime) -> datetime:
    """The world's midnight for which the demo's first version is trained.

    Args:
        first: The first day of the world's history.
    """
    from dojo.core.lake import midnight

    start = datetime(first.year, first.month, first.day, tzinfo=now.tzinfo)
    return min(midnight(now), max(midnight(now) - FIRST_VERSION_AGE, start + SHORTEST_PAST))


def fraud_euros_per_day(settings: Settings, spec: ModelSpec, now: datetime) -> float | None:
    """The value of the positives in the newest week with complete labels, per world day.

    None without such a week.

    Returns:
        Euros. Without a version every positive passes.
    """
    import polars as pl

    from dojo.core.labels import latest_labels
    from dojo.core.lake import Lake, midnight

    end = midnight(now) - spec.label.delay.maximum
    lake, start = Lake(settings.lake_dir), end - timedelta(days=7)
    payments = lake.scan(TRANSACTIONS, start, end).select(
        request_id="transaction_id", amount="amount"
    )
    known = lake.scan(Stream.OUTCOMES, start).filter(model=spec.name)
    labels = latest_labels(known).filter(label=1.0).select("request_id")
    worth = payments.join(labels, on="request_id").select(pl.col("amount").sum()).collect().item()
    return worth / 7 if worth else None


def history_begins(settings: Settings, now: datetime) -> date:
    """The first day of the world's history, or today without a history."""
    from dojo.core.lake import Lake

    first, _ = Lake(settings.lake_dir).days(TRANSACTIONS) or (now.date(), now.date())
    return first
