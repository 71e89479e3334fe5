"""The specs as processes load them: a model that disagrees with the catalogue is out alone."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from dojo.core.settings import load_settings
from dojo.core.spec.read import SpecError
from dojo.core.specs_in_use import SpecsInUse
from dojo.core.tasks.specs import load_spec
from feature_repo.specs import labels_of, load, load_agreed_spec

RIGHT = Path("models/fraud_detection.yaml").read_text()
SERVICE = "feature_service: fraud_detection_v1"


def test_a_model_of_unknown_features_is_left_out_alone(tmp_path: Path) -> None:
    assert SERVICE in RIGHT
    (tmp_path / "fraud_detection.yaml").write_text(RIGHT)
    wrong = RIGHT.replace("name: fraud_detection", "name: lost", 1)
    (tmp_path / "lost.yaml").write_text(wrong.replace(SERVICE, "feature_service: lost_v1"))
    settings = load_settings(models_dir=tmp_path)
    loaded = load(settings)
    assert list(loaded.specs) == ["fraud_detection"]
    assert loaded.faults["lost"].startswith("lost: feature_service: lost_v1 is not one of")
    shown = SpecsInUse(tmp_path, loaded, CollectorRegistry(), load_agreed_spec).look()
    assert shown["lost"] == {"read": f"wrong: {loaded.faults['lost']}"}, "its file is unchanged"


def test_a_world_needs_the_labels_that_features_read_of_models_that_have_a_file(
    tmp_path: Path,
) -> None:
    (tmp_path / "copy.yaml").write_text(RIGHT.replace("name: fraud_detection", "name: copy", 1))
    running = {"copy": load_spec(tmp_path / "copy.yaml")}
    assert set(labels_of(running, tmp_path)) == {"copy"}
    known = tmp_path / "fraud_detection.yaml"
    known.write_text(RIGHT)
    labels = labels_of(running, tmp_path)
    assert labels["fraud_detection"] == load_spec(known).label
    known.write_text(RIGHT.replace("task: binary", "task: prophecy"))
    with pytest.raises(SpecError, match="copy: its features read the labels of fraud_detection: "):
        labels_of(running, tmp_path)


def test_labels_may_take_45_days_as_the_page_says(tmp_path: Path) -> None:
    """A copy of the two folders is edited, and read by a process that finds it first."""
    page = Path("docs/decisions.md").read_text()
    for folder in ("feature_repo", "models"):
        shutil.copytree(folder, tmp_path / folder)
    read = (
        "from pathlib import Path; from feature_repo.specs import load_agreed_spec;"
        " label = load_agreed_spec(Path('models/fraud_detection.yaml')).label;"
        " from feature_repo.shop.payments import FRAUD_LABELS;"
        " print(label.delay.maximum.days, FRAUD_LABELS.settled_after.days)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    edits = [line for line in page.splitlines() if line.startswith("$ sed -i")]
    assert len(edits) == 2
    for edit in edits:
        subprocess.run(shlex.split(edit.removeprefix("$ ")), cwd=tmp_path, check=True)
    done = subprocess.run(
        [sys.executable, "-c", read], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout == "45 45\n", done.stderr
    spec = load_spec(Path("models/fraud_detection.yaml"))
    history = int(page.partition("DOJO_HISTORY_DAYS=")[2].split()[0])
    assert spec.training.window.days + 45 <= history
