"""The specs as processes use them: read, and in agreement with the feature catalogue.

A model with a wrong spec is left out alone. See docs/adr/0039-a-wrong-spec-is-out-alone.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import structlog
from prometheus_client import REGISTRY, CollectorRegistry

from dojo.core.settings import Settings
from dojo.core.spec.read import SpecError
from dojo.core.spec.schema import Label, ModelSpec
from dojo.core.specs_in_use import SpecsInUse
from dojo.core.tasks.specs import LoadedSpecs, load_right_specs, load_spec
from feature_repo.catalog import agreed, sources, views_of

_log = structlog.get_logger("specs")


def load_agreed_spec(path: Path) -> ModelSpec:
    """Read one spec that agrees with the catalogue.

    Raises:
        SpecError: The spec is wrong, or it does not agree.
    """
    spec = load_spec(path)
    agreed({spec.name: spec})
    return spec


def load(settings: Settings, read: Callable[[Path], ModelSpec] = load_agreed_spec) -> LoadedSpecs:
    """Return the specs of the models that run. A wrong one is left out, with its fault.

    Args:
        read: Reads one spec, and raises SpecError when it is wrong. A process with further demands
            brings its own.

    Raises:
        SpecError: No spec is right, there is none, or DOJO_MODELS names an unknown model.
    """
    return load_right_specs(settings.models_dir, settings.models, read)


def in_use(
    settings: Settings,
    loaded: LoadedSpecs,
    registry: CollectorRegistry = REGISTRY,
    read: Callable[[Path], ModelSpec] = load_agreed_spec,
) -> SpecsInUse:
    """Keep what a process read at its start beside the files, and log what it leaves out.

    Args:
        read: As it was for `load`.
    """
    for model, fault in loaded.faults.items():
        _log.error("a spec is wrong, its model is left out", model=model, fault=fault)
    return SpecsInUse(settings.models_dir, loaded, registry, read)


def labels_behind(spec: ModelSpec) -> tuple[str, ...]:
    """Return the other models whose labels the model's features read."""
    read = (source.labels_of for source in sources(views_of(spec.feature_service)))
    return tuple(sorted({model for model in read if model and model != spec.name}))


def labels_of(specs: Mapping[str, ModelSpec], directory: Path) -> dict[str, Label]:
    """Return model -> its labels, of all models that a world needs for these to learn.

    They are the models themselves, and those whose labels their features read. The latter need not
    run. A model without a file has no labels, and features of them are 0.

    Args:
        specs: The models.
        directory: Where all specs are.

    Raises:
        SpecError: A spec that must be read for its labels is wrong.
    """
    found = {name: spec.label for name, spec in specs.items()}
    for spec in specs.values():
        for name in set(labels_behind(spec)) - set(found):
            file = directory / f"{name}.yaml"
            try:
                if file.exists():
                    found[name] = load_spec(file).label
            except SpecError as error:
                raise SpecError(
                    f"{spec.name}: its features read the labels of {name}: {error}"
                ) from error
    return found
