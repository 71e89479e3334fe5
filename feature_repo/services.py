"""A model's inputs: a feature service, what callers send, and the features from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from feature_repo.views import EventSource, Feature

Choose = Callable[[Any, Any, Any], Any]
Formulas = Callable[..., dict[str, Any]]


def choose_scalar(condition: bool, yes: float, no: float) -> float:
    """Return `numpy.where` for one request, 30 times cheaper than NumPy on scalars."""
    return yes if condition else no


@dataclass(frozen=True, slots=True)
class RequestFeatures:
    """A caller's inputs with a request, and the features computed from them.

    By default only a time.

    Attributes:
        name: Name of Feast's on-demand view.
        inputs: The numbers and categories sent by the caller. A category is a text.
        time_input: Name of the time sent by the caller. The formulas get it in unix seconds.
        recorded: The events behind requests. Their key is the request's id, and they hold the
            inputs as they really were. None when a request is its own record.
        stored: Names of the stored features read by the formulas.
        features: The features computed by the formulas.
        pii: True if they describe one natural person.
        compute: `(inputs, choose=choose_scalar)` -> features by name, same shape as the inputs.
            `inputs` has all `needed` names, with 0 where a stored value does not exist. The values
            are floats of one request, or arrays of shape (rows,) with `choose=numpy.where`.
            A category is its number.
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
        if missing := [
            i.name
            for i in self.inputs
            if self.recorded is None or i.name not in self.recorded.columns
        ]:
            raise ValueError(
                f"{self.name}: training cannot know {missing}: no recorded events have such columns"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(feature.name for feature in self.inputs)

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the inputs that are numbers."""
        return tuple(feature.name for feature in self.inputs if not feature.is_category)

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the inputs that are categories."""
        return tuple(feature.name for feature in self.inputs if feature.is_category)

    @property
    def needed(self) -> tuple[str, ...]:
        """Names of all inputs of the formulas."""
        return (*self.names, self.time_input, *self.stored)

    @property
    def source(self) -> str:
        """The origin of the values, for people."""
        return f"request: {', '.join((*self.names, self.time_input))}; stored features"


@dataclass(frozen=True, slots=True)
class FeatureService:
    """A model's input vector.

    Attributes:
        name: Name of the service.
        model: The model. Its versions may have different services.
        owner: The owning team.
        features: Names in the vector's order, stored or computed in the request.
        request: The caller's inputs and the features computed from them.
    """

    name: str
    model: str
    owner: str
    features: tuple[str, ...]
    request: RequestFeatures = RequestFeatures()
