"""Refusals of bad training data name the expected and the found."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from dojo.core.events.types import Stream
from dojo.core.lake import Lake
from dojo.core.registry.bundle import PROFILE_FILE
from dojo.core.registry.reference_profile import ReferenceProfile
from dojo.shop.events import TRANSACTIONS
from pipelines.gate.decide import holdout_of, holdout_rows
from pipelines.training import steps
from pipelines.training.dataset.build import DATASET_FILE
from pipelines.training.dataset.collect import Manifest, collect, read_streams, verify
from pipelines.training.dataset.split import split_by_time
from pipelines.training.dataset.validate import validate
from pipelines.training.errors import (
    InvalidDataError,
    LakeChangedError,
    StaleDataError,
    TooFewRowsError,
    UselessPartError,
)
from pipelines.training.steps import Run
from tests.support.payments import (
    START,
    fill_lake,
    outcomes_of,
    payments,
    small_spec,
    transactions_of,
    with_checks,
)

DAYS = 40
AS_OF = START + timedelta(days=DAYS)
END = AS_OF - timedelta(days=7)
SPEC = small_spec("fraud_small")
ROWS = payments(DAYS)


def manifest() -> Manifest:
    return Manifest(
        model=SPEC.name,
        warm_up=START,
        start=END - SPEC.training.window,
        end=END,
        as_of=AS_OF,
        streams={},
    )


def streams_of(lake: Lake, pinned: Manifest) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the pinned transactions and outcomes."""
    read = read_streams(lake, pinned, SPEC.feature_service)
    return read[TRANSACTIONS], read[Stream.OUTCOMES]


def known() -> pl.DataFrame:
    return ROWS.filter(pl.col("time") < END)


def refusal(transactions: pl.DataFrame, outcomes: pl.DataFrame) -> list[str]:
    with pytest.raises(InvalidDataError) as caught:
        validate(transactions, outcomes, manifest(), SPEC)
    return caught.value.faults


def test_good_data_passes() -> None:
    validate(transactions_of(known()), outcomes_of(known(), SPEC.name), manifest(), SPEC)


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (
            pl.lit(-5.0).alias("amount"),
            ("transactions.amount", "0 to 1e+06 (feature_repo/shop/request.py:", "-5.0"),
        ),
        (pl.lit(float("nan")).alias("amount"), ("transactions.amount", "no missing values", "NaN")),
        (
            pl.lit(float("inf")).alias("amount"),
            ("transactions.amount", "0 to 1e+06 (feature_repo/shop/request.py:", "inf"),
        ),
        (
            pl.lit(None, dtype=pl.String).alias("customer_id"),
            ("transactions.customer_id", "no missing values", "None"),
        ),
        (pl.lit("").alias("merchant_id"), ("transactions.merchant_id", "str_length", "''")),
        (
            pl.lit("same").alias("transaction_id"),
            ("transactions.transaction_id", "unique values", "same"),
        ),
        (pl.col("amount").cast(pl.String), ("transactions.amount", "Float64", "String")),
    ],
)
def test_a_broken_column_is_named_with_rule_and_example(
    broken: pl.Expr, expected: tuple[str, ...]
) -> None:
    faults = refusal(transactions_of(known()).with_columns(broken), outcomes_of(known(), SPEC.name))
    assert any(all(part in fault for part in expected) for fault in faults), faults


def test_a_missing_column_is_named() -> None:
    faults = refusal(transactions_of(known()).drop("merchant_id"), outcomes_of(known(), SPEC.name))
    assert faults == ["transactions.merchant_id: expected this column, found none"]


def test_the_number_of_broken_rows_is_told() -> None:
    one_row = (
        pl.when(pl.col("transaction_id") == "t000007")
        .then(-1.0)
        .otherwise(pl.col("amount"))
        .alias("amount")
    )
    (fault,) = refusal(
        transactions_of(known()).with_columns(one_row), outcomes_of(known(), SPEC.name)
    )
    assert fault.endswith("found '-1.0' (rows: 1)")


