"""The steps of a training run, in order. They hand over by files in one workspace.

    collect        lake_manifest.json      what the version learns from, pinned
                   teacher.json            of a smaller version: the champion's trees
    validate       (raises)                refuses bad data
    build_dataset  dataset.parquet         examples with point-in-time features;
                   categories.json         names of the examples' categories;
                                           refuses broken features and leaks
    train          model.onnx, trees.txt, fit.json, scores.parquet, parity.json
    evaluate       evaluation.json, reference_profile.json, reference_rows.parquet

Each function takes a `Run` and reads the files of the functions before it. So a scheduler may call
each in its own process, and repeating a step gives the same files. Work after these steps, with
MLflow, the gate and the registry, is in pipelines/tasks.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from dojo.core.events.types import Stream
from dojo.core.labels import latest_labels
from dojo.core.lake import Lake, file_sha256, write_parquet_atomically
from dojo.core.registry.bundle import (
    MODEL_FILE,
    PARITY_FILE,
    PROFILE_FILE,
    TREES_FILE,
    OnnxScorer,
    Parity,
)
from dojo.core.registry.reference_profile import ReferenceProfile
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.records import Answered
from dojo.core.tasks.specs import task_of
from feature_repo import catalog
from pipelines.features.category_columns import known_categories, names_by_number
from pipelines.training.dataset import collect
from pipelines.training.dataset.build import (
    DATASET_FILE,
    dataset_hash,
    join_features,
    label_examples,
    stored_features,
)
from pipelines.training.dataset.collect import MANIFEST_FILE, Manifest
from pipelines.training.dataset.features_check import (
    missing_shares,
    require_sound_features,
    training_set,
)
from pipelines.training.dataset.split import Split, split_by_time
from pipelines.training.reference import ReferenceHoldout, profile_of
from pipelines.training.reference_rows import REFERENCE_ROWS_FILE, reference_rows
from pipelines.training.smaller import fit_smaller, read_teacher

FIT_FILE = "fit.json"
SCORES_FILE = "scores.parquet"
EVALUATION_FILE = "evaluation.json"
CATEGORIES_FILE = "categories.json"

# Rows of the holdout in the bundle, for the parity check. Each load scores them again, in
# milliseconds.
PARITY_ROWS = 256

Progress = Callable[[str, float], None]


def silent(step: str, share: float) -> None:
    """Report no progress."""


@dataclass(frozen=True, slots=True)
class Run:
    """One training run.

    Attributes:
        lake: Where it reads.
        spec: The model's spec, which it follows.
        workspace: Where it keeps its files.
        progress: Called with a step and the done share of it, 0 to 1.
    """

    lake: Lake
    spec: ModelSpec
    workspace: Path
    progress: Progress = silent

    @property
    def manifest(self) -> Manifest:
        return Manifest.read(self.workspace / MANIFEST_FILE)

    @property
    def features(self) -> tuple[str, ...]:
        return catalog.SERVICES[self.spec.feature_service].features


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """What the train step found beside the model.

    Attributes:
        trees: Number of trees used.
        rows: Part -> number of rows.
        support: Part -> `Task.support`.
        importance: Feature -> loss reduction over all splits.
        parity_difference: Largest difference between LightGBM's and ONNX Runtime's scores.
        stored_defaults: Stored feature -> the value that replaces it when it cannot be read.
        categories: Feature -> names of the categories that the version knows, by frequency.
        data_sha256: Hash of the data set's content.
        model_sha256: Hash of the model file.
    """

    trees: int
    rows: dict[str, int]
    support: dict[str, int]
    importance: dict[str, float]
    parity_difference: float
    stored_defaults: dict[str, float]
    data_sha256: str
    model_sha256: str
    categories: dict[str, tuple[str, ...]] = {}


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of the evaluate step.

    Attributes:
        metrics: Holdout metrics by name.
        decision: The decision from the validation rows (`Task.decide`).
    """

    metrics: dict[str, float]
    decision: dict[str, float]


