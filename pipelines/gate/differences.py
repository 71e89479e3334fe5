"""Differences between champion and challenger in training parameters and training sets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dojo.core.judging.gate.decision import ParameterChange, TrainingSetChange
from dojo.core.registry.reference_profile import TrainingSet
from dojo.stats.histograms.binning import population_stability_index


def changed_parameters(
    champion: Mapping[str, str], challenger: Mapping[str, str]
) -> tuple[ParameterChange, ...]:
    """Return the parameters (`Bundle.parameters`) that differ.

    Empty where the champion's bundle is older than parameters in bundles.
    """
    if not champion:
        return ()
    return tuple(
        ParameterChange(name=name, champion=champion.get(name), challenger=challenger.get(name))
        for name in sorted({*champion, *challenger})
        if champion.get(name) != challenger.get(name)
    )


def changed_training_set(champion: TrainingSet, challenger: TrainingSet) -> TrainingSetChange:
    """Return both training sets, counted over the same bins."""
    views = {*champion.missing, *challenger.missing}
    return TrainingSetChange(
        rows=(champion.rows, challenger.rows),
        label_mean=(champion.label_mean, challenger.label_mean),
        missing={
            view: (champion.missing.get(view, 0.0), challenger.missing.get(view, 0.0))
            for view in sorted(views)
        },
        psi={
            name: population_stability_index(np.asarray(champion.counts[name]), np.asarray(counts))
            for name, counts in challenger.counts.items()
        },
    )
