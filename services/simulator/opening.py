"""Opening a world: builds the parts that the settings describe.

It serves the process and `dojo data history` alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import msgspec

from dojo.core.connections import connect_redis
from dojo.core.events.log import RedisEventLog
from dojo.core.lake import Lake
from dojo.core.settings import Settings
from dojo.core.spec.read import SpecError
from dojo.core.spec.schema import Label, LabelDelay, ModelSpec
from dojo.core.state.clock import RedisWorldClock
from dojo.core.state.inbox import Notifier
from dojo.core.tasks.specs import LoadedSpecs
from dojo.shop.decisions import Policy
from dojo.shop.events import SHOP_EVENTS, TRANSACTIONS
from dojo.shop.truths import TRUTHS
from dojo.shop.world_drift import DriftTable
from feature_repo.catalog import SERVICES
from feature_repo.specs import labels_of, load, load_agreed_spec
from feature_repo.views import join_key
from services.simulator.clock_keeper import ClockKeeper
from services.simulator.days import WorldDays
from services.simulator.decisions import Decisions
from services.simulator.gateway_client import Question
from services.simulator.history import Progress, Readiness, ensure_world
from services.simulator.joining import join
from services.simulator.nightly import Nights
from services.simulator.shown import Shown
from services.simulator.sources.replay import ReplaySource
from services.simulator.sources.source import Source
from services.simulator.sources.span import history_span
from services.simulator.sources.synthetic import SyntheticSource
from services.simulator.world import (
    OtherWorldError,
    RedisCursor,
    World,
    differences,
    load_world,
    new_world_refusal,
    save_world,
)

# How long a paused world may run on here. Other processes follow this one, so it looks at the clock
# more often than they do. At 3,000 world seconds a second the usual refresh would overshoot a pause
# by 50 world minutes.
CLOCK_REFRESH = timedelta(milliseconds=100)

# The world asks once a world hour, and waits meanwhile. At the demo's speed an hour takes 1.5 s.
# A healthy store answers within a millisecond.
SCORES_TIMEOUT = timedelta(milliseconds=250)


# The key of a model's labels in a world's identity.
LABEL_OF = "label of "


@dataclass(frozen=True)
class OpenWorld:
    """A world and everything that keeps it.

    Attributes:
        specs: What was read at the start.
        questions: Stream -> model -> its question about each event.
        joining: Models that the world did not have before.
        new_streams: The streams that come with them.
    """

    specs: LoadedSpecs
    questions: Mapping[str, Mapping[str, Question]]
    source: Source
    world: World
    days: WorldDays
    lake: Lake
    clock: RedisWorldClock
    keeper: ClockKeeper
    event_log: RedisEventLog
    cursor: RedisCursor
    drifts: DriftTable
    decisions: Decisions
    shown: Shown
    nights: Nights
    everyday_speed: float
    home: Path
    joining: frozenset[str] = frozenset()
    new_streams: tuple[str, ...] = ()

    def ensure(self, progress: Progress | None = None) -> Readiness:
        """Build or mend what is missing (`history.ensure_world`)."""
        parts = self.world, self.days, self.lake, self.event_log, self.cursor, self.clock
        ready = ensure_world(*parts, self.everyday_speed, progress)
        if self.joining:
            ready = self._join(ready, progress)
        self.keeper.keep(ready.position)  # a world that is never lived must stop as well
        return ready

    def _join(self, ready: Readiness, progress: Progress | None) -> Readiness:
        drifts = self.drifts.settle(self.cursor.lived(ready.position))
        self.days.drift([drift for drift in drifts if self.days.can(drift)])
        first, now = self.world.history_start, ready.position
        new = self.joining, self.new_streams
        join(self.days, self.lake, self.event_log, *new, first, now, progress)
        self.cursor.save(ready.position)  # now it names the world with its new models
        save_world(self.home, self.world)
        note = f"{', '.join(sorted(self.joining))} joined: their past is in the lake"
        return replace(ready, notes=(*ready.notes, note))


def open_world(settings: Settings, history_days: int | None = None) -> OpenWorld:
    """Open the world of `settings.home`.

    A new world is only named (`world.json`), and `ensure` builds it.

    Raises:
        SpecError: No spec is right. Or one is wrong, and the world is new.
        DatasetError: The file to replay is missing or wrong.
        OtherWorldError, TooShortError: As in `agree_on_world`.
    """
    source = open_source(settings)
    loaded = load(settings, spec_reader(source))
    specs = asked_models(loaded, settings.models_dir)
    lake = Lake(settings.lake_dir)
    before = load_world(settings.home)
    world, labels = agree_on_world(
        settings,
        lake,
        source,
        labels_of(specs, settings.models_dir),
        loaded.faults,
        history_days,
    )
    joining = frozenset(labels) - frozenset(_labels_kept(before)) if before else frozenset()
    known = {labels[name].event for name in labels.keys() - joining} | {TRANSACTIONS}
    redis = connect_redis(settings.redis)
    clock = RedisWorldClock(redis, CLOCK_REFRESH)
    return OpenWorld(
        specs=loaded,
        questions=questions_to(specs),
        source=source,
        world=world,
        days=WorldDays(source, labels, settings.seed, world.history_start),
        lake=lake,
        clock=clock,
        keeper=ClockKeeper(
            clock, Notifier(redis, "simulator"), timedelta(seconds=settings.world_runs_on_seconds)
        ),
        event_log=RedisEventLog(redis, settings.stream_max_length),
        cursor=RedisCursor(redis, world, before),
        drifts=DriftTable(redis),
        decisions=Decisions(policy_of(settings), labels, settings.seed),
        shown=Shown(labels),
        nights=Nights(specs, connect_redis(settings.online_store, SCORES_TIMEOUT)),
        everyday_speed=settings.speed,
        home=settings.home,
        joining=joining,
        new_streams=tuple(
            s for s in SHOP_EVENTS if s in {labels[m].event for m in joining} - known
        ),
    )


def policy_of(settings: Settings) -> Policy:
    """The shop's policy about flagged payments."""
    return Policy(settings.decisions, settings.reviews_per_day, settings.release_share)


