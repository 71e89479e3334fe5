"""Fraud in the synthetic world: patterns, each with its share of all fraud.

On one day fraudsters change their method.

There are two kinds of campaign. Campaigns of days (a compromised merchant, a stolen card) *start*
on a day that (seed, day) decides. A day looks back over the campaigns that can still be running. So
it needs no state from the day before. Campaigns of minutes (card testing, account takeover) and
single payments (large amounts) belong to one day.

Some patterns turn existing payments into fraud, some add payments. Then F frauds happen a day:

    F = rate * N / (1 - rate * a)

Here `rate` is the share of fraud in all payments, and N the ordinary payments a day. `a` is the
added share of the fraud.

From the day of the shift on, fewer merchants are skimmed and the crews move to bust-outs. A
merchant that takes part runs dozens of stolen cards within the hour, at usual amounts. Customers go
on as before, so this is concept drift, not covariate drift. A model that learned before that day
has never seen it. A model that learns after it can use the merchant's sudden rush.

A world by itself has no sleepers. Fraudsters move to them when concept drift is caused
(`fraud_drift.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property

import numpy as np

from services.simulator.town.payments import Payments, amounts
from services.simulator.town.population import (
    MEAN_TRANSACTIONS_PER_DAY,
    Floats,
    Habits,
    Ints,
    Population,
)
from services.simulator.town.rhythm import times_of_day

# Share of each pattern in all fraud. Merchants and cards carry most, as in published card fraud.
# Both are visible only through history, so a model must use rolling features to find them.
SHARES = {
    "merchant": 0.40,
    "card": 0.30,
    "large": 0.08,
    "testing": 0.10,
    "takeover": 0.12,
    "bust_out": 0.0,
    "sleeper": 0.0,
}
SHARES_AFTER_SHIFT = {
    "merchant": 0.15,
    "card": 0.25,
    "large": 0.05,
    "testing": 0.07,
    "takeover": 0.08,
    "bust_out": 0.40,
    "sleeper": 0.0,
}
ADDED = ("testing", "takeover", "bust_out", "sleeper")

MERCHANT_DAYS = (
    21,
    35,
)  # until a skimmer is found. Labels are a week late, so most of it is visible while it lasts
MERCHANT_SHARE = 0.9  # of the payments at a compromised merchant, because not every card is misused
CARD_DAYS = (7, 14)  # until the holder reads the statement
CARD_SHARE = 1 / 3  # of a stolen card's payments, because the holder goes on paying
CARD_FACTOR = (3.0, 6.0)  # of the usual amount
LARGE_FACTOR = (6.0, 12.0)  # of the customer's mean amount
TESTING_SMALL = (4, 8)  # payments that try whether the card works
TESTING_SMALL_EURO = (0.5, 3.0)
TESTING_LARGE_FACTOR = (4.0, 8.0)
TAKEOVER_PAYMENTS = (3, 6)
TAKEOVER_FACTOR = (1.5, 3.0)
BUST_OUT_CARDS = (12, 24)  # ten times what a merchant of this town sees in an hour
BUST_OUT_SECONDS = 3600.0
BUST_OUT_FACTOR = (0.8, 1.4)  # of the usual amount at that merchant, so the amount gives no hint
SLEEPER_CARDS = 0.2  # the share of the customers who pay least often, who miss their cards last
SLEEPER_MERCHANTS = (
    0.05,
    0.25,
)  # between these quantiles of traffic: quiet shops, but known ones
SLEEPER_FACTOR = (0.8, 1.2)  # of the usual amount


@dataclass(frozen=True)
class Campaigns:
    """Campaigns running on a day.

    Attributes:
        target: The merchant or seat that each campaign hits.
        share: Share of the payments there that is fraud.
    """

    target: Ints
    share: Floats


class FraudPatterns:
    """The day's fraud, decided by (seed, day).

    Args:
        rate: Share of all payments that are fraud, before and after the shift.
        shift: First day of the new method. None is never.

    Attributes:
        crew: Number of the crew, 0 for this world's own and another number for `others`.
    """

    def __init__(
        self, population: Population, seed: int, rate: float, shift: date | None = None
    ) -> None:
        self._population = population
        self._seed = seed
        self._shift = shift
        self._ordinary = population.customers * MEAN_TRANSACTIONS_PER_DAY
        self._before: Mapping[str, float] = _frauds_per_day(SHARES, rate, self._ordinary)
        self._after: Mapping[str, float] = _frauds_per_day(SHARES_AFTER_SHIFT, rate, self._ordinary)
        self.crew = 0

    def others(
        self, frauds: Callable[[Mapping[str, float]], Mapping[str, float]], crew: int
    ) -> FraudPatterns:
        """Other fraudsters in the same town, with campaigns of their own.

        Args:
            frauds: Gives frauds a day by pattern, from the numbers of this world's own fraudsters
                on the same day. No campaigns at merchants.
            crew: Tells crews apart. This world's own is 0.
        """
        crews = copy(self)
        crews._before, crews._after, crews.crew = frauds(self._before), frauds(self._after), crew
        return crews

    def _per_day(self, day: date) -> Mapping[str, float]:
        """Frauds expected on a day, by pattern."""
        return self._before if self._shift is None or day < self._shift else self._after

    def commit(
        self, payments: Payments, habits: Habits, day: date, random: np.random.Generator
    ) -> Payments:
        """The day's payments with its fraud in them."""
        per_day = self._per_day(day)
        payments = self._at_merchants(payments, day, random) if per_day["merchant"] else payments
        payments = self._with_cards(payments, day, random)
        payments = self._large_amounts(payments, habits, day, random)
        payments += self._card_testing(habits, day, random) + self._takeovers(habits, day, random)
        payments = payments + self._bust_outs(habits, random) if per_day["bust_out"] else payments
        return payments + self._sleepers(habits, day, random) if per_day["sleeper"] else payments

    def _at_merchants(self, payments: Payments, day: date, random: np.random.Generator) -> Payments:
        share = np.zeros(self._population.merchants)
        running = self.merchant_campaigns(day)
        share[running.target] = running.share
        return _mark(payments, random.random(len(payments.seat)) < share[payments.merchant])

    def _with_cards(self, payments: Payments, day: date, random: np.random.Generator) -> Payments:
        share = np.zeros(self._population.customers)
        running = self.card_campaigns(day)
        share[running.target] = running.share
        stolen = (random.random(len(payments.seat)) < share[payments.seat]) & (payments.label == 0)
        factor = random.uniform(*CARD_FACTOR, len(payments.seat))
        return _mark(payments, stolen, np.where(stolen, payments.amount * factor, payments.amount))

    def _large_amounts(
        self, payments: Payments, habits: Habits, day: date, random: np.random.Generator
    ) -> Payments:
        share = self._per_day(day)["large"] / self._ordinary
        large = (random.random(len(payments.seat)) < share) & (payments.label == 0)
        amount = habits.mean_amount[payments.seat] * random.uniform(
            *LARGE_FACTOR, len(payments.seat)
        )
        return _mark(payments, large, np.where(large, amount, payments.amount))

    def _card_testing(self, habits: Habits, day: date, random: np.random.Generator) -> Payments:
        """Small payments a minute or two apart at merchants anywhere, then a large one."""
        cards, sizes = self._episodes(
            "testing", day, (TESTING_SMALL[0] + 1, TESTING_SMALL[1] + 1), random
        )
        seat, position = np.repeat(cards, sizes), _positions(sizes)
        n = len(seat)
        large = position == np.repeat(sizes, sizes) - 1
        gaps = np.where(large, random.uniform(300, 2400, n), random.exponential(90, n))
        start = np.repeat(
            random.uniform(0, 22 * 3600, len(cards)), sizes
        )  # the burst ends before midnight
        first = np.repeat(np.cumsum(sizes) - sizes, sizes)
        elapsed = np.cumsum(gaps)
        seconds = start + elapsed - elapsed[first]
        small = random.uniform(*TESTING_SMALL_EURO, n)
        amount = np.where(
            large, habits.mean_amount[seat] * random.uniform(*TESTING_LARGE_FACTOR, n), small
        )
        merchant = random.integers(0, self._population.merchants, n)
        return Payments(
            seat, merchant, np.minimum(seconds, 86_399.0), amount, np.ones(n, dtype=np.int8)
        )

    def _takeovers(self, habits: Habits, day: date, random: np.random.Generator) -> Payments:
        """A stranger shops with the account for one night.

        The shops are near one place, far from the holder's home.
        """
        accounts, sizes = self._episodes("takeover", day, TAKEOVER_PAYMENTS, random)
        seat = np.repeat(accounts, sizes)
        n = len(seat)
        place = np.repeat(random.integers(0, self._population.customers, len(accounts)), sizes)
        merchant = self._population.choose_merchants(place, random.random(n))
        usual = amounts(self._population, habits, seat, merchant, random)
        return Payments(
            seat,
            merchant,
            random.uniform(3600, 5 * 3600, n),
            usual * random.uniform(*TAKEOVER_FACTOR, n),
            np.ones(n, dtype=np.int8),
        )

    def _bust_outs(self, habits: Habits, random: np.random.Generator) -> Payments:
        """A merchant that takes part runs stolen cards within the hour, while shops are open.

        The cards are of people from all over town.
        """
        count = _episodes_of(self._after["bust_out"], BUST_OUT_CARDS, random)
        sizes = random.integers(BUST_OUT_CARDS[0], BUST_OUT_CARDS[1] + 1, count)
        n = int(sizes.sum())
        merchant = np.repeat(random.integers(0, self._population.merchants, len(sizes)), sizes)
        opened = np.repeat(random.uniform(9 * 3600, 20 * 3600, len(sizes)), sizes)
        seat = random.integers(0, self._population.customers, n)
        usual = amounts(self._population, habits, seat, merchant, random)
        return Payments(
            seat,
            merchant,
            opened + random.uniform(0, BUST_OUT_SECONDS, n),
            usual * random.uniform(*BUST_OUT_FACTOR, n),
            np.ones(n, dtype=np.int8),
        )

    def _sleepers(self, habits: Habits, day: date, random: np.random.Generator) -> Payments:
        """One payment with a card that is rarely used, at a quiet shop.

        It has the usual hours and the usual amount.
        """
        n = int(self._per_day(day)["sleeper"] + random.random())
        cards = np.argsort(habits.rate, kind="stable")[
            : max(1, int(SLEEPER_CARDS * self._population.customers))
        ]
        low, high = (int(share * self._population.merchants) for share in SLEEPER_MERCHANTS)
        shops = np.argsort(self._population.merchant_rate, kind="stable")[low : max(high, low + 1)]
        seat, merchant = random.choice(cards, n), random.choice(shops, n)
        usual = amounts(self._population, habits, seat, merchant, random)
        seconds = times_of_day(random.random(n), day)
        return Payments(
            seat,
            merchant,
            seconds,
            usual * random.uniform(*SLEEPER_FACTOR, n),
            np.ones(n, dtype=np.int8),
        )

    def _episodes(
        self, pattern: str, day: date, sizes: tuple[int, int], random: np.random.Generator
    ) -> tuple[Ints, Ints]:
        """The day's episodes of a pattern: the seat that each hits, and its number of payments.

        Both ends of `sizes` are included.
        """
        count = _episodes_of(self._per_day(day)[pattern], sizes, random)
        return random.integers(0, self._population.customers, count), random.integers(
            sizes[0], sizes[1] + 1, count
        )

    def merchant_campaigns(self, day: date) -> Campaigns:
        """Merchants compromised on a day."""
        eligible, share = self._eligible_merchants
        per_campaign = float(np.mean(share * self._population.merchant_rate[eligible])) * float(
            np.mean(MERCHANT_DAYS)
        )
        index = self._running(day, 3, "merchant", per_campaign, MERCHANT_DAYS, len(eligible))
        return Campaigns(eligible[index], share[index])

    def card_campaigns(self, day: date) -> Campaigns:
        """Cards in wrong hands on a day, by seat."""
        per_campaign = MEAN_TRANSACTIONS_PER_DAY * CARD_SHARE * float(np.mean(CARD_DAYS))
        seats = self._running(day, 4, "card", per_campaign, CARD_DAYS, self._population.customers)
        return Campaigns(seats, np.full(len(seats), CARD_SHARE))

    @cached_property
    def _eligible_merchants(self) -> tuple[Ints, Floats]:
        """Merchants of about average size, and the share of payments there that becomes fraud.

        At this size, one campaign more or less does not decide the fraud rate. In a small town
        the share is less than MERCHANT_SHARE, so that at least four campaigns run at once.
        """
        rate = self._population.merchant_rate
        eligible = np.flatnonzero((rate > 0.5 * rate.mean()) & (rate < 2 * rate.mean()))
        if len(eligible) == 0:
            eligible = np.argsort(np.abs(rate - rate.mean()))[:1]
        return eligible, np.minimum(MERCHANT_SHARE, self._before["merchant"] / (4 * rate[eligible]))

    def _running(
        self,
        day: date,
        stream: int,
        pattern: str,
        per_campaign: float,
        lasts: tuple[int, int],
        targets: int,
    ) -> Ints:
        """Targets of the campaigns that started up to `lasts[1]` days ago and still run on `day`.

        `per_campaign` is a campaign's number of frauds.
        """
        today = day.toordinal()
        found = []
        for started in range(today - lasts[1] + 1, today + 1):
            starts_per_day = self._per_day(date.fromordinal(started))[pattern] / per_campaign
            # Starts are spread evenly: the nth campaign starts when n passes starts_per_day * day.
            count = int((started + 1) * starts_per_day) - int(started * starts_per_day)
            random = np.random.default_rng([self._seed, stream + 10 * self.crew, started])
            target = random.integers(0, targets, count)
            duration = random.integers(lasts[0], lasts[1] + 1, count)
            found.append(target[started + duration > today])
        return np.concatenate(found)


def _frauds_per_day(
    shares: Mapping[str, float], rate: float, ordinary: float
) -> Mapping[str, float]:
    """Frauds a day by pattern.

    `rate` of all payments are then fraud, the added ones included.
    """
    added = sum(shares[pattern] for pattern in ADDED)
    per_day = rate * ordinary / (1 - rate * added)
    return {pattern: share * per_day for pattern, share in shares.items()}


def _episodes_of(payments: float, sizes: tuple[int, int], random: np.random.Generator) -> int:
    """How many episodes make up about `payments` payments.

    Rounded at random, so that it is right on average with little spread.
    """
    return int(payments / np.mean(sizes) + random.random())


def _mark(payments: Payments, fraud: np.ndarray, amount: Floats | None = None) -> Payments:
    label = np.where(fraud, 1, payments.label).astype(np.int8)
    return replace(payments, label=label, amount=payments.amount if amount is None else amount)


def _positions(sizes: Ints) -> Ints:
    """Positions within groups: sizes (2, 3) -> 0 1 0 1 2."""
    return np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
