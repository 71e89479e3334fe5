"""Pruned and distilled versions: fewer trees, and scores of the champion's own meaning."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from dojo.core.categories import category_number, with_codes
from dojo.core.registry.bundle import PARITY_TOLERANCE
from dojo.core.spec.schema import ModelSpec, Smaller
from dojo.core.tasks.specs import load_spec
from pipelines.training.convert import prove_parity, to_onnx
from pipelines.training.dataset.split import Part, Split
from pipelines.training.errors import TrainingRefusedError
from pipelines.training.job import SmallerKind
from pipelines.training.smaller import Teacher, fit_smaller
from pipelines.training.train import Trained, fit

FEATURES, KNOWN = ("x", "carrier", "noise"), ("post", "swift")
SECTION = Smaller(pruning_loss=0.05, allowed_loss=0.1, trees=8, leaves=7, learning_rate=0.4)


def spec_of(model: str, **section: float) -> ModelSpec:
    spec = load_spec(Path(f"models/{model}.yaml"))
    parameters = {**spec.training.estimator.parameters, "n_estimators": 60}
    estimator = spec.training.estimator.model_copy(update={"parameters": parameters})
    smaller = SECTION.model_copy(update=section)
    training = spec.training.model_copy(update={"estimator": estimator, "smaller": smaller})
    return spec.model_copy(update={"training": training})


def part(name: str, model: str, seed: int, rows: int = 3000) -> Part:
    random = np.random.default_rng(seed)
    carrier = random.integers(0, 3, rows)
    numbers = np.array([category_number(one) for one in (*KNOWN, "skyhook")])[carrier]
    x = random.random(rows)
    inputs = np.column_stack([x, numbers, random.random(rows)]).astype(np.float32)
    value = 4 * x + 2 * carrier + random.normal(0, 0.5, rows)
    labels = (value > 4).astype(float) if model == "return_risk" else np.maximum(value, 0)
    times = np.datetime64("2025-01-06", "us") + np.arange(rows) * np.timedelta64(1, "m")
    return Part(name, inputs, labels, {"customer": np.full(rows, "c")}, times)


def split_of(model: str) -> Split:
    names = ("train", "validation", "holdout")
    return Split(*(part(name, model, seed) for seed, name in enumerate(names)))


def champion(spec: ModelSpec, split: Split) -> Trained:
    return fit(split.train, split.validation, spec, FEATURES, {"carrier": KNOWN})


def teacher(whole: Trained, kind: SmallerKind) -> Teacher:
    trees = whole.booster.model_to_string()
    made = Teacher(
        kind=kind, version="3", features=FEATURES, categories={"carrier": KNOWN}, trees=trees
    )
    return msgspec.json.decode(msgspec.json.encode(made), type=Teacher)


@pytest.mark.parametrize("model", ["delivery_time", "return_risk", "customer_value"])
@pytest.mark.parametrize("kind", ["pruned", "distilled"])
def test_a_smaller_version_scores_nearly_as_its_champion_in_the_same_unit(
    model: str, kind: SmallerKind, tmp_path: Path
) -> None:
    """A value, a probability, and the exponential of a sum."""
    spec, split = spec_of(model), split_of(model)
    whole = champion(spec, split)
    made = fit_smaller(teacher(whole, kind), split, spec)
    assert made.trees < whole.trees
    inputs = split.holdout.inputs
    theirs, ours = whole.score(inputs), made.score(inputs)
    assert np.corrcoef(theirs, ours)[0, 1] > 0.9
    if kind == "distilled":  # the first trees alone stay nearer to the mean
        assert made.trees == SECTION.trees
        assert np.abs(theirs - ours).mean() < 0.15 * theirs.std()
    file = tmp_path / "model.onnx"
    graph = to_onnx(made.booster, FEATURES, made.categories)
    file.write_bytes(graph.SerializeToString())
    assert prove_parity(ours, file, inputs) <= PARITY_TOLERANCE


def test_pruning_keeps_the_champions_first_trees_and_no_more_than_the_loss_needs() -> None:
    split = split_of("delivery_time")
    spec = spec_of("delivery_time", pruning_loss=0.05)
    whole = champion(spec, split)
    made = fit_smaller(teacher(whole, "pruned"), split, spec)
    inputs = with_codes(split.validation.inputs, FEATURES, {"carrier": KNOWN})
    prefix = whole.booster.predict(inputs, num_iteration=made.trees)
    assert made.score(split.validation.inputs) == pytest.approx(prefix, abs=1e-12)

    def error(trees: int) -> float:
        scores = whole.booster.predict(inputs, num_iteration=trees)
        return float(np.abs(scores - split.validation.labels).mean())

    limit = 1.05 * error(whole.trees)
    assert error(made.trees) <= limit
    assert error(int(made.trees / 1.3)) > limit
    most = fit_smaller(teacher(whole, "pruned"), split, spec_of("delivery_time", pruning_loss=0))
    assert made.trees < most.trees <= whole.trees


def test_a_spec_that_says_nothing_of_smaller_versions_has_none() -> None:
    split, spec = split_of("delivery_time"), spec_of("delivery_time")
    without = spec.training.model_copy(update={"smaller": None})
    made = teacher(champion(spec, split), "pruned")
    with pytest.raises(TrainingRefusedError, match=r"expected training\.smaller"):
        fit_smaller(made, split, spec.model_copy(update={"training": without}))
