"""The evidence of a bandit: which rewards count. Pure. `bandit_shares.py` makes shares of them.

A reward counts when two things are true. Its label is known, and any label of a request as old
would be known. Without the second rule, early labels would count alone. Clicks are known after two
minutes and missing clicks after thirty, so every young arm would look good.

The labels themselves tell how far they are known. A world that hurries asks late and labels late,
and the clock is then ahead of both.
"""

from __future__ import annotations

import msgspec

from dojo.core.judging.rollout.checks import check_results
from dojo.core.judging.rollout.decide import in_words
from dojo.core.judging.rollout.evidence import Evidence
from dojo.core.judging.rollout.stages import Stage
from dojo.core.outcome_join import OutcomeJoin, short_hash
from dojo.core.spec.bandit import Reward
from dojo.core.spec.schema import ModelSpec
from dojo.stats.inference.bandits import ArmRewards
from dojo.stats.inference.linear_bandits import LinearRewards

# An arm that fails one of these checks of a canary is broken. The rewards judge what it flags.
GUARDS = frozenset({"errors", "degraded", "slow"})

# World seconds that a label may be later than it must be. A world that hurries writes labels hours
# late. Without this time, answers with early labels would be given up less often than the others.
GRACE_SECONDS = 86_400.0

# The evidence knows the weights of this many latest generations of the route. It counts no answer
# of an older one. At a quarter of a second per change, the gateway is one or two behind.
GENERATIONS_KEPT = 50


class DrawnAnswer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An answer of an arm.

    Attributes:
        arm: Number of the arm.
        time: World time of the answer, unix seconds.
        propensity: Probability with which the arm was drawn.
        context: 1 and the scaled inputs, for a contextual policy.
    """

    arm: int
    time: float
    flagged: bool
    propensity: float
    context: tuple[float, ...] = ()


class KnownLabel(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A label.

    Attributes:
        weight: As in `Outcome.weight`.
        ripe: World time at which any label of this request must be known, unix seconds.
    """

    label: float
    weight: float
    ripe: float


class RewardJoin(OutcomeJoin[DrawnAnswer, KnownLabel], kw_only=True):
    """Answers joined to their labels."""


