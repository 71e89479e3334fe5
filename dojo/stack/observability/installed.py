"""Whether this machine has Prometheus and Alertmanager.

They are no Python packages. Without them the stack runs, and no alert is sent.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from dojo.core.settings import Settings

# Debian renames Alertmanager. Other systems use its own name.
PROMETHEUS = ("prometheus",)
ALERTMANAGER = ("prometheus-alertmanager", "alertmanager")


def binary(names: Sequence[str]) -> str | None:
    """The path of the first of `names` that is installed."""
    return next((path for name in names if (path := shutil.which(name))), None)


def alerting_runs(settings: Settings) -> bool:
    """Whether metrics are collected and alerts are sent."""
    return not alerting_is_off(settings)


def alerting_is_off(settings: Settings) -> str:
    """Why alerting is off, in one clause. Empty when it runs."""
    if "prometheus" in settings.without:
        return "left out (DOJO_WITHOUT)"
    if settings.peer_hosts:
        return ""  # containers bring them
    missing = [
        name
        for name, names in (("prometheus", PROMETHEUS), ("alertmanager", ALERTMANAGER))
        if binary(names) is None
    ]
    return f"{' and '.join(missing)} not installed" if missing else ""


def how_to_install(platform: str = sys.platform) -> str:
    """The command for this platform.

    Debian's packages start servers of their own on the same ports, so the command disables them.
    """
    if platform == "darwin":
        return "brew install prometheus alertmanager"
    return (
        "apt-get install --no-install-recommends prometheus prometheus-alertmanager (then systemctl"
        " disable --now prometheus prometheus-alertmanager: the stack starts its own)"
    )
