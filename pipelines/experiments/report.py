"""The report of a split: per arm what happened, the difference with its interval, and whether the split can be believed at all.

Pure. Requests of one entity resemble each other, and the arm was drawn by entity: entities are the units of every interval and of the
check of the split (`dojo/stats/inference/proportions.py`). A request that another version answered because its arm failed stays with its
arm: that is what callers of that arm got.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
import polars as pl

from dojo.core.performance import MINIMUM_NEGATIVES
from dojo.stats.inference.proportions import clustered_rate, newcombe_interval, ratio_interval, sample_ratio_p_value
from dojo.stats.scores.classification import MINIMUM_POSITIVES
from pipelines.experiments.assignment import Experiment

CONFIDENCE = 0.95  # of each interval by itself; the catch rate is the one to decide by

# The usual threshold of this check: it is made on every report of every experiment, and a false alarm throws an experiment away.
MISMATCH_P_VALUE = 0.001

# Below it the spread between entities is itself guessed; 20 to 50 is the usual range (Cameron and Miller 2015).
MINIMUM_ENTITIES = 30

# More requests beside the split than this (callers who name a version) are too many to have no influence.
MAXIMUM_UNASSIGNED = 0.01

Status = Literal["measured", "insufficient_data", "void"]
EffectVerdict = Literal["higher", "lower", "no difference shown"]


class ArmResult(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in one arm. Counts of requests, but for `entities`. Rates are fractions, None where nothing is known.

    Attributes:
        share: planned. stood_in: answered by another version because the arm's own failed.
        fraud_euro, fraud_euro_caught: of labelled positives, and of those that were flagged.
    """

    name: str
    version: str
    share: float
    entities: int
    requests: int
    stood_in: int
    flagged: int
    labelled: int
    positives: int
    caught: int
    false_positives: int
    catch_rate: float | None
    false_positive_rate: float | None
    fraud_euro: float
    fraud_euro_caught: float


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """challenger - champion of one quantity, with the interval at CONFIDENCE; None where it is not measured."""

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
    """Whether entities fell on the arms as planned. `unassigned`: share of the requests that were not where their entity belongs."""

    p_value: float
    unassigned: float
    fault: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Of one experiment."""

    experiment: Experiment
    arms: tuple[ArmResult, ArmResult]
    split: TrafficSplit
    effects: tuple[Effect, ...]


def report(experiment: Experiment, requests: pl.DataFrame) -> Report:
    """`requests`: as `assignment.requests` gives them."""
    belonging = requests.filter("assigned")
    arms = [belonging.filter(pl.col("arm") == arm.name) for arm in experiment.arms]
    champion, challenger = (_result(experiment, at, rows) for at, rows in enumerate(arms))
    split = _split(experiment, (champion.entities, challenger.entities), requests)
    sums = [_by_entity(rows) for rows in arms]
    positives = f"{MINIMUM_POSITIVES} labelled positives"
    few_positives = _lacking(positives, champion.positives >= MINIMUM_POSITIVES <= challenger.positives, sums, "positives")
    effects = (
        _effect("flag_rate", sums, "flagged", "requests", split, _lacking("requests", True, sums, "requests")),
        _effect("catch_rate", sums, "caught", "positives", split, few_positives),
        _effect(
            "false_positive_rate", sums, "false_positives", "legitimate", split,
            _lacking(
                f"{MINIMUM_NEGATIVES:,} labelled legitimate payments",
                min(int(one["legitimate"].sum()) for one in sums) >= MINIMUM_NEGATIVES, sums, "legitimate",
            ),
        ),
        _effect("fraud_euro_catch_rate", sums, "euro_caught", "euro", split, few_positives, money=True),
    )  # fmt: skip
    return Report(experiment=experiment, arms=(champion, challenger), split=split, effects=effects)


def _result(experiment: Experiment, at: int, rows: pl.DataFrame) -> ArmResult:
    one = _by_entity(rows).drop("entity").sum().row(0, named=True)
    positives, legitimate = int(one["positives"]), int(one["legitimate"])
    return ArmResult(
        name=experiment.arms[at].name,
        version=experiment.arms[at].version,
        share=experiment.arms[at].weight,
        entities=rows["entity"].n_unique(),
        requests=len(rows),
        stood_in=int(rows["stood_in"].sum()),
        flagged=int(one["flagged"]),
        labelled=positives + legitimate,
        positives=positives,
        caught=int(one["caught"]),
        false_positives=int(one["false_positives"]),
        catch_rate=one["caught"] / positives if positives else None,
        false_positive_rate=one["false_positives"] / legitimate if legitimate else None,
        fraud_euro=float(one["euro"]),
        fraud_euro_caught=float(one["euro_caught"]),
    )


def _by_entity(rows: pl.DataFrame) -> pl.DataFrame:
    """Sums per entity, in order of their keys."""
    fraud, legitimate, flagged = pl.col("label") == 1, pl.col("label") == 0, pl.col("flagged")
    euro = pl.col("amount").fill_null(0.0)
    return (
        rows.group_by("entity")
        .agg(
            requests=pl.len(),
            flagged=flagged.sum(),
            positives=fraud.sum(),
            caught=(fraud & flagged).sum(),
            legitimate=legitimate.sum(),
            false_positives=(legitimate & flagged).sum(),
            euro=euro.filter(fraud).sum(),
            euro_caught=euro.filter(fraud & flagged).sum(),
        )
        .with_columns(pl.col("requests", "flagged", "positives", "caught", "legitimate", "false_positives").cast(pl.Int64))
        .sort("entity")
    )


def _split(experiment: Experiment, entities: tuple[int, int], requests: pl.DataFrame) -> TrafficSplit:
    shares = [arm.weight for arm in experiment.arms]
    p_value = sample_ratio_p_value(entities, shares)
    unassigned = 1 - float(requests["assigned"].mean() or 0.0) if len(requests) else 0.0  # type: ignore[arg-type]
    fault = ""
    if p_value < MISMATCH_P_VALUE:
        fault = (
            f"sample ratio mismatch: {entities[0]:,} and {entities[1]:,} entities, planned {shares[0]:.4g} and {shares[1]:.4g} "
            f"(p = {p_value:.2g}): something decides with the arm who is counted, so the groups differ by more than the version"
        )
    elif unassigned > MAXIMUM_UNASSIGNED:
        fault = f"{unassigned:.1%} of the requests are not in the arm that their entity belongs to (at most {MAXIMUM_UNASSIGNED:.0%})"
    return TrafficSplit(p_value=p_value, unassigned=unassigned, fault=fault)


def _lacking(needed: str, enough: bool, sums: list[pl.DataFrame], trials: str) -> str:
    """What a comparison still needs; "" when nothing."""
    entities = [int((one[trials] > 0).sum()) for one in sums]
    if enough and min(entities) >= MINIMUM_ENTITIES:
        return ""
    found = " and ".join(f"{int(one[trials].sum()):,} ({n:,} entities)" for one, n in zip(sums, entities, strict=True))
    return f"needs {needed} from {MINIMUM_ENTITIES} entities in each arm, has {found}"


def _effect(
    quantity: str, sums: list[pl.DataFrame], hits: str, trials: str, split: TrafficSplit, lacking: str, money: bool = False
) -> Effect:
    if split.fault:
        return Effect(quantity=quantity, status="void", reason=split.fault)
    if lacking:
        return Effect(quantity=quantity, status="insufficient_data", reason=lacking)
    (champion, challenger) = ((one[hits].to_numpy(), one[trials].to_numpy()) for one in sums)
    if money:
        if not np.all([champion[1].sum() > 0, challenger[1].sum() > 0]):
            return Effect(quantity=quantity, status="insufficient_data", reason="the payments' amounts are not in the lake")
        second, first, difference, low, high = ratio_interval(challenger, champion, CONFIDENCE)
    else:
        rates = clustered_rate(*champion), clustered_rate(*challenger)
        first, second, difference = rates[0].value, rates[1].value, rates[1].value - rates[0].value
        low, high = newcombe_interval(rates[1], rates[0], CONFIDENCE)
    verdict: EffectVerdict = "higher" if low > 0 else "lower" if high < 0 else "no difference shown"
    return Effect(
        quantity=quantity, status="measured", reason="", champion=first, challenger=second,
        difference=difference, low=low, high=high, verdict=verdict,
    )  # fmt: skip
