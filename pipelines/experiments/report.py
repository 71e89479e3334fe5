"""The report of a split: results per arm, differences with intervals, and the split's validity.

Pure. Requests of one entity resemble each other, and the arm was drawn by entity. So entities are
the units of every interval and of the check of the split (`dojo/stats/inference/proportions.py`).
When an arm fails and another version answers, the request stays with its arm. Its callers got this
answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from dojo.core.labels import weights_of
from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.records import Answered, Quantity
from dojo.core.tasks.specs import task_of
from dojo.stats.inference.proportions import (
    clustered_rate,
    newcombe_interval,
    ratio_interval,
    sample_ratio_p_value,
)
from pipelines.experiments.assignment import Experiment

CONFIDENCE = 0.95  # of each interval by itself

# The usual threshold of this check. Every report of every experiment makes it, and a false alarm
# throws an experiment away.
MISMATCH_P_VALUE = 0.001

# With fewer entities the spread between them is itself a guess. The usual minimum is 20 to 50
# (Cameron and Miller 2015).
MINIMUM_ENTITIES = 30

# Callers who name a version bypass the split. A larger share of such requests has an influence.
MAXIMUM_UNASSIGNED = 0.01

Status = Literal["measured", "insufficient_data", "void"]
EffectVerdict = Literal["higher", "lower", "no difference shown"]


class ArmResult(msgspec.Struct, frozen=True, kw_only=True):
    """The results of one arm.

    Attributes:
        name: Name of the arm.
        version: Version of the arm.
        share: Planned share of the entities.
        entities: Number of entities in the arm.
        requests: Number of requests of these entities.
        stood_in: Requests answered by another version because the arm's own failed.
        labelled: Requests with a known label.
        sums: Quantity -> its sums above and below the line.
        values: Quantity -> the sum above divided by the sum below. None where the sum below is 0.
    """

    name: str
    version: str
    share: float
    entities: int
    requests: int
    stood_in: int
    labelled: int
    sums: dict[str, tuple[float, float]]
    values: dict[str, float | None]


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """The difference challenger - champion of one quantity, with its interval at CONFIDENCE.

    Numbers are None where the quantity is not measured.
    """

    quantity: str
    status: Status
    reason: str
    champion: float | None = None
    challenger: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: EffectVerdict | None = None


class TrafficSplit(msgspec.Struct, frozen=True, kw_only=True):
    """Whether entities fell on the arms as planned.

    Attributes:
        p_value: Probability of counts at least as far from the plan.
        unassigned: Share of the requests outside their entity's arm.
        fault: Why the split is void. Empty when it is valid.
    """

    p_value: float
    unassigned: float
    fault: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The report of one experiment."""

    experiment: Experiment
    arms: tuple[ArmResult, ArmResult]
    split: TrafficSplit
    effects: tuple[Effect, ...]


def report(experiment: Experiment, requests: pl.DataFrame, spec: ModelSpec) -> Report:
    """Return the report. `requests` are as from `assignment.requests`."""
    belonging = requests.filter("assigned")
    arms = [belonging.filter(pl.col("arm") == arm.name).sort("entity") for arm in experiment.arms]
    measured = [_quantities(rows, spec) for rows in arms]
    champion, challenger = (
        _result(experiment, at, rows, measured[at]) for at, rows in enumerate(arms)
    )
    split = _split(experiment, (champion.entities, challenger.entities), requests)
    pairs = zip(*measured, strict=True)
    effects = tuple(_effect(pair, [rows["entity"] for rows in arms], split) for pair in pairs)
    return Report(experiment=experiment, arms=(champion, challenger), split=split, effects=effects)


