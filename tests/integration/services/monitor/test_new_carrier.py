"""A carrier that no version knows: the model's own inputs drift, and the finding names it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration


def test_only_the_category_drifts_and_the_new_one_is_named_with_its_share(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-m", "tests.integration.services.monitor.new_carrier_life", tmp_path],
        env={**os.environ, "DOJO_MODELS": "delivery_time"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    report = json.loads(child.stdout.splitlines()[-1])  # LightGBM warns on the same stream
    assert report["known"] == {"carrier": ["post", "parcelline", "swift", "cyclists"]}
    quiet, changed = report["days"]
    assert {severity for severity, _ in quiet.values()} == {"ok"}
    assert quiet["carrier"] == ["ok", ""]
    severity, note = changed.pop("carrier")
    assert severity == "critical"
    assert note.startswith("new: skyhook ")
    assert 25 < float(note.split()[2].rstrip("%")) < 35
    assert {severity for severity, _ in changed.values()} == {"ok"}
