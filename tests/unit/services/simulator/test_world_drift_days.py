"""The effect of each kind of caused drift on a world's days, and the absence of other effects."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from dojo.core.lake import start_of
from dojo.shop.datasets import TRANSACTION_SCHEMA
from dojo.shop.drift_kinds import KINDS
from dojo.shop.world_drift import ActiveDrift, new_drift
from services.simulator.drift.drifted_days import (
    SALE_MERCHANTS,
    NeedsSyntheticWorldError,
    apply,
    as_asked,
    drifted_day,
)
from services.simulator.drift.label_drift import received
from services.simulator.sources.synthetic import SyntheticSource
from services.simulator.town.intensity import intensities, microseconds

MONDAY = date(2025, 1, 6)
DAY = timedelta(days=1)
NOON = start_of(MONDAY) + timedelta(hours=12)
SEED = 3
TOWN = SyntheticSource(
    SEED, customers=2500, merchants=1500, fraud_rate=0.02, shift=date(2024, 11, 18)
)
BEFORE = TOWN.day(MONDAY)  # 4,600 payments

ROW_KINDS = ("covariate_gradual", "covariate_sudden", "unit_bug", "null_burst", "new_category")
FRAUD_KINDS = ("concept", "prediction")
AT_ONCE = timedelta(0)


def drift(
    kind: str, started: datetime = NOON, ended: datetime | None = None, **others: object
) -> ActiveDrift:
    made = new_drift(kind, started, **{"ramp": AT_ONCE, **others})  # type: ignore[arg-type]
    return ActiveDrift(
        kind=made.kind, started=started, strength=made.strength, ramp=made.ramp, ended=ended
    )


def under(*drifts: ActiveDrift, day: date = MONDAY) -> pl.DataFrame:
    return drifted_day(TOWN, day, drifts, SEED)


def both(*drifts: ActiveDrift) -> pl.DataFrame:
    """Return payments from NOON on that are in the undisturbed and the drifted day (`_now`)."""
    return BEFORE.filter(pl.col("time") >= NOON).join(
        under(*drifts), on="transaction_id", suffix="_now"
    )


def changed(frame: pl.DataFrame, column: str) -> pl.Series:
    return frame[column] != frame[f"{column}_now"]


def unchanged_but(frame: pl.DataFrame, *columns: str) -> bool:
    return not any(
        changed(frame, name).any()
        for name in ("customer_id", "merchant_id", "time", "amount", "label")
        if name not in columns
    )


def test_without_drift_a_day_is_the_sources() -> None:
    assert under() is BEFORE or under().equals(BEFORE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_drift_changes_nothing_of_what_happened_before_it_or_after_its_end(kind: str) -> None:
    end = NOON + timedelta(hours=4)
    now = under(drift(kind, ended=end))
    moved = now.filter(pl.col("time") < NOON)
    assert moved.equals(BEFORE.filter(pl.col("time") < NOON))
    # The sale moves a payment of the afternoon into the evening. From its end on, every other row
    # is the undisturbed day's.
    afternoon = BEFORE.filter(pl.col("time").is_between(NOON, end, closed="left"))["transaction_id"]
    after = now.filter(pl.col("time") >= end, ~pl.col("transaction_id").is_in(afternoon.implode()))
    assert after.equals(BEFORE.filter(pl.col("time") >= end))
    yesterday, tomorrow = MONDAY - DAY, MONDAY + DAY
    assert under(drift(kind, ended=end), day=yesterday).equals(TOWN.day(yesterday))
    assert under(drift(kind, ended=end), day=tomorrow).equals(TOWN.day(tomorrow))


@pytest.mark.parametrize("kind", [*ROW_KINDS, *FRAUD_KINDS])
def test_a_drifted_day_is_the_same_however_often_and_by_whom_it_is_made(kind: str) -> None:
    again = SyntheticSource(
        SEED, customers=2500, merchants=1500, fraud_rate=0.02, shift=date(2024, 11, 18)
    )
    drifts = [drift(kind)]
    assert drifted_day(again, MONDAY, drifts, SEED).equals(under(drift(kind)))
    assert not under(drift(kind)).equals(BEFORE)


@pytest.mark.parametrize("kind", [*ROW_KINDS, *FRAUD_KINDS])
def test_what_begins_later_changes_nothing_that_was(kind: str) -> None:
    """Any first drift, then another of every kind from 15:00 on.

    Until 15:00 the day is as under the first drift alone.
    """
    first, later = drift(kind, NOON), NOON + timedelta(hours=3)
    alone = under(first).filter(pl.col("time") < later)
    for other in KINDS:
        if other != kind:
            assert under(first, drift(other, later)).filter(pl.col("time") < later).equals(alone), (
                other
            )
    stopped = drift(kind, NOON, later)
    assert under(stopped).filter(pl.col("time") < later).equals(alone)
    assert under(stopped, drift(kind, later)).filter(pl.col("time") < later).equals(alone)


@pytest.mark.parametrize("kind", KINDS)
def test_every_day_under_drift_has_the_sources_form(kind: str) -> None:
    strongest = min(KINDS[kind].highest, 10.0)
    for now in (
        under(drift(kind)),
        under(drift(kind, strength=strongest)),
        under(*(drift(k) for k in KINDS)),
    ):
        assert dict(now.schema) == TRANSACTION_SCHEMA
        assert now["time"].is_sorted()
        assert (now["time"].dt.date() == MONDAY).all()
        assert now["transaction_id"].is_unique().all()
        assert now["amount"].min() >= 0.01  # type: ignore[operator]
        assert now["amount"].is_finite().all()
        assert (now["amount"].round(2) == now["amount"]).all(), "whole cents"
        assert now["label"].is_in([0, 1]).all()
        assert (now["customer_id"].str.len_chars() > 1).all()
        assert (now["merchant_id"].str.len_chars() > 1).all()


@pytest.mark.parametrize("kind", ROW_KINDS)
def test_row_wise_drift_neither_adds_nor_loses_a_payment_nor_touches_a_label(kind: str) -> None:
    now = under(drift(kind))
    assert sorted(now["transaction_id"]) == sorted(BEFORE["transaction_id"])
    assert not changed(both(drift(kind)), "label").any()


@pytest.mark.parametrize("kind", ["new_carrier", "label_delay", "stale_features"])
def test_kinds_that_are_not_about_payments_leave_them_alone(kind: str) -> None:
    assert under(drift(kind)).equals(BEFORE)


def test_prices_rise_for_everybody_by_as_much_as_the_ramp_has_grown() -> None:
    pair = both(drift("covariate_gradual", strength=0.5))
    assert unchanged_but(pair, "amount")
    assert ((pair["amount_now"] - pair["amount"] * 1.5).abs() < 0.00501).all()
    slow = drift("covariate_gradual", strength=0.5, ramp=2 * DAY)
    for n, low, high in ((0, 1.0, 1.125), (1, 1.12, 1.376), (2, 1.37, 1.501), (5, 1.499, 1.501)):
        day = MONDAY + DAY * n
        row = (
            TOWN.day(day)
            .join(under(slow, day=day), on="transaction_id", suffix="_now")
            .filter(pl.col("amount") > 50)
        )
        ratio = (row["amount_now"] / row["amount"]).to_numpy()
        assert low - 0.001 <= ratio.min() <= ratio.max() <= high + 0.001


def test_a_sale_moves_honest_payments_to_few_shops_later_and_cheaper() -> None:
    pair = both(drift("covariate_sudden", strength=0.4))
    goes = changed(pair, "time")
    assert unchanged_but(pair, "merchant_id", "time", "amount")
    assert not changed(pair.filter(~goes), "amount").any()
    gone = pair.filter(goes)
    assert gone["label"].sum() == 0
    assert gone.height / (pair["label"] == 0).sum() == pytest.approx(0.4, abs=0.04)
    assert gone["merchant_id_now"].n_unique() == SALE_MERCHANTS
    assert (gone["time_now"] > gone["time"]).all()
    assert (gone["time_now"].dt.hour() >= 20).all()
    dear = gone.filter(pl.col("amount") > 20)
    assert (dear["amount_now"] / dear["amount"]).to_numpy() == pytest.approx(0.6, abs=0.001)


def test_the_sales_shops_are_existing_ones_and_mostly_the_same_every_day() -> None:
    shops = []
    for n in (1, 2):
        day = MONDAY + DAY * n
        now = TOWN.day(day).join(
            under(drift("covariate_sudden"), day=day), on="transaction_id", suffix="_now"
        )
        shops.append(
            set(now.filter(pl.col("merchant_id") != pl.col("merchant_id_now"))["merchant_id_now"])
        )
        assert shops[-1] <= set(TOWN.day(day)["merchant_id"])
    assert len(shops[0] & shops[1]) > SALE_MERCHANTS / 2


def test_which_shops_hold_the_sale_does_not_depend_on_what_else_happens_that_day() -> None:
    sale = [drift("covariate_sudden")]
    whole = apply(BEFORE, sale, SEED)
    shop = both(*sale).filter(pl.col("merchant_id") != pl.col("merchant_id_now"))[
        "merchant_id_now"
    ][0]
    without = BEFORE.filter(pl.col("merchant_id") != shop)
    still = apply(without, sale, SEED, BEFORE["merchant_id"])
    assert still.equals(
        whole.filter(pl.col("transaction_id").is_in(without["transaction_id"].implode()))
    )
    assert shop in set(still["merchant_id"])


def test_cents_for_euros_come_from_the_same_merchants_for_all_of_their_payments() -> None:
    pair = both(drift("unit_bug", strength=0.3))
    assert unchanged_but(pair, "amount")
    wrong = changed(pair, "amount")
    ratio = (pair.filter(wrong)["amount_now"] / pair.filter(wrong)["amount"]).to_numpy()
    assert ratio == pytest.approx(100)
    merchants = (
        pair.with_columns(wrong.alias("wrong")).group_by("merchant_id").agg(pl.col("wrong").mean())
    )
    assert set(merchants["wrong"]) == {0.0, 1.0}
    assert merchants["wrong"].mean() == pytest.approx(0.3, abs=0.05)


def test_guests_are_new_every_time() -> None:
    pair = both(drift("null_burst", strength=0.3))
    assert unchanged_but(pair, "customer_id")
    guests = pair.filter(changed(pair, "customer_id"))["customer_id_now"]
    assert guests.len() / pair.height == pytest.approx(0.3, abs=0.03)
    assert guests.is_unique().all()
    assert guests.str.contains(r"^G[0-9a-f]{12}$").all()


def test_a_marketplace_brings_new_sellers_every_day_and_keeps_the_old_ones() -> None:
    pair = both(drift("new_category", strength=0.4))
    assert unchanged_but(pair, "merchant_id")
    gone = pair.filter(changed(pair, "merchant_id"))
    assert gone["label"].sum() == 0
    assert gone.height / (pair["label"] == 0).sum() == pytest.approx(0.4, abs=0.04)
    known: set[str] = set()
    strangers = []
    for n in range(4):  # from noon to noon, the marketplace's days
        opened = drift("new_category", start_of(MONDAY), strength=0.4)
        sellers = under(opened, day=MONDAY + DAY * n).filter(
            pl.col("merchant_id").str.starts_with("S")
        )["merchant_id"]
        strangers.append(1 - sellers.is_in(list(known)).mean())  # type: ignore[operator]
        known |= set(sellers)
    assert strangers[0] == 1
    assert strangers[1:] == pytest.approx([1 / 2, 1 / 3, 1 / 4], abs=0.1)


@pytest.mark.parametrize("kind", ROW_KINDS)
def test_a_ramp_reaches_more_and_more_payments(kind: str) -> None:
    """Four quarters of a one-day ramp. Each changes more rows, and takes none back."""
    ramped, full = (under(drift(kind, start_of(MONDAY), ramp=ramp)) for ramp in (DAY, AT_ONCE))
    del full
    pair = BEFORE.join(ramped, on="transaction_id", suffix="_now")
    moved = pair.select(
        pl.col("time"),
        ((pl.col("amount_now") / pl.col("amount")) - 1).abs().alias("amount"),
        *(
            (pl.col(c) != pl.col(f"{c}_now")).cast(pl.Float64).alias(c)
            for c in ("customer_id", "merchant_id")
        ),
    ).with_columns(effect=pl.sum_horizontal("amount", "customer_id", "merchant_id"))
    quarters = (
        moved.group_by(pl.col("time").dt.hour() // 6)
        .agg(pl.col("effect").mean())
        .sort("time")["effect"]
        .to_list()
    )
    assert quarters == sorted(quarters)
    assert quarters[3] > 1.3 * quarters[1]


# Fraudsters


def days(*drifts: ActiveDrift, count: int = 10) -> pl.DataFrame:
    return pl.concat([under(*drifts, day=MONDAY + DAY * n) for n in range(count)])


@pytest.mark.parametrize("kind", FRAUD_KINDS)
def test_honest_payments_stay_when_fraudsters_change_their_ways(kind: str) -> None:
    """A payment of both worlds is the same in both, unless one of them has it as fraud."""
    pair = both(drift(kind))
    honest = pair.filter(pl.col("label") == 0, pl.col("label_now") == 0)
    assert honest.height > 0.9 * pair.height
    assert unchanged_but(honest)
    assert unchanged_but(pair, "amount", "label")
    added = set(under(drift(kind))["transaction_id"]) - set(BEFORE["transaction_id"])
    new = under(drift(kind)).filter(pl.col("transaction_id").is_in(list(added)))
    assert (new["label"] == 1).all(), "only fraud is added"
    assert new["transaction_id"].str.contains(r"^20250106-\d{7}$").all()
    lost = BEFORE.filter(
        ~pl.col("transaction_id").is_in(under(drift(kind))["transaction_id"].implode())
    )
    assert (lost["label"] == 1).all(), "only fraud is lost"


def test_concept_drift_replaces_old_fraud_by_as_much_new_that_looks_like_anybodys() -> None:
    start = start_of(MONDAY)
    usual, now = days(), days(drift("concept", start, strength=0.7))
    assert now["label"].sum() == pytest.approx(usual["label"].sum(), rel=0.15)
    assert now.height == pytest.approx(usual.height, rel=0.01)
    old = usual.filter(pl.col("label") == 1).join(now, on=["transaction_id", "label"], how="semi")
    assert old.height / usual["label"].sum() == pytest.approx(0.3, abs=0.05)
    # The champion's signals are gone, because the new frauds' amounts look honest.
    new = now.filter(pl.col("label") == 1).join(usual, on="transaction_id", how="anti")
    honest = usual.filter(pl.col("label") == 0)
    assert new["amount"].median() == pytest.approx(honest["amount"].median(), rel=0.25)
    assert new["time"].dt.hour().is_between(1, 4).mean() < 0.05  # type: ignore[operator]
    per_card = honest.group_by("customer_id").len()
    of_sleepers = new.join(per_card, on="customer_id", how="left")["len"].fill_null(0)
    assert of_sleepers.mean() < 0.5 * per_card["len"].mean(), "rarely used cards"


def test_concept_drift_hardly_moves_the_inputs() -> None:
    usual, now = days(), days(drift("concept", start_of(MONDAY)))
    for quantile in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert now["amount"].quantile(quantile) == pytest.approx(
            usual["amount"].quantile(quantile), rel=0.02
        )  # type: ignore[arg-type]
    shares = [
        f.group_by(pl.col("time").dt.hour()).len().sort("time")["len"] / f.height
        for f in (usual, now)
    ]
    assert (shares[0] - shares[1]).abs().max() < 0.002  # type: ignore[operator]


@pytest.mark.parametrize("strength", [2.0, 5.0])
def test_a_fraud_wave_brings_as_much_more_as_asked_and_takes_none_away(strength: float) -> None:
    usual, now = days(), days(drift("prediction", start_of(MONDAY), strength=strength))
    assert now["label"].sum() / usual["label"].sum() == pytest.approx(strength, rel=0.15)
    kept = usual.filter(pl.col("label") == 1).join(
        now, on=["transaction_id", "amount", "label"], how="semi"
    )
    assert kept.height == usual["label"].sum()


@pytest.mark.parametrize("kind", FRAUD_KINDS)
def test_a_wave_grows_with_its_ramp(kind: str) -> None:
    now = days(drift(kind, start_of(MONDAY), ramp=8 * DAY), count=8)
    new = now.filter(pl.col("label") == 1).join(
        days(count=8), on=["transaction_id", "label"], how="anti"
    )
    halves = [
        new.filter((pl.col("time") < start_of(MONDAY) + 4 * DAY) == early).height
        for early in (True, False)
    ]
    assert halves[1] > 2 * halves[0] > 0


class Recorded:
    """Recorded payments. The drift cannot change these fraudsters."""

    def day(self, day: date) -> pl.DataFrame:
        return TOWN.day(day)

    def days(self) -> tuple[date, date | None]:
        return TOWN.days()

    def identity(self) -> Mapping[str, object]:
        return {"source": "recorded"}


@pytest.mark.parametrize("kind", FRAUD_KINDS)
def test_recorded_fraudsters_cannot_change_their_ways(kind: str) -> None:
    with pytest.raises(NeedsSyntheticWorldError, match=kind):
        drifted_day(Recorded(), MONDAY, [drift(kind)], SEED)


@pytest.mark.parametrize("kind", ROW_KINDS)
def test_everything_else_can_happen_to_recorded_payments(kind: str) -> None:
    assert drifted_day(Recorded(), MONDAY, [drift(kind)], SEED).equals(under(drift(kind)))


def test_the_column_of_intensities_is_the_intensity_of_each_moment() -> None:
    moments = [
        NOON + timedelta(hours=h, microseconds=us) for h in range(-3, 60, 5) for us in (0, 1)
    ]
    times = np.array([microseconds(m) for m in moments])
    for made in (
        drift("concept"),
        drift("concept", ramp=DAY),
        drift("concept", ended=NOON + DAY),
        drift("concept", ramp=DAY, ended=NOON + DAY / 2),
        drift("concept", ended=NOON),
    ):
        assert intensities(made, times).tolist() == pytest.approx(
            [made.intensity(m) for m in moments], abs=1e-12
        )
    assert microseconds(datetime(1970, 1, 2, tzinfo=UTC)) == 86_400_000_000


def test_an_empty_day_stays_empty() -> None:
    assert apply(BEFORE.clear(), [drift(kind) for kind in KINDS], SEED).is_empty()


def test_stopped_labels_are_gone_for_good_and_only_while_they_stop() -> None:
    labels = pl.DataFrame(
        {
            "request_id": [f"T{n}" for n in range(4000)],
            "arrival": [start_of(MONDAY) + timedelta(seconds=43 * n) for n in range(4000)],
        }
    )
    begins, ends = start_of(MONDAY) + timedelta(hours=12), start_of(MONDAY) + timedelta(hours=36)
    stopped = drift("label_stop", begins, ends, strength=0.8)
    came = received(labels, [stopped], SEED)
    within = pl.col("arrival").is_between(begins, ends, closed="left")
    assert came.filter(~within).equals(labels.filter(~within))
    share = came.filter(within).height / labels.filter(within).height
    assert share == pytest.approx(0.2, abs=0.03)
    longer = received(labels, [drift("label_stop", begins, strength=0.8)], SEED)
    assert set(longer["request_id"]) <= set(came["request_id"]), "what never came does not come"
    assert received(labels, [drift("unit_bug", begins)], SEED) is labels


def test_a_late_clock_changes_the_request_and_not_the_event() -> None:
    day = start_of(MONDAY)
    rows = pl.DataFrame({"time": [day, day + timedelta(hours=13)], "amount": [1.0, 2.0]})
    late = [drift("late_clock", day + timedelta(hours=12), strength=2.0)]
    asked = as_asked(rows, late)
    assert asked["time"].to_list() == [day, day + timedelta(hours=15)]
    assert asked.drop("time").equals(rows.drop("time"))
    assert asked.schema == rows.schema
    assert as_asked(rows, []) is rows
