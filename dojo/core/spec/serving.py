"""How a model is served: its class, objectives and limits, and what answers may share."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, model_validator

from dojo.core.spec.durations import Duration, format_duration
from dojo.core.spec.section import Section

LatencyClass = Literal["fast", "standard", "batch"]

# The slowest objective of each class. D5's fast and standard ones. `batch` has none.
CLASS_SLO = {"fast": timedelta(milliseconds=50), "standard": timedelta(milliseconds=200)}


class Batching(Section):
    """Requests wait for others, and share one run of the model. Without it none waits.

    Attributes:
        wait: The longest wait of a request for others while the model is free, wall time.
        rows: Rows at which a batch starts at once. A gateway scores at most 64 in one run.
    """

    wait: Duration
    rows: Annotated[int, Field(ge=2, le=64)]


class Serving(Section):
    """The serving of a model. Times are wall time.

    `latency_class` orders the refusals of a busy gateway: batch, then standard, then fast.
    `concurrency_share` limits the model's own requests at a time, as a fraction of
    DOJO_MAX_IN_FLIGHT.

    `deadline` bounds the whole answer, and `feature_timeout` the online store's share of it. Both
    bound waiting, for the online store and for versions in a process of their own. A fast
    champion's scoring runs in the gateway's process and cannot be cut short.

    `batching` lets requests wait for others. Trees gain nothing by it, large networks do.

    There are two objectives over 30 days. `availability_slo` is the share of answered requests,
    where a 5xx is no answer. `latency_slo_share` is the share of answers that take at most
    `latency_slo`.
    """

    latency_class: LatencyClass
    concurrency_share: Annotated[float, Field(gt=0, le=1)]
    availability_slo: Annotated[float, Field(gt=0.5, lt=1)]
    latency_slo: Duration
    latency_slo_share: Annotated[float, Field(gt=0.5, lt=1)]
    deadline: Duration
    feature_timeout: Duration
    fallback_score: Annotated[float, Field(allow_inf_nan=False)]
    batching: Batching | None = None

    @model_validator(mode="after")
    def _lookup_fits_the_deadline(self) -> Serving:
        if not timedelta(0) < self.feature_timeout < self.deadline:
            raise ValueError(
                "feature_timeout must be positive and below deadline"
                f" ({format_duration(self.deadline)})"
            )
        if self.latency_slo > self.deadline:
            raise ValueError(
                f"latency_slo must not exceed deadline ({format_duration(self.deadline)}): later"
                " answers do not count"
            )
        slowest = CLASS_SLO.get(self.latency_class)
        if slowest is not None and self.latency_slo > slowest:
            raise ValueError(
                f"latency_slo must not exceed {format_duration(slowest)} in the latency_class"
                f" {self.latency_class}, got {format_duration(self.latency_slo)}"
            )
        if self.batching is not None:
            self._refuse_long_waits(self.batching)
        return self

    def _refuse_long_waits(self, batching: Batching) -> None:
        if self.latency_class == "fast":
            raise ValueError("batching is not for the latency_class fast: its requests never wait")
        if self.feature_timeout + batching.wait >= self.latency_slo:
            raise ValueError(
                f"batching.wait ({format_duration(batching.wait)}) and feature_timeout must"
                f" together be below latency_slo ({format_duration(self.latency_slo)})"
            )


class CacheRules(Section):
    """Repeated requests are answered without features and model. A spec without it repeats nothing.

    Attributes:
        keep: World time for which a result answers the same request again.
        rows: Most rows of results in a gateway's memory. A row of 11 features takes 240 bytes.
    """

    keep: Duration
    rows: Annotated[int, Field(ge=1, le=1_000_000)]
