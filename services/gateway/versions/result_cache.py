"""Results of whole requests, repeated for equal requests while they are young enough.

A result belongs to the versions that the route serves. It also belongs to the keys and the numbers
that the caller sent, in their order. Ids do not count. Times do not count either, because every
request has its own. So a result answers requests whose time is at most `keep` later than its own.
It is also at most that old, in world time. Features change in world time, and so do the promises
about their freshness. A feature that was refreshed meanwhile does not end a result.

Only whole results are kept: no arm failed, and every stored feature came from the online store. A
route with other arms ends all of them. A route whose draw needs the features has no results here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from dojo.core.spec.serving import CacheRules
from services.gateway.features.lookup import StoredFeatures
from services.gateway.features.online_store import EntityRow
from services.gateway.metrics import GatewayMetrics
from services.gateway.versions.arms import ServedArm, ServedRoute


class KeptScore(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One instance's score and its inputs.

    Attributes:
        row: The scored row.
        seconds: Wall time of scoring alone, when it was computed.
        stamps: `EntityRow.timestamps` of each entity.
    """

    row: list[float]
    score: float
    seconds: float
    stamps: tuple[tuple[float | None, ...], ...]

    @property
    def stored(self) -> StoredFeatures:
        """The stored features as far as they are kept: their times."""
        return StoredFeatures(tuple([EntityRow((), stamps) for stamps in self.stamps]), ())


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[KeptScore]).decode


class Question(NamedTuple):
    """A request as the cache knows it.

    Attributes:
        live: The route's live arms, by their identity.
        key: All that the result depends on.
        moment: Time of the request, unix seconds, world time.
        now: The world's now, unix seconds.
    """

    live: tuple[ServedArm, ...]
    key: bytes
    moment: float
    now: float


class _Kept(msgspec.Struct, frozen=True, gc=False):
    """The results of a request.

    Attributes:
        results: A list of KeptScore in MessagePack. As objects it takes five times the memory.
        count: Number of instances.
        computed: The world's now at that time, unix seconds.
    """

    results: bytes
    count: int
    moment: float
    computed: float


class ResultCache:
    """One model's results. All calls come from the event loop.

    Args:
        model: Its name.
        rules: The spec's section.
        numbers: Names of the request's inputs, without its time.
    """

    def __init__(
        self, model: str, rules: CacheRules, numbers: Sequence[str], metrics: GatewayMetrics
    ) -> None:
        self._keep, self._most = rules.keep.total_seconds(), rules.rows
        self._numbers = tuple(numbers)
        self._live: tuple[ServedArm, ...] = ()
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()  # the latest used last
        self._rows = 0
        self._hits, self._misses = (
            metrics.cache_requests.labels(model, outcome) for outcome in ("hit", "miss")
        )
        self._expired, self._evicted, self._outdated = (
            metrics.cache_removed.labels(model, reason) for reason in ("expired", "full", "route")
        )
        metrics.cache_rows.labels(model).set_function(lambda: self._rows)

    def question(
        self,
        route: ServedRoute,
        arms: Sequence[ServedArm],
        keys: Sequence[Mapping[str, str]],
        inputs: Sequence[Mapping[str, float]],
        now: float,
    ) -> Question | None:
        """Return what to ask for. None if the instances have different times.

        Args:
            arms: The arm that the route chose, per instance.
            keys: Entity -> key, per instance.
            inputs: Request input -> value, with the time, per instance.
            now: The world's now, unix seconds.
        """
        (time_input,) = inputs[0].keys() - set(self._numbers)
        moment = inputs[0][time_input]
        if any(sent[time_input] != moment for sent in inputs):
            return None
        values: list[str | float] = []
        for arm, of, sent in zip(arms, keys, inputs, strict=True):
            values.append(arm.name)
            values += of.values()
            values += [sent[name] for name in self._numbers]
        return Question(route.live, _encode(values), moment, now)

    def find(self, question: Question) -> tuple[list[KeptScore], float] | None:
        """Return the results of an equal request, and their age in world seconds."""
        if question.live is not self._live:
            self._outdated.inc(len(self._kept))
            self._kept.clear()
            self._live, self._rows = question.live, 0
        kept = self._kept.get(question.key)
        if kept is None:
            self._misses.inc()
            return None
        later, age = question.moment - kept.moment, question.now - kept.computed
        if max(later, age) > self._keep:
            self._remove(question.key)
            self._expired.inc()
        elif min(later, age) >= 0:
            self._kept.move_to_end(question.key)
            self._hits.inc()
            return _decode(kept.results), age
        self._misses.inc()
        return None

    def keep(self, question: Question, results: Sequence[KeptScore]) -> None:
        """Keep whole results. The least recently used ones make room."""
        if question.live is not self._live or len(results) > self._most:
            return  # the route has changed meanwhile, or the request is too large
        if question.key in self._kept:
            self._remove(question.key)
        self._kept[question.key] = _Kept(
            _encode(results), len(results), question.moment, question.now
        )
        self._rows += len(results)
        while self._rows > self._most:
            self._remove(next(iter(self._kept)))
            self._evicted.inc()

    def _remove(self, key: bytes) -> None:
        self._rows -= self._kept.pop(key).count
