"""Opening a world: what the settings describe, put together. For the process and for `dojo data history` alike."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from dojo.core.connections import connect_redis
from dojo.core.events.log import RedisEventLog
from dojo.core.lake import Lake
from dojo.core.settings import Settings
from dojo.core.spec.load import LabelDelay, ModelSpec, load_spec
from dojo.core.state.clock import RedisWorldClock
from dojo.shop.world_drift import DriftTable
from services.simulator.days import WorldDays
from services.simulator.history import Progress, Readiness, ensure_world
from services.simulator.sources.replay import ReplaySource
from services.simulator.sources.source import Source
from services.simulator.sources.span import history_span
from services.simulator.sources.synthetic import SyntheticSource
from services.simulator.world import OtherWorldError, RedisCursor, World, differences, load_world, save_world

# The model whose payments this world makes and whose label delay its outcomes have.
MODEL = "fraud_detection"

# How long a paused world may run on here. The world is what the others follow, so it looks at the clock more often than they
# do: at 2,400 world seconds a second the usual refresh would overshoot a pause by 40 world minutes.
CLOCK_REFRESH = timedelta(milliseconds=100)


@dataclass(frozen=True)
class OpenWorld:
    """A world and everything it is kept in."""

    spec: ModelSpec
    source: Source
    world: World
    days: WorldDays
    lake: Lake
    clock: RedisWorldClock
    event_log: RedisEventLog
    cursor: RedisCursor
    drifts: DriftTable

    def ensure(self, progress: Progress | None = None) -> Readiness:
        """Build or mend what is missing (`history.ensure_world`)."""
        return ensure_world(self.world, self.days, self.lake, self.event_log, self.cursor, self.clock, progress)


def open_world(settings: Settings, history_days: int | None = None) -> OpenWorld:
    """Open the world of `settings.home`; a new one is only named (`world.json`), `ensure` builds it.

    Raises:
        SpecError, DatasetError: the model's spec or the file to replay is missing or wrong.
        OtherWorldError, TooShortError: as in `agree_on_world`.
    """
    spec = load_spec(settings.models_dir / f"{MODEL}.yaml")
    source = open_source(settings)
    lake = Lake(settings.lake_dir)
    world = agree_on_world(settings, lake, source, spec.label.delay, history_days)
    redis = connect_redis(settings.redis)
    return OpenWorld(
        spec=spec,
        source=source,
        world=world,
        days=WorldDays(source, spec.label.delay, settings.seed, world.history_start),
        lake=lake,
        clock=RedisWorldClock(redis, CLOCK_REFRESH),
        event_log=RedisEventLog(redis, settings.stream_max_length),
        cursor=RedisCursor(redis, world),
        drifts=DriftTable(redis),
    )


def agree_on_world(settings: Settings, lake: Lake, source: Source, delay: LabelDelay, history_days: int | None = None) -> World:
    """The world of the settings' home: the one it has, or a new one over `source`.

    Args:
        lake: the home's lake; a new world wants an empty one.
        history_days: days that history must have; None takes what an existing world has, else settings.history_days.

    Raises:
        OtherWorldError: the home has another world, or a lake of unknown origin.
        TooShortError: from a new world over a file of a single day.
    """
    home, seed = settings.home, settings.seed
    existing = load_world(home)
    span = history_span(source, history_days or settings.history_days) if existing is None or history_days else existing.span
    labels = {"label_seed": seed, "label_delay": [delay.median.total_seconds(), delay.sigma, delay.maximum.total_seconds()]}
    wanted = World(dict(source.identity()), labels, span.start, span.end)
    if existing is None:
        if any(lake.root.glob("*/date=*")):
            raise OtherWorldError(f"{lake.root} holds data of unknown origin: choose another DOJO_HOME, or delete it")
        save_world(home, wanted)
        return wanted
    if wrong := differences(existing, wanted):
        raise OtherWorldError(
            f"{home} belongs to another world: {'; '.join(wrong)}. Choose another DOJO_HOME, delete this one, or use its settings"
        )
    return existing


def open_source(settings: Settings) -> Source:
    """The source that the settings ask for.

    Raises:
        DatasetError: the file to replay is missing or was not written by `dojo data import`.
    """
    if settings.world_source == "replay":
        assert settings.replay_dataset is not None  # Settings refuses to load without it
        return ReplaySource(settings.replay_dataset)
    return SyntheticSource(
        seed=settings.seed,
        customers=settings.synthetic_customers,
        merchants=settings.synthetic_merchants,
        fraud_rate=settings.synthetic_fraud_rate,
        shift=settings.synthetic_fraud_shift,
    )
