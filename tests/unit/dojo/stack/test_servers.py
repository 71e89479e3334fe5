"""Servers of the embedded mode keep their files below the directory that they get.

This holds for any name of the directory.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy.engine import make_url

from dojo.stack.servers import mlflow_command
from tests.support.paths import STRANGE_NAME


def test_mlflow_keeps_everything_below_its_directory(tmp_path: Path) -> None:
    home = tmp_path / STRANGE_NAME
    command = mlflow_command(5001, home)
    given = dict(pairwise(command))
    assert make_url(given["--backend-store-uri"]).database == str(home / "mlflow.db")
    assert unquote(urlsplit(given["--artifacts-destination"]).path) == str(home / "artifacts")
