"""What bandits cost and gain beside an A/B test, when labels are late.

The town's own visitors and their own chances of a click, hour by hour. Four versions compete. Each
is a rule that chooses the banner of a visit:

    any      the banner that chance shows, as today. It is the champion.
    popular  the banner with the most clicks in the town
    large    of the others, the favourite of customers who spend 90 euro a payment
    small    of the rest, the favourite of customers who spend 10 euro a payment

The policies are the platform's own functions, with the limits of the banner model's spec. Each
lives through the same visits, and through the same clicks where it shows the same banner. Regret is
measured by the chances, so the chance of single clicks does not blur it. It is what the best
version for each visit would have got beyond the policy's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import msgspec
import numpy as np
import numpy.typing as npt

from dojo.core.judging.bandit_shares import first_shares, floors_of, next_shares
from dojo.core.spec.bandit import BanditLimits, PolicyName
from dojo.core.state.draws import ContextInput, context_values
from dojo.stats.inference.bandits import ArmRewards, above_floors
from dojo.stats.inference.linear_bandits import LinearRewards, best_shares, coefficient_draws
from services.simulator.town.population import Population
from services.simulator.town.visits import ROTATION, Visitors, Visits

Floats = npt.NDArray[np.float64]

VERSIONS = ("any", "popular", "large", "small")
LARGE_EURO, SMALL_EURO = 90.0, 10.0  # a payment of a tenth of the customers is beyond each

BEGIN = date(2024, 9, 2)  # a Monday
DAYS = 112  # 16 weeks, twice the longest test with its delay
CUSTOMERS = 5_000  # 3,000 visits a day, as in the default world
MERCHANTS = 100  # no visit needs one
WORN_ON = 56  # day on which the popular banner wears out
WORN_LOGIT = -1.0  # its chances then are about 0.4 of before

# A test of two weeks sees both kinds of days twice.
TEST_DAYS = 14

# Floor of every version, except where the spec's own floors are studied. 2 % are 60 visits a day.
FLOOR = 0.02

# The input of the contextual policy, of those in the spec.
AMOUNT = "customer_amount_mean_30d"

# Days between two points of a curve.
POINT_DAYS = 4


@dataclass(frozen=True, slots=True)
class Scenario:
    """When a label is known, in hours. `wears_out`: the popular banner does."""

    delay_hours: int
    wears_out: bool = False


# Hours are the steps of the study. Half an hour is one of them, because shares move once an hour.
SCENARIOS = {
    "half_an_hour": Scenario(1),
    "2_days": Scenario(48),
    "45_days": Scenario(45 * 24),
    "half_an_hour_worn": Scenario(1, wears_out=True),
}

POLICIES = (
    "equal",
    "best_version",
    "ab_test",
    "epsilon_greedy",
    "thompson",
    "thompson_guarded",
    "linear",
)


class Lived(msgspec.Struct, frozen=True, kw_only=True):
    """One policy's weeks in one town.

    Attributes:
        regret: Clicks lost until each POINT_DAYS, cumulative.
        shares: Mean share of each version in the last week.
        answers: Number of visits that got the champion.
    """

    regret: list[float]
    shares: list[float]
    answers: int


class Town:
    """A town's visits, with the chance of a click of each version in each.

    Args:
        seed: The same seed gives the same town.
        wears_out: Whether the popular banner does.
        days: Number of days.
        customers: Number of customers.
    """

    def __init__(
        self, seed: int, wears_out: bool, days: int = DAYS, customers: int = CUSTOMERS
    ) -> None:
        visits = Visits(Population(seed, customers, MERCHANTS), seed)
        every = np.arange(ROTATION)[:, None]
        first = visits.visitors(BEGIN)

        def favourite(amount: Floats, *taken: int) -> int:
            spends = Visitors(first.customers, amount, first.seconds, first.banner)
            chances: Floats = visits.chances(spends, every).mean(axis=1)
            chances[list(taken)] = 0.0
            return int(chances.argmax())

        popular = favourite(first.mean_amount)
        large = favourite(np.full(len(first.seconds), LARGE_EURO), popular)
        small = favourite(np.full(len(first.seconds), SMALL_EURO), popular, large)
        shown = np.array([popular, large, small])
        self.hours: list[Hour] = []
        random = np.random.default_rng([seed, 99])
        for day in range(days):
            visitors = visits.visitors(BEGIN + timedelta(days=day))
            banners = np.stack(
                [visitors.banner, *np.repeat(shown[:, None], len(visitors.seconds), axis=1)]
            )
            chance = np.stack([visits.chances(visitors, of) for of in banners])
            if wears_out and day >= WORN_ON:
                odds = chance / (1 - chance) * np.exp(WORN_LOGIT)
                chance = np.where(banners == popular, odds / (1 + odds), chance)
            count = len(visitors.seconds)
            drawn, clicks = random.random(count), random.random(count)
            hour = (visitors.seconds // 3600).astype(int)
            for at in range(24):
                of = hour == at
                self.hours.append(
                    Hour(chance[:, of], visitors.mean_amount[of], drawn[of], clicks[of])
                )


@dataclass(frozen=True, slots=True)
class Hour:
    """The visits of an hour.

    Attributes:
        chance: Of a click, shape (versions, visits).
        amount: What each visitor spends on a payment, euro.
        place: Where each visit stands on [0, 1), for the draw of a version.
        luck: A visit is clicked where this is below its chance.
    """

    chance: Floats
    amount: Floats
    place: Floats
    luck: Floats


def live(policy: str, scenario: Scenario, town: Town, limits: BanditLimits, seed: int) -> Lived:
    """Return a policy's weeks.

    Args:
        policy: One of POLICIES.
        scenario: When labels are known.
        town: The visits.
        limits: The spec's, for shares.
        seed: Of the policy's own draws.
    """
    count = len(VERSIONS)
    if policy != "thompson_guarded":
        limits = limits.model_copy(update={"floor": FLOOR, "champion_floor": FLOOR})
    shares = np.full(count, 1 / count)
    if policy == "best_version":
        totals = sum(hour.chance.sum(axis=1) for hour in town.hours)
        shares = np.eye(count)[int(np.argmax(totals))]
    elif policy in ("epsilon_greedy", "thompson", "thompson_guarded", "linear"):
        shares = first_shares(limits, count)
    learner = _Learner(policy, limits, scenario, seed)
    regret, answers, curve, week = 0.0, 0, [], []
    for at, hour in enumerate(town.hours):
        weights = learner.weights(hour, shares)
        edges = weights.cumsum(axis=0)
        version = np.minimum((hour.place >= edges).sum(axis=0), count - 1)
        columns = np.arange(len(version))
        regret += float((hour.chance.max(axis=0) - hour.chance[version, columns]).sum())
        answers += int((version == 0).sum())
        clicked = hour.luck <= hour.chance[version, columns]
        learner.lived(_Answers(hour, version, weights[version, columns], clicked))
        shares = learner.next(at, shares)
        if (at + 1) % (24 * POINT_DAYS) == 0:
            curve.append(round(regret, 1))
        if at >= len(town.hours) - 24 * 7:
            week.append(weights.mean(axis=1) if weights.size else shares)
    return Lived(
        regret=curve,
        shares=[round(share, 4) for share in np.mean(week, axis=0).tolist()],
        answers=answers,
    )


@dataclass(frozen=True, slots=True)
class _Answers:
    """The visits of an hour, with the version that each got, its propensity, and its label."""

    hour: Hour
    version: npt.NDArray[np.intp]
    propensity: Floats
    clicked: npt.NDArray[np.bool_]


class _Learner:
    """Counts rewards as they become known, and moves shares as the rollout controller does."""

    def __init__(self, policy: str, limits: BanditLimits, scenario: Scenario, seed: int) -> None:
        self._policy, self._limits, self._delay = policy, limits, scenario.delay_hours
        self._seed = seed
        scale = limits.context[AMOUNT]
        self._input = ContextInput(AMOUNT, scale.usual, scale.spread)
        self._waiting: deque[_Answers] = deque()
        self._draws: Floats | None = None
        self.rewards = [ArmRewards() for _ in VERSIONS]
        self._linear = [LinearRewards.empty(2) for _ in VERSIONS]

    def weights(self, hour: Hour, shares: Floats) -> Floats:
        """Return each version's share in each visit, shape (versions, visits)."""
        if self._draws is None:
            return np.repeat(shares[:, None], hour.chance.shape[1], axis=1)
        floors = floors_of(self._limits, [True] * len(VERSIONS))
        return above_floors(best_shares(self._draws, self._contexts(hour)), floors).T

    def lived(self, answers: _Answers) -> None:
        """Take the visits of an hour. The labels of an earlier hour become known."""
        self._waiting.append(answers)
        if len(self._waiting) <= self._delay:
            return
        known = self._waiting.popleft()
        for version, rewards in enumerate(self.rewards):
            of = known.version == version
            for propensity in np.unique(known.propensity[of]):
                alike = of & (known.propensity == propensity)
                clicks = int(known.clicked[alike].sum())
                rewards.add(1.0, float(propensity), clicks)
                rewards.add(0.0, float(propensity), int(alike.sum()) - clicks)
        if self._policy == "linear":
            for context, version, clicked in zip(
                self._contexts(known.hour), known.version, known.clicked, strict=True
            ):
                self._linear[version].add(context.tolist(), float(clicked))

    def next(self, hour: int, shares: Floats) -> Floats:
        """Return the shares after an hour."""
        if self._policy == "ab_test":
            if hour + 1 != 24 * TEST_DAYS + self._delay:
                return shares
            means = [rewards.mean or 0.0 for rewards in self.rewards]
            winner: Floats = np.eye(len(VERSIONS))[int(np.argmax(means))]
            return winner
        if self._policy in ("equal", "best_version"):
            return shares
        seed = self._seed * 100_000 + hour
        if self._policy == "linear":
            # Once a day. Its route is in the audit trail, draws and all.
            enough = min(of.answers for of in self._linear) >= self._limits.minimum_rewards
            if enough and hour % 24 == 0:
                self._draws = coefficient_draws(self._linear, seed)
            return shares
        rule: PolicyName = "epsilon_greedy" if self._policy == "epsilon_greedy" else "thompson"
        return next_shares(rule, self._limits, self.rewards, shares, [True] * len(VERSIONS), seed)

    def _contexts(self, hour: Hour) -> Floats:
        one = (self._input,)
        return np.array(
            [context_values(one, {AMOUNT: amount}) for amount in hour.amount.tolist()]
        ).reshape(-1, 2)


def live_all(
    seed: int,
    scenario: Scenario,
    limits: BanditLimits,
    days: int = DAYS,
    customers: int = CUSTOMERS,
) -> Mapping[str, Lived]:
    """Return the weeks of every policy in one town."""
    town = Town(seed, scenario.wears_out, days, customers)
    return {policy: live(policy, scenario, town, limits, seed) for policy in POLICIES}
