"""The gate's groups of a protected attribute come from the events that the run has pinned."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from dojo.core.judging.fairness import NOT_STATED
from dojo.core.lake import SCHEMAS, Lake
from dojo.core.spec.regulated import Fairness, Regulated
from dojo.core.tasks.specs import load_spec
from pipelines.gate.decide import protected_groups
from pipelines.training.dataset.collect import Manifest
from pipelines.training.steps import Run

DAY = datetime(2030, 3, 1, tzinfo=UTC)
# The attribute is a column of the events. Any column shows how it is joined.
RULES = Regulated(
    protected="merchant_id",
    fairness=Fairness(granted=0.1, true_positive=0.1, false_positive=0.1, minimum_rows=1),
    refusal="No.",
    review="Ask.",
    reasons={},
)


def write(lake: Lake, name: str, groups: dict[str, str]) -> None:
    rows = [
        {"event_id": f"tx-{key}", "world_time": DAY, "wall_time": DAY, "transaction_id": key}
        | {"customer_id": "c", "merchant_id": group, "amount": 1.0}
        for key, group in groups.items()
    ]
    lake.write("transactions", pl.DataFrame(rows, schema=SCHEMAS["transactions"]), name)


def test_groups_are_joined_from_the_pinned_files_alone(tmp_path: Path) -> None:
    lake, spec = Lake(tmp_path / "lake"), load_spec(Path("models/fraud_detection.yaml"))
    write(lake, "history", {"t1": "a", "t2": "b", "t3": ""})
    pinned = tuple(lake.manifest("transactions", DAY.date(), DAY.date()))
    times = {"warm_up": DAY, "start": DAY, "end": DAY, "as_of": DAY}
    Manifest(model=spec.name, streams={"transactions": pinned}, **times).write(tmp_path)
    write(lake, "later", {"t2": "z", "t4": "z"})

    rows = pl.DataFrame({"request_id": ["t4", "t2", "t1", "t3"]})
    regulated = spec.model_copy(update={"regulated": RULES})
    found = protected_groups(Run(lake, regulated, tmp_path), rows)
    assert {name: at.tolist() for name, at in found.items()} == {
        "a": [2],
        "b": [1],
        NOT_STATED: [3],
    }
    assert protected_groups(Run(lake, spec, tmp_path), rows) == {}
