"""dojo experiment report: from trail and lake to a trusted effect, or a reason against it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from dojo.core.events.types import Stream
from dojo.core.lake import SCHEMAS, Lake
from dojo.core.state.audit import Entry
from dojo.core.state.routes import Arm, Route, pick, position
from dojo.core.tasks.specs import load_spec
from dojo.shop.events import TRANSACTIONS
from pipelines.experiments.assignment import Experiment, last_experiment, requests
from pipelines.experiments.report import MINIMUM_ENTITIES, report

NOON = datetime(2030, 3, 1, 12, tzinfo=UTC)
HALVES = (Arm("champion", "1", 0.5), Arm("challenger", "2", 0.5))
CANARY = (Arm("champion", "1", 0.9), Arm("challenger", "2", 0.1))
FULL = (Arm("champion", "1", 1.0),)
SPEC = load_spec(Path("models/fraud_detection.yaml"))


def trail(*routes: tuple[str, tuple[Arm, ...], str], model: str = "fraud") -> list[Entry]:
    """Return audit entries of routes an hour apart, generations from 1."""
    entries = []
    for at, (strategy, arms, salt) in enumerate(routes):
        route = Route(
            model=model,
            generation=at + 1,
            strategy=strategy,  # type: ignore[arg-type]
            arms=arms,
            salt=salt,
            changed_at=NOON + timedelta(hours=at),
            who="Zoë",
            why="to see",
        )
        entry = Entry(
            sequence=at + 1,
            previous="",
            entry_id=str(at),
            kind="route",
            model=model,
            who="Zoë",
            what="",
            why="",
            before=None,
            after=route,
            world_time=NOON,
            wall_time=NOON,
        )
        entries.append(msgspec.json.decode(msgspec.json.encode(entry), type=Entry))
    return entries


def test_the_last_split_is_found_with_all_its_generations() -> None:
    found = last_experiment(
        trail(
            ("champion", FULL, "a"),
            ("ab", HALVES, "a"),
            ("ab", HALVES, "b"),  # a new experiment of the same versions
            ("champion", FULL, "b"),
            ("ab", HALVES, "b"),  # interrupted and continued
            ("champion", FULL, "b"),
        ),
        "fraud",
    )
    assert found is not None
    assert (found.salt, found.generations, found.arms) == ("b", (3, 5), HALVES)
    assert (found.since, found.until) == (NOON + timedelta(hours=2), NOON + timedelta(hours=5))


def test_other_weights_are_another_experiment() -> None:
    found = last_experiment(trail(("ab", CANARY, "a"), ("ab", HALVES, "a")), "fraud")
    assert found is not None
    assert (found.generations, found.until) == ((2,), None)


def test_without_a_split_there_is_no_experiment() -> None:
    shadow = (*FULL, Arm("challenger", "2", 0.0, "shadow"))
    assert last_experiment(trail(("champion", FULL, "a"), ("shadow", shadow, "a")), "fraud") is None
    assert last_experiment(trail(("ab", HALVES, "a"), model="other"), "fraud") is None


def experiment(arms: tuple[Arm, Arm] = HALVES) -> Experiment:
    return Experiment(
        model="fraud",
        strategy="ab",
        salt="salt",
        arms=arms,
        generations=(3, 5),
        since=NOON,
        until=None,
    )


def prediction(number: int, customer: str, **more: Any) -> dict[str, object]:
    return {
        "event_id": f"p{number}",
        "world_time": NOON,
        "wall_time": NOON + timedelta(seconds=number),
        "prediction_id": f"p{number}",
        "request_id": f"t{number}",
        "model": "fraud",
        "version": "1",
        "arm": pick(HALVES, position("salt", customer)).name,
        "entity_keys": f'{{"customer":"{customer}","merchant":"m"}}',
        "feature_names": [],
        "features": [],
        "feature_age_seconds": "{}",
        "score": 0.9,
        "flagged": True,
        "latency_seconds": 0.01,
        "degraded": [],
        "route_generation": 3,
        **more,
    }


def lake_of(
    root: Path,
    predictions: Sequence[dict[str, object]],
    outcomes: dict[int, int],
    amounts: dict[int, float],
) -> Lake:
    lake = Lake(root)
    lake.write(
        Stream.PREDICTIONS, pl.DataFrame(predictions, schema=SCHEMAS[Stream.PREDICTIONS]), "part-1"
    )
    base = {"world_time": NOON, "wall_time": NOON}
    labels = [
        {
            **base,
            "event_id": f"o{n}",
            "model": "fraud",
            "request_id": f"t{n}",
            "request_time": NOON,
            "label": label,
        }
        for n, label in outcomes.items()
    ]
    lake.write(Stream.OUTCOMES, pl.DataFrame(labels, schema=SCHEMAS[Stream.OUTCOMES]), "part-1")
    payments = [
        {
            **base,
            "event_id": f"x{n}",
            "transaction_id": f"t{n}",
            "customer_id": "c",
            "merchant_id": "m",
            "amount": amount,
        }
        for n, amount in amounts.items()
    ]
    lake.write(TRANSACTIONS, pl.DataFrame(payments, schema=SCHEMAS[TRANSACTIONS]), "part-1")
    return lake


def test_each_request_of_the_experiment_is_read_once_with_its_outcome_and_amount(
    tmp_path: Path,
) -> None:
    other = "champion" if prediction(0, "c1")["arm"] == "challenger" else "challenger"
    predictions = [
        prediction(1, "c1", flagged=False),
        prediction(2, "c1", request_id="t1", flagged=True),  # the second, later answer counts
        prediction(3, "c2", route_generation=5, degraded=["cold_start", "arm_failed"]),
        prediction(4, "c1", arm=other),  # a caller named a version
        prediction(5, "c3", route_generation=4),
        prediction(6, "c3", route_generation=None),  # from before there were routes
        prediction(7, "c3", model="other"),
        prediction(8, "c3", entity_keys="{}"),
    ]
    found = requests(lake_of(tmp_path, predictions, {1: 1, 4: 0}, {1: 9.5}), experiment(), SPEC)
    rows = sorted(found.drop("arm", "world_time", "score", "weight").rows(), key=str)
    assert rows == sorted(
        [
            ("c1", True, False, True, 1, 9.5),
            ("c2", True, True, True, None, None),
            ("c1", False, False, True, 0, None),
            (None, False, False, True, None, None),
        ],
        key=str,
    )


def simulated(
    generator: np.random.Generator,
    customers: int = 600,
    catch: tuple[float, float] = (0.5, 0.5),
    arms: tuple[Arm, Arm] = HALVES,
    fraud_rate: float = 0.1,
) -> pl.DataFrame:
    """Simulate what `requests` reads: customers with 1 to 40 payments.

    Positives come in runs of one customer, and are caught together or missed together.
    """
    rows: list[dict[str, object]] = []
    for _ in range(customers):
        key = f"customer-{generator.integers(1 << 60)}"
        arm = pick(arms, position("salt", key)).name
        victim = generator.random() < 0.3
        caught = generator.beta(
            *(2 * np.array([catch[arm == "challenger"], 1 - catch[arm == "challenger"]]))
        )
        for _ in range(int(generator.integers(1, 41))):
            fraud = bool(generator.random() < (fraud_rate / 0.3 if victim else 0.0))
            flagged = bool(generator.random() < (caught if fraud else 0.01))
            rows.append(
                {
                    "entity": key,
                    "arm": arm,
                    "assigned": True,
                    "stood_in": False,
                    "world_time": NOON,
                    "score": 0.5,
                    "flagged": flagged,
                    "label": int(fraud),
                    "stakes": float(generator.lognormal(3, 1)),
                }
            )
    return pl.DataFrame(rows)


def test_a_better_challenger_is_found_and_the_numbers_add_up() -> None:
    rows = simulated(np.random.default_rng(1), customers=2000, catch=(0.4, 0.6))
    found = report(experiment(), rows, SPEC)
    effects = {effect.quantity: effect for effect in found.effects}
    catch = effects["catch_rate"]
    assert (catch.status, catch.verdict) == ("measured", "higher")
    assert catch.difference == pytest.approx(0.2, abs=0.06)
    assert catch.low is not None
    assert catch.high is not None
    assert catch.low < catch.difference < catch.high  # type: ignore[operator]
    champion, challenger = found.arms
    assert (
        champion.requests + challenger.requests
        == champion.labelled + challenger.labelled
        == len(rows)
    )
    frauds = rows.filter(arm="challenger", label=1)
    assert challenger.sums["catch_rate"] == (frauds["flagged"].sum(), len(frauds))
    assert challenger.values["catch_rate"] == frauds["flagged"].mean() == catch.challenger
    euro = (frauds.filter("flagged")["stakes"].sum(), frauds["stakes"].sum())
    assert challenger.sums["fraud_euro_catch_rate"] == pytest.approx(euro)
    assert effects["fraud_euro_catch_rate"].challenger == pytest.approx(euro[0] / euro[1])
    assert effects["fraud_euro_catch_rate"].verdict == "higher"
    assert effects["false_positive_rate"].verdict == "no difference shown"
    assert effects["flag_rate"].champion == pytest.approx(
        rows.filter(arm="champion")["flagged"].mean()
    )
    assert found.split.fault == ""


def test_two_equal_arms_are_told_apart_as_seldom_as_the_intervals_say() -> None:
    """100 seeded experiments without a difference, of four quantities each.

    At most 5 % report one, +-3 % (binomial, 95 %). Two pairs of quantities go together, so they
    count as 200.
    """
    generator = np.random.default_rng(11)
    wrong = 0
    for _ in range(100):
        effects = report(experiment(), simulated(generator, customers=500), SPEC).effects
        assert {effect.status for effect in effects} == {"measured"}
        assert len(effects) == 4
        wrong += sum(effect.verdict != "no difference shown" for effect in effects)
    assert wrong <= 32


def test_few_labels_are_insufficient_data_and_say_what_is_missing() -> None:
    rows = simulated(np.random.default_rng(2), customers=100).with_columns(
        label=pl.lit(None, pl.Int8)
    )
    found = report(experiment(), rows, SPEC)
    by_name = {effect.quantity: effect for effect in found.effects}
    assert by_name["flag_rate"].status == "measured"
    for name in ("catch_rate", "false_positive_rate", "fraud_euro_catch_rate"):
        assert (by_name[name].status, by_name[name].difference) == ("insufficient_data", None)
    assert by_name["catch_rate"].reason.startswith(
        f"needs 30 labelled positives from {MINIMUM_ENTITIES} entities in each arm, has 0"
    )


def test_without_amounts_shares_are_told_all_the_same() -> None:
    rows = simulated(np.random.default_rng(8), customers=600).with_columns(
        stakes=pl.lit(None, pl.Float64)
    )
    by_name = {effect.quantity: effect for effect in report(experiment(), rows, SPEC).effects}
    assert by_name["catch_rate"].status == "measured"
    euro = by_name["fraud_euro_catch_rate"]
    assert (euro.status, euro.reason) == (
        "insufficient_data",
        "nothing says what the labelled positives are about",
    )


def test_many_requests_of_few_entities_are_insufficient_data() -> None:
    rows = pl.DataFrame(
        [
            {
                "entity": f"{arm}-{n % 5}",
                "arm": arm,
                "assigned": True,
                "stood_in": False,
                "world_time": NOON,
                "score": 0.5,
                "flagged": n % 2 == 0,
                "label": 1,
                "stakes": 1.0,
            }
            for arm in ("champion", "challenger")
            for n in range(500)
        ]
    )
    assert {effect.status for effect in report(experiment(), rows, SPEC).effects} == {
        "insufficient_data"
    }


def test_an_empty_experiment_is_insufficient_data() -> None:
    empty = simulated(np.random.default_rng(1), customers=1).head(0)
    assert {effect.status for effect in report(experiment(), empty, SPEC).effects} == {
        "insufficient_data"
    }


def test_lost_entities_of_one_arm_void_the_effect() -> None:
    """The challenger loses the requests of a tenth of its customers.

    The remaining ones are no longer a random half.
    """
    rows = simulated(np.random.default_rng(3), customers=6000, catch=(0.4, 0.6))
    lost = pl.col("entity").str.ends_with("7") & (pl.col("arm") == "challenger")
    found = report(experiment(), rows.filter(~lost), SPEC)
    assert found.split.p_value < 0.001
    assert found.split.fault.startswith("sample ratio mismatch: ")
    assert {(e.status, e.difference, e.reason) for e in found.effects} == {
        ("void", None, found.split.fault)
    }


def test_one_entity_with_many_requests_is_no_mismatch() -> None:
    rows = simulated(np.random.default_rng(4), customers=600)
    busy = pl.concat([rows.filter(pl.col("arm") == "challenger").head(1)] * 20_000)
    assert report(experiment(), pl.concat([rows, busy]), SPEC).split.fault == ""


def test_a_split_of_a_tenth_is_checked_against_a_tenth() -> None:
    rows = simulated(np.random.default_rng(5), customers=3000, arms=CANARY)
    assert report(experiment(CANARY), rows, SPEC).split.fault == ""
    assert "mismatch" in report(experiment(HALVES), rows, SPEC).split.fault


def test_requests_outside_their_arm_are_left_out_and_too_many_void_the_effect() -> None:
    rows = simulated(np.random.default_rng(6), customers=600)
    few = rows.with_row_index().with_columns(assigned=pl.col("index") % 200 != 0)
    found = report(experiment(), few, SPEC)
    assert found.split.fault == ""
    assert sum(arm.requests for arm in found.arms) == few["assigned"].sum()
    many = rows.with_row_index().with_columns(assigned=pl.col("index") % 50 != 0)
    assert "2.0% of the requests" in report(experiment(), many, SPEC).split.fault


def test_a_stand_ins_answer_stays_with_the_arm_that_failed() -> None:
    rows = simulated(np.random.default_rng(7), customers=600).with_columns(
        stood_in=pl.col("arm") == "challenger"
    )
    champion, challenger = report(experiment(), rows, SPEC).arms
    assert (champion.stood_in, challenger.stood_in) == (0, challenger.requests)


def test_the_latest_label_of_a_request_counts(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, [prediction(1, "c1"), prediction(2, "c1")], {1: 1, 2: 1}, {})
    later = lake.scan(Stream.OUTCOMES).filter(pl.col("request_id") == "t1").collect()
    lake.write(
        Stream.OUTCOMES,
        later.with_columns(pl.col("world_time") + timedelta(days=9), label=0.0),
        "part-2",
    )
    assert requests(lake, experiment(), SPEC).sort("label")["label"].to_list() == [0, 1]


def test_an_arms_catch_rate_counts_labels_by_their_weights(tmp_path: Path) -> None:
    """A flagged positive weighs 4 and a missed one 1. So 4 of 5 are caught."""
    predictions = [prediction(n, f"c{n}", flagged=n % 2 == 0) for n in range(40)]
    lake = lake_of(tmp_path, predictions, dict.fromkeys(range(40), 1), {})
    outcomes = lake.scan(Stream.OUTCOMES).collect()
    even = pl.col("request_id").str.slice(1).cast(pl.Int64) % 2 == 0
    shutil.rmtree(tmp_path / Stream.OUTCOMES)
    lake.write(
        Stream.OUTCOMES,
        outcomes.with_columns(hidden_by=pl.lit(""), weight=pl.when(even).then(4.0).otherwise(1.0)),
        "part-1",
    )
    rows = requests(lake, experiment(), SPEC)
    arms = report(experiment(), rows, SPEC).arms
    caught = sum(arm.sums["catch_rate"][0] for arm in arms)
    positives = sum(arm.sums["catch_rate"][1] for arm in arms)
    assert (caught, positives) == (80.0, 100.0)
    flagged = sum(arm.sums["flag_rate"][0] for arm in arms)
    assert flagged == 20.0, "every request has a flag, so these have no weight"
