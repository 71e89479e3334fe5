from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.stack import PAYMENT, Stack
from tests.support.servers import wait_until


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Start `dojo up` with its own home and ports, and a small synthetic world with history."""
    stack = Stack(tmp_path_factory.mktemp("stack"))
    try:
        stack.json("up", within=300)
        wait_until(
            lambda: stack.status()["world"] is not None,
            120,
            "the world has a time",
            every=1,
        )
        # At four world hours per second, streamed features are hours old. The monitor then rightly
        # reports skew, and a rollback could rightly happen in the middle of another test.
        stack.dojo("responder", "pause", "--why", "the world runs too fast to be judged")
        yield stack
    finally:
        stack.dojo("down", check=False)


@pytest.fixture(scope="module")
def trained(stack: Stack) -> dict[str, Any]:
    """Materialise features, train a version and serve it. Return the answer of `dojo train`."""
    stack.json("features", "materialize", within=180)
    trained = stack.dojo("train", "fraud_detection", "--json", within=240)
    assert "mlflow" not in trained.stderr.lower(), "the output of libraries is no news"
    version: dict[str, Any] = json.loads(trained.stdout)
    wait_until(
        lambda: stack.predict(PAYMENT)["version"] == version["version"],
        60,
        "the gateway serves it",
        every=0.5,
    )
    return version