def collect_step(run: Run, as_of: datetime) -> None:
    run.progress("collect", 0.0)
    collect.collect(run.lake, run.spec, as_of).write(run.workspace)


def validate_step(run: Run) -> None:
    from pipelines.training.dataset.validate import validate  # pandas takes seconds

    run.progress("validate", 0.0)
    manifest = run.manifest
    streams = collect.read_streams(run.lake, manifest, run.spec.feature_service)
    requests = streams[catalog.recorded_requests(run.spec.feature_service).stream]
    validate(requests, streams[Stream.OUTCOMES], manifest, run.spec)


def build_dataset_step(run: Run, champion: ReferenceProfile | None) -> None:
    """Build the data set, and write it only after its features passed the checks.

    The checks compare the features with the `champion`'s profile, and with the labels (leakage).
    """
    run.progress("build_dataset", 0.0)
    manifest, spec, service = run.manifest, run.spec, run.spec.feature_service
    streams = collect.read_streams(run.lake, manifest, service)
    own = latest_labels(streams[Stream.OUTCOMES].filter(pl.col("model") == spec.name))
    requests = streams[catalog.recorded_requests(service).stream]
    examples = label_examples(requests, own, service, manifest.start, manifest.end)
    dataset = join_features(streams, examples, service, run.workspace, run.progress)
    require_sound_features(dataset, spec, champion)
    names = {
        name: sorted(names_by_number(examples[name]).values())
        for name in catalog.SERVICES[service].request.categories
    }
    (run.workspace / CATEGORIES_FILE).write_bytes(msgspec.json.encode(names))
    write_parquet_atomically(dataset, run.workspace / DATASET_FILE)


def train_step(run: Run) -> None:
    from pipelines.training import (  # LightGBM and scikit-learn take seconds; only this step waits
        convert,
        train,
    )

    run.progress("train", 0.0)
    dataset = pl.read_parquet(run.workspace / DATASET_FILE, glob=False)
    split = split_of(run, dataset)
    teacher = read_teacher(run.workspace)
    if teacher is None:
        categories = _known_categories(run, split)
        fitted = train.fit(split.train, split.validation, run.spec, run.features, categories)
    else:
        categories = teacher.categories
        fitted = fit_smaller(teacher, split, run.spec)

    model_file = run.workspace / MODEL_FILE
    model_file.write_bytes(
        convert.to_onnx(fitted.booster, run.features, categories).SerializeToString(
            deterministic=True
        )
    )
    (run.workspace / TREES_FILE).write_text(fitted.booster.model_to_string())
    judged = fitted.score(split.holdout.inputs)
    parity = parity_rows(split.holdout.inputs, judged)
    (run.workspace / PARITY_FILE).write_bytes(msgspec.json.encode(parity))
    write_parquet_atomically(_scores(split, OnnxScorer(model_file)), run.workspace / SCORES_FILE)

    task = task_of(run.spec)
    past = dataset.filter(
        pl.col("event_timestamp")
        < run.manifest.end - run.spec.training.holdout - run.spec.training.validation
    )
    fit = Fit(
        trees=fitted.trees,
        rows={part.name: len(part.labels) for part in split.parts()},
        support={part.name: task.support(part.answered(part.labels)) for part in split.parts()},
        importance=dict(zip(run.features, fitted.gains(), strict=True)),
        parity_difference=convert.prove_parity(judged, model_file, split.holdout.inputs),
        stored_defaults=stored_defaults(past, stored_features(run.spec.feature_service)),
        data_sha256=dataset_hash(dataset, run.spec.feature_service),
        model_sha256=file_sha256(model_file),
        categories=categories,
    )
    (run.workspace / FIT_FILE).write_bytes(msgspec.json.encode(fit))


def _known_categories(run: Run, split: Split) -> dict[str, tuple[str, ...]]:
    names: dict[str, list[str]] = msgspec.json.decode(
        (run.workspace / CATEGORIES_FILE).read_bytes()
    )
    return {
        feature: known_categories(split.train.inputs[:, run.features.index(feature)], found)
        for feature, found in names.items()
        if feature in run.features
    }


