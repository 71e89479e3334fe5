from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Containers are started by a script of their own, which brings an engine and images where there are none."""
    if os.environ.get("DEPLOY_TESTS"):
        return
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.skip(reason="containers: tests/deploy/run starts these tests"))
