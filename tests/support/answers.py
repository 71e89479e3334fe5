"""Labelled rows of each task, answered by versions of different skill.

No model is trained. Scores are labels with noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dojo.core.spec.schema import ModelSpec
from dojo.core.tasks.protocol import Task
from dojo.core.tasks.records import Answered, Decision
from dojo.core.tasks.specs import load_spec, task_of

Values = npt.NDArray[np.float64]

ROOT = Path(__file__).parents[2]
FLEET = ROOT / "tests" / "support" / "fleet"

# Task -> file of a spec.
SPECS: Mapping[str, Path] = {
    "binary": ROOT / "models" / "fraud_detection.yaml",
    "regression": FLEET / "expected_amount.yaml",
    "ranking": FLEET / "spending_order.yaml",
}

# Task -> labels of some rows.
LABELS: Mapping[str, Callable[[np.random.Generator, int], Values]] = {
    "binary": lambda random, rows: (random.random(rows) < 0.03).astype(np.float64),
    "regression": lambda random, rows: random.lognormal(3.3, 0.7, rows),
    "ranking": lambda random, rows: random.choice(np.arange(4.0), rows, p=(0.4, 0.3, 0.2, 0.1)),
}

# Task -> scores from labels and standard normal noise.
SCORES: Mapping[str, Callable[[Values, Values], Values]] = {
    "binary": lambda labels, noise: 1 / (1 + np.exp(-(4 * labels - 5 + noise))),
    "regression": lambda labels, noise: labels + 10 * noise,
    "ranking": lambda labels, noise: labels + noise,
}

START = np.datetime64("2030-03-01T00:00:00", "us")
ROWS_AN_HOUR = 50


@dataclass(frozen=True, slots=True)
class TaskWorld:
    """A spec's task among rows of its kind.

    Attributes:
        spec: The spec.
        task: Its task.
        decision: A good version's decision, on rows that no test sees.
    """

    spec: ModelSpec
    task: Task
    decision: Decision

    def answered(
        self, rows: int = 6000, *, labels: int = 1, noise: float = 1.0, errors: int = 1
    ) -> Answered:
        """Return rows as a version answers them.

        Args:
            rows: Number of rows.
            labels: Seed of the rows and their labels.
            noise: 0 for a version that knows every label, 1 for a good one.
            errors: Seed of the noise. Versions of one skill err on different rows.
        """
        found = answers(self.spec.task, rows, labels=labels, noise=noise, errors=errors)
        flagged = self.task.flagged(found.scores, self.decision)
        return found.scored(found.scores, flagged, self.decision)


def answers(task: str, rows: int, *, labels: int, noise: float, errors: int) -> Answered:
    """Return rows without flags. Arguments as in `TaskWorld.answered`."""
    random = np.random.default_rng(labels)
    truth = LABELS[task](random, rows)
    return Answered(
        truth,
        SCORES[task](truth, noise * np.random.default_rng([errors, labels]).normal(size=rows)),
        entities={
            "customer": random.integers(0, 900, rows).astype(str),
            "merchant": random.integers(0, 300, rows).astype(str),
        },
        times=START + np.arange(rows) * (np.timedelta64(3_600_000_000, "us") // ROWS_AN_HOUR),
    )


def task_world(name: str) -> TaskWorld:
    """Return the world of a task, by its name in a spec."""
    spec = load_spec(SPECS[name])
    task = task_of(spec)
    return TaskWorld(spec, task, task.decide(answers(name, 6000, labels=99, noise=1.0, errors=99)))
