"""The effects of caused drift (dojo/shop/world_drift.py) on a day's payments and orders.

Pure: seed, payment and world time alone decide them.

`drifted_day` is all of it for a source's day. First the fraud of the day changes
(`fraud_drift.py`), then the rows (`apply`). `drifted_orders` changes orders. `label_drift.py`
decides when labels arrive. Live traffic, a restart's repetition and a bulk experiment call the same
functions.

A row's changes depend on its own time and on drifts that began before it. They never depend on the
other rows. So a drift that is started or stopped now changes nothing that was emitted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import polars as pl

from dojo.core.lake import start_of
from dojo.shop.drift_kinds import KINDS, Kind
from dojo.shop.world_drift import ActiveDrift
from services.simulator.sources.source import Source
from services.simulator.town.chance import Keys, keys, second, uniform
from services.simulator.town.intensity import Floats, Times, levels, microseconds, times_of

Bools = npt.NDArray[np.bool_]

_DAY, _HOUR = 86_400_000_000, 3_600_000_000  # microseconds

# The sale: so many shops take part, at this price, and its customers come after this hour.
SALE_MERCHANTS = 20  # of thousands: what they usually see in a day they see in minutes
SALE_PRICE = 0.6  # of the usual amount
SALE_OPENS = 20 * 3_600_000_000  # microseconds after midnight UTC

# The number of marketplace sellers who open on each day of the drift. A payment goes to any open
# seller. So on day n one payment in n goes to a seller that was unknown the day before.
SELLERS_A_DAY = 150

CENTS = 100  # in a euro

NEW_CARRIER, NEW_CARRIER_FACTOR = "skyhook", 0.5  # of the usual time to the door


@runtime_checkable
class FraudsterSource(Source, Protocol):
    """A source whose fraudsters change their ways on demand (kinds that are `synthetic_only`)."""

    def day_under(self, day: date, drifts: Iterable[ActiveDrift]) -> pl.DataFrame:
        """The day as `Source.day`, with the fraud that `drifts` cause.

        Honest payments are the same, with the same ids.
        """


class NeedsSyntheticWorldError(ValueError):
    """A drift that needs a simulated town, over a source that only repeats recorded payments."""


def drifted_day(
    source: Source, day: date, drifts: Iterable[ActiveDrift], seed: int
) -> pl.DataFrame:
    """The source's day with everything in it that drifts cause.

    It has the columns of TRANSACTION_SCHEMA, sorted by time.

    Raises:
        NeedsSyntheticWorldError: The source cannot do what a drift wants.
    """
    undisturbed = source.day(day)
    felt = [drift for drift in drifts if _touches(drift, day)]
    rows = undisturbed
    # Orders change by themselves (`drifted_orders`), but a recorded day has none.
    if ways := [drift for drift in felt if KINDS[drift.kind].synthetic_only]:
        if not isinstance(source, FraudsterSource):
            raise NeedsSyntheticWorldError(
                f"{ways[0].kind} changes what only a simulated town does, and this world repeats"
                " recorded payments"
            )
        rows = source.day_under(day, ways)
    return apply(rows, felt, seed, undisturbed["merchant_id"])


def apply(
    rows: pl.DataFrame, drifts: Iterable[ActiveDrift], seed: int, merchants: pl.Series | None = None
) -> pl.DataFrame:
    """A day's rows as row-wise drifts make them. Other kinds are passed over.

    Args:
        rows: Rows of one day (UTC), with the columns of TRANSACTION_SCHEMA, sorted by time.
        merchants: Ids to choose the sale's shops from, the rows' own by default. Drift must not
            change them, so give the ids of the undisturbed day.

    Returns:
        The same payments (a row is never added or lost), sorted by time.
    """
    drifts = tuple(drifts)
    times = times_of(rows["time"])
    payments = keys(rows["transaction_id"], seed, "drift")
    shops = _sale_shops(rows["merchant_id"] if merchants is None else merchants, seed)
    changed = rows
    for kind, effect in _EFFECTS.items():
        level = levels(drifts, kind, times)
        if level.any():
            changed = effect(
                changed, _Situation(level, times, _for_kind(payments, kind), drifts, shops, seed)
            )
    return changed if changed is rows else changed.sort("time", "transaction_id")


def drifted_orders(orders: pl.DataFrame, drifts: Iterable[ActiveDrift], seed: int) -> pl.DataFrame:
    """A day's orders, of which a new carrier brings some, earlier than they would come.

    Whether an order comes back stays as it was.

    Args:
        orders: Rows of `services/simulator/town/orders.py: Orders.day`.
    """
    level = levels(tuple(drifts), "new_carrier", times_of(orders["time"]))
    if not level.any():
        return orders
    chance = uniform(_for_kind(keys(orders["order_id"], seed, "drift"), "new_carrier"))
    flies = pl.lit(pl.Series(chance < level))
    sooner = {
        name: pl.when(flies).then((pl.col(name) * NEW_CARRIER_FACTOR).round(3)).otherwise(name)
        for name in ("delivery_days", "usual_days")
    }
    carrier = pl.when(flies).then(pl.lit(NEW_CARRIER)).otherwise("carrier")
    return orders.with_columns(carrier=carrier, **sooner)


def as_asked(rows: pl.DataFrame, drifts: Iterable[ActiveDrift]) -> pl.DataFrame:
    """A stream's rows as requests name them. Their events keep the right time."""
    late = levels(tuple(drifts), "late_clock", times_of(rows["time"]))
    if not late.any():
        return rows
    offset = pl.Series((late * _HOUR).astype(np.int64)).cast(pl.Duration("us"))
    return rows.with_columns(time=rows["time"] + offset)


