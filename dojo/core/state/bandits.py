"""Bandits in Redis: which arms compete, their shares of the traffic, and what they earned.

One document per model, `dojo:bandit:<model>`: the latest bandit, of which at most one is active.
`dojo:bandit:<model>:evidence` is what it has learnt, written in the same step. The rollout
controller moves it. `dojo bandit` starts, pauses and stops it. All writes compare the revision.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import cast

import msgspec
from redis import Redis

from dojo.core.spec.bandit import PolicyName
from dojo.core.state.audit import Entry
from dojo.core.state.documents import Document, Stored
from dojo.core.state.draws import Draw
from dojo.core.state.routes import Arm, Route


class BanditActiveError(RuntimeError):
    """The model already has an active bandit. The message names it and how to end it."""


class NoBanditError(LookupError):
    """The model has no active bandit."""


class ArmState(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one arm since the start, as of the last update. Rewards are in euro.

    Attributes:
        name: Name of the arm.
        answers: Number of answers.
        rewarded: Number of answers with a known reward.
        pending: Number of answers that wait for a label, or to be old enough to count.
        unlabelled: Number of answers that never got a label.
        earned: Sum of the known rewards.
        mean: Mean reward of an answer, weighted by 1 / propensity. None without rewards.
        low: Lower end of the posterior's 95 % interval. None without rewards.
        high: Upper end of it. None without rewards.
    """

    name: str
    answers: int = 0
    rewarded: int = 0
    pending: int = 0
    unlabelled: int = 0
    earned: float = 0.0
    mean: float | None = None
    low: float | None = None
    high: float | None = None


class Bandit(msgspec.Struct, frozen=True, kw_only=True):
    """One bandit.

    Attributes:
        id: `<model>-bandit-<world time>`. It is the salt of the bandit's routes.
        policy: The rule that turns rewards into shares.
        arms: The arms with their present shares, the champion's first.
        draw: How an arm is drawn for a request.
        started: World time.
        who: Author of the start.
        why: Reason of the start.
        generation: Generation of the route as last seen. 0 until the route is made.
        updated: World time of the last update.
        drawn: World time of the coefficients in `draw`. None without any.
        updates: Number of updates. The seed of the draws follows from it.
        recorded: Shares in the last audit entry of the route.
        because: What the present shares rest on, in words.
        closed: Arm -> why it lost its traffic.
        states: What is known of each arm.
        regret: Estimated loss so far against sending all to the arm that looks best now, euro.
        paused_by: Who paused it, "" while it changes shares.
        ended: World time of its end. None while it is active.
        ended_why: Reason of its end.
    """

    id: str
    model: str
    policy: PolicyName
    arms: tuple[Arm, ...]
    draw: Draw
    started: datetime
    who: str
    why: str
    generation: int = 0
    updated: datetime | None = None
    drawn: datetime | None = None
    updates: int = 0
    recorded: tuple[float, ...] = ()
    because: str = "nothing is known yet, so the arms are equal above their floors"
    closed: dict[str, str] = {}
    states: tuple[ArmState, ...] = ()
    regret: float | None = None
    paused_by: str = ""
    ended: datetime | None = None
    ended_why: str = ""

    @property
    def active(self) -> bool:
        return self.ended is None

    def is_served_by(self, route: Route | None) -> bool:
        """Whether a route is this bandit's, with any shares."""
        return route is not None and (route.strategy, route.salt) == ("bandit", self.id)

    @property
    def shares(self) -> tuple[float, ...]:
        return tuple(arm.weight for arm in self.arms)


class Bandits:
    """The bandits in Redis. Raises redis.RedisError when it is out of reach."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def get(self, model: str) -> Bandit | None:
        """The latest bandit, active or ended."""
        return self.read(model).value

    def read(self, model: str) -> Stored[Bandit]:
        """The latest bandit with its revision, for a caller that will replace it."""
        return self._document(model).read()

    def evidence(self, model: str) -> bytes | None:
        """What the controller saved with the bandit."""
        return cast("bytes | None", self._redis.get(_evidence_key(model)))

    def start(self, bandit: Bandit, audit: Entry) -> None:
        """Begin a bandit without evidence.

        Raises:
            BanditActiveError: Another one is active.
            ConflictError: Another process was faster.
        """
        found = self.read(bandit.model)
        if found.value is not None and found.value.active:
            raise BanditActiveError(
                f"{bandit.model}: a bandit is active since {found.value.started:%Y-%m-%d %H:%M};"
                f" stop it first: dojo bandit stop {bandit.model} --why ..."
            )
        self._document(bandit.model).replace(
            found.revision, bandit, audit, writes=[("DEL", _evidence_key(bandit.model))]
        )

    def save(
        self,
        found: Stored[Bandit],
        bandit: Bandit,
        evidence: bytes = b"",
        audit: Entry | None = None,
    ) -> Stored[Bandit]:
        """Write a changed bandit with its evidence. Returns it as stored.

        Raises ConflictError: Another process wrote since it was read.
        """
        writes = [("SET", _evidence_key(bandit.model), evidence)] if evidence else []
        self._document(bandit.model).replace(found.revision, bandit, audit, writes=writes)
        return self.read(bandit.model)

    def change(self, model: str, change: Callable[[Bandit], Bandit], audit: Entry) -> Bandit:
        """Change the active bandit.

        Raises:
            NoBanditError: None is active.
            ConflictError: Another process was faster. Repeat it.
        """
        found = self.read(model)
        if found.value is None or not found.value.active:
            raise NoBanditError(f"{model}: no bandit is active")
        changed = change(found.value)
        self._document(model).replace(found.revision, changed, audit)
        return changed

    def _document(self, model: str) -> Document[Bandit]:
        return Document(self._redis, "dojo:bandit:{model}", Bandit, model=model)


def _evidence_key(model: str) -> str:
    return f"dojo:bandit:{model}:evidence"
