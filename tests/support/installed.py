"""Programs outside the project's environment. A machine may lack them, CI may not."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def installed(*names: str) -> str:
    """Return the path of the first of `names`.

    Without one the test is skipped on a developer's machine, and fails in CI.
    """
    for name in names:
        if (path := shutil.which(name)) is not None:
            return path
    lacking(
        f"{' or '.join(names)} not installed: apt-get install prometheus prometheus-alertmanager"
    )


def lacking(reason: str) -> NoReturn:
    """Skip the test on a developer's machine, and fail it in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
