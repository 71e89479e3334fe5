"""One run with everything it needs opened from the settings."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from dojo.core.connections import connect_redis
from dojo.core.lake import Lake, start_of
from dojo.core.registry.bundle import load_bundle
from dojo.core.registry.versions import CHAMPION, ModelRegistry, Version
from dojo.core.settings import Settings
from dojo.core.state.clock import RedisWorldClock
from dojo.core.tasks.specs import load_spec, task_of
from pipelines.batch_scoring.record import BatchRun
from pipelines.batch_scoring.rows import keys_of
from pipelines.batch_scoring.run import DayScoring
from pipelines.batch_scoring.scores import BatchScorer
from pipelines.features.offline import Progress
from pipelines.training.errors import RefusedError


class DayNotOverError(RefusedError):
    """The world has not reached the day's end, so more requests will come."""


class NoChampionError(RefusedError):
    """The model has no champion, and the caller named no version."""


def score_day(
    settings: Settings, model: str, day: date | None, version: str | None, progress: Progress
) -> BatchRun:
    """Score a world day's requests.

    Args:
        settings: The settings.
        model: The model.
        day: The world day. None is the latest finished one.
        version: The version. None is the champion.
        progress: Called with a step and its done share.

    Raises:
        RefusedError: DayNotOverError, NoChampionError, NoRequestsError.
        UnknownVersionError: The registry has no such version.
        CorruptBundleError: The version's bundle must not be used.
        ClockNotSetError: The world has no time.
        SpecError: The spec cannot be read.
        redis.RedisError, RegistryUnavailableError, OSError: Repeat it, and the run goes on.
    """
    redis = connect_redis(settings.redis)
    redis.ping()  # reports a missing Redis before the clock would report that it is not set
    clock = RedisWorldClock(redis)
    wanted = finished_day(clock.now(), day)
    spec, registry = (
        load_spec(settings.models_dir / f"{model}.yaml"),
        ModelRegistry.of(settings),
    )
    chosen = _version(registry, model, version)
    progress("bundle", 0.0)
    with TemporaryDirectory() as directory:
        sha256 = registry.sealed_sha256(chosen)
        bundle, scorer = load_bundle(registry.download(chosen, Path(directory)), sha256)
        ready = BatchScorer(
            chosen.version,
            bundle,
            scorer,
            task_of(spec),
            keys_of(bundle.feature_service, spec.entities),
        )
        scoring = DayScoring(
            spec, ready, sha256, wanted, Lake(settings.lake_dir), settings.home, progress=progress
        )
        return scoring.run(connect_redis(settings.online_store), clock.speed())


def finished_day(now: datetime, day: date | None) -> date:
    """Return `day`, or the latest finished one.

    Raises:
        DayNotOverError: `day` is not over at `now`.
    """
    latest = now.date() - timedelta(days=1)
    if day is not None and day > latest:
        raise DayNotOverError(
            f"{day} is not over: it ends at {start_of(day) + timedelta(days=1):%Y-%m-%d %H:%M}, and"
            f" the world is at {now:%Y-%m-%d %H:%M}"
        )
    return day or latest


def _version(registry: ModelRegistry, model: str, version: str | None) -> Version:
    if version is not None:
        return registry.get(model, version)
    champion = registry.by_alias(model, CHAMPION)
    if champion is None:
        raise NoChampionError(f"{model} has no champion: name a version, or train one")
    return champion
