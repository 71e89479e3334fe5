"""Reasons for a training run to end without a version.

Each message names the expected and the found.
"""

from __future__ import annotations

# Exit codes of a process that runs a job (run_job.py). FAILED: repeating the job may help. REFUSED:
# it ends the same until a person mends something. BUSY: the job was not begun, because another
# retraining of the model runs.
EXIT_FAILED, EXIT_REFUSED, EXIT_BUSY = 1, 3, 4


class RefusedError(RuntimeError):
    """A step stops on purpose. It ends the same until a person mends or decides something."""


class TrainingRefusedError(RefusedError):
    """The run stops here on purpose. Nothing was registered."""


class RegistryChangedError(TrainingRefusedError):
    """The registry was changed past the platform.

    The gate has no champion to compare with, or no run can be logged.
    """


class StaleDataError(TrainingRefusedError):
    """The newest example is too old. The world moved on and the lake did not."""


class TooFewRowsError(TrainingRefusedError):
    """The window holds fewer examples than the spec's minimum."""


class InvalidDataError(TrainingRefusedError):
    """The data breaks the schema or the expectations. `faults` has one line for each fault."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("the training data was refused:\n  " + "\n  ".join(faults))


class LakeChangedError(TrainingRefusedError):
    """A pinned lake file is missing, or its bytes have changed since it was pinned."""


class UselessPartError(TrainingRefusedError):
    """The labels of a part of the data teach or show nothing, for example because all are alike."""


class RetrainingRunningError(RefusedError):
    """Another retraining of this model runs in a process of this machine."""


class WorkspaceGoneError(RefusedError):
    """A step's input is missing from the job's workspace. The steps before it must run again."""


class RolloutRefusedError(RefusedError):
    """The version may not be registered, or its rollout may not begin.

    The message names the obstacle and what to do.
    """