def _quantities(rows: pl.DataFrame, spec: ModelSpec) -> tuple[Quantity, ...]:
    answered = Answered(
        labels=rows["label"].cast(pl.Float64).fill_null(float("nan")).to_numpy(),
        scores=rows["score"].to_numpy(),
        flagged=rows["flagged"].fill_null(False).to_numpy(),
        times=rows["world_time"].dt.replace_time_zone(None).to_numpy(),
        weights=weights_of(rows),
    )
    return task_of(spec).quantities(
        answered, rows["stakes"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    )


def _result(
    experiment: Experiment, at: int, rows: pl.DataFrame, quantities: Sequence[Quantity]
) -> ArmResult:
    sums = {one.name: (float(one.above.sum()), float(one.below.sum())) for one in quantities}
    return ArmResult(
        name=experiment.arms[at].name,
        version=experiment.arms[at].version,
        share=experiment.arms[at].weight,
        entities=rows["entity"].n_unique(),
        requests=len(rows),
        stood_in=int(rows["stood_in"].sum()),
        labelled=rows["label"].count(),
        sums=sums,
        values={name: above / below if below else None for name, (above, below) in sums.items()},
    )


def _split(
    experiment: Experiment, entities: tuple[int, int], requests: pl.DataFrame
) -> TrafficSplit:
    shares = [arm.weight for arm in experiment.arms]
    p_value = sample_ratio_p_value(entities, shares)
    unassigned = (
        1 - float(requests["assigned"].mean() or 0.0)  # type: ignore[arg-type]
        if len(requests)
        else 0.0
    )
    fault = ""
    if p_value < MISMATCH_P_VALUE:
        fault = (
            f"sample ratio mismatch: {entities[0]:,} and {entities[1]:,} entities, planned"
            f" {shares[0]:.4g} and {shares[1]:.4g} (p = {p_value:.2g}): something decides with the"
            " arm who is counted, so the groups differ by more than the version"
        )
    elif unassigned > MAXIMUM_UNASSIGNED:
        fault = (
            f"{unassigned:.1%} of the requests are not in the arm that their entity belongs to (at"
            f" most {MAXIMUM_UNASSIGNED:.0%})"
        )
    return TrafficSplit(p_value=p_value, unassigned=unassigned, fault=fault)


def _effect(pair: Sequence[Quantity], entities: Sequence[pl.Series], split: TrafficSplit) -> Effect:
    """Return a quantity's effect.

    Both pairs have the champion first. `entities` are per request.
    """
    quantity = pair[0].name
    if split.fault:
        return Effect(quantity=quantity, status="void", reason=split.fault)
    if lacking := _lacking(pair, entities):
        return Effect(quantity=quantity, status="insufficient_data", reason=lacking)
    champion, challenger = (_by_entity(one, keys) for one, keys in zip(pair, entities, strict=True))
    if pair[0].share:
        rates = clustered_rate(*champion), clustered_rate(*challenger)
        first, second, difference = rates[0].value, rates[1].value, rates[1].value - rates[0].value
        low, high = newcombe_interval(rates[1], rates[0], CONFIDENCE)
    elif min(champion[1].sum(), challenger[1].sum()) <= 0:
        return Effect(
            quantity=quantity,
            status="insufficient_data",
            reason=f"nothing says what the {pair[0].of} are about",
        )
    else:
        second, first, difference, low, high = ratio_interval(challenger, champion, CONFIDENCE)
    verdict: EffectVerdict = "higher" if low > 0 else "lower" if high < 0 else "no difference shown"
    return Effect(
        quantity=quantity, status="measured", reason="", champion=first, challenger=second,
        difference=difference, low=low, high=high, verdict=verdict,
    )  # fmt: skip


def _lacking(pair: Sequence[Quantity], entities: Sequence[pl.Series]) -> str:
    """Return what a comparison still needs. Empty when it needs nothing more."""
    counted = [int(one.counts.sum()) for one in pair]
    clusters = [
        keys.filter(pl.Series(one.counts)).n_unique()
        for one, keys in zip(pair, entities, strict=True)
    ]
    needed, of = pair[0].needed, pair[0].of
    if min(counted) >= needed and min(clusters) >= MINIMUM_ENTITIES:
        return ""
    found = " and ".join(
        f"{count:,} ({n:,} entities)" for count, n in zip(counted, clusters, strict=True)
    )
    wanted = f"{needed:,} {of}" if needed else of
    return f"needs {wanted} from {MINIMUM_ENTITIES} entities in each arm, has {found}"


def _by_entity(
    quantity: Quantity, keys: pl.Series
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the sums above and below the line per entity, in order of their keys."""
    _, entity = np.unique(keys.to_numpy(), return_inverse=True)
    above, below = (
        np.bincount(entity, weights=sums).astype(np.float64)
        for sums in (quantity.above, quantity.below)
    )
    return above, below
