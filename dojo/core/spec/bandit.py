"""The `bandit` section of a spec: what answers earn, and the limits of the arms' shares."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dojo.core.spec.durations import Duration
from dojo.core.spec.section import Fraction, Name, Rate, Section

PolicyName = Literal["epsilon_greedy", "thompson", "linear"]
Euro = Annotated[float, Field(allow_inf_nan=False)]


class Reward(Section):
    """What a flagged answer earns, euro. An answer that flags nothing earns nothing.

    Attributes:
        flagged_positive: Reward of a flagged answer whose label is positive.
        flagged_negative: Reward of a flagged answer whose label is negative.
    """

    flagged_positive: Euro
    flagged_negative: Euro

    @model_validator(mode="after")
    def _labels_matter(self) -> Reward:
        if self.flagged_positive == self.flagged_negative:
            raise ValueError(
                "flagged_positive and flagged_negative must differ, or no label matters, got"
                f" {self.flagged_positive:g} for both"
            )
        return self


class BanditInput(Section):
    """One input that a contextual policy may use.

    Attributes:
        usual: Value that counts as 0, in the input's unit.
        spread: Difference that counts as 1, in the input's unit.
    """

    usual: Annotated[float, Field(allow_inf_nan=False)]
    spread: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class BanditLimits(Section):
    """A bandit's rewards and limits. A spec without it has no bandit.

    Attributes:
        reward: What answers earn.
        sticky: True if an entity keeps its arm while shares stay. False draws each request anew.
        update: World time between changes of the shares.
        minimum_rewards: Known rewards of each arm before the shares leave the equal split.
        floor: Smallest share of each arm.
        champion_floor: Smallest share of the champion.
        largest_step: Largest change of a share in one update, absolute.
        audited_step: Change of a share since the last audit entry that is worth another one,
            absolute.
        exploration: Share of the traffic that epsilon-greedy spreads over all arms.
        context: Input -> its scale, for the policy `linear`.
    """

    reward: Reward
    sticky: bool
    update: Duration
    minimum_rewards: Annotated[int, Field(ge=1)]
    floor: Rate
    champion_floor: Rate
    largest_step: Rate
    audited_step: Rate
    exploration: Fraction
    context: dict[Name, BanditInput] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _shares_fit(self) -> BanditLimits:
        if self.champion_floor < self.floor or self.champion_floor + self.floor > 1:
            raise ValueError(
                "champion_floor must be at least floor, and leave a challenger its floor, got"
                f" {self.champion_floor:g} and {self.floor:g}"
            )
        return self
