from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.stack import PAYMENT, Stack
from tests.support.servers import wait_until


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """`dojo up` in a home and on ports of its own, with a small synthetic world and its history built."""
    stack = Stack(tmp_path_factory.mktemp("stack"))
    try:
        stack.json("up", within=300)
        wait_until(lambda: stack.json("status", check=False)["world"] is not None, 120, "the world has a time", every=1)
        # At four world hours a second streamed features are hours old: the monitor is right to see skew, and a rollback in the middle of
        # another test would be right too.
        stack.dojo("responder", "pause", "--why", "the world runs too fast to be judged")
        yield stack
    finally:
        stack.dojo("down", check=False)


@pytest.fixture(scope="module")
def trained(stack: Stack) -> dict[str, Any]:
    """Features materialised, a version trained and served. What `dojo train` said."""
    stack.json("features", "materialize", within=180)
    version: dict[str, Any] = stack.json("train", "fraud_detection", within=240)
    wait_until(lambda: stack.predict(PAYMENT)["version"] == version["version"], 60, "the gateway serves it", every=0.5)
    return version
