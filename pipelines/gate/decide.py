"""The gate at work: both models score the challenger's holdout, and the decision is written.

    gate/decision.json              every number (decision.py)
    gate/gate.md, gate/gate.html    the report for people
    gate/*.png                      both versions' first curve, and the gains that were drawn

decision.json is written last and at once. Where it exists, the other files exist too, and the
decision is made.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from dojo.core.judging.gate.compare import GateJudgement, judge
from dojo.core.judging.gate.decision import (
    BATCH,
    DECISION_FILE,
    GATE_PATH,
    GateDecision,
    TrainingSetChange,
)
from dojo.core.judging.gate.holdout import Candidate, GateHoldout
from dojo.core.labels import weights_of
from dojo.core.protected import groups_of_requests, rows_by_group
from dojo.core.registry.bundle import MODEL_FILE, PROFILE_FILE, Bundle, OnnxScorer, load_bundle
from dojo.core.registry.reference_profile import ReferenceProfile, UnusableProfileError
from dojo.core.registry.versions import CHAMPION, ModelRegistry, Version
from feature_repo.catalog import ENTITY_KEYS, recorded_requests
from pipelines.gate.champion import seen_until
from pipelines.gate.differences import changed_parameters, changed_training_set
from pipelines.gate.worth import worth
from pipelines.release.artefacts import BUNDLE_PATH
from pipelines.training.dataset.build import DATASET_FILE
from pipelines.training.dataset.collect import scan_pinned
from pipelines.training.dataset.features_check import training_set
from pipelines.training.segments import segments_of
from pipelines.training.smaller import read_teacher
from pipelines.training.steps import Run

# Rows scored one by one, and the number of rounds over them. The median of these 900 times moves by
# a few percent between runs.
LATENCY_ROWS = 300
LATENCY_ROUNDS = 3
# Rounds over the same rows, BATCH at a time: 90 times in all.
BATCH_ROUNDS = 10


def decide(run: Run, registry: ModelRegistry, job: str, run_id: str) -> GateDecision:
    """Return the decision about the challenger in the run's workspace.

    It is an earlier decision, or a new one written to `<workspace>/gate`.

    Args:
        run: The training run.
        registry: The model registry.
        job: Key of the retraining job that asks.
        run_id: The challenger's MLflow run.

    Raises:
        CorruptBundleError: The champion does not load.
        RegistryUnavailableError: MLflow does not answer.
    """
    directory = run.workspace / GATE_PATH
    made = directory / DECISION_FILE
    if made.exists() and (decision := GateDecision.read(made)).challenger.run_id == run_id:
        return decision
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    from pipelines.gate.report import write_report  # imports Matplotlib, which takes seconds

    judgement, holdout, candidates = _judge(run, registry, job, run_id)
    write_report(judgement, run.spec, holdout, candidates, directory)
    temporary = judgement.decision.write(run.workspace)
    temporary.replace(made)
    return judgement.decision


def _judge(
    run: Run, registry: ModelRegistry, job: str, run_id: str
) -> tuple[GateJudgement, GateHoldout, dict[str, Candidate]]:
    rows = holdout_rows(run)
    holdout = holdout_of(run, rows)
    bundle, scorer = load_bundle(run.workspace / BUNDLE_PATH)
    version = registry.by_alias(run.spec.name, CHAMPION)
    if version is None:
        challenger = _candidate("", run_id, bundle, scorer, run.workspace / BUNDLE_PATH, rows, 0.0)
        judgement = judge(run.spec, job, holdout, None, challenger)
        decision = msgspec.structs.replace(
            judgement.decision, worth=worth(run.spec, rows, holdout, None, challenger)
        )
        return replace(judgement, decision=decision), holdout, {"challenger": challenger}
    with TemporaryDirectory(dir=run.workspace) as directory:
        downloaded = registry.download(version, Path(directory))
        old_bundle, old_scorer = load_bundle(downloaded, registry.sealed_sha256(version))
        missing = [feature for feature in old_bundle.features if feature not in rows.columns]
        seconds = batch = [0.0, 0.0]
        if not missing:
            some = rows.sample(min(LATENCY_ROWS, len(rows)), seed=run.spec.training.seed)
            both = [(old_scorer, inputs_of(some, old_bundle)), (scorer, inputs_of(some, bundle))]
            seconds = scoring_seconds(both, 1, LATENCY_ROUNDS)
            batch = scoring_seconds(both, BATCH, BATCH_ROUNDS)
        champion = _candidate(
            version.version, version.run_id, old_bundle, old_scorer, downloaded, rows, seconds[0],
            batch[0],
        )  # fmt: skip
        challenger = _candidate(
            "", run_id, bundle, scorer, run.workspace / BUNDLE_PATH, rows, seconds[1], batch[1]
        )
        obstacle = (
            f"the champion (version {version.version}) needs features that the holdout lacks:"
            f" {', '.join(missing)}"
            if missing
            else seen_by(version, registry, holdout)
        )
        training_sets = _training_sets(run, downloaded / PROFILE_FILE)
    section = run.spec.training.smaller if read_teacher(run.workspace) is not None else None
    allowed = None if section is None else section.allowed_loss
    judgement = judge(run.spec, job, holdout, champion, challenger, obstacle, allowed)
    decision = msgspec.structs.replace(
        judgement.decision,
        parameters=changed_parameters(old_bundle.parameters, bundle.parameters),
        training_sets=training_sets,
        worth=worth(run.spec, rows, holdout, champion, challenger),
    )
    candidates = {"champion": champion, "challenger": challenger} if not missing else {}
    return replace(judgement, decision=decision), holdout, candidates


def _training_sets(run: Run, profile: Path) -> TrainingSetChange | None:
    """Return the change of training sets.

    None where the champion's profile is older than training sets in profiles. The gate needs none.
    """
    try:
        champion = ReferenceProfile.read(profile)
    except UnusableProfileError:
        return None
    if champion.training is None:
        return None
    examples = pl.read_parquet(run.workspace / DATASET_FILE, glob=False)
    return changed_training_set(
        champion.training, training_set(examples, run.spec.feature_service, champion.features)
    )


def holdout_rows(run: Run) -> pl.DataFrame:
    """Return the holdout of the run's dataset, in order of time.

    Columns are entity keys, label, features and the features' inputs.
    """
    start, end = run.manifest.end - run.spec.training.holdout, run.manifest.end
    rows = pl.scan_parquet(run.workspace / DATASET_FILE, glob=False)
    return (
        rows.filter(pl.col("event_timestamp").is_between(start, end, closed="left"))
        .sort("event_timestamp", "request_id")
        .collect()
    )


def holdout_of(run: Run, rows: pl.DataFrame) -> GateHoldout:
    """Return the holdout's rows in the gate's form."""
    segments, segmentation = segments_of(rows, run.spec.drift.segment)
    keys = {entity: key for entity, key in ENTITY_KEYS.items() if entity in run.spec.entities}
    return GateHoldout(
        start=run.manifest.end - run.spec.training.holdout,
        end=run.manifest.end,
        labels=rows["label"].to_numpy().astype(np.float64),
        times=rows["event_timestamp"].dt.replace_time_zone(None).to_numpy(),
        clusters={
            entity: rows[key].rank("dense").to_numpy().astype(np.int64)
            for entity, key in keys.items()
        },
        segments=segments,
        segmentation=segmentation,
        weights=weights_of(rows),
        protected=protected_groups(run, rows),
    )


def protected_groups(run: Run, rows: pl.DataFrame) -> dict[str, npt.NDArray[np.int64]]:
    """Return the row numbers by group of the protected attribute. Empty without one.

    The data set does not have the attribute. It is joined from the run's pinned events.
    """
    if run.spec.regulated is None:
        return {}
    recorded = recorded_requests(run.spec.feature_service)
    events = scan_pinned(run.lake, run.manifest, recorded.stream)
    groups = groups_of_requests(events, recorded.key, run.spec.regulated.protected)
    return rows_by_group(rows, groups)


def seen_by(version: Version, registry: ModelRegistry, holdout: GateHoldout) -> str:
    """Return why the champion may know the holdout.

    Empty when its record proves that it does not.
    """
    until = seen_until(version, registry)
    if until is None:
        return f"the champion (version {version.version}) has no record of what it was trained on"
    if holdout.start >= until:
        return ""
    return (
        f"the champion (version {version.version}) has seen requests up to {until:%Y-%m-%d %H:%M},"
        f" and the holdout begins at {holdout.start:%Y-%m-%d %H:%M}: train the challenger as of a"
        " later time than the champion"
    )


def scoring_seconds(
    models: Sequence[tuple[OnnxScorer, npt.NDArray[np.float32]]], at_once: int, rounds: int
) -> list[float]:
    """Return the median seconds to score some rows at once, per model.

    The models score in turn, so that a busy machine is equally busy for all.

    Args:
        models: Each model with its inputs, float32 (rows, features), equally many rows.
        at_once: Rows of one call. An incomplete rest is left out, except where there is no more.
        rounds: Number of rounds over all rows.
    """
    taken: list[list[float]] = [[] for _ in models]
    count = len(models[0][1])
    for _ in range(rounds):
        for first in range(0, max(count - at_once, 0) + 1, at_once):
            for (scorer, inputs), seconds in zip(models, taken, strict=True):
                some = inputs[first : first + at_once]
                begun = perf_counter()
                scorer.score(some)
                seconds.append(perf_counter() - begun)
    return [float(np.median(seconds)) for seconds in taken]


def inputs_of(rows: pl.DataFrame, bundle: Bundle) -> npt.NDArray[np.float32]:
    """Return a bundle's inputs, float32 (rows, features), exactly as they are served."""
    return np.ascontiguousarray(rows.select(bundle.features).to_numpy(), dtype=np.float32)


def _candidate(
    version: str,
    run_id: str,
    bundle: Bundle,
    scorer: OnnxScorer,
    directory: Path,
    rows: pl.DataFrame,
    seconds: float,
    batch_seconds: float = 0.0,
) -> Candidate:
    can_score = all(feature in rows.columns for feature in bundle.features)
    return Candidate(
        version=version,
        run_id=run_id,
        as_of=bundle.trained_as_of,
        decision=bundle.decision,
        latency_seconds=seconds,
        batch_seconds=batch_seconds,
        size_bytes=(directory / MODEL_FILE).stat().st_size,
        scores=scorer.score(inputs_of(rows, bundle)).astype(np.float64) if can_score else None,
    )