def spec_reader(source: Source) -> Callable[[Path], ModelSpec]:
    """Return what reads one spec.

    It raises SpecError also for a model that `source` cannot ask. The same holds for a model whose
    features read the labels of a wrong spec.
    """

    def read(path: Path) -> ModelSpec:
        spec = load_agreed_spec(path)
        check_asked(spec, source)
        labels_of({spec.name: spec}, path.parent)
        return spec

    return read


def check_asked(spec: ModelSpec, source: Source) -> None:
    """Check a model whose labels are about the shop's events.

    Raises SpecError when this world has no such events, no such label, or no such inputs.
    """
    event, truth = spec.label.event, spec.label.truth
    if event not in SHOP_EVENTS:
        return
    if event != TRANSACTIONS and event not in source.scenes:
        raise SpecError(
            f"{spec.name}: label.event: a recorded world has no {event}; leave the model out of"
            " DOJO_MODELS"
        )
    known = [name for name, of in TRUTHS.items() if of.stream == event]
    if truth not in known:
        raise SpecError(f"{spec.name}: label.truth: {truth} is not one of {', '.join(known)}")
    question_of(spec)


def asked_models(loaded: LoadedSpecs, directory: Path) -> dict[str, ModelSpec]:
    """The models whose labels are about the shop's events.

    Raises SpecError when there is none. A wrong spec may be one.
    """
    asked = {name: spec for name, spec in loaded.specs.items() if spec.label.event in SHOP_EVENTS}
    if not asked and not loaded.faults:
        raise SpecError(
            f"{directory}: no model has `label.event: {' or '.join(SHOP_EVENTS)}`, so this world"
            " would ask nothing"
        )
    return asked


def questions_to(specs: Mapping[str, ModelSpec]) -> dict[str, dict[str, Question]]:
    """Stream -> model -> its question. Raises SpecError as `question_of`."""
    found: dict[str, dict[str, Question]] = {}
    for name, spec in specs.items():
        found.setdefault(spec.label.event, {})[name] = question_of(spec)
    return found


