"""dojo performance: predictions compared with arrived outcomes, from a real lake."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from dojo.core.events.types import Stream
from dojo.core.lake import SCHEMAS, Lake
from dojo.core.performance import (
    Performance,
    answered_rows,
    delay_depends_on_label,
    judged_predictions,
    labelled_predictions,
    measure,
    measure_by_version,
)
from dojo.core.tasks.binary.live import CATCH_RATE, FALSE_POSITIVES, PR_AUC
from dojo.core.tasks.ranking.spec import RankingSpec
from dojo.core.tasks.specs import load_spec, task_of
from tests.support.answers import FLEET

NOON = datetime(2030, 3, 1, 12, tzinfo=UTC)
TASK = task_of(load_spec(Path("models/fraud_detection.yaml")))


def prediction(
    number: int,
    score: float,
    version: str = "1",
    model: str = "fraud",
    degraded: tuple[str, ...] = (),
    **more: object,
) -> dict[str, object]:
    return {
        "event_id": f"p{number}-{version}",
        "world_time": NOON + timedelta(seconds=number),
        "wall_time": NOON + timedelta(seconds=number),
        "prediction_id": f"p{number}",
        "request_id": f"t{number}",
        "model": model,
        "version": version,
        "arm": "champion",
        "entity_keys": "{}",
        "feature_names": [],
        "features": [],
        "feature_age_seconds": "{}",
        "score": score,
        "flagged": score >= 0.5,
        "latency_seconds": 0.01,
        "degraded": list(degraded),
        **more,
    }


def lake_of(
    root: Path,
    predictions: list[dict[str, object]],
    outcomes: Mapping[int, int | None],
    weights: Mapping[int, float] | None = None,
) -> Lake:
    """Make a lake.

    Args:
        outcomes: Payment number -> label, two days after its payment. None is a hidden label.
        weights: Payment number -> weight of its label, where it is not 1.
    """
    lake = Lake(root)
    lake.write(
        Stream.PREDICTIONS, pl.DataFrame(predictions, schema=SCHEMAS[Stream.PREDICTIONS]), "part-1"
    )
    rows = [
        {
            "event_id": f"o{number}",
            "world_time": NOON + timedelta(days=2, seconds=number),
            "wall_time": NOON,
            "model": "fraud",
            "request_id": f"t{number}",
            "request_time": NOON + timedelta(seconds=number),
            "label": label,
            "hidden_by": "declined" if label is None else "",
            "weight": (weights or {}).get(number, 1.0),
        }
        for number, label in outcomes.items()
    ]
    lake.write(Stream.OUTCOMES, pl.DataFrame(rows, schema=SCHEMAS[Stream.OUTCOMES]), "part-1")
    return lake


def rows_of(found: Performance) -> tuple[int, int]:
    """Return the numbers of labelled positives and labelled negatives."""
    return found.figures[CATCH_RATE].rows, found.figures[FALSE_POSITIVES].rows


def shares_of(judged: pl.DataFrame) -> tuple[float | None, float | None]:
    """Return the flagged shares of labelled positives and labelled negatives.

    Small numbers are not left out.
    """
    figures = TASK.results(answered_rows(judged.drop_nulls("label"))).figures
    return figures[CATCH_RATE].value, figures[FALSE_POSITIVES].value


def test_rates_count_only_what_is_labelled(tmp_path: Path) -> None:
    predictions = [prediction(n, score) for n, score in enumerate((0.9, 0.1, 0.8, 0.2, 0.9))]
    judged = judged_predictions(lake_of(tmp_path, predictions, {0: 1, 1: 1, 2: 0, 3: 0}), "fraud")
    found = measure(judged, TASK)
    assert (found.predictions, found.labelled, rows_of(found)) == (5, 4, (2, 2))
    assert shares_of(judged) == (0.5, 0.5)


def test_a_model_is_judged_by_its_own_labels_only(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, [prediction(n, 0.9) for n in range(3)], {0: 1, 1: 1})
    others = (
        lake.scan(Stream.OUTCOMES)
        .with_columns(pl.lit("returns").alias("model"), pl.lit(0.0).alias("label"))
        .collect()
    )
    third = others.head(1).with_columns(
        pl.lit("t2").alias("request_id"), pl.lit("x").alias("event_id")
    )
    lake.write(Stream.OUTCOMES, pl.concat([others, third]), "part-2")
    judged = judged_predictions(lake, "fraud")
    found = measure(judged, TASK)
    assert (found.labelled, rows_of(found)) == (2, (2, 0))
    assert shares_of(judged) == (1.0, None)
    since, until = NOON - timedelta(days=1), NOON + timedelta(days=9)
    assert labelled_predictions(lake, "fraud", since, until, until)["label"].to_list() == [1, 1]


def test_a_hidden_label_is_counted_as_such_and_a_released_one_by_its_weight(tmp_path: Path) -> None:
    predictions = [prediction(n, score) for n, score in enumerate((0.9, 0.9, 0.1, 0.1))]
    lake = lake_of(tmp_path, predictions, {0: None, 1: 1, 2: 1, 3: 0}, {1: 4.0})
    judged = judged_predictions(lake, "fraud")
    found = measure(judged, TASK)
    assert (found.predictions, found.labelled, found.hidden) == (4, 3, 1)
    assert rows_of(found) == (2, 1)
    assert shares_of(judged) == (0.8, 0.0), "one flagged positive stands for four"
    since, until = NOON - timedelta(days=1), NOON + timedelta(days=9)
    live = labelled_predictions(lake, "fraud", since, until, until)
    assert sorted(live.select("label", "weight").rows()) == [(0, 1), (1, 1), (1, 4)]


def test_few_labels_are_insufficient_data_and_give_no_rates(tmp_path: Path) -> None:
    found = measure(
        judged_predictions(lake_of(tmp_path, [prediction(0, 0.9)], {0: 1}), "fraud"), TASK
    )
    assert found.status == "insufficient_data"
    assert found.reason == "needs 50 labelled positives, has 1"
    assert {name: figure.value for name, figure in found.figures.items()} == {
        CATCH_RATE: None,
        FALSE_POSITIVES: None,
        PR_AUC: None,
    }


def test_no_predictions_at_all_are_insufficient_data(tmp_path: Path) -> None:
    (found,) = measure_by_version(judged_predictions(Lake(tmp_path), "fraud"), TASK)
    assert (found.predictions, found.status, found.degraded_share) == (0, "insufficient_data", None)


def test_enough_labels_are_measured(tmp_path: Path) -> None:
    # 45 of 60 positives are caught. 10 of 1,000 legitimate payments are flagged.
    scores = [0.9] * 45 + [0.1] * 15 + [0.7] * 10 + [0.05] * 990
    predictions = [prediction(n, score) for n, score in enumerate(scores)]
    found = measure(
        judged_predictions(
            lake_of(tmp_path, predictions, {n: int(n < 60) for n in range(1060)}), "fraud"
        ),
        TASK,
    )
    assert found.status == "measured"
    assert (found.figures[CATCH_RATE].value, found.figures[FALSE_POSITIVES].value) == (0.75, 0.01)
    # Recall 0.75 at precision 1, then 0.25 more at 60/70.
    assert found.figures[PR_AUC].value == pytest.approx(0.75 + 0.25 * 60 / 70)


def test_versions_are_told_apart_and_other_models_left_out(tmp_path: Path) -> None:
    predictions = [
        prediction(0, 0.9, "1"),
        prediction(1, 0.9, "10", degraded=("cold_start",)),
        prediction(2, 0.9, "2"),
        prediction(3, 0.0, "0", degraded=("fallback_score",)),
        prediction(4, 0.9, "1", model="other"),
    ]
    found = measure_by_version(
        judged_predictions(lake_of(tmp_path, predictions, {0: 1}), "fraud"), TASK
    )
    assert [row.version for row in found] == ["all", "0", "1", "2", "10"]
    assert [row.predictions for row in found] == [4, 1, 1, 1, 1]
    assert [row.degraded_share for row in found] == [0.5, 1.0, 0.0, 0.0, 1.0]


def test_an_answer_counts_for_the_version_that_gave_it_whichever_arm_was_chosen(
    tmp_path: Path,
) -> None:
    """The challenger failed and the champion replaced it.

    The caller got the champion's answer, with a note about it.
    """
    predictions = [
        prediction(0, 0.9, "1", arm="champion", route_generation=3),
        prediction(1, 0.9, "2", arm="challenger", route_generation=3),
        prediction(2, 0.1, "1", arm="challenger", route_generation=3, degraded=("arm_failed",)),
        prediction(
            3, 0.1, "1", arm="champion", route_generation=None
        ),  # a file from before there were routes
    ]
    judged = judged_predictions(lake_of(tmp_path, predictions, dict.fromkeys(range(4), 1)), "fraud")
    every, first, second = measure_by_version(judged, TASK)
    assert (every.predictions, first.predictions, second.predictions) == (4, 3, 1)
    assert [rows_of(of) for of in (first, second)] == [(3, 0), (1, 0)]
    assert [shares_of(judged.filter(pl.col("version") == version))[0] for version in "12"] == [
        1 / 3,
        1.0,
    ]
    assert (first.degraded_share, second.degraded_share) == (1 / 3, 0.0)


def test_shadows_are_no_predictions(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, [prediction(0, 0.9)], {0: 1})
    shadow = dict.fromkeys(SCHEMAS[Stream.SHADOWS]) | {
        "event_id": "s0",
        "world_time": NOON,
        "wall_time": NOON,
        "prediction_id": "p0",
        "request_id": "t0",
        "model": "fraud",
        "version": "2",
        "score": 0.1,
        "flagged": False,
    }
    lake.write(Stream.SHADOWS, pl.DataFrame([shadow], schema=SCHEMAS[Stream.SHADOWS]), "part-1")
    judged = judged_predictions(lake, "fraud")
    every, only = measure_by_version(judged, TASK)
    assert (every.predictions, only.version, shares_of(judged)) == (1, "1", (1.0, None))


def test_a_repeated_request_counts_once_with_its_latest_answer(tmp_path: Path) -> None:
    again = prediction(0, 0.1, "2", wall_time=NOON + timedelta(minutes=1), prediction_id="retry")
    judged = judged_predictions(lake_of(tmp_path, [prediction(0, 0.9), again], {0: 1}), "fraud")
    assert judged.select("version", "score", "label").rows() == [("2", 0.1, 1)]


def test_since_and_until_bound_the_predictions_time(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, [prediction(n, 0.9) for n in range(10)], dict.fromkeys(range(10), 1))
    judged = judged_predictions(
        lake, "fraud", NOON + timedelta(seconds=3), NOON + timedelta(seconds=6)
    )
    assert sorted(judged["request_id"]) == ["t3", "t4", "t5"]
    assert judged["label"].null_count() == 0  # their outcomes arrive after `until` and still count


def test_an_outcome_before_since_counts_for_a_prediction_after_it(tmp_path: Path) -> None:
    answered = NOON + timedelta(days=5)  # by the gateway's clock, after the outcome
    lake = lake_of(tmp_path, [prediction(0, 0.9, world_time=answered)], {0: 1})
    assert judged_predictions(lake, "fraud", since=answered)["label"].to_list() == [1]


@pytest.mark.parametrize(("medians", "dependent"), [((2.0, 2.0), False), ((1.0, 4.0), True)])
def test_whether_the_delay_depends_on_the_label_is_tested(
    medians: tuple[float, float], dependent: bool
) -> None:
    delays = pl.Series(
        [timedelta(days=median * (n % 10) / 5) for median in medians for n in range(200)]
    )
    labels = np.array([1.0] * 200 + [0.0] * 200)
    assert delay_depends_on_label(delays, TASK.split_labels(labels), timedelta(days=2)) is dependent
    assert not delay_depends_on_label(
        delays, TASK.split_labels(np.zeros(400)), timedelta(days=2)
    ), "one class alone shows nothing"


def test_a_corrected_label_counts_from_when_it_was_known(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, [prediction(n, 0.9) for n in range(3)], {0: 0, 1: 1, 2: 1})
    known = lake.scan(Stream.OUTCOMES).collect()
    later = known.filter(pl.col("request_id") != "t2").with_columns(
        pl.col("world_time") + timedelta(days=3),
        label=pl.lit(1.0),  # corrects t0, repeats t1
    )
    lake.write(Stream.OUTCOMES, later, "part-2")
    judged = judged_predictions(lake, "fraud")
    assert dict(judged.select("request_id", "label").rows()) == {"t0": 1, "t1": 1, "t2": 1}
    assert measure(judged, TASK).labelled == 3
    since, until = NOON - timedelta(days=1), NOON + timedelta(days=1)
    for days, labels in ((4, [0, 1, 1]), (6, [1, 1, 1])):
        found = labelled_predictions(
            lake, "fraud", since, until, known_before=NOON + timedelta(days=days)
        )
        assert found.sort("world_time")["label"].to_list() == labels


def test_a_rankings_lists_are_its_entities_own_and_weights_multiply_their_gains(
    tmp_path: Path,
) -> None:
    """Half of the customers click first, and half second, where one in four looks."""
    spec = load_spec(FLEET / "spending_order.yaml")
    assert isinstance(spec, RankingSpec)
    rule = spec.label.list.model_copy(update={"by": ("customer",)})
    label = spec.label.model_copy(update={"list": rule, "grades": 2})
    spec = spec.model_copy(update={"label": label})
    predictions = [
        prediction(n, 0.9 - n % 2 / 10, entity_keys=f'{{"customer":"C{n // 2}"}}')
        for n in range(60)
    ]
    clicked = {n: int((n // 2) % 2 == n % 2) for n in range(60)}
    lake = lake_of(tmp_path, predictions, clicked, {n: 4.0 for n in range(60) if n % 2})
    for of in measure_by_version(judged_predictions(lake, "fraud"), task_of(spec)):
        assert of.figures["ndcg"].value == pytest.approx((1 + 4 / np.log2(3)) / 5)
        assert of.figures["ndcg"].rows == 30
