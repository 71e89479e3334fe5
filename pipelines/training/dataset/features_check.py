"""End of step 3: refuses features that broke with their past or know the label (D1.2). Pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from dojo.core.registry.reference_profile import Distribution, ReferenceProfile, TrainingSet
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.specs import task_of
from dojo.stats.histograms.binning import bin_counts, population_stability_index
from feature_repo import catalog
from pipelines.training.errors import InvalidDataError

SPEC_KEY = "spec: training.checks"


def require_sound_features(
    examples: pl.DataFrame, spec: ModelSpec, champion: ReferenceProfile | None
) -> None:
    """Check a training set before anything is learned from it.

    Args:
        examples: Rows with the label and the service's features.
        spec: The model's spec.
        champion: The champion's profile. Its holdout is the features' past. None for a first
            version.

    Raises:
        InvalidDataError: It has one line per fault, with the feature, its value and its bound.
    """
    if faults := (
        _broken_numbers(examples, spec)
        or [*_leaks(examples, spec), *(_breaks(examples, spec, champion) if champion else ())]
    ):
        raise InvalidDataError(faults)


def training_set(
    examples: pl.DataFrame, service: str, bins: Mapping[str, Distribution]
) -> TrainingSet:
    """Return the figures that compare a training set with another one.

    Args:
        examples: Rows with the label and the features.
        service: The feature service.
        bins: Feature -> a distribution with the edges for counting. Features missing in the
            examples are left out.
    """
    counted = {
        name: bin_counts(past.binned(examples[name].to_numpy()), np.asarray(past.edges))
        for name, past in bins.items()
        if name in examples.columns
    }
    return TrainingSet(
        rows=len(examples),
        label_mean=float(examples["label"].to_numpy().mean()),
        missing=missing_shares(examples, service),
        counts={name: tuple(counts.tolist()) for name, counts in counted.items()},
    )


def missing_shares(rows: pl.DataFrame, service: str) -> dict[str, float]:
    """Return view -> share of rows without its values.

    A training set has zeros in place of missing values. A stored row is never all zeros.
    """
    nothing = {
        view.name: (
            pl.all_horizontal(
                pl.col(f.name) == 0 for f in view.features if f.name in rows.columns
            ).mean()
        )
        for view in catalog.views_of(service)
    }
    return rows.select(share.alias(name) for name, share in nothing.items()).row(0, named=True)


def _broken_numbers(examples: pl.DataFrame, spec: ModelSpec) -> list[str]:
    features = catalog.SERVICES[spec.feature_service].features
    bad = examples.select(
        (~pl.col(name).is_finite()).fill_null(True).sum() for name in features
    ).row(0, named=True)
    return [
        f"{name}: expected finite numbers, found {count:,} others"
        for name, count in bad.items()
        if count
    ]


def _leaks(examples: pl.DataFrame, spec: ModelSpec) -> list[str]:
    labels, task = examples["label"].to_numpy(), task_of(spec)
    features = catalog.SERVICES[spec.feature_service].features
    leaks = {name: task.leak(examples[name].to_numpy(), labels) for name in features}
    return [
        f"{name}: expected {leak.measure} of at most {leak.limit:g} ({SPEC_KEY}.{leak.key}), found"
        f" {leak.value:.2f}: it may know the label"
        for name, leak in leaks.items()
        if leak.value > leak.limit
    ]


def _psi(past: Distribution, counts: npt.NDArray[np.int64]) -> float:
    """Return the PSI of an example's counts against the champion's.

    New categories are no break, because a version learns them only from examples. Without any known
    category it is infinite.
    """
    before = np.asarray(past.counts)
    if past.categories:
        before, counts = before[:-1], counts[:-1]
    return population_stability_index(before, counts) if counts.any() else float("inf")


def _breaks(examples: pl.DataFrame, spec: ModelSpec, champion: ReferenceProfile) -> list[str]:
    checks, faults = spec.training.checks, []
    found = training_set(examples, spec.feature_service, champion.features)
    for name, counts in found.counts.items():
        past = champion.features[name]
        psi = _psi(past, np.asarray(counts))
        key = "count_psi" if name in catalog.COUNTS else "feature_psi"
        if psi > (limit := getattr(checks, key)):
            faults.append(
                f"{name}: expected a distribution near the champion's, PSI at most {limit:g}"
                f" ({SPEC_KEY}.{key}), found PSI {psi:.2f}; mean"
                f" {examples[name].to_numpy().mean():.4g}, the champion's was {past.mean:.4g}"
            )
    for view, share in found.missing.items():
        before = champion.missing.get(view)  # None: the champion did not read it
        if before is not None and share - before > checks.missing:
            faults.append(
                f"{view}: expected values for all but {before + checks.missing:.1%} of the examples"
                f" ({SPEC_KEY}.missing above the champion's {before:.1%}), found none for"
                f" {share:.1%}"
            )
    return faults