def question_of(spec: ModelSpec) -> dict[str, str]:
    """A model's question about an event.

    Raises SpecError when the event has no such field.
    """
    request = SERVICES[spec.feature_service].request
    event = SHOP_EVENTS[spec.label.event]
    fields = (*(join_key(entity) for entity in spec.entities), *request.names)
    if unknown := [field for field in fields if field not in event.__struct_fields__]:
        raise SpecError(
            f"{spec.name}: requests of {spec.feature_service} need {', '.join(unknown)}, which none"
            f" of the {spec.label.event} has"
        )
    return {
        "request_id": event.key,
        **{field: field for field in fields},
        request.time_input: "time",
    }


def agree_on_world(
    settings: Settings,
    lake: Lake,
    source: Source,
    asked: Mapping[str, Label],
    faults: Mapping[str, str],
    history_days: int | None = None,
) -> tuple[World, dict[str, Label]]:
    """The world of the settings' home: an existing one, or a new one over `source`.

    An existing world keeps its labels, also those of a model that does not run or whose spec is
    wrong. So its outcomes arrive. Further models join it (joining.py).

    Args:
        lake: The home's lake. A new world needs an empty one.
        asked: Model -> its labels, by its spec. Also of models whose labels features read.
        faults: Model -> what is wrong with its spec.
        history_days: Days that history must have. None takes the days of an existing world, else
            settings.history_days.

    Returns:
        The world, and each model's labels.

    Raises:
        SpecError: The world is new, and a spec is wrong.
        OtherWorldError: The home has another world, or a lake of unknown origin.
        TooShortError: Raised for a new world over a file of a single day.
    """
    home, seed = settings.home, settings.seed
    existing = load_world(home)
    span = (
        history_span(source, history_days or settings.history_days)
        if existing is None or history_days
        else existing.span
    )
    if existing is None and faults:
        raise SpecError(new_world_refusal(faults))
    kept = _labels_kept(existing) if existing is not None else {}
    labels = dict(sorted({**kept, **asked}.items()))
    identity = {f"{LABEL_OF}{name}": _identity(label) for name, label in labels.items()}
    wanted = World(dict(source.identity()), {"label_seed": seed} | identity, span.start, span.end)
    if existing is None:
        if any(lake.root.glob("*/date=*")):
            raise OtherWorldError(
                f"{lake.root} holds data of unknown origin: choose another DOJO_HOME, or delete it"
            )
        save_world(home, wanted)
        return wanted, labels
    joined = {name: of for name, of in identity.items() if name not in existing.labels}
    grown = msgspec.structs.replace(existing, labels=existing.labels | joined)
    if wrong := differences(grown, wanted):
        raise OtherWorldError(
            f"{home} belongs to another world: {'; '.join(wrong)}. Choose another DOJO_HOME, delete"
            " this one, or use its settings"
        )
    return wanted, labels


def _labels_kept(world: World) -> dict[str, Label]:
    """All labels that the world has."""
    found = {}
    for name, known in world.labels.items():
        if not name.startswith(LABEL_OF):
            continue
        truth, median, sigma, maximum = known
        delay = LabelDelay(
            distribution="lognormal",
            median=timedelta(seconds=median),
            sigma=sigma,
            maximum=timedelta(seconds=maximum),
        )
        model = name.removeprefix(LABEL_OF)
        found[model] = Label(event=TRUTHS[truth].stream, truth=truth, delay=delay)
    return found


def _identity(label: Label) -> list[str | float]:
    """What decides a model's labels: their truth, and their delay in seconds."""
    delay = label.delay
    return [label.truth, delay.median.total_seconds(), delay.sigma, delay.maximum.total_seconds()]


def open_source(settings: Settings) -> Source:
    """The source that the settings ask for.

    Raises:
        DatasetError: The file to replay is missing or was not written by `dojo data import`.
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
