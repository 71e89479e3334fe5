"""The number of due labels against a simulation, and the verdict when labels stop."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from dojo.core.judging.drift import confirm
from dojo.core.spec.schema import LabelDelay
from services.monitor.checks.label_checks import days_due, labels_due, labels_missing
from tests.support.monitor_events import spec as spec_with

SPEC = spec_with()
DELAY = SPEC.label.delay


@pytest.mark.parametrize(
    "delay",
    [
        DELAY,
        LabelDelay.model_validate(
            {"distribution": "lognormal", "median": "20m", "sigma": 1.0, "maximum": "6h"}
        ),
        LabelDelay.model_validate(
            {"distribution": "lognormal", "median": "10d", "sigma": 0.4, "maximum": "20d"}
        ),
    ],
)
def test_as_many_labels_are_due_as_a_simulated_world_brings(delay: LabelDelay) -> None:
    random = np.random.default_rng(3)
    back = days_due(delay)
    answers = [int(n) for n in random.integers(2_000, 6_000, back)]  # newest first
    arrived = 0
    for age, rows in enumerate(answers):
        asked = -age + random.random(rows)  # days, the judged day is 0 to 1
        took = np.minimum(
            delay.median / timedelta(days=1) * np.exp(delay.sigma * random.standard_normal(rows)),
            delay.maximum / timedelta(days=1),
        )
        arrived += int(((asked + took >= 0) & (asked + took < 1)).sum())
    assert labels_due(answers, delay) == pytest.approx(arrived, rel=0.05)


def test_a_steady_shop_owes_as_many_labels_a_day_as_it_answers() -> None:
    assert labels_due([1_000] * days_due(DELAY), DELAY) == pytest.approx(1_000)
    assert labels_due([0] * days_due(DELAY), DELAY) == 0


@pytest.mark.parametrize(
    ("arrived", "due", "severity"),
    [
        (0, 200.0, "insufficient_data"),  # below drift.minimum_rows
        (980, 1_000.0, "ok"),
        (1_500, 1_000.0, "ok"),  # more than due, with labels of older requests
        (650, 1_000.0, "warning"),
        (400, 1_000.0, "severe"),
        (0, 1_000.0, "critical"),
    ],
)
def test_the_missing_share_decides(arrived: int, due: float, severity: str) -> None:
    (finding,) = confirm([labels_missing(arrived, due, SPEC)], None)
    assert finding.severity == severity
    assert f"{arrived:,} of about {due:,.0f} labels arrived" in finding.note
