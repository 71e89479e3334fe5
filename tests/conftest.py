from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import registries
from tests.support.registries import SEAL_KEY
from tests.support.servers import MlflowServer, RedisServer

# A property stays true on a busy machine, so examples have no deadline.
settings.register_profile("any_machine", deadline=None)
settings.load_profile("any_machine")

# One platform. The processes that a test starts load its registered models. Each has its own home.
os.environ["DOJO_SEAL_KEY"] = SEAL_KEY


@pytest.fixture(scope="session", autouse=True)
def _anchors(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep registries' anchors in the session's directory, which pytest deletes."""
    registries.anchors = tmp_path_factory.mktemp("anchors")


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """Start a Redis for one test, which may break it."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """Start one MLflow for the session, because it takes 10 s. Tests use their own model names."""
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    server.start()
    yield server
    server.stop()
