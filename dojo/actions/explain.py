"""Why a version gave an answer: what each feature added, and what a refused person reads.

Everything comes from the record. The answer's row has the exact values that were scored and the
version that scored them. The version's sealed bundle has its trees. So an explanation stays the
same when features, specs and champions have changed since.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import msgspec
import numpy as np
import polars as pl

from dojo.actions.desk import Desk
from dojo.actions.errors import NothingToActOnError, WrongCallError
from dojo.core.categories import OTHER, category_number, with_codes
from dojo.core.events.types import Stream
from dojo.core.lake import Lake
from dojo.core.registry.bundle import (
    PARITY_TOLERANCE,
    Bundle,
    CorruptBundleError,
    read_trees,
    verify_bundle,
)
from dojo.core.registry.errors import UnknownVersionError
from dojo.core.spec.durations import format_duration
from dojo.core.spec.regulated import Regulated

# Reasons in a letter. More than four are not likely to help the reader.
# Source: the official interpretation of Regulation B, 12 CFR 1002.9(b)(2), comment 1.
PRINCIPAL_REASONS = 4

Unit = Literal["log-odds", "logarithm", "label"]

# LightGBM's objective -> what its trees add up to.
UNITS: Mapping[str, Unit] = {"binary": "log-odds", "tweedie": "logarithm"}


class Contribution(msgspec.Struct, frozen=True, kw_only=True):
    """What one feature added to the score, exactly (Shapley values of the trees).

    Attributes:
        feature: Name of the feature.
        value: Its value as it was scored.
        adds: Its part of the sum, in the explanation's unit.
        meaning: What the feature is, in words for a reader.
        category: Name of its category. Empty for a number.
    """

    feature: str
    value: float
    adds: float
    meaning: str
    category: str = ""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """One answer, explained.

    Attributes:
        prediction_id: The answer.
        request_id: The caller's id.
        model: The model.
        version: The version that answered.
        world_time: World time of the answer.
        score: The logged score.
        flagged: Whether the answer asked for an action. None where the task flags nothing.
        threshold: Score from which the version flags. None where the task has none.
        degraded: What the answer lacked. Missing values were replaced before they were scored.
        unit: Unit of `base` and of each part. "log-odds" for probabilities. "logarithm" where the
            trees add up to the score's logarithm.
        base: The sum of a version without any feature, which is its mean over the training rows.
        total: `base` and all parts. `meaning_of` makes it a score.
        difference: How far the score that `total` means is from the logged one, absolute.
        contributions: Every feature, the largest part first.
        letter: Text for a refused person. Empty when nothing was refused, or without regulation.
    """

    prediction_id: str
    request_id: str
    model: str
    version: str
    world_time: datetime
    score: float
    flagged: bool | None
    threshold: float | None
    degraded: tuple[str, ...]
    unit: Unit
    base: float
    total: float
    difference: float
    contributions: tuple[Contribution, ...]
    letter: str = ""


def explain(desk: Desk, answer: str, model: str = "") -> Explanation:
    """Explain one answer.

    Args:
        answer: Its prediction_id, or the request_id. The latest answer to a request is explained.
        model: The model, where several have answered the request.

    Raises:
        WrongCallError: Several models have answered the request.
        NothingToActOnError: The answer is not in the lake, no version gave it, or its version is
            gone.
        UnknownModelError, SpecError: The model does not run here any more.
        CorruptBundleError: The bundle is not as registered, or does not give the logged score.
        RegistryUnavailableError: The registry is away.
    """
    row = _logged(desk, answer, model)
    spec, version = desk.spec(row["model"]), row["version"]
    if version == "0":
        raise NothingToActOnError(
            f"{answer}: no version gave this answer. It is the fallback of {spec.name}, because:"
            f" {', '.join(row['degraded']) or 'there was no version'}",
            f"dojo models {spec.name}",
        )
    bundle, trees = _version(desk, spec.name, version)
    features = dict(zip(row["feature_names"], row["features"], strict=True))
    if tuple(features) != bundle.features:
        raise NothingToActOnError(
            f"{answer}: the answer has not the inputs of version {version}: they are"
            f" {', '.join(features) or 'not logged'}"
        )
    row_scored = np.asarray([list(features.values())], dtype=np.float32)
    coded = with_codes(row_scored, bundle.features, bundle.categories)[0].tolist()
    parts = contributions(trees, coded)
    total, unit = float(parts.sum()), unit_of(trees)
    implied = meaning_of(total, unit)
    difference = abs(implied - row["score"])
    if difference > PARITY_TOLERANCE * max(1.0, abs(row["score"])):
        raise CorruptBundleError(
            f"{answer}: the trees of version {version} give {implied:.6g}, and the answer was"
            f" {row['score']:.6g}: they do not explain it"
        )
    meanings, names = _meanings(spec.regulated), categories_of(row, features, bundle)
    found = sorted(
        (
            Contribution(
                feature=name,
                value=value,
                adds=float(part),
                meaning=meanings.get(name, name),
                category=names.get(name, ""),
            )
            for (name, value), part in zip(features.items(), parts[:-1], strict=True)
        ),
        key=lambda one: -abs(one.adds),
    )
    return Explanation(
        prediction_id=row["prediction_id"],
        request_id=row["request_id"],
        model=spec.name,
        version=version,
        world_time=row["world_time"],
        score=row["score"],
        flagged=row["flagged"],
        threshold=bundle.decision.get("threshold"),
        degraded=tuple(row["degraded"]),
        unit=unit,
        base=float(parts[-1]),
        total=total,
        difference=difference,
        contributions=tuple(found),
        letter=letter(spec.regulated, found) if spec.regulated and row["flagged"] else "",
    )


def unit_of(trees: str) -> Unit:
    """Return what the trees add up to, by the loss that they were fitted to."""
    found = re.search(r"^objective=(\w+)", trees, flags=re.MULTILINE)
    return UNITS.get(found[1], "label") if found else "label"


def meaning_of(total: float, unit: Unit) -> float:
    """Return the score that a sum of trees means."""
    if unit == "log-odds":
        return 1 / (1 + math.exp(-total))
    return math.exp(total) if unit == "logarithm" else total


def contributions(trees: str, values: list[float]) -> Any:
    """Return what each value adds to the sum of the trees, and the base last, shape (features + 1).

    Exact Shapley values of the trees, by LightGBM.

    Args:
        trees: LightGBM's text.
        values: Inputs of one row, in the model's order, with codes for categories. They are scored
            as float32, as served.
    """
    from lightgbm import Booster  # takes a second, and only this function needs it

    row = np.asarray([values], dtype=np.float32)
    return np.asarray(Booster(model_str=trees).predict(row, pred_contrib=True, num_threads=1))[0]


def letter(rules: Regulated, found: list[Contribution]) -> str:
    """Return the text for a refused person, with the reasons that counted most against them.

    Reasons that read the same are named once.
    """
    against = [one for one in sorted(found, key=lambda one: -one.adds) if one.adds > 0]
    reasons = dict.fromkeys(rules.reasons.get(one.feature, one.meaning) for one in against)
    named = "\n".join(f"- {reason}" for reason in list(reasons)[:PRINCIPAL_REASONS])
    return f"{rules.refusal}\n\nThese points counted most against it:\n{named}\n\n{rules.review}"


def categories_of(
    row: Mapping[str, Any], features: Mapping[str, float], bundle: Bundle
) -> dict[str, str]:
    """Return the name of each category of an answer, by feature."""
    unknown = msgspec.json.decode(row["new_categories"] or "{}", type=dict[str, str])
    return {
        feature: unknown.get(feature)
        or next((name for name in known if category_number(name) == features[feature]), OTHER)
        for feature, known in bundle.categories.items()
    }


def _logged(desk: Desk, answer: str, model: str) -> dict[str, Any]:
    """Return the answer's row in the lake. Raises NothingToActOnError, WrongCallError."""
    is_it = (pl.col("prediction_id") == answer) | (pl.col("request_id") == answer)
    if model:
        is_it &= pl.col("model") == desk.require_model(model)
    rows = Lake(desk.settings.lake_dir).scan(Stream.PREDICTIONS).filter(is_it).collect()
    models = sorted(set(rows["model"]))
    if len(models) > 1:
        raise WrongCallError(
            f"{answer}: several models have answered this request: {', '.join(models)}",
            f"dojo explain {answer} --model {models[0]}",
        )
    if rows.is_empty():
        kept = max(spec.data.retention for spec in desk.right_specs().values())
        raise NothingToActOnError(
            f"{answer}: the lake has no such answer. It writes answers down within a minute, and"
            f" keeps them for {format_duration(kept)} of world time",
            "dojo status says whether the recorder runs; the id is an answer's prediction_id or"
            " request_id",
        )
    return rows.sort("wall_time").row(-1, named=True)


def _version(desk: Desk, model: str, version: str) -> tuple[Bundle, str]:
    """Return the sealed bundle of a version, and its trees."""
    try:
        found = desk.registry.get(model, version)
        with TemporaryDirectory() as directory:
            downloaded = desk.registry.download(found, Path(directory))
            bundle, _ = verify_bundle(downloaded, desk.registry.sealed_sha256(found))
            return bundle, read_trees(downloaded, bundle)
    except UnknownVersionError as error:
        raise NothingToActOnError(
            f"{model}: version {version} gave the answer, and the registry has it no more: {error}",
            "restore it from a backup of MLflow's artefacts",
        ) from error


def _meanings(rules: Regulated | None) -> Mapping[str, str]:
    """Return feature -> its meaning, from the catalogue or the spec's reasons."""
    from feature_repo.catalog import FEATURES

    described = {name: feature.description for name, feature in FEATURES.items()}
    return described | (rules.reasons if rules is not None else {})