class BanditEvidence(msgspec.Struct, kw_only=True):
    """All that a bandit has learnt. One write saves it with the bandit, cursors included.

    Attributes:
        cursors: Stream -> id of the last message read.
        rewards: The known rewards of each arm.
        linear: The same with their context. Empty for a policy without a context.
        guards: The evidence of each challenger against the champion, as in a canary.
        joined: Answers and labels.
        ripening: Hashes of the requests that have a label, but a pair too young to count.
        labelled_until: World time of the newest label, unix seconds.
        answers: Number of answers of each arm.
        unlabelled: Number of answers of each arm that never got a label.
        weights: Generation of the route -> weights of the arms.
        malformed: Number of messages that are no events.
        gaps: How often the stream had lost messages before they were read.
    """

    cursors: dict[str, str]
    rewards: list[ArmRewards]
    linear: list[LinearRewards]
    guards: list[Evidence]
    joined: RewardJoin
    ripening: set[int]
    answers: list[int]
    unlabelled: list[int]
    weights: dict[int, tuple[float, ...]]
    labelled_until: float = 0.0
    malformed: int = 0
    gaps: int = 0

    def lost_events(self) -> None:
        """Note a gap in a stream."""
        self.gaps += 1

    def serves(self, generation: int, weights: tuple[float, ...]) -> None:
        """Note a generation of the bandit's route."""
        self.weights[generation] = weights
        while len(self.weights) > GENERATIONS_KEPT:
            del self.weights[min(self.weights)]

    def answered(self, request_id: str, answer: DrawnAnswer) -> None:
        """Take an answer. A repeated one counts once."""
        key = short_hash(request_id)
        if key in self.joined.open or key in self.joined.paired:
            return
        self.answers[answer.arm] += 1
        if self.joined.predicted(request_id, answer) is not None:
            self.ripening.add(key)

    def labelled(self, request_id: str, known: KnownLabel, at: float, reward: Reward) -> None:
        """Take a label, or a later one of the same answer.

        Args:
            at: When it became known, world time, unix seconds.
            reward: What answers earn.
        """
        key = short_hash(request_id)
        self.labelled_until = max(self.labelled_until, at)
        before = self.joined.corrected(request_id, known, at)
        if before is not None:
            if key not in self.ripening:  # it was counted
                self._count(before, reward, -1)
                self._count((before[0], known), reward, 1)
        elif self.joined.known(request_id, known, at) is not None:
            self.ripening.add(key)

    def ripen(self, now: float, reward: Reward, longest: float) -> None:
        """Count the pairs that are old enough, and give up answers without a label.

        Args:
            now: World time, unix seconds.
            reward: What answers earn.
            longest: Longest delay of a label, world seconds.
        """
        joined = self.joined
        until = min(self.labelled_until, now)  # a producer's clock may be wrong
        for key in sorted(self.ripening):
            pair = joined.paired.get(key)
            if pair is None:  # there were too many
                joined.forgotten += 1
            elif pair[1].ripe <= until:
                self._count(pair, reward, 1)
            else:
                continue
            self.ripening.discard(key)
        over = now - longest - GRACE_SECONDS
        for key in [key for key, answer in joined.open.items() if answer.time < over]:
            self.unlabelled[joined.open.pop(key).arm] += 1
        # Every save writes what is kept, so counted pairs are let go. Later corrections are lost.
        counted = [
            key
            for key, (answer, _) in joined.paired.items()
            if answer.time < over and key not in self.ripening
        ]
        for key in counted:
            del joined.paired[key]
            joined.known_at.pop(key, None)
        for key in [key for key in joined.early if joined.known_at.get(key, now) < over]:
            del joined.early[key]
            joined.known_at.pop(key, None)

    def pending(self) -> list[int]:
        """Return how many answers of each arm wait for a label, or to be old enough to count."""
        counts = [0] * len(self.answers)
        for answer in self.joined.open.values():
            counts[answer.arm] += 1
        for key in self.ripening:
            if (pair := self.joined.paired.get(key)) is not None:
                counts[pair[0].arm] += 1
        return counts

    def _count(self, pair: tuple[DrawnAnswer, KnownLabel], reward: Reward, count: int) -> None:
        answer, known = pair
        earned = reward_of(reward, answer.flagged, known.label)
        self.rewards[answer.arm].add(earned, answer.propensity / known.weight, count)
        if self.linear:
            self.linear[answer.arm].add(answer.context, earned, count)


def new_evidence(arms: int, values: int, cursors: dict[str, str]) -> BanditEvidence:
    """Return evidence without events.

    Args:
        arms: Number of arms, the champion's first.
        values: Number of context values. 0 for a policy without a context.
        cursors: Where to begin to read.
    """
    return BanditEvidence(
        cursors=cursors,
        rewards=[ArmRewards() for _ in range(arms)],
        linear=[LinearRewards.empty(values) for _ in range(arms)] if values else [],
        guards=[Evidence(stage=Stage.CANARY, cursors={}) for _ in range(arms - 1)],
        joined=RewardJoin(),
        ripening=set(),
        answers=[0] * arms,
        unlabelled=[0] * arms,
        weights={},
    )


def reward_of(reward: Reward, flagged: bool, label: float) -> float:
    """Return what an answer earned, euro."""
    if not flagged:
        return 0.0
    return reward.flagged_positive if label == 1 else reward.flagged_negative


def broken(guard: Evidence, spec: ModelSpec) -> str:
    """Return why a challenger must lose its traffic. Empty when it may keep it."""
    looks = check_results(guard, spec, {}, None, True)
    failed = [look for look in looks if look.check in GUARDS and look.verdict == "failed"]
    return "; ".join(in_words(look) for look in failed)