@dataclass(frozen=True, slots=True)
class _Situation:
    """Inputs of an effect.

    Attributes:
        level: Strength times intensity of the drift, by row.
        times: Time of each row.
        chance: The payment's own chance, by row.
    """

    level: Floats
    times: Times
    chance: Keys
    drifts: tuple[ActiveDrift, ...]
    shops: pl.Series
    seed: int


def _prices_rise(rows: pl.DataFrame, now: _Situation) -> pl.DataFrame:
    return _with_amounts(rows, now.level > 0, 1.0 + now.level)


def _sale(rows: pl.DataFrame, now: _Situation) -> pl.DataFrame:
    """Send honest customers to the sale, and only later on the same day.

    A payment that was made is never moved.
    """
    goes = _honest(rows) & (uniform(now.chance) < now.level)
    which, when = second(now.chance), second(second(now.chance))
    shop = now.shops.gather(_one_of(len(now.shops), which))
    midnight = now.times // _DAY * _DAY
    opens = np.maximum(now.times, midnight + SALE_OPENS)
    evening = opens + (uniform(when) * (midnight + _DAY - 1 - opens)).astype(np.int64)
    times = pl.Series(np.where(goes, evening, now.times)).cast(rows.schema["time"])
    return _with_amounts(rows, goes, np.full(len(goes), SALE_PRICE)).with_columns(
        times.alias("time"), _replaced(rows["merchant_id"], goes, shop)
    )


def _marketplace(rows: pl.DataFrame, now: _Situation) -> pl.DataFrame:
    goes = _honest(rows) & (uniform(now.chance) < now.level)
    opened = np.zeros(
        rows.height, dtype=np.int64
    )  # days since the opening of the marketplace that is open at the row's time
    for drift in now.drifts:
        if drift.kind == "new_category":
            since = now.times - microseconds(drift.started)
            opened = np.where(since >= 0, since // _DAY, opened)
    seller = _one_of(SELLERS_A_DAY * (opened + 1), second(now.chance))
    names = pl.select(pl.format("S{}", pl.Series(seller).cast(pl.String).str.zfill(5))).to_series()
    return rows.with_columns(_replaced(rows["merchant_id"], goes, names))


def _guests(rows: pl.DataFrame, now: _Situation) -> pl.DataFrame:
    goes = uniform(now.chance) < now.level
    names = pl.Series(
        [f"G{int(number) >> 16:012x}" for number in second(now.chance)], dtype=pl.String
    )
    return rows.with_columns(_replaced(rows["customer_id"], goes, names))


def _cents(rows: pl.DataFrame, now: _Situation) -> pl.DataFrame:
    """A release that reaches one merchant after another.

    A merchant that has it has it for all of its payments.
    """
    wrong = uniform(keys(rows["merchant_id"], now.seed, "unit_bug")) < now.level
    return _with_amounts(rows, wrong, np.full(len(wrong), float(CENTS)))


# In this order: what people do, then what goes wrong on the way of their payments to the platform.
_EFFECTS: dict[Kind, Callable[[pl.DataFrame, _Situation], pl.DataFrame]] = {
    "covariate_gradual": _prices_rise,
    "covariate_sudden": _sale,
    "new_category": _marketplace,
    "null_burst": _guests,
    "unit_bug": _cents,
}


def _touches(drift: ActiveDrift, day: date) -> bool:
    start = start_of(day)
    return drift.started < start + timedelta(days=1) and (
        drift.ended is None or drift.ended > start
    )


def _for_kind(payments: Keys, kind: Kind) -> Keys:
    """The payment's chance in one kind, unrelated to its chance in another."""
    return second(payments ^ keys([kind], 0)[0])


def _honest(rows: pl.DataFrame) -> Bools:
    honest: Bools = rows["label"].to_numpy() == 0
    return honest


def _sale_shops(merchants: pl.Series, seed: int) -> pl.Series:
    """The sale's shops. They are the same every day, as far as they are among `merchants`."""
    names = merchants.unique().sort()
    first = np.argsort(keys(names, seed, "sale"), kind="stable")[:SALE_MERCHANTS]
    return names.gather(first)


def _one_of(count: int | Times, chance: Keys) -> Times:
    """A whole number from 0 to before `count`."""
    number: Times = np.minimum((uniform(chance) * count).astype(np.int64), np.asarray(count) - 1)
    return number


def _replaced(column: pl.Series, where: Bools, by: pl.Series) -> pl.Series:
    return by.zip_with(pl.Series(where), column).alias(column.name)


def _with_amounts(rows: pl.DataFrame, where: Bools, factor: Floats) -> pl.DataFrame:
    """Amounts times `factor` where it applies: whole cents, at least one."""
    amount = rows["amount"].to_numpy()
    changed = np.maximum(np.round(amount * factor, 2), 0.01)
    return rows.with_columns(pl.Series("amount", np.where(where, changed, amount)))
