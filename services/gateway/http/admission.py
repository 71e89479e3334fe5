"""Which requests are taken while the gateway is busy.

Three limits, all in requests being answered at a time:

    share   a model over `serving.concurrency_share` is refused, however empty the gateway is
    class   `batch` is refused first, then `standard`: each class may fill a part of the gateway
    full    DOJO_MAX_IN_FLIGHT

A refusal is a 503 that names its limit. The caller may ask again after a second.
"""

from __future__ import annotations

from collections.abc import Mapping

from dojo.core.spec.schema import ModelSpec
from dojo.core.spec.serving import LatencyClass
from services.gateway.messages.problems import Problem, overloaded
from services.gateway.metrics import GatewayMetrics

RETRY_AFTER_SECONDS = 1


class Bulkhead:
    """One model's part of the gateway.

    Attributes:
        in_flight: The model's requests being answered now.
        share: The most of them.
        room: Requests of all models at which this one's are refused.
    """

    __slots__ = ("in_flight", "latency_class", "model", "room", "share")

    def __init__(self, spec: ModelSpec, max_in_flight: int, room: float) -> None:
        self.model, self.latency_class = spec.name, spec.serving.latency_class
        self.in_flight = 0
        self.share = max(1, int(spec.serving.concurrency_share * max_in_flight))
        self.room = max(1, int(room * max_in_flight))


class Admission:
    """The gateway's door. All requests pass it on the event loop."""

    def __init__(
        self,
        specs: Mapping[str, ModelSpec],
        max_in_flight: int,
        rooms: Mapping[LatencyClass, float],
        metrics: GatewayMetrics,
    ) -> None:
        """Set the door up.

        Args:
            max_in_flight: Requests that the gateway answers at a time.
            rooms: Class -> the fraction of the gateway that it may fill, in (0, 1].
        """
        self.in_flight = 0
        self._max_in_flight, self._shed = max_in_flight, metrics.shed
        self._bulkheads = {
            name: Bulkhead(spec, max_in_flight, rooms[spec.serving.latency_class])
            for name, spec in specs.items()
        }

    def enter(self, model: str) -> Bulkhead:
        """Take a request in. The caller must give the result to `leave`.

        Raises:
            Problem: 503. A limit is reached.
        """
        bulkhead = self._bulkheads[model]
        if self.in_flight >= bulkhead.room or bulkhead.in_flight >= bulkhead.share:
            raise self._refusal(bulkhead)
        self.in_flight += 1
        bulkhead.in_flight += 1
        return bulkhead

    def leave(self, bulkhead: Bulkhead) -> None:
        self.in_flight -= 1
        bulkhead.in_flight -= 1

    def _refusal(self, of: Bulkhead) -> Problem:
        if self.in_flight >= self._max_in_flight:
            reason, limit = "full", f"{self._max_in_flight} requests (DOJO_MAX_IN_FLIGHT)"
        elif of.in_flight >= of.share:
            reason = "share"
            limit = f"{of.share} requests of {of.model} (its serving.concurrency_share)"
        else:
            reason = "class"
            limit = f"{of.room} requests, the room of the class {of.latency_class}"
            limit += f" (DOJO_{of.latency_class.upper()}_ROOM)"
        self._shed.labels(of.model, reason).inc()
        return overloaded(limit, RETRY_AFTER_SECONDS)
