"""Programs outside Python packages. A machine may lack them, CI may not."""

from __future__ import annotations

import os
import shutil

import pytest


def installed(*names: str) -> str:
    """Return the path of the first of `names`.

    Without one the test is skipped on a developer's machine, and fails in CI.
    """
    for name in names:
        if (path := shutil.which(name)) is not None:
            return path
    missing = (
        f"{' or '.join(names)} not installed: apt-get install prometheus prometheus-alertmanager"
    )
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)
