"""Why a training run ends without a version. Each message says what was expected and what was found."""

from __future__ import annotations

# Exit codes of a process that runs a job (run_job.py): it may be repeated; repeating it as things are ends the same; it was not begun,
# because another retraining of the model runs.
EXIT_FAILED, EXIT_REFUSED, EXIT_BUSY = 1, 3, 4


class RefusedError(RuntimeError):
    """A step stops on purpose. Repeating it as things are ends the same: somebody has to mend or decide something first."""


class TrainingRefusedError(RefusedError):
    """The run stops here on purpose; nothing was registered."""


class RegistryChangedError(TrainingRefusedError):
    """The registry was changed past the platform: the gate has no champion to compare with, or no run can be logged."""


class StaleDataError(TrainingRefusedError):
    """The newest transaction is too old: the world moved on and the lake did not."""


class TooFewRowsError(TrainingRefusedError):
    """The window holds fewer transactions than the spec's minimum."""


class InvalidDataError(TrainingRefusedError):
    """The data breaks the schema or the expectations; `faults` has one line each."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("the training data was refused:\n  " + "\n  ".join(faults))


class LakeChangedError(TrainingRefusedError):
    """A pinned lake file is missing or has other bytes than when it was pinned."""


class UselessPartError(TrainingRefusedError):
    """The labels of a part of the data are all alike, so nothing can be learned or measured on it."""


class RetrainingRunningError(RefusedError):
    """Another retraining of this model runs in a process of this machine."""


class WorkspaceGoneError(RefusedError):
    """A step's input is not in the job's workspace (any more): the steps before it have to run again."""


class RolloutRefusedError(RefusedError):
    """The version is registered, but its rollout may not begin; the message says what is in the way and what to do."""