def test_a_label_from_before_its_payment_is_leakage() -> None:
    (fault,) = refusal(
        transactions_of(known()), outcomes_of(known(), SPEC.name, timedelta(days=-1))
    )
    assert "leakage" in fault
    assert f"found {len(known()):,} from before it" in fault
    assert "t000000" in fault


def test_an_outcome_of_another_payment_time_is_refused() -> None:
    shifted = outcomes_of(known(), SPEC.name).with_columns(
        pl.col("request_time") - timedelta(hours=1)
    )
    (fault,) = refusal(transactions_of(known()), shifted)
    assert "expected the request's own time" in fault


def corrected(
    outcomes: pl.DataFrame, request: str, label: float, after: timedelta = timedelta(days=1)
) -> pl.DataFrame:
    """With a later outcome of one request."""
    later = outcomes.filter(pl.col("request_id") == request).with_columns(
        pl.col("world_time") + after, label=pl.lit(label)
    )
    return pl.concat([later, outcomes])


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_label_that_is_corrected_or_said_again_is_no_fault(label: float) -> None:
    validate(
        transactions_of(known()),
        corrected(outcomes_of(known(), SPEC.name), "t000007", label),
        manifest(),
        SPEC,
    )


def test_an_impossible_label_is_healed_by_a_later_one_and_not_by_an_earlier_one() -> None:
    outcomes = outcomes_of(known(), SPEC.name)
    impossible = outcomes.with_columns(
        pl.when(pl.col("request_id") == "t000007").then(7.0).otherwise("label").alias("label")
    )
    validate(transactions_of(known()), corrected(impossible, "t000007", 0.0), manifest(), SPEC)
    (fault,) = refusal(transactions_of(known()), corrected(outcomes, "t000007", 7.0))
    assert fault.startswith("outcomes.label: expected isin(")


def test_examples_have_the_label_that_was_known_last_by_the_trainings_time(tmp_path: Path) -> None:
    lake = fill_lake(tmp_path, ROWS, AS_OF, [SPEC.name])
    of_model = (
        lake.scan(Stream.OUTCOMES)
        .filter(pl.col("model") == SPEC.name, pl.col("request_id") == "t002000")
        .collect()
    )
    (truth,) = of_model["label"]
    at = AS_OF - timedelta(days=2)
    lake.write(
        Stream.OUTCOMES,
        of_model.with_columns(world_time=pl.lit(at).dt.cast_time_unit("us"), label=1 - truth),
        "part-late",
    )
    for as_of, label in ((at, truth), (at + timedelta(hours=1), 1 - truth)):
        run = Run(lake=lake, spec=SPEC, workspace=tmp_path / f"{as_of:%H}")
        run.workspace.mkdir()
        steps.collect_step(run, as_of)
        steps.build_dataset_step(run, champion=None)
        examples = pl.read_parquet(run.workspace / DATASET_FILE)
        assert examples["request_id"].is_unique().all()
        assert examples.filter(pl.col("request_id") == "t002000")["label"].to_list() == [label]


def test_missing_labels_are_refused_beyond_one_percent() -> None:
    (fault,) = refusal(transactions_of(known()), outcomes_of(known(), SPEC.name).gather_every(2))
    assert "at least 99%" in fault
    assert "found 50." in fault
    few_missing = outcomes_of(known(), SPEC.name).filter(pl.int_range(pl.len()) % 500 != 0)
    validate(transactions_of(known()), few_missing, manifest(), SPEC)


