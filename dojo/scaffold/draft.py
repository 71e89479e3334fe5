"""What a new model is to be, checked against the labels, entities and models that there are."""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import msgspec
from pydantic import TypeAdapter

from dojo.core.events.types import Event
from dojo.core.spec.durations import Duration
from dojo.core.tasks.specs import TASKS
from dojo.shop.events import SHOP_EVENTS
from dojo.shop.truths import TRUTHS, LabelFacts
from feature_repo import shop
from feature_repo.catalog import feature_packages
from feature_repo.views import BatchView, EventSource

# A name becomes part of file names, Redis keys and metric labels. Features put more behind it.
NAME = re.compile(r"[a-z][a-z0-9_]{1,31}")


class DraftError(ValueError):
    """A new model cannot be as it was asked for. The message says what there is instead."""


@dataclass(frozen=True)
class Draft:
    """A new model.

    Attributes:
        name: Name of the model.
        task: Kind of prediction.
        entities: What its features describe, the first one for the segments.
        truth: What its label says.
        owner: The owning team.
        into: Directory of its files. None is this checkout.
    """

    name: str
    task: str
    entities: tuple[str, ...]
    truth: str
    owner: str
    into: Path | None = None

    @property
    def facts(self) -> LabelFacts:
        return TRUTHS[self.truth].facts

    @property
    def stream(self) -> str:
        return TRUTHS[self.truth].stream

    @property
    def package(self) -> str:
        """Dotted name of its features' package."""
        return f"{self.name}_features" if self.into else f"feature_repo.{self.name}"

    @property
    def settled_after(self) -> timedelta:
        """The longest delay of a label, in whole days."""
        longest: timedelta = TypeAdapter(Duration).validate_python(self.facts.maximum)
        return timedelta(days=math.ceil(longest / timedelta(days=1)))

    @property
    def shared(self) -> list[BatchView]:
        """Views that every catalogue has, and that describe one of its entities."""
        return [
            view
            for view in shop.VIEWS
            if isinstance(view, BatchView) and view.entity in self.entities
        ]

    @property
    def persons(self) -> list[str]:
        """Those of its entities that stand for natural persons."""
        views = [view for package in feature_packages() for view in package.VIEWS]
        return [entity for entity in self.entities if (entity, True) in {_pii(v) for v in views}]


def _pii(view: BatchView) -> tuple[str, bool]:
    return view.entity, view.pii


def entities_of(stream: str) -> list[str]:
    """Return the entities that a stream's events have keys of."""
    event = SHOP_EVENTS[stream]
    base = {field.name for field in msgspec.structs.fields(Event)}
    names = [field.name for field in msgspec.structs.fields(event)]
    return [
        name.removesuffix("_id")
        for name in names
        if name.endswith("_id") and name not in {event.key, *base}
    ]


def draft(
    name: str,
    task: str,
    entities: Sequence[str],
    truth: str,
    owner: str,
    into: Path | None,
    taken: Collection[str],
) -> Draft:
    """Return the new model.

    Args:
        name: Name of the model.
        task: Kind of prediction.
        entities: What its features describe.
        truth: What its label says. Empty takes the first fitting label.
        owner: The owning team.
        into: Directory of its files. None is this checkout.
        taken: Names of models that there are.

    Raises:
        DraftError: It cannot be like this.
    """
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        raise DraftError(
            f"{name!r} is no name of a model: 2 to 32 lower-case letters, digits and _, with a"
            " letter first"
        )
    if name in taken:
        raise DraftError(f"there is a model {name} already, beside {', '.join(sorted(taken))}")
    if find_spec(f"feature_repo.{name}") is not None:
        raise DraftError(f"feature_repo/{name} is there already")
    if task not in TASKS:
        raise DraftError(f"no task {task!r}; there are {', '.join(TASKS)}")
    if not entities or len(set(entities)) < len(entities):
        raise DraftError(f"entities must be named and differ, got {', '.join(entities) or 'none'}")
    known = sorted({entity for stream in SHOP_EVENTS for entity in entities_of(stream)})
    if unknown := [entity for entity in entities if entity not in known]:
        raise DraftError(f"no entity {', '.join(unknown)}; there are {', '.join(known)}")
    return Draft(name, task, tuple(entities), _truth(truth, task, entities), owner, into)


def _truth(truth: str, task: str, entities: Sequence[str]) -> str:
    if truth and truth not in TRUTHS:
        raise DraftError(f"no truth {truth!r}; there are {_said(TRUTHS)}")
    of_task = [name for name, of in TRUTHS.items() if of.facts.task == task]
    fitting = [name for name in of_task if set(entities) <= set(entities_of(TRUTHS[name].stream))]
    if truth and truth not in of_task:
        raise DraftError(
            f"{truth} is a label of {TRUTHS[truth].facts.task}; {task} has {_said(of_task)}"
        )
    if not fitting or (truth and truth not in fitting):
        has = {name: ", ".join(entities_of(TRUTHS[name].stream)) for name in of_task}
        raise DraftError(
            f"no label of {task} is about {', '.join(entities)} together; there are "
            + "; ".join(f"{name} of {about}" for name, about in has.items())
        )
    return truth or fitting[0]


def _said(truths: Collection[str]) -> str:
    return ", ".join(f"{name} ({TRUTHS[name].facts.task})" for name in truths)


def source_of(stream: str) -> tuple[str, str]:
    """Return module and name of the source with a stream's events, as others define it.

    Raises:
        LookupError: No features have been defined over the stream.
    """
    for package in feature_packages():
        for service in package.SERVICES:
            recorded = service.request.recorded
            if recorded is not None and recorded.stream == stream:
                return definition_of(package, recorded)
    raise LookupError(f"no features of {stream}")


def definition_of(package: ModuleType, wanted: EventSource | BatchView) -> tuple[str, str]:
    """Return module and name under which a package defines a source or a view.

    Raises:
        LookupError: The package does not define it.
    """
    assert package.__file__ is not None
    for file in sorted(Path(package.__file__).parent.glob("*.py")):
        for name in re.findall(rf"^([A-Z_]+) = {type(wanted).__name__}\(", file.read_text(), re.M):
            module = import_module(f"{package.__name__}.{file.stem}")
            if getattr(module, name) == wanted:
                return module.__name__, name
    raise LookupError(f"{package.__name__} does not define {wanted}")
