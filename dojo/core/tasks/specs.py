"""Model specs, the contract of one model. Its team writes it in `models/<name>.yaml`.

The key `task:` selects the allowed fields.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dojo.core.settings import ALL_MODELS
from dojo.core.spec.names import model_names
from dojo.core.spec.read import SpecError, read_spec
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.binary.spec import BinarySpec
from dojo.core.tasks.binary.task import Binary
from dojo.core.tasks.protocol import Task
from dojo.core.tasks.ranking.spec import RankingSpec
from dojo.core.tasks.ranking.task import Ranking
from dojo.core.tasks.regression.spec import RegressionSpec
from dojo.core.tasks.regression.task import Regression

# Each task's spec class and task class.
TASKS: Mapping[str, tuple[type[ModelSpec], type[Any]]] = {
    "binary": (BinarySpec, Binary),
    "regression": (RegressionSpec, Regression),
    "ranking": (RankingSpec, Ranking),
}


class LoadedSpecs(NamedTuple):
    """The specs of the models that run.

    Attributes:
        specs: The right ones, by name. At least one.
        faults: Model -> what is wrong with its spec. The process goes on without these models.
    """

    specs: dict[str, ModelSpec]
    faults: dict[str, str]


def load_spec(path: Path) -> ModelSpec:
    """Read one spec.

    Raises:
        SpecError: Wrong spec. One line per fault, `models/x.yaml:12: training.window: reason`.
    """
    return read_spec(path, {name: kind for name, (kind, _) in TASKS.items()})


def load_right_specs(
    directory: Path,
    chosen: Collection[str] = (),
    read: Callable[[Path], ModelSpec] = load_spec,
) -> LoadedSpecs:
    """Return the specs of the models that run. A wrong one is left out, with its fault.

    Args:
        directory: Where the files are.
        chosen: Names, or ALL_MODELS. Without names, every model runs that is not optional.
        read: Reads one file. It raises SpecError when the spec is wrong.

    Raises:
        SpecError: No spec is right, there is none, or a name has none.
    """
    there_are = model_names(directory, (ALL_MODELS,))
    if not there_are:
        raise SpecError(
            f"{directory}: no model specs (*.yaml) here; DOJO_MODELS_DIR names their directory"
        )
    if unknown := set(chosen) - {*there_are, ALL_MODELS}:
        raise SpecError(
            f"DOJO_MODELS: no {', '.join(sorted(unknown))} in {directory}; there are"
            f" {', '.join(there_are)}"
        )
    specs: dict[str, ModelSpec] = {}
    faults: dict[str, str] = {}
    for name in model_names(directory, chosen):
        path = directory / f"{name}.yaml"
        try:
            spec = read(path)
            if spec.optional and not chosen:
                raise SpecError(f"{path}: optional: write `optional: true` on a line of its own")
            specs[name] = spec
        except SpecError as error:
            faults[name] = str(error)
    if not specs:
        raise SpecError(
            "\n".join(faults.values())
            or f"{directory}: every model is optional, so DOJO_MODELS must name one"
        )
    return LoadedSpecs(specs, faults)


def load_specs(directory: Path, chosen: Collection[str] = ()) -> dict[str, ModelSpec]:
    """Return the specs of the models that run, by name, once every one is right.

    For commands. A process goes on with the right ones (`load_right_specs`).

    Raises:
        SpecError: As `load_right_specs`. Also when a single spec is wrong.
    """
    loaded = load_right_specs(directory, chosen)
    if loaded.faults:
        raise SpecError("\n".join(loaded.faults.values()))
    return loaded.specs


def task_of(spec: ModelSpec) -> Task:
    """Return the task of this spec's kind of prediction."""
    task: Task = TASKS[spec.task][1](spec)
    return task


def task_type(name: str) -> type[Task]:
    """Return a task's class without a spec, for the names of its metrics.

    Raises:
        KeyError: There is no task of this name.
    """
    found: type[Task] = TASKS[name][1]
    return found