def acted_on(released: int) -> pl.DataFrame:
    """Return outcomes where most frauds' labels are hidden. One in `released` has its label."""
    fraud = outcomes_of(known(), SPEC.name).with_columns(
        at=pl.when(label=1.0).then(pl.col("label").cum_sum())
    )
    hidden = pl.col("at") % released != 0
    return fraud.select(
        pl.col("model", "request_id", "request_time", "world_time"),
        label=pl.when(hidden).then(None).otherwise("label"),
        hidden_by=pl.when(hidden).then(pl.lit("declined")).otherwise(pl.lit("")),
        weight=pl.when(label=1.0).then(float(released)).otherwise(1.0),
    )


def test_a_hidden_label_is_no_missing_label_and_released_ones_stand_for_it() -> None:
    """Of 4 % frauds, one in ten has a label. Only with its weight is the rate within bounds."""
    outcomes = acted_on(10)
    assert outcomes["label"].null_count() / len(outcomes) > 0.03, "more than may be missing"
    validate(transactions_of(known()), outcomes, manifest(), SPEC)
    (fault,) = refusal(transactions_of(known()), outcomes.with_columns(weight=1.0))
    assert "spec: training.label_rate" in fault


def test_a_version_learns_from_labels_with_their_weights(tmp_path: Path) -> None:
    """What is hidden is no example. The rest teaches the base rate of all requests."""
    lake = fill_lake(tmp_path, ROWS, AS_OF)
    outcomes = acted_on(10)
    lake.write(
        Stream.OUTCOMES,
        outcomes.with_columns(
            event_id=pl.format("event-{}", "request_id"), wall_time="world_time"
        ).filter(pl.col("world_time") < AS_OF),
        "part",
    )
    run = Run(lake=lake, spec=SPEC, workspace=tmp_path / "run")
    run.workspace.mkdir()
    steps.collect_step(run, AS_OF)
    steps.validate_step(run)
    steps.build_dataset_step(run, champion=None)
    examples = pl.read_parquet(run.workspace / DATASET_FILE)
    shown = set(outcomes.drop_nulls("label")["request_id"])
    assert set(examples["request_id"]) <= shown
    steps.train_step(run)
    steps.evaluate_step(run)
    split = steps.split_of(run, examples)
    scores = steps.answered_parts(run, split)[1].scores
    weights = split.holdout.weights
    assert weights is not None
    assert set(weights) == {1.0, 10.0}
    rate = float(np.average(split.holdout.labels, weights=weights))
    assert float(np.average(scores, weights=weights)) == pytest.approx(rate, rel=0.5)
    assert rate > 3 * split.holdout.labels.mean()
    of_gate = holdout_of(run, holdout_rows(run)).weights
    assert of_gate is not None
    assert of_gate.tolist() == weights.tolist()
    profile = ReferenceProfile.read(run.workspace / PROFILE_FILE)
    assert profile.rows == int(weights.sum()), "the distributions are of all requests"


@pytest.mark.parametrize("label", [0.5, 2.0, -1.0])
def test_a_label_that_the_task_does_not_know_is_refused(label: float) -> None:
    wrong = outcomes_of(known(), SPEC.name).with_columns(
        pl.when(pl.int_range(pl.len()) == 3).then(label).otherwise("label").alias("label")
    )
    (fault,) = refusal(transactions_of(known()), wrong)
    assert fault.startswith("outcomes.label: expected isin(")
    assert fault.endswith(f"found '{label}' (rows: 1)")


@pytest.mark.parametrize(("rate", "found"), [(0.0, "0.000%"), (0.5, "% of")])
def test_a_fraud_rate_outside_the_specs_bounds_is_refused(rate: float, found: str) -> None:
    rows = payments(DAYS, fraud_rate=rate).filter(pl.col("time") < END)
    (fault,) = refusal(transactions_of(rows), outcomes_of(rows, SPEC.name))
    assert "from 1.00% to 20.00% (spec: training.label_rate)" in fault
    assert found in fault


