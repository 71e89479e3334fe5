"""A day scored at once: by the bundle alone the same, repeated the same, and late rows included."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from dojo.core.events.types import Stream
from dojo.core.lake import SCHEMAS, Lake
from dojo.shop.events import TRANSACTIONS
from pipelines.batch_scoring.equality import EXAMPLES, compare_with_online
from pipelines.batch_scoring.nights import latest_due
from pipelines.batch_scoring.once import DayNotOverError, finished_day
from pipelines.batch_scoring.record import BatchRun, Equality, RunRecord
from pipelines.batch_scoring.run import NoRequestsError
from pipelines.batch_scoring.side_by_side import (
    cost_per_1000,
    processor_seconds_per_answer,
    side_by_side,
)
from tests.support.scored_days import BATCH, DAY, ScoredDay

FEATURE = "amount"

# All that a device needs: the model file, its inputs and ONNX Runtime.
ON_A_DEVICE = """
import sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
inputs = {session.get_inputs()[0].name: np.load(sys.argv[2])}
np.save(sys.argv[3], session.run(["probabilities"], inputs)[0][:, 1])
assert not {"dojo", "pipelines", "feature_repo"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> ScoredDay:
    return ScoredDay(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def features(world: ScoredDay, home: Path) -> pl.DataFrame:
    """Score the day once, and return the feature rows that the run deletes at its end."""
    scoring, kept = world.scoring(home), home / "kept.parquet"
    rows_file = RunRecord(home, "fraud_detection", "1", world.day).rows_file
    scoring._progress = lambda step, _: (
        kept.write_bytes(rows_file.read_bytes()) if step.startswith("comparing") else None
    )
    scoring.run(None, speed=1.0)
    return pl.read_parquet(kept, glob=False)


@pytest.fixture
def run(home: Path, world: ScoredDay, features: pl.DataFrame) -> BatchRun:
    found = RunRecord(home, "fraud_detection", "1", world.day).read()
    assert found is not None
    return found


def scored_files(lake: Lake) -> dict[str, tuple[bytes, int]]:
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in lake.files(Stream.BATCH_SCORES)
    }


def test_every_request_of_the_day_gets_one_score_under_an_id_of_its_own(
    world: ScoredDay, home: Path, run: BatchRun
) -> None:
    asked = world.rows.filter(pl.col("time").dt.date() == world.day)
    scored = world.scoring(home).scored(run)
    assert scored["request_id"].to_list() == asked.sort("time")["transaction_id"].to_list()
    assert scored["world_time"].to_list() == asked["time"].sort().to_list()
    assert scored["event_id"].n_unique() == len(scored) == run.rows
    assert scored["event_id"][0] == f"batch-fraud_detection-1-{scored['request_id'][0]}"
    first = msgspec.json.decode(scored["entity_keys"][0])
    row = asked.sort("time").row(0, named=True)
    assert first == {"customer": row["customer_id"], "merchant": row["merchant_id"]}
    assert scored["flagged"].to_list() == (scored["score"] >= 0.5).to_list()
    assert scored["score"].n_unique() > 5
    assert len(scored_files(world.lake(home))) == -(-len(asked) // run.chunk_rows)


def test_the_bundle_alone_under_onnx_runtime_gives_the_same_scores(
    world: ScoredDay, home: Path, run: BatchRun, features: pl.DataFrame, tmp_path: Path
) -> None:
    bundle = world.scorer().bundle
    inputs, scores = tmp_path / "inputs.npy", tmp_path / "scores.npy"
    np.save(inputs, np.ascontiguousarray(features.select(bundle.features).to_numpy()))
    files = [str(path) for path in (world.bundle / "model.onnx", inputs, scores)]
    subprocess.run([sys.executable, "-c", ON_A_DEVICE, *files], check=True, cwd=tmp_path)
    found = world.scoring(home).scored(run)["score"].to_numpy()
    assert np.load(scores) == pytest.approx(found, abs=1e-6)


def test_a_repeated_run_changes_nothing(world: ScoredDay, home: Path, run: BatchRun) -> None:
    before = scored_files(world.lake(home))
    assert world.scoring(home).run(None, speed=1.0) == run
    assert scored_files(world.lake(home)) == before


def test_a_late_request_is_scored_and_the_others_keep_their_scores(
    world: ScoredDay, home: Path, run: BatchRun, tmp_path: Path
) -> None:
    """Its features come from the same events, because it is the day's last one."""
    before = world.scoring(home).scored(run)
    late = world.rows.filter(pl.col("time").dt.date() == world.day).tail(1)
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    lake, again = world.lake(tmp_path), world.scoring(tmp_path)
    first = again.run(None, speed=1.0)
    assert first == run
    row = lake.scan(TRANSACTIONS).filter(pl.col("transaction_id") == late["transaction_id"][0])
    later = row.with_columns(
        event_id=pl.lit("tx-late"),
        transaction_id=pl.lit("late"),
        world_time=pl.col("world_time") + timedelta(seconds=1),
    )
    lake.write(TRANSACTIONS, later.collect(), "part-late")
    second = world.scoring(tmp_path).run(None, speed=1.0)
    assert (first.rows, second.rows) == (run.rows, (run.rows or 0) + 1)
    after = again.scored(second)
    assert after["request_id"][-1] == "late"
    assert after.drop("wall_time").head(len(before)).equals(before.drop("wall_time"))


def test_a_day_without_requests_is_refused(world: ScoredDay, tmp_path: Path) -> None:
    scoring = world.scoring(tmp_path)
    scoring._day = date(2030, 5, 1)
    with pytest.raises(NoRequestsError, match="no transactions of 2030-05-01"):
        scoring.run(None, speed=1.0)


def answered(
    lake: Lake, run: BatchRun, scored: pl.DataFrame, features: pl.DataFrame, **changed: object
) -> None:
    """Write the day's predictions into `lake`, with the batch run's own values unless changed."""
    names = [name for name in features.columns if name not in ("request_id", "event_timestamp")]
    names = [name for name in names if not name.endswith("_id")]
    frame = scored.select(
        pl.format("prediction-{}", "request_id").alias("event_id"),
        "world_time",
        "wall_time",
        pl.col("request_id").alias("prediction_id"),
        "request_id",
        "model",
        "version",
        pl.lit("champion").alias("arm"),
        "entity_keys",
        pl.Series("feature_names", [names] * len(scored)),
        pl.Series("features", features.select(names).to_numpy().astype(float).tolist()),
        pl.lit("{}").alias("feature_age_seconds"),
        "score",
        "flagged",
        pl.lit(0.002).alias("latency_seconds"),
        pl.Series("degraded", [[]] * len(scored), dtype=pl.List(pl.String)),
        pl.lit(1).alias("route_generation"),
        pl.lit("").alias("trace_id"),
        pl.lit(1.0).alias("propensity"),
        pl.lit(None, dtype=pl.Float64).alias("cached_seconds"),
        pl.lit("{}").alias("new_categories"),
    ).with_columns(**changed)  # type: ignore[arg-type]
    lake.write(Stream.PREDICTIONS, frame.select(SCHEMAS[Stream.PREDICTIONS].keys()), "part-1")


@pytest.fixture
def compared(
    world: ScoredDay, home: Path, run: BatchRun, features: pl.DataFrame, tmp_path: Path
) -> object:
    def compare(features_served: pl.DataFrame | None = None, **changed: object) -> Equality:
        scored = world.scoring(home).scored(run)
        lake = Lake(tmp_path)
        answered(
            lake, run, scored, features if features_served is None else features_served, **changed
        )
        names = world.scorer().bundle.features
        return compare_with_online(lake, run, features, scored, names)

    return compare


def test_answers_from_the_same_features_are_equal(compared: object, run: BatchRun) -> None:
    found = compared()  # type: ignore[operator]
    assert (found.compared, found.same_features, found.wrong) == (run.rows, run.rows, 0)
    assert (found.largest, found.differing, found.examples) == (0.0, {}, ())


def test_another_score_from_the_same_features_is_wrong(compared: object) -> None:
    found = compared(score=pl.col("score") + 2e-6)  # type: ignore[operator]
    assert found.wrong == found.compared
    assert found.largest == pytest.approx(2e-6, rel=1e-3)


def test_rows_whose_features_differed_are_named_and_not_judged(
    compared: object, features: pl.DataFrame
) -> None:
    third = pl.int_range(pl.len()) % 3 == 0
    served = features.with_columns(
        pl.when(third).then(pl.col(FEATURE) + 1).otherwise(FEATURE).alias(FEATURE)
    )
    moved = pl.col("score") + pl.when(third).then(0.3).otherwise(0.0)
    found = compared(served, score=moved)  # type: ignore[operator]
    hit = features.filter(third)
    assert found.differing == {FEATURE: len(hit)}
    assert (found.same_features, found.wrong) == (len(features) - len(hit), 0)
    assert found.examples == tuple(hit["request_id"].sort().head(EXAMPLES))


def test_answers_of_another_version_or_degraded_are_no_comparison(compared: object) -> None:
    assert compared(version=pl.lit("2")).compared == 0  # type: ignore[operator]
    assert compared(degraded=pl.lit(["cold_start"])).compared == 0  # type: ignore[operator]


METRICS = """# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 12.0
# TYPE dojo_gateway_predictions_total counter
dojo_gateway_predictions_total{model="a",version="1",arm="champion"} 4000.0
dojo_gateway_predictions_total{model="b",version="1",arm="champion"} 2000.0
"""


def test_both_ways_are_priced_by_their_own_measured_processor_time(
    world: ScoredDay, home: Path, run: BatchRun, features: pl.DataFrame, tmp_path: Path
) -> None:
    lake = Lake(tmp_path)
    latency = pl.Series("latency_seconds", np.linspace(0.001, 0.011, len(features)))
    answered(lake, run, world.scoring(home).scored(run), features, latency_seconds=latency)
    found = side_by_side(run, lake, METRICS, price=0.36)
    assert found.online.processor_seconds == pytest.approx(0.002)
    assert found.online.cost_per_1000 == pytest.approx(1000 * 0.002 * 0.36 / 3600)
    assert found.online.latency_p50 == pytest.approx(0.006, abs=1e-4)
    assert found.online.latency_p99 == pytest.approx(0.0109, abs=1e-4)
    spent = [run.spent[step] for step in ("features", "score")]
    each = sum(step.processor for step in spent) / len(features)
    assert found.batch.processor_seconds == pytest.approx(each)
    assert found.batch.cost_per_1000 == pytest.approx(cost_per_1000(each, 0.36))
    assert found.batch.latency_p50 == pytest.approx(sum(s.wall for s in spent) / len(features))


def test_what_was_not_measured_says_so(run: BatchRun, tmp_path: Path) -> None:
    found = side_by_side(run, Lake(tmp_path), None, price=0.05).online
    assert (found.predictions, found.latency_p50, found.cost_per_1000) == (0, None, None)
    assert "answered nothing" in found.why_not
    assert "does not answer" in found.why_not
    assert processor_seconds_per_answer("# TYPE x gauge\nx 1.0\n") is None


NIGHTS: Mapping[str, tuple[datetime, date]] = {
    "in the evening, the day before": (datetime(2030, 2, 14, 23, tzinfo=UTC), date(2030, 2, 13)),
    "after midnight, not yet": (datetime(2030, 2, 15, 1, 59, tzinfo=UTC), date(2030, 2, 13)),
    "two hours after midnight": (datetime(2030, 2, 15, 2, tzinfo=UTC), date(2030, 2, 14)),
}


@pytest.mark.parametrize("case", NIGHTS)
def test_a_day_is_due_after_its_end_and_the_specs_wait(case: str) -> None:
    now, day = NIGHTS[case]
    assert latest_due(BATCH, now) == day


def test_only_a_finished_day_can_be_scored() -> None:
    now = DAY + timedelta(hours=1)
    assert finished_day(now, None) == DAY.date() - timedelta(days=1)
    with pytest.raises(DayNotOverError, match="is not over"):
        finished_day(now, DAY.date())
