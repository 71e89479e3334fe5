"""What is shown and offered follows from the answers, stays as it was, and decides the labels."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import cast

import polars as pl
import pytest
from msgspec import structs

from dojo.core.events.types import Outcome
from dojo.core.spec.schema import Label, LabelDelay
from dojo.shop.events import OFFERS, SEARCHES, TRANSACTIONS
from services.simulator.gateway_client import GatewayAnswer, GatewayReply
from services.simulator.shown import DecidedBatch, Shown

NOON = datetime(2024, 7, 1, 12, tzinfo=UTC)
GRADE = Label(
    event=SEARCHES,
    truth="result_grade",
    delay=LabelDelay(distribution="lognormal", median="29m", sigma=0.02, maximum="30m"),
)


UNITS = Label(
    event=OFFERS,
    truth="units",
    delay=LabelDelay(distribution="lognormal", median="24h", sigma=0.01, maximum="25h"),
)


@pytest.fixture
def shown() -> Shown:
    return Shown({"search_ranking": GRADE, "demand": UNITS})


def results(number: int, at: datetime = NOON) -> pl.DataFrame:
    """Return the list with this number, of three results."""
    return pl.DataFrame(
        {
            "result_id": [f"S{number}-{product}" for product in "abc"],
            "time": [at] * 3,
            "position": pl.Series([1, 2, 3], dtype=pl.Int8),
            "list_id": [f"S{number}"] * 3,
        }
    )


def replies(*ranks: int | None, model: str = "search_ranking") -> list[GatewayReply]:
    """Return the answers about rows 0, 1 and so on. None for a row without one."""
    return [
        GatewayReply(model, row, "scored", 0.001, GatewayAnswer("p", "3", "champion", rank=rank))
        if rank
        else GatewayReply(model, row, "timeout", 0.5)
        for row, rank in enumerate(ranks)
    ]


def positions(shown: Shown, rows: pl.DataFrame, asked: list[GatewayReply]) -> list[int]:
    batch = shown.decided({SEARCHES: rows}, asked, NOON)
    assert not batch.hidden
    return batch.events[SEARCHES]["position"].to_list()


def test_ranks_become_positions_list_by_list(shown: Shown) -> None:
    rows = pl.concat([results(1), results(2)])
    assert positions(shown, rows, replies(3, 1, 2, 2, 3, 1)) == [3, 1, 2, 2, 3, 1]


def test_a_list_that_lacks_an_answer_stays_in_the_shops_order(shown: Shown) -> None:
    rows = pl.concat([results(1), results(2)])
    assert positions(shown, rows, replies(3, 1, None, 2, 3, 1)) == [1, 2, 3, 2, 3, 1]


def test_ranks_of_another_model_or_about_other_events_place_nothing(shown: Shown) -> None:
    assert positions(shown, results(1), replies(3, 1, 2, model="other")) == [1, 2, 3]
    payments = pl.DataFrame({"transaction_id": ["t"], "time": [NOON]})
    assert shown.decided({TRANSACTIONS: payments}, [], NOON) == DecidedBatch(
        {TRANSACTIONS: payments}
    )


def test_a_repeated_batch_is_shown_as_it_was_the_first_time(shown: Shown) -> None:
    positions(shown, results(1), replies(3, 1, 2))
    assert positions(shown, results(1), replies(1, 2, 3)) == [3, 1, 2]
    assert positions(shown, results(1), replies(None, None, None)) == [3, 1, 2]


@pytest.mark.parametrize(("ranks", "expected"), [((2, 1, 3), [3, 2, 1]), ((None, 1, 2), [2, 3, 1])])
def test_where_the_record_ends_within_a_list_the_others_take_the_places_that_are_left(
    shown: Shown, ranks: tuple[int | None, ...], expected: list[int]
) -> None:
    assert positions(shown, results(1)[2:], replies(1)) == [1]
    assert positions(shown, results(1), replies(*ranks)) == expected


def test_a_list_that_several_versions_ranked_stays_in_the_shops_order(shown: Shown) -> None:
    one, two, three = replies(3, 1, 2)
    assert two.prediction is not None
    other = two._replace(prediction=structs.replace(two.prediction, version="4"))
    assert positions(shown, results(1), [one, other, three]) == [1, 2, 3]


@pytest.mark.parametrize("ranks", [(1, 1, 2), (2, 3, 4)])
def test_ranks_that_are_no_places_in_the_list_place_nothing(
    shown: Shown, ranks: tuple[int, ...]
) -> None:
    assert positions(shown, results(1), replies(*ranks)) == [1, 2, 3]


def test_the_first_of_two_models_with_a_whole_answer_decides() -> None:
    shown = Shown({"newer": GRADE, "search_ranking": GRADE})
    newer = replies(2, 3, 1, model="newer")
    assert positions(shown, results(1), [*newer, *replies(3, 1, 2)]) == [2, 3, 1]
    silent = replies(2, None, 1, model="newer")
    batch = shown.decided({SEARCHES: results(2)}, [*silent, *replies(3, 1, 2)], NOON)
    assert batch.events[SEARCHES]["position"].to_list() == [3, 1, 2]
    assert [one.model for one in batch.decisions] == ["search_ranking"]


def outcomes(seen_until: list[int | None], grade: list[int | None]) -> pl.DataFrame:
    """Return labels of list 1 as before any model, or of other events where both are None."""
    return pl.DataFrame(
        {
            "model": ["search_ranking"] * 3,
            "request_id": ["S1-a", "S1-b", "S1-c"],
            "time": [NOON] * 3,
            "arrival": [NOON + timedelta(minutes=30)] * 3,
            "list_id": [None if last is None else "S1" for last in seen_until],
            "price": [10.0, 20.0, 30.0],
            "position": pl.Series([1, 2, 3], dtype=pl.Int8),
            "label": [1.0, 0.0, 0.0],
            "weight": [1.0] * 3,
            "seen_until": pl.Series(seen_until, dtype=pl.Int8),
            "grade": pl.Series(grade, dtype=pl.Int8),
            "happens": pl.Series([None] * 3, dtype=pl.Boolean),
            "cost": pl.Series([None] * 3, dtype=pl.Float64),
        },
        schema_overrides={"list_id": pl.String},
    )


def due(shown: Shown, known: pl.DataFrame) -> pl.DataFrame:
    """Return the labels that become known."""
    return shown.due(known, NOON)[0]


def test_a_label_and_its_weight_are_those_of_the_position(shown: Shown) -> None:
    positions(shown, results(1), replies(3, 1, 2))
    found = due(shown, outcomes([2, 1, 20], [1, 1, 2]))
    assert found["label"].to_list() == [0.0, 1.0, 2.0]
    assert found["weight"].to_list() == pytest.approx([3**0.6, 1.0, 2**0.6])


def test_a_result_that_was_never_shown_has_no_label(shown: Shown) -> None:
    assert due(shown, outcomes([2, 1, 20], [1, 1, 2])).is_empty()


def test_labels_of_other_events_stay_as_they_are(shown: Shown) -> None:
    others = outcomes([None] * 3, [None] * 3)
    assert due(shown, others).equals(others)
    mixed = due(shown, outcomes([None, 1, 20], [None, 1, 2]))
    assert mixed["request_id"].to_list() == ["S1-a"]
    assert (mixed["label"][0], mixed["weight"][0]) == (1.0, 1.0)


def test_positions_are_forgotten_when_no_label_can_be_due(shown: Shown) -> None:
    positions(shown, results(1), replies(3, 1, 2))
    # Units are known after 25 hours, and after 250 at the strongest drift of the label delay.
    positions(shown, results(2, NOON + timedelta(days=11)), replies(3, 1, 2))
    assert due(shown, outcomes([2, 1, 20], [1, 1, 2])).height == 3
    positions(shown, results(3, NOON + timedelta(days=13)), replies(3, 1, 2))
    assert due(shown, outcomes([2, 1, 20], [1, 1, 2])).is_empty()


def considered(number: int, by_chance: bool = False) -> pl.DataFrame:
    """Return the prices that are considered for a product. Chance takes the highest one."""
    return pl.DataFrame(
        {
            "offer_id": [f"D{number}-{level}" for level in range(3)],
            "time": [NOON] * 3,
            "price": [9.0, 10.0, 11.0],
            "cost": [6.0] * 3,
            "happens": [False, False, True],
            "by_chance": [by_chance] * 3,
            "list_id": [f"D{number}"] * 3,
        }
    )


def demands(*units: float | None, version: str = "3") -> list[GatewayReply]:
    return [
        GatewayReply("demand", row, "scored", 0.001, GatewayAnswer("p", version, "a", value=value))
        if value is not None
        else GatewayReply("demand", row, "timeout", 0.5)
        for row, value in enumerate(units)
    ]


def offered(shown: Shown, rows: pl.DataFrame, asked: list[GatewayReply]) -> list[str]:
    """Return the offers that happen. The others have no label."""
    batch = shown.decided({OFFERS: rows}, asked, NOON)
    found = batch.events[OFFERS]["offer_id"].to_list()
    unlabelled = [cast("Outcome", one) for one in batch.hidden]
    told = {(one.request_id, one.label, one.hidden_by) for one in unlabelled}
    assert told == {(name, None, "not_offered") for name in set(rows["offer_id"]) - set(found)}
    return found


def test_the_price_with_the_highest_expected_profit_is_offered(shown: Shown) -> None:
    rows = pl.concat([considered(1), considered(2)])
    # Profits of 30, 32, 25 and of 60, 44, 35 euro.
    assert offered(shown, rows, demands(10, 8, 5, 20, 11, 7)) == ["D1-1", "D2-0"]


def test_chance_offers_without_all_answers_without_a_model_and_in_its_own_share(
    shown: Shown,
) -> None:
    assert offered(shown, considered(1), demands(10, None, 5)) == ["D1-2"]
    assert offered(shown, considered(2), demands(6, 6, 6, version="0")) == ["D2-2"]
    assert offered(shown, considered(3, by_chance=True), demands(10, 8, 5)) == ["D3-2"]


def test_a_repeated_offer_is_the_first_one(shown: Shown) -> None:
    assert offered(shown, considered(1), demands(10, 8, 5)) == ["D1-1"]
    assert offered(shown, considered(1), demands(90, 8, 5)) == ["D1-1"]
    assert offered(shown, considered(2), demands(None, None, None)) == ["D2-2"]
    assert offered(shown, considered(2), demands(10, 8, 5)) == ["D2-2"]


def test_what_is_not_offered_has_no_label_for_each_model_of_offers() -> None:
    shown = Shown({"demand": UNITS, "newer": UNITS})
    hidden = shown.decided({OFFERS: considered(1)}, demands(10, 8, 5), NOON).hidden
    told = [(one.model, one.request_id) for one in cast("list[Outcome]", hidden)]
    assert sorted(told) == [(m, f"D1-{of}") for m in ("demand", "newer") for of in (0, 2)]


def sold(number: int) -> pl.DataFrame:
    """Return the units of the considered offers, at costs of 6 euro."""
    return outcomes([None] * 3, [None] * 3).with_columns(
        considered(number).select(
            "list_id", "price", "happens", "cost", pl.col("offer_id").alias("request_id")
        ),
        model=pl.lit("demand"),
        label=pl.Series([10.0, 9.0, 4.0]),
    )


def test_only_what_was_offered_has_units(shown: Shown) -> None:
    offered(shown, considered(1), demands(10, 8, 5))
    assert due(shown, sold(1))["request_id"].to_list() == ["D1-1"]


def settled(shown: Shown, known: pl.DataFrame) -> list[tuple[str, str, str, float]]:
    return [
        (one.request_id, one.event_id, one.action, one.value_euro)
        for one in shown.due(known, NOON)[1]
    ]


def test_a_price_is_worth_its_profit_against_the_price_of_chance(shown: Shown) -> None:
    offered(shown, considered(1), demands(10, 8, 5))
    # 9 units with a profit of 4 euro each, against 4 with 5 euro.
    assert settled(shown, sold(1)) == [("D1", "settlement-demand-D1-1", "priced", 16.0)]


def test_a_decision_is_settled_once_where_two_models_have_the_label() -> None:
    shown = Shown({"newer": GRADE, "search_ranking": GRADE})
    positions(shown, results(1), replies(3, 1, 2))
    one = outcomes([0, 0, 0], [2, 2, 2])
    both = pl.concat([one, one.with_columns(model=pl.lit("newer"))])
    assert settled(shown, both) == [("S1", "settlement-search_ranking-S1-b", "ordered", 0.0)]


def test_a_list_is_decided_once_also_where_the_record_had_a_part() -> None:
    shown = Shown({"search_ranking": GRADE})
    first = shown.decided({SEARCHES: results(1)[2:]}, replies(1), NOON).decisions
    assert [one.request_id for one in first] == ["S1"]
    assert shown.decided({SEARCHES: results(1)}, replies(2, 1, 3), NOON).decisions == []


def test_what_chance_offered_is_worth_nothing_and_no_decision(shown: Shown) -> None:
    offered(shown, considered(1, by_chance=True), demands(10, 8, 5))
    assert settled(shown, sold(1)) == []


def test_an_order_is_worth_the_purchases_that_it_changed(shown: Shown) -> None:
    positions(shown, results(1), replies(3, 1, 2))
    # The first and the second product are bought at the top alone, the third one anywhere.
    found = settled(shown, outcomes([1, 1, 20], [2, 2, 2]))
    assert found == [
        ("S1", "settlement-search_ranking-S1-a", "ordered", -1.0),
        ("S1", "settlement-search_ranking-S1-b", "ordered", 2.0),
    ]


def test_a_changed_click_is_worth_nothing(shown: Shown) -> None:
    positions(shown, results(1), replies(3, 1, 2))
    found = settled(shown, outcomes([1, 1, 20], [1, 1, 1]))
    assert found == [("S1", "settlement-search_ranking-S1-b", "ordered", 0.0)]


def test_an_order_that_changed_nothing_is_settled_with_its_top_product(shown: Shown) -> None:
    positions(shown, results(1), replies(3, 1, 2))
    found = settled(shown, outcomes([0, 0, 0], [2, 2, 2]))
    assert found == [("S1", "settlement-search_ranking-S1-b", "ordered", 0.0)]


def test_the_shops_own_order_is_no_decision(shown: Shown) -> None:
    positions(shown, results(1), replies(3, None, 2))
    assert settled(shown, outcomes([1, 1, 20], [2, 2, 2])) == []
    fallback = [
        reply._replace(prediction=GatewayAnswer("p", "0", "champion", rank=rank))
        for rank, reply in enumerate(replies(1, 2, 3), 1)
    ]
    assert shown.decided({SEARCHES: results(2)}, fallback, NOON).decisions == []


def test_a_decision_names_the_answering_version_once(shown: Shown) -> None:
    made = shown.decided({SEARCHES: results(1)}, replies(3, 1, 2), NOON).decisions
    assert [(one.request_id, one.version, one.arm, one.amount) for one in made] == [
        ("S1", "3", "champion", 0.0)
    ]
    assert shown.decided({SEARCHES: results(1)}, replies(3, 1, 2), NOON).decisions == []
    priced = shown.decided({OFFERS: considered(1)}, demands(10, 8, 5), NOON).decisions
    assert [(one.action, one.amount, one.release_share) for one in priced] == [
        ("priced", 10.0, 0.1)
    ]
