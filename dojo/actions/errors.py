"""Why an action was refused. A kind per reaction of the caller; the message says what is wrong."""

from __future__ import annotations


class ActionRefusedError(RuntimeError):
    """The action was refused.

    Attributes:
        next_step: What to do about it, often a command.
    """

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.next_step = next_step


class WrongCallError(ActionRefusedError):
    """The arguments cannot be right, whatever the state of the platform."""


class UnknownModelError(WrongCallError):
    """No model has this name."""


class NothingToActOnError(ActionRefusedError):
    """What the action would change is not there: no standby, no rollout, no champion."""


class RolloutDecidesError(ActionRefusedError):
    """A rollout is active: its controller decides about roles and traffic of the model."""


class ObjectionError(ActionRefusedError):
    """Something speaks against the version; the caller may insist."""


class PartlyDoneError(ActionRefusedError):
    """One part is done, another is not; the message names both, the next step finishes it."""