def test_collect_pins_the_window_that_ends_a_label_delay_before_now(tmp_path: Path) -> None:
    lake = fill_lake(tmp_path, ROWS, AS_OF, [SPEC.name])
    pinned = collect(lake, SPEC, AS_OF)
    assert (pinned.start, pinned.end, pinned.as_of) == (END - timedelta(days=24), END, AS_OF)
    transactions, outcomes = streams_of(lake, pinned)
    assert transactions["world_time"].is_sorted()
    assert transactions["world_time"].min() >= START
    assert transactions["world_time"].max() < END
    assert set(outcomes["request_id"]) == set(transactions["transaction_id"])
    assert Manifest.read(pinned.write(tmp_path)) == pinned


def test_a_window_begins_where_a_short_lake_does(tmp_path: Path) -> None:
    lake = fill_lake(
        tmp_path, ROWS.filter(pl.col("time") >= START + timedelta(days=20)), AS_OF, [SPEC.name]
    )
    assert collect(lake, SPEC, AS_OF).start == START + timedelta(days=20)


def test_outcomes_that_arrive_later_are_not_read(tmp_path: Path) -> None:
    """The lake goes on after `as_of`, even in the same day's file.

    A version trained for `as_of` must not see it.
    """
    lake = fill_lake(
        tmp_path, ROWS, AS_OF, [SPEC.name], delay=timedelta(days=9)
    )  # later than the spec's maximum
    noon = AS_OF - timedelta(days=5, hours=12)
    _, known_by_noon = streams_of(lake, collect(lake, SPEC, noon))
    arrivals = known_by_noon["world_time"]
    assert noon - timedelta(hours=1) < arrivals.max() < noon


def test_stale_data_is_refused(tmp_path: Path) -> None:
    lake = fill_lake(tmp_path, ROWS, AS_OF, [SPEC.name])
    with pytest.raises(
        StaleDataError,
        match=(
            r"stale data: expected transactions in the 1d before 2030-02-14 .* 2030-01-01 to"
            r" 2030-02-09"
        ),
    ):
        collect(lake, SPEC, AS_OF + timedelta(days=4))
    with pytest.raises(StaleDataError, match="holds none at all"):
        collect(Lake(tmp_path / "empty"), SPEC, AS_OF)


def test_the_spec_says_how_stale_is_too_stale_and_how_many_labels_may_lack(tmp_path: Path) -> None:
    lake = fill_lake(tmp_path, ROWS, AS_OF, [SPEC.name])
    two_days_later = AS_OF + timedelta(days=2)
    with pytest.raises(StaleDataError):
        collect(lake, SPEC, two_days_later)
    collect(lake, with_checks(SPEC, staleness=timedelta(days=3)), two_days_later)
    half = outcomes_of(known(), SPEC.name).gather_every(2)
    validate(transactions_of(known()), half, manifest(), with_checks(SPEC, unlabelled=0.6))
    with pytest.raises(
        InvalidDataError, match=r"at least 99.9% .* \(spec: training.checks.unlabelled\)"
    ):
        validate(transactions_of(known()), half, manifest(), with_checks(SPEC, unlabelled=0.001))


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    lake = fill_lake(tmp_path, ROWS.gather_every(10), AS_OF, [SPEC.name])
    with pytest.raises(TooFewRowsError, match=r"expected at least 1,000 transactions .* found 2"):
        collect(lake, SPEC, AS_OF)


def test_a_changed_or_missing_lake_file_is_named(tmp_path: Path) -> None:
    lake = fill_lake(tmp_path, ROWS, AS_OF, [SPEC.name])
    pinned = collect(lake, SPEC, AS_OF)
    verify(lake, pinned)
    changed, missing = (
        lake.root / pinned.streams[TRANSACTIONS][3].path,
        lake.root / pinned.streams[Stream.OUTCOMES][5].path,
    )
    changed.write_bytes(changed.read_bytes() + b"x")
    missing.unlink()
    with pytest.raises(LakeChangedError) as caught:
        verify(lake, pinned)
    assert f"{pinned.streams[TRANSACTIONS][3].path}: changed" in str(caught.value)
    assert f"{pinned.streams[Stream.OUTCOMES][5].path}: missing" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 3


