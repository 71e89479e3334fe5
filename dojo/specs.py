"""Model specs: the contract of one model, as its team writes it in `models/<name>.yaml`.

Frozen, unknown keys refused, every duration with its unit. A wrong file is refused with its path, line and reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dojo.durations import Duration, format_duration

Text = Annotated[str, Field(min_length=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
MetricName = Literal["pr_auc", "roc_auc", "precision_at_1pct_fpr", "recall_at_50pct_precision", "brier_score"]


def explain(kind: str, message: str, found: object) -> str:
    """One pydantic fault in plain words: what is wrong and, for single values, what was found."""
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "unknown key"
    if kind == "value_error":  # ours: says what it found
        return message.removeprefix("Value error, ")
    return message if isinstance(found, (dict, list, tuple)) else f"{message} (found {found!r})"


class SpecError(ValueError):
    """A model spec is missing or wrong; the message names file, line, field and reason."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LabelDelay(_Part):
    """How long after the event its label arrives: lognormal, cut off at `maximum`."""

    distribution: Literal["lognormal"]
    median: Duration
    sigma: Annotated[float, Field(gt=0, le=3)]  # of the logarithm, dimensionless
    maximum: Duration

    @model_validator(mode="after")
    def _median_within_maximum(self) -> LabelDelay:
        if not timedelta(0) < self.median < self.maximum:
            raise ValueError(
                f"median must be positive and below maximum ({format_duration(self.maximum)}), got {format_duration(self.median)}"
            )
        return self


class Label(_Part):
    event: Literal["outcomes"]
    positive_class: Text
    delay: LabelDelay


# LightGBM's parameters that a spec may set, with the values that make sense (both ends included). A closed list: LightGBM itself takes
# a misspelt parameter silently.
ESTIMATOR_BOUNDS: dict[str, tuple[float, float]] = {
    "n_estimators": (1, 10_000),
    "learning_rate": (1e-4, 1),
    "num_leaves": (2, 4096),
    "max_depth": (-1, 64),
    "min_child_samples": (1, 1_000_000),
    "max_bin": (2, 65_535),
    "subsample": (0.01, 1),
    "subsample_freq": (0, 1_000),
    "colsample_bytree": (0.01, 1),
    "reg_alpha": (0, 1e6),
    "reg_lambda": (0, 1e6),
}


class Estimator(_Part):
    kind: Literal["lightgbm"]
    parameters: dict[str, int | float]
    early_stopping_rounds: Annotated[int, Field(ge=1)]

    @field_validator("parameters", mode="before")
    @classmethod
    def _parameters_make_sense(cls, parameters: object) -> object:
        """One fault per parameter; a union of types would name each type that it is not."""
        if isinstance(parameters, dict):
            for name, value in parameters.items():
                if name not in ESTIMATOR_BOUNDS:
                    raise ValueError(f"{name}: unknown; LightGBM's parameters here are {', '.join(ESTIMATOR_BOUNDS)}")
                low, high = ESTIMATOR_BOUNDS[name]
                if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                    raise ValueError(f"{name}: expected a number from {low:g} to {high:g}, got {value!r}")
        return parameters


class Training(_Part):
    """What a version is trained on. `window` ends `label.delay.maximum` before "now" and includes validation and holdout."""

    window: Duration
    validation: Duration
    holdout: Duration
    schedule: Duration
    minimum_rows: Annotated[int, Field(ge=1)]
    label_rate: tuple[Fraction, Fraction]
    seed: Annotated[int, Field(ge=0)]
    estimator: Estimator

    @model_validator(mode="after")
    def _parts_fit(self) -> Training:
        if self.validation + self.holdout >= self.window:
            raise ValueError("validation + holdout must be shorter than window, or nothing is left to train on")
        if self.label_rate[0] >= self.label_rate[1]:
            raise ValueError(f"label_rate must be [low, high] with low < high, got {list(self.label_rate)}")
        return self


class Gate(_Part):
    primary_metric: MetricName
    minimum_gain: Fraction
    guard_metrics: tuple[MetricName, ...]


