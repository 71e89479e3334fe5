"""`feature_repo/` is a repository for Feast's own command line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from feature_repo.catalog import ENTITY_KEYS, SERVICES, VIEWS

pytestmark = pytest.mark.integration


def test_feasts_own_command_line_applies_the_catalogue(tmp_path: Path) -> None:
    """Run it in a copy, because Feast keeps its registry beside the definitions.

    No server answers at the online store's address, and no command asks it.
    """
    shutil.copytree(
        "feature_repo", tmp_path / "feature_repo", ignore=shutil.ignore_patterns("__pycache__")
    )
    env = {**os.environ, "DOJO_HOME": ".dojo", "DOJO_ONLINE_STORE_URL": "redis://127.0.0.1:1"}
    command = [
        str(Path(sys.executable).with_name("feast")),
        "-c",
        str(tmp_path / "feature_repo"),
        "apply",
    ]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {*re.findall(r"Deploying infrastructure for (\w+)", done.stdout)} == {*VIEWS}
    registry = (tmp_path / ".dojo" / "feast-cli.db").read_bytes()
    assert all(name.encode() in registry for name in (*VIEWS, *SERVICES, *ENTITY_KEYS))
