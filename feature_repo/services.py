"""What a model reads: a feature service, with what callers send and what is computed from that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from feature_repo.views import EventSource, Feature

Choose = Callable[[Any, Any, Any], Any]
Formulas = Callable[..., dict[str, Any]]


def choose_scalar(condition: bool, yes: float, no: float) -> float:
    """`numpy.where` for one request: 30 times cheaper than NumPy on scalars."""
    return yes if condition else no


@dataclass(frozen=True, slots=True)
class RequestFeatures:
    """What callers send with a request, and the features computed from it. By default only a time.

    Attributes:
        name: Of Feast's on-demand view.
        inputs: The numbers that a caller sends.
        time_input: The name under which a caller sends the time, unix seconds for the formulas.
        recorded: The events that requests are about. Their key is the request's id, and they hold
            the inputs as they really were. None: a request is its own record.
        stored: Names of the stored features that the formulas read.
        features: What the formulas compute.
        pii: They describe one natural person.
        compute: `(inputs, choose=choose_scalar)` -> features by name, same shape as the inputs.
            `inputs` holds what is `needed`, 0 where a stored value does not exist: floats of one
            request, or arrays of shape (rows,) with `choose=numpy.where`.
    """

    name: str = "request"
    inputs: tuple[Feature, ...] = ()
    time_input: str = "request_time"
    recorded: EventSource | None = None
    stored: tuple[str, ...] = ()
    features: tuple[Feature, ...] = ()
    pii: bool = True
    compute: Formulas = field(default=lambda inputs, choose=choose_scalar: {}, repr=False)

    def __post_init__(self) -> None:
        if missing := [i.name for i in self.inputs if self.recorded is None or i.name not in self.recorded.columns]:
            raise ValueError(f"{self.name}: training cannot know {missing}: no recorded events have such columns")

    @property
    def numbers(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.inputs)

    @property
    def needed(self) -> tuple[str, ...]:
        """Names of all that the formulas read."""
        return (*self.numbers, self.time_input, *self.stored)

    @property
    def source(self) -> str:
        """Where the values come from, for people."""
        return f"request: {', '.join((*self.numbers, self.time_input))}; stored features"


@dataclass(frozen=True, slots=True)
class FeatureService:
    """A model's input vector.

    Attributes:
        features: Names in the vector's order, stored or computed in the request.
    """

    name: str
    owner: str
    features: tuple[str, ...]
    request: RequestFeatures = RequestFeatures()