class Serving(_Part):
    """Wall time. `deadline` bounds the whole answer, `feature_timeout` the online store's share of it."""

    threshold_false_positive_rate: Annotated[float, Field(gt=0, lt=1)]
    latency_slo: Duration
    deadline: Duration
    feature_timeout: Duration
    fallback_score: Fraction

    @model_validator(mode="after")
    def _lookup_fits_the_deadline(self) -> Serving:
        if not timedelta(0) < self.feature_timeout < self.deadline:
            raise ValueError(f"feature_timeout must be positive and below deadline ({format_duration(self.deadline)})")
        if self.latency_slo > self.deadline:
            raise ValueError(
                f"latency_slo must not exceed deadline ({format_duration(self.deadline)}): later answers do not count"
            )
        return self


class DataGovernance(_Part):
    pii: tuple[str, ...]
    retention: Duration


class ModelSpec(_Part):
    """One model. See models/fraud_detection.yaml for a commented example."""

    name: Name
    description: Text
    owner: Text
    task: Literal["binary"]
    entities: Annotated[tuple[Name, ...], Field(min_length=1)]
    feature_service: Name
    label: Label
    training: Training
    gate: Gate
    serving: Serving
    data: DataGovernance

    @model_validator(mode="after")
    def _entities_differ(self) -> ModelSpec:
        if len(set(self.entities)) < len(self.entities):
            raise ValueError(f"entities must differ, got {list(self.entities)}")
        return self


def load_spec(path: Path) -> ModelSpec:
    """Read one spec.

    Raises:
        SpecError: `models/x.yaml:12: training.window: reason`, one line per fault.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    root, document = _parse(path, text)
    if not isinstance(document, dict) or root is None:
        raise SpecError(f"{path}:1: expected a mapping of keys, found {type(document).__name__}")
    twice = [f"{path}:{line}: {key}: is given twice" for line, key in _repeated_keys(root)]
    if twice:
        raise SpecError("\n".join(twice))
    try:
        spec = ModelSpec.model_validate(document)
    except ValidationError as error:
        faults = [
            f"{path}:{_line_of(root, e['loc'])}: {'.'.join(map(str, e['loc']))}: {explain(e['type'], e['msg'], e['input'])}"
            for e in error.errors()
        ]
        raise SpecError("\n".join(faults)) from error
    if spec.name != path.stem:
        raise SpecError(
            f"{path}:{_line_of(root, ('name',))}: name: must equal the file's name, {path.stem!r}, got {spec.name!r}"
        )
    return spec


def load_specs(directory: Path) -> dict[str, ModelSpec]:
    """Every spec in a directory, by model name. Raises SpecError when one is wrong or there is none."""
    specs = {path.stem: load_spec(path) for path in sorted(directory.glob("*.yaml"))}
    if not specs:
        raise SpecError(f"{directory}: no model specs (*.yaml) here; DOJO_MODELS_DIR names their directory")
    return specs


def _parse(path: Path, text: str) -> tuple[yaml.Node | None, object]:
    """The document's nodes (for line numbers) and its values."""
    try:
        return yaml.compose(text, Loader=_SpecLoader), yaml.load(text, Loader=_SpecLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SpecError(f"{path}:{line}: not YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecError(f"{path}:{line}: not YAML: {error.reason} (character {error.character:#x})") from error


class _SpecLoader(yaml.SafeLoader):
    """Dates stay text: specs have none, and an impossible one would be an error without a line."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the base class has it
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _repeated_keys(node: yaml.Node) -> Iterator[tuple[int, str]]:
    """Line and name of each key that a mapping already has; YAML itself would silently let the last one win."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                yield key.start_mark.line + 1, key.value
            seen.add(key.value)
            yield from _repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated_keys(value)


def _line_of(node: yaml.Node, location: tuple[int | str, ...]) -> int:
    """The line of the deepest part of `location` that the document has."""
    line = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if found is None:
                return line
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line