def stored_defaults(rows: pl.DataFrame, features: Sequence[str]) -> dict[str, float]:
    """Return the value that replaces each stored feature when it cannot be read.

    It is the feature's median. For a moment (`catalog.MOMENTS`) it is the median age, in seconds.
    """
    row_time = pl.col("event_timestamp").dt.epoch("us") / 1_000_000

    def typical(feature: str) -> pl.Expr:
        value = pl.col(feature)
        return (
            ((row_time - value).filter(value > 0) if feature in catalog.MOMENTS else value)
            .median()
            .fill_null(0.0)
            .alias(feature)
        )

    return rows.select(typical(feature) for feature in features).row(0, named=True)


def answered_parts(run: Run, split: Split) -> tuple[Answered, Answered]:
    """Validation and holdout as the trained model answers them. What they flag is not known yet."""
    scores = pl.read_parquet(run.workspace / SCORES_FILE, glob=False)
    validation, holdout = (
        part.answered(scores.filter(pl.col("part") == part.name)["score"].to_numpy())
        for part in (split.validation, split.holdout)
    )
    return validation, holdout


def split_of(run: Run, dataset: pl.DataFrame) -> Split:
    """Return the run's examples, split into parts. Raises UselessPartError."""
    return split_by_time(dataset, run.features, run.manifest.end, run.spec)


def evaluate_step(run: Run) -> None:
    run.progress("evaluate", 0.0)
    dataset = pl.read_parquet(run.workspace / DATASET_FILE, glob=False)
    split = split_of(run, dataset)
    validation, holdout = answered_parts(run, split)
    task = task_of(run.spec)
    decision = task.decide(validation)
    holdout = holdout.scored(holdout.scores, task.flagged(holdout.scores, decision), decision)
    metrics = task.evaluate(holdout)
    (run.workspace / EVALUATION_FILE).write_bytes(
        msgspec.json.encode(Evaluation(metrics=metrics, decision=decision))
    )

    recent = dataset.filter(
        pl.col("event_timestamp") >= run.manifest.end - run.spec.training.holdout
    )
    rows = ReferenceHoldout(
        names=run.features,
        inputs=split.holdout.inputs,
        answered=holdout,
        categories=read_fit(run.workspace).categories,
        missing=missing_shares(recent, run.spec.feature_service),
    )
    profile = profile_of(rows, run.spec)
    learned_from = training_set(dataset, run.spec.feature_service, profile.features)
    msgspec.structs.replace(profile, training=learned_from).write(run.workspace / PROFILE_FILE)
    write_parquet_atomically(reference_rows(rows, run.spec), run.workspace / REFERENCE_ROWS_FILE)


def read_fit(workspace: Path) -> Fit:
    return msgspec.json.decode((workspace / FIT_FILE).read_bytes(), type=Fit)


def read_evaluation(workspace: Path) -> Evaluation:
    return msgspec.json.decode((workspace / EVALUATION_FILE).read_bytes(), type=Evaluation)


def parity_rows(inputs: npt.NDArray[np.float32], scores: npt.NDArray[np.float64]) -> Parity:
    """Return PARITY_ROWS real rows, evenly spread from the lowest to the highest score.

    So positives are among them.
    """
    chosen = np.argsort(scores, kind="stable")[
        np.linspace(0, len(scores) - 1, min(PARITY_ROWS, len(scores))).astype(int)
    ]
    return Parity(inputs=inputs[chosen].tolist(), scores=scores[chosen].tolist())


def _scores(split: Split, served: OnnxScorer) -> pl.DataFrame:
    """Return the scores as they will be served, in single precision.

    Few trees give many rows the same score. A threshold or the edge of a bin is such a score.
    LightGBM's own differs in the eighth digit, which would put all these rows on the other side.
    """
    parts: Sequence[pl.DataFrame] = [
        pl.DataFrame(
            {
                "part": [part.name] * len(part.labels),
                "label": part.labels,
                "score": served.score(part.inputs).astype(np.float64),
            }
        )
        for part in (split.validation, split.holdout)
    ]
    return pl.concat(parts)
