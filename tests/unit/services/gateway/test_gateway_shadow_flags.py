"""The flags of a shadow's batch, in which some rows failed."""

from __future__ import annotations

from pathlib import Path

from dojo.core.tasks.binary.task import THRESHOLD
from dojo.core.tasks.specs import load_spec, task_of
from services.gateway.children import CRASHED
from services.gateway.routing.shadow import flags_of
from services.gateway.versions.serving import Scored


def test_each_row_has_its_own_flag_and_a_failed_one_has_none() -> None:
    task = task_of(load_spec(Path("models/fraud_detection.yaml")))
    results = [
        Scored(None, 0.0, CRASHED) if score is None else Scored(score, 0.001)
        for score in (0.9, None, 0.1, None, 0.8, 0.2)
    ]
    assert flags_of(task, results, {THRESHOLD: 0.5}) == [True, None, False, None, True, False]
    assert flags_of(task, results[1:2], {THRESHOLD: 0.5}) == [None]
