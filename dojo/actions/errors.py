"""Why an action was refused.

There is one kind per reaction of the caller. The message says what is wrong.
"""

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
    """The arguments cannot be right in any state of the platform."""


class UnknownModelError(WrongCallError):
    """No model has this name."""


class NothingToActOnError(ActionRefusedError):
    """The target of the action is not there: no standby, no rollout, no champion."""


class RolloutDecidesError(ActionRefusedError):
    """A rollout is active, so its controller decides about roles and traffic of the model."""


class ObjectionError(ActionRefusedError):
    """A finding speaks against the version. The caller may insist."""


class PartlyDoneError(ActionRefusedError):
    """One part is done, another is not. The message names both, and the next step finishes it."""
