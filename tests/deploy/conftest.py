from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip container tests here.

    Their own script runs them, and brings an engine and images if needed.
    """
    if os.environ.get("DEPLOY_TESTS"):
        return
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(
                pytest.mark.skip(reason="containers: tests/deploy/run starts these tests")
            )
