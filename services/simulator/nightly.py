"""Answers of the models that a night scores: the world reads them from the online store.

The scores of a day appear when its batch run is done. The world looks once a world hour, and again
for some days, because a night may be late.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl
import structlog
from redis import Redis
from redis.exceptions import RedisError

from dojo.core.spec.schema import ModelSpec
from dojo.shop.events import SHOP_EVENTS
from feature_repo.online_layout import MalformedValueError
from feature_repo.online_scores import OnlineScores
from feature_repo.views import join_key
from services.simulator.days import WorldDays
from services.simulator.decisions import LONGEST_NIGHT
from services.simulator.gateway_client import GatewayAnswer, GatewayReply

log = structlog.get_logger()

_DAY, _HOUR = timedelta(days=1), timedelta(hours=1)

# The arm in a decision about a nightly score. A night scores with the champion, without a route.
ARM = "batch"


@dataclass(frozen=True)
class _Nightly:
    """One such model.

    Attributes:
        key: Column of the entity under which its scores are stored.
        keep: World time for which a score counts.
    """

    stream: str
    key: str
    keep: timedelta
    scores: OnlineScores


@dataclass(frozen=True)
class ScoredNight:
    """The new scores about one stream's events.

    Attributes:
        events: The stream -> its events that now have a score.
        replies: The scores, as answers about these rows.
    """

    events: Mapping[str, pl.DataFrame]
    replies: list[GatewayReply]


class Nights:
    """Looks for new scores of the models of class `batch`.

    Args:
        specs: All models of the world.
        online: The online store.
    """

    def __init__(self, specs: Mapping[str, ModelSpec], online: Redis) -> None:
        self._models = {
            name: _Nightly(
                spec.label.event,
                join_key(spec.entities[0]),
                spec.batch.keep_online,
                OnlineScores(online, name),
            )
            for name, spec in specs.items()
            if spec.batch is not None and spec.serving.latency_class == "batch"
        }
        self._looked_until: datetime | None = None
        self._seen: dict[tuple[str, str], datetime] = {}  # model and event -> time of the event

    def scores_alone(self, model: str) -> bool:
        """Return True if the world acts on the night's scores of a model, not on its answers."""
        return model in self._models

    def found(self, days: WorldDays, now: datetime) -> Iterator[ScoredNight]:
        """Yield the scores that appeared since the last look, at most once a world hour.

        A store that is away, or a value that is no score, ends the look. The next one repeats it.
        """
        if not self._models or (self._looked_until and now < self._looked_until):
            return
        self._looked_until = now + _HOUR
        oldest = now - LONGEST_NIGHT
        self._seen = {key: at for key, at in self._seen.items() if at >= oldest}
        for model, of in self._models.items():
            for back in range(LONGEST_NIGHT.days, -1, -1):
                rows = days.events(of.stream, (now - back * _DAY).date())
                rows = rows.filter(pl.col("time").is_between(oldest, now, closed="left"))
                try:
                    night = self._night(model, of, rows, now)
                except MalformedValueError as error:
                    log.warning("no nightly scores", model=model, reason=str(error))
                    break
                except RedisError as error:  # the store of all models
                    log.warning("no nightly scores", reason=str(error))
                    return
                if night.replies:
                    yield night

    def _night(self, model: str, of: _Nightly, rows: pl.DataFrame, now: datetime) -> ScoredNight:
        name = SHOP_EVENTS[of.stream].key
        replies: list[GatewayReply] = []
        for at, (event, key, time) in enumerate(rows.select(name, of.key, "time").iter_rows()):
            if (model, event) in self._seen:
                continue
            score = of.scores.read(key, now, of.keep)
            if score is None or score.world_time != time:
                continue
            self._seen[model, event] = time
            answer = GatewayAnswer("", score.version, ARM, score.flagged, value=score.score)
            replies.append(GatewayReply(model, at, "scored", 0.0, answer))
        return ScoredNight({of.stream: rows}, replies)
