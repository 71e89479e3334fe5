"""Where flagged answers are acted on, few of them get a label. Weights undo this.

Each test has the whole truth at hand, and compares it with what the labelled rows say.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.core.judging.rollout.limits import as_labelled, label_tests
from dojo.core.labels import standing_for, weights_of
from dojo.core.tasks.binary.live import CATCH_RATE, FALSE_POSITIVES, PR_AUC
from dojo.core.tasks.records import Answered
from dojo.core.tasks.specs import load_spec, task_of

SPEC = load_spec(Path("models/fraud_detection.yaml"))
TASK = task_of(SPEC)
RELEASED = 0.1


def everything(seed: int = 1, rows: int = 200_000) -> Answered:
    """Return answers with all labels: 1.5 % positives, of which two thirds are flagged."""
    random = np.random.default_rng(seed)
    labels = (random.random(rows) < 0.015).astype(np.float64)
    scores = 1 / (1 + np.exp(-(random.normal(0, 1.2, rows) + 4 * labels - 4)))
    return Answered(labels, scores, scores > 0.35, {"customer": random.integers(0, 5000, rows)})


def labelled(truth: Answered, released: float = RELEASED, seed: int = 2) -> Answered:
    """Return the rows that pass, with their weights."""
    assert truth.flagged is not None
    chance = np.random.default_rng(seed).random(len(truth.labels)) < released
    rows = ~truth.flagged | chance
    known = truth.of(rows)
    assert known.flagged is not None
    return Answered(
        known.labels, known.scores, known.flagged, known.entities, known.times,
        np.where(known.flagged, 1 / released, 1.0),
    )  # fmt: skip


def test_live_figures_are_those_of_all_answers_and_not_of_the_labelled_ones() -> None:
    truth = TASK.results(everything()).figures
    weighted = TASK.results(labelled(everything())).figures
    some = labelled(everything())
    naive = TASK.results(Answered(some.labels, some.scores, some.flagged, some.entities)).figures
    for name, near in ((CATCH_RATE, 0.03), (FALSE_POSITIVES, 0.002), (PR_AUC, 0.03)):
        assert weighted[name].value == pytest.approx(truth[name].value, abs=near), name
    assert truth[CATCH_RATE].value > 0.6
    assert naive[CATCH_RATE].value < 0.25, "most caught positives have no label"
    assert naive[PR_AUC].value < truth[PR_AUC].value - 0.3


def test_the_interval_of_a_weighted_rate_covers_the_truth_as_often_as_it_says() -> None:
    """One standard error on each side covers about two thirds of 60 samples, and not all."""
    of_all = everything()
    truth = TASK.results(of_all).figures[CATCH_RATE].value
    inside = 0
    for seed in range(60):
        # Each sample is a tenth of the rows, with its own releases.
        rows = np.random.default_rng(seed).random(len(of_all.labels)) < 0.1
        found = TASK.results(labelled(of_all.of(rows), seed=100 + seed)).figures[CATCH_RATE]
        error = np.sqrt(truth * (1 - truth) / found.effective)
        inside += abs(found.value - truth) <= error
    assert 33 <= inside <= 54
    assert found.effective < found.rows / 2, "a row with weight 10 is no ten independent rows"


def test_the_threshold_of_selective_labels_keeps_the_false_positive_rate() -> None:
    of_all = everything()
    target = SPEC.serving.threshold_false_positive_rate
    threshold = TASK.decide(labelled(of_all))["threshold"]
    flagged = of_all.scores[of_all.labels == 0] >= threshold
    assert flagged.mean() == pytest.approx(target, rel=0.1)
    some = labelled(of_all)
    naive = TASK.decide(Answered(some.labels, some.scores))["threshold"]
    assert (of_all.scores[of_all.labels == 0] >= naive).mean() > 1.15 * target


def test_the_gates_figures_and_gain_are_those_of_all_answers() -> None:
    of_all = everything()
    worse = of_all.scores * np.random.default_rng(5).uniform(0.3, 1, len(of_all.scores))
    some = labelled(of_all)
    kept = ~of_all.flagged | (np.random.default_rng(2).random(len(of_all.labels)) < RELEASED)
    poor = some.scored(worse[kept], worse[kept] > 0.35)
    truth = TASK.gain(of_all.scored(worse, worse > 0.35), of_all, 20)
    found = TASK.gain(poor, some, 20)
    assert found.value == pytest.approx(truth.value, rel=0.25)
    assert TASK.evaluate(some)["recall_at_threshold"] == pytest.approx(
        TASK.evaluate(of_all)["recall_at_threshold"], abs=0.03
    )


@given(st.floats(0.001, 0.999), st.booleans(), st.floats(1, 1000))
def test_a_limit_of_all_requests_becomes_one_of_the_labelled_ones(
    limit: float, counts_flags: bool, weight: float
) -> None:
    flagged = limit if counts_flags else 1 - limit
    with_label = {True: flagged / weight, False: 1 - flagged}
    expected = with_label[counts_flags] / sum(with_label.values())
    assert as_labelled(limit, counts_flags, weight) == pytest.approx(expected)
    assert as_labelled(limit, counts_flags, 1) == pytest.approx(limit)


def test_the_watch_of_selective_labels_stops_a_bad_version_and_no_good_one() -> None:
    """The limit lies between the good version's share of missed labels and the bad one's."""
    recall = 0.66
    test = label_tests({"recall_at_threshold": recall}, SPEC, 1 / RELEASED)["missed"]
    assert test.limit is not None

    def missed(caught: float) -> float:
        return (1 - caught) / (1 - caught + caught * RELEASED)

    assert missed(recall) < test.limit < missed(recall - 0.2)
    assert test.limit > label_tests({"recall_at_threshold": recall}, SPEC)["missed"].limit


def test_rows_without_weights_stand_for_themselves() -> None:
    assert weights_of(pl.DataFrame({"label": [1.0]})) is None
    assert weights_of(pl.DataFrame({"label": [1.0, 0.0], "weight": [1.0, None]})) is None
    found = weights_of(pl.DataFrame({"label": [1.0, 0.0], "weight": [20.0, None]}))
    assert found is not None
    assert found.tolist() == [20.0, 1.0]
    assert standing_for(None, 3).tolist() == [0, 1, 2]
    assert standing_for(np.array([1.0, 3.0]), 2).tolist() == [0, 1, 1, 1]
