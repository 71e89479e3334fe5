"""`dojo data import` says what the models' specs will refuse, before there is a world."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl

from tests.support.paths import STRANGE_NAME
from tests.support.payments import payments


def imported(home: Path, rows: pl.DataFrame) -> subprocess.CompletedProcess[str]:
    file = home / "payments [1].csv"
    home.mkdir()
    rows.with_columns(pl.col("time").dt.offset_by("-12y")).write_csv(file)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("DOJO_")
    }
    command = [sys.executable, "-m", "dojo", "data", "import", str(file), "--json"]
    return subprocess.run(
        command,
        env={**environment, "DOJO_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )


def test_what_training_will_refuse_is_said_and_the_data_set_is_kept(tmp_path: Path) -> None:
    home = tmp_path / STRANGE_NAME
    done = imported(home, payments(60).with_columns(label=pl.lit(0, pl.Int8)))
    answer = json.loads(done.stdout)
    rows, rate, *parts = answer["training_refusals"]
    assert re.search(
        r"expected at least 50,000 transactions "
        r"\(models/fraud_detection\.yaml:\d+: training\.minimum_rows\)",
        rows,
    )
    assert "found 0.000%" in rate
    assert len(parts) == 3
    assert all(
        line.startswith("training will refuse it  fraud_detection: ")
        for line in done.stderr.strip().splitlines()
    )
    assert Path(answer["path"]).parent == home / "imports"
    assert pl.read_parquet(answer["path"], glob=False).height == 60 * 120