def test_a_file_that_comes_later_does_not_change_a_pinned_set(tmp_path: Path) -> None:
    lake = fill_lake(tmp_path, ROWS, AS_OF, [SPEC.name])
    pinned = collect(lake, SPEC, AS_OF)
    before, _ = streams_of(lake, pinned)
    late = (
        lake.scan(TRANSACTIONS)
        .head(10)
        .with_columns(pl.col("transaction_id") + "late", pl.col("event_id") + "late")
    )
    lake.write(TRANSACTIONS, late.collect(), "part-late")
    assert streams_of(lake, pinned)[0].equals(before)


def instant(moment: datetime) -> np.datetime64:
    return np.datetime64(moment.replace(tzinfo=None), "us")


def dataset() -> pl.DataFrame:
    return ROWS.rename({"time": "event_timestamp", "transaction_id": "request_id"}).filter(
        pl.col("event_timestamp") < END
    )


def test_the_split_follows_time_without_overlap_or_gap() -> None:
    split = split_by_time(dataset(), ("amount",), END, SPEC)
    validation, holdout = instant(END - timedelta(days=10)), instant(END - timedelta(days=6))
    assert split.train.times.max() < validation <= split.validation.times.min()
    assert split.validation.times.max() < holdout <= split.holdout.times.min()
    assert split.holdout.times.max() < instant(END)
    assert sum(len(part.labels) for part in split.parts()) == len(dataset())
    assert split.train.inputs.dtype == "float32"
    in_order = dataset().sort("event_timestamp")["amount"].cast(pl.Float32).to_numpy()
    assert [part.inputs[0, 0] for part in split.parts()] == [
        in_order[0],
        in_order[len(split.train.labels)],
        in_order[len(split.train.labels) + len(split.validation.labels)],
    ]


def test_each_row_of_a_part_keeps_its_label_its_entities_and_its_time() -> None:
    rows = dataset().sort("event_timestamp").tail(50)
    holdout = split_by_time(dataset(), ("amount",), END, SPEC).holdout
    assert holdout.labels[-50:].tolist() == rows["label"].to_list()
    assert {entity: keys[-50:].tolist() for entity, keys in holdout.entities.items()} == {
        "customer": rows["customer_id"].to_list(),
        "merchant": rows["merchant_id"].to_list(),
    }
    assert (
        holdout.times[-50:].tolist() == rows["event_timestamp"].dt.replace_time_zone(None).to_list()
    )
    assert set(
        split_by_time(
            dataset(), ("amount",), END, SPEC.model_copy(update={"entities": ("merchant",)})
        ).holdout.entities
    ) == {"merchant"}


def test_a_payment_at_a_parts_first_instant_belongs_to_that_part_only() -> None:
    first_instant = pl.lit(END - timedelta(days=6)).dt.cast_time_unit("us")
    closest = (pl.col("event_timestamp") - first_instant).abs().arg_min()
    moved = dataset().with_columns(
        pl.when(pl.int_range(pl.len()) == closest)
        .then(first_instant)
        .otherwise(pl.col("event_timestamp"))
        .alias("event_timestamp")
    )
    split = split_by_time(moved, ("amount",), END, SPEC)
    assert sum(len(part.labels) for part in split.parts()) == len(moved)
    assert split.holdout.times[0] == instant(END - timedelta(days=6))


def test_a_part_with_one_class_only_is_refused() -> None:
    honest_end = dataset().with_columns(
        pl.when(pl.col("event_timestamp") >= END - timedelta(days=6))
        .then(0)
        .otherwise(pl.col("label"))
        .alias("label")
    )
    with pytest.raises(
        UselessPartError,
        match=r"holdout: from .* expected positives and negatives, found 0 positives in",
    ):
        split_by_time(honest_end, ("amount",), END, SPEC)
