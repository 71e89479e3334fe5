"""The feature catalogue, with each feature once.

A feature has its owner, source, transformation, freshness SLA and PII tag.

Plain data without imports of Feast and Polars, because the gateway reads it at its start.
`definitions.py` builds Feast's objects from it, and `dojo features catalog` prints it. The streamer
and the offline store compute what it defines.

`feature_repo/shop` defines the features that every catalogue has. Another package of feature_repo
joins it where DOJO_MODELS names one of the package's models. A package that cannot be imported is
left out, with the models that need it. DOJO_FEATURE_MODULES names further
modules with `VIEWS` and `SERVICES`. They must not import this module. The settings are read at
import, because the catalogue never changes while a process runs.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import TypeVar

from dojo.core.settings import ALL_MODELS, SettingsError
from dojo.core.spec.durations import format_duration
from dojo.core.spec.read import SpecError
from dojo.core.spec.regulated import Regulated
from dojo.core.spec.schema import ModelSpec
from dojo.shop.events import SHOP_EVENTS
from feature_repo import shop
from feature_repo.services import FeatureService, RequestFeatures
from feature_repo.views import (
    MOMENT_UNIT,
    PUBLISH_DELAY,
    BatchView,
    EventSource,
    Feature,
    StreamingView,
    View,
)

_ROOT = "feature_repo"

_Named = TypeVar("_Named", View, FeatureService, RequestFeatures, Feature)


def _by_name(kind: str, defined: Iterable[_Named]) -> dict[str, _Named]:
    found: dict[str, _Named] = {}
    for one in defined:
        if found.setdefault(one.name, one) != one:
            raise ValueError(f"the {kind} {one.name!r} is defined twice, and differently")
    return found


def _names(variable: str) -> list[str]:
    return [name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()]


# Package -> why it cannot be imported.
BROKEN: dict[str, str] = {}


def feature_packages() -> list[ModuleType]:
    """Return every package of feature_repo, whether its models run or not. `shop` is the first.

    Packages that cannot be imported are left out, and noted in BROKEN.
    """
    found = [shop]
    for one in iter_modules(import_module(_ROOT).__path__, f"{_ROOT}."):
        if not one.ispkg or one.name == shop.__name__:
            continue
        try:
            found.append(import_module(one.name))
        except Exception as error:  # another team's code, which must stop its own models only
            BROKEN[one.name] = f"{type(error).__name__}: {error}"
    return found


def _packages_of_models() -> list[ModuleType]:
    """Return the packages beside `shop` with features of a model in DOJO_MODELS."""
    chosen = _names("DOJO_MODELS")
    return [
        package
        for package in (feature_packages()[1:] if chosen else [])
        if ALL_MODELS in chosen or any(service.model in chosen for service in package.SERVICES)
    ]


def _named_modules() -> list[ModuleType]:
    try:
        return [import_module(name) for name in _names("DOJO_FEATURE_MODULES")]
    except ImportError as error:
        raise SettingsError(f"DOJO_FEATURE_MODULES: {error}") from error


_MODULES: list[ModuleType] = [shop, *_packages_of_models(), *_named_modules()]

VIEWS: dict[str, View] = _by_name("view", (view for module in _MODULES for view in module.VIEWS))
SERVICES: dict[str, FeatureService] = _by_name(
    "service", (s for module in _MODULES for s in module.SERVICES)
)
REQUESTS = _by_name(
    "request", (service.request for service in SERVICES.values() if service.request.features)
)

_GROUPS: list[View | RequestFeatures] = [*VIEWS.values(), *REQUESTS.values()]
FEATURES = _by_name("feature", (feature for group in _GROUPS for feature in group.features))

ENTITY_KEYS = {view.entity: view.key for view in VIEWS.values()}

# Stored features with a moment as value. The substitute for an unreachable one is an age, because a
# moment would grow old.
MOMENTS = frozenset(name for name, feature in FEATURES.items() if feature.unit == MOMENT_UNIT)


def batch_views() -> list[BatchView]:
    return [view for view in VIEWS.values() if isinstance(view, BatchView)]


def streaming_views() -> list[StreamingView]:
    return [view for view in VIEWS.values() if isinstance(view, StreamingView)]


def sources(views: Iterable[View]) -> list[EventSource]:
    """Return the sources of the views, each once."""
    return list(dict.fromkeys(source for view in views for source in view.sources))


def stored_of(service: str, features: Sequence[str] | None = None) -> list[tuple[View, str]]:
    """Return the stored values needed by features, directly or through request-time features.

    In the catalogue's order.

    Args:
        service: Name of the feature service.
        features: Some of the service's features. All by default.

    Raises:
        KeyError: The service is unknown.
    """
    described = SERVICES[service]
    wanted = set(described.features if features is None else features)
    if wanted & {feature.name for feature in described.request.features}:
        wanted |= set(described.request.stored)
    return [(view, name) for view in VIEWS.values() for name in view.names if name in wanted]


# Counts have no upper limit (a sale brings many), and no unit that could be wrong. A moved count is
# input drift.
COUNTS = frozenset(
    name
    for name, feature in FEATURES.items()
    if feature.unit in {source.stream for view in VIEWS.values() for source in view.sources}
)


def views_of(service: str) -> tuple[View, ...]:
    """Return the stored views that a service needs.

    Raises:
        KeyError: The service is unknown.
    """
    return tuple({view.name: view for view, _ in stored_of(service)}.values())


def agreed(specs: Mapping[str, ModelSpec]) -> Mapping[str, ModelSpec]:
    """Return the specs, once each agrees with the catalogue. Every process asks at its start.

    Raises:
        SpecError: A spec names something unknown here. Or its labels may arrive later than features
            wait for them. Or it repeats results for longer than their features may be old.
    """
    for spec in specs.values():
        if spec.feature_service not in SERVICES:
            raise SpecError(
                f"{spec.name}: feature_service: {spec.feature_service} is not one of"
                f" {', '.join(SERVICES)}{_told(BROKEN)}"
            )
        if unknown := set(spec.entities) - set(ENTITY_KEYS):
            raise SpecError(
                f"{spec.name}: entities: no {', '.join(sorted(unknown))}; there are"
                f" {', '.join(ENTITY_KEYS)}"
            )
        described = {view.entity for view in views_of(spec.feature_service)}
        if missing := described - set(spec.entities):
            raise SpecError(
                f"{spec.name}: entities: {spec.feature_service} has features of"
                f" {', '.join(sorted(missing))}, so callers must send its key"
            )
        recorded = SERVICES[spec.feature_service].request.recorded
        if recorded is not None and spec.label.event != recorded.stream:
            raise SpecError(
                f"{spec.name}: label.event: {spec.label.event} is not {recorded.stream}, where"
                f" requests of {spec.feature_service} are recorded"
            )
        _require_categories(spec)
        if spec.regulated is not None:
            _require_regulated(spec, spec.regulated)
        for view in views_of(spec.feature_service):
            if spec.result_cache is not None and spec.result_cache.keep > view.freshness_sla:
                raise SpecError(
                    f"{spec.name}: result_cache.keep: {format_duration(spec.result_cache.keep)} is"
                    f" longer than features of {view.name} may be old,"
                    f" {format_duration(view.freshness_sla)}"
                )
        for source in sources(VIEWS.values()):
            if source.labels_of == spec.name and spec.label.delay.maximum > source.settled_after:
                raise SpecError(
                    f"{spec.name}: label.delay.maximum: {format_duration(spec.label.delay.maximum)}"
                    " is longer than features wait for its labels,"
                    f" {format_duration(source.settled_after)}: they would take late positives for"
                    " negatives"
                )
    return specs


def _require_categories(spec: ModelSpec) -> None:
    """Refuse categories where only numbers have a meaning.

    Raises:
        SpecError: A feature that is a category is not sent by callers, so its names are not known.
            Or the segments are cut by one.
    """
    service = SERVICES[spec.feature_service]
    groups: list[View | RequestFeatures] = [*views_of(service.name), service.request]
    described = {one.name for group in groups for one in group.features if one.is_category}
    categories = described & set(service.features)
    if unsent := sorted(categories - set(service.request.categories)):
        raise SpecError(
            f"{spec.name}: feature_service: {service.name} has categories that callers do not send:"
            f" {', '.join(unsent)}"
        )
    if spec.drift.segment in categories:
        raise SpecError(
            f"{spec.name}: drift.segment: {spec.drift.segment} is a category, and segments are"
            " groups of numbers"
        )


def _require_regulated(spec: ModelSpec, rules: Regulated) -> None:
    """Refuse a regulated model that could see the protected attribute, or not explain itself.

    Raises:
        SpecError: An input, feature or source of features has the attribute. Or the label's events
            do not record it. Or the reasons are not those of the features.
    """
    service, hidden = SERVICES[spec.feature_service], rules.protected
    request = service.request
    names = {*service.features, *request.needed, *(name for _, name in stored_of(service.name))}
    read = {column for source in sources(views_of(service.name)) for column in source.columns}
    read |= set(request.recorded.columns) if request.recorded else set()
    if seen := sorted(name for name in names | read if hidden in name):
        raise SpecError(
            f"{spec.name}: regulated.protected: {service.name} reads {', '.join(seen)}, and"
            f" {hidden} must never be an input"
        )
    event = SHOP_EVENTS.get(spec.label.event)
    if event is None or hidden not in event.__struct_fields__:
        raise SpecError(
            f"{spec.name}: regulated.protected: {spec.label.event} does not record {hidden}, so its"
            " groups cannot be compared"
        )
    if missing := sorted(set(service.features) - set(rules.reasons)):
        raise SpecError(
            f"{spec.name}: regulated.reasons: no reason for {', '.join(missing)}, which may decide"
            " against a person"
        )
    if unknown := sorted(set(rules.reasons) - set(service.features)):
        raise SpecError(
            f"{spec.name}: regulated.reasons: {service.name} has no {', '.join(unknown)}"
        )


def _told(broken: Mapping[str, str]) -> str:
    return "".join(f"; {package} cannot be imported: {why}" for package, why in broken.items())


def personal_keys(service: str) -> tuple[str, ...]:
    """Return the entity keys of a service that each stand for one natural person.

    Raises:
        KeyError: The service is unknown.
    """
    return tuple(sorted({view.key for view in views_of(service) if view.pii}))


def recorded_requests(service: str) -> EventSource:
    """Return the events behind a service's requests. Each event is an example to learn from.

    Raises:
        KeyError: The service is unknown.
        SpecError: No events record its requests.
    """
    recorded = SERVICES[service].request.recorded
    if recorded is None:
        raise SpecError(
            f"{service}: no events record what its requests are about, so there is nothing to learn"
            " from"
        )
    return recorded


def bounds_of(service: str, name: str) -> str:
    """An input's bounds and where they are set: `0 to 1e+06 (feature_repo/shop/request.py:80)`."""
    request = SERVICES[service].request
    low, high = next(one.bounds for one in request.inputs if one.name == name)
    file = _file_of(request.compute.__module__)
    lines = file.read_text().splitlines()
    line = next((number for number, text in enumerate(lines, 1) if f'Feature("{name}"' in text), 1)
    checkout = Path(__file__).parents[1]
    shown = file.relative_to(checkout) if file.is_relative_to(checkout) else file
    return f"{low:g} to {high:g} ({shown}:{line})"


def definition_hash() -> str:
    """Return the SHA-256 of everything that decides feature values: catalogue and computing code.

    A module counts with its whole package, because it may import its neighbours.
    """
    digest = hashlib.sha256(
        repr((sorted(VIEWS.items()), sorted(SERVICES.items()), PUBLISH_DELAY)).encode()
    )
    computing = {view.compute.partition(":")[0] for view in batch_views()}
    computing |= {request.compute.__module__ for request in REQUESTS.values()}
    files = {
        _file_of(f"feature_repo.{name}")
        for name in ("windows", "columns", "midnights", "looks", "clock")
    }
    files |= {file for module in computing for file in _file_of(module).parent.glob("*.py")}
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _file_of(module: str) -> Path:
    found = find_spec(module)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"no source of {module}, which computes features")
    return Path(found.origin)
