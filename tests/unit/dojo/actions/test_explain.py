"""Parts of a score are exact, and a letter has only what counted against the person."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import combinations

import lightgbm
import numpy as np
import pytest

from dojo.actions.explain import (
    Contribution,
    categories_of,
    contributions,
    letter,
    meaning_of,
    unit_of,
)
from dojo.core.categories import category_number
from dojo.core.registry.bundle import Bundle
from dojo.core.spec.regulated import Fairness, Regulated

RULES = Regulated(
    protected="attribute",
    fairness=Fairness(granted=0.1, true_positive=0.1, false_positive=0.1, minimum_rows=100),
    refusal="We cannot grant this.",
    review="Ask a person.",
    reasons={"a": "Your orders.", "b": "Your orders.", "c": "Your account.", "d": "The amount."},
)


def part(feature: str, adds: float) -> Contribution:
    return Contribution(feature=feature, value=1.0, adds=adds, meaning=f"meaning of {feature}")


def test_a_letter_names_what_counted_most_against_the_person_and_each_reason_once() -> None:
    found = [part("c", -3.0), part("d", 0.2), part("a", 0.9), part("b", 0.5), part("e", 0.1)]
    assert letter(RULES, found).splitlines() == [
        *("We cannot grant this.", "", "These points counted most against it:"),
        *("- Your orders.", "- The amount.", "- meaning of e", "", "Ask a person."),
    ]
    many = [part(f"f{number}", 1.0 + number) for number in range(9)]
    reasons = [line for line in letter(RULES, many).splitlines() if line.startswith("- ")]
    assert reasons == [f"- meaning of f{number}" for number in (8, 7, 6, 5)]


@pytest.mark.parametrize(
    ("objective", "unit"),
    [("binary", "log-odds"), ("regression", "label"), ("l1", "label"), ("tweedie", "logarithm")],
)
def test_parts_are_the_shapley_values_of_the_trees_and_mean_the_score(
    objective: str, unit: str
) -> None:
    random = np.random.default_rng(3)
    rows = random.normal(size=(400, 3)).astype(np.float32)
    value = rows[:, 0] * rows[:, 1] + rows[:, 2]
    labels = {"binary": (value > 0).astype(int), "tweedie": np.exp(value)}.get(objective, value)
    parameters = {"objective": objective, "num_leaves": 6, "verbose": -1, "num_threads": 1}
    booster = lightgbm.train(parameters, lightgbm.Dataset(rows, labels), 5)
    text = booster.model_to_string()
    found = contributions(text, rows[7].tolist())
    total = float(booster.predict(rows[7:8], raw_score=True)[0])
    assert found.sum() == pytest.approx(total, abs=1e-12)
    assert unit_of(text) == unit
    score = float(booster.predict(rows[7:8])[0])
    assert meaning_of(found.sum(), unit_of(text)) == pytest.approx(score, rel=1e-12)
    trees = [tree["tree_structure"] for tree in booster.dump_model()["tree_info"]]

    def known(features: Sequence[int]) -> float:
        return sum(_expected(tree, rows[7], set(features)) for tree in trees)

    for feature in range(3):
        others = [other for other in range(3) if other != feature]
        exact = sum(
            math.factorial(size) * math.factorial(2 - size) / 6
            * (known([*some, feature]) - known(some))
            for size in range(3)
            for some in combinations(others, size)
        )  # fmt: skip
        assert found[feature] == pytest.approx(exact, abs=1e-9)


def _expected(node: dict[str, object], row: np.ndarray, known: set[int]) -> float:
    """Return a tree's mean over the training rows that agree with the known features."""
    if "leaf_value" in node:
        return float(node["leaf_value"])  # type: ignore[arg-type]
    left, right = node["left_child"], node["right_child"]
    assert isinstance(left, dict)
    assert isinstance(right, dict)
    feature = int(node["split_feature"])  # type: ignore[call-overload]
    if feature in known:
        goes_left = float(row[feature]) <= float(node["threshold"])  # type: ignore[arg-type]
        return _expected(left if goes_left else right, row, known)
    counts = [int(one.get("internal_count", one.get("leaf_count"))) for one in (left, right)]
    both = [_expected(one, row, known) for one in (left, right)]
    return (counts[0] * both[0] + counts[1] * both[1]) / sum(counts)


def test_categories_are_named_the_unknown_ones_by_what_the_answer_logged() -> None:
    """An answer's row may be older than the names of new categories."""
    bundle = Bundle(
        model="m", feature_service="s", features=("x", "carrier"), stored_defaults={}, decision={},
        trained_as_of=datetime(2025, 1, 6, tzinfo=UTC), sha256={},
        categories={"carrier": ("post", "swift")},
    )  # fmt: skip

    def named(carrier: str, logged: str | None) -> dict[str, str]:
        features = {"x": 1.0, "carrier": category_number(carrier)}
        return categories_of({"new_categories": logged}, features, bundle)

    assert named("swift", "{}") == {"carrier": "swift"}
    assert named("skyhook", '{"carrier":"skyhook"}') == {"carrier": "skyhook"}
    assert named("skyhook", None) == {"carrier": "other"}
