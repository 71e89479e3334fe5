"""What a drill needs of the stack, beyond Prometheus and health."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dojo.actions.desk import Desk
from dojo.drills.spec import Need
from dojo.stack.control import running


def lacking(desk: Desk, needs: tuple[Need, ...]) -> tuple[str, str] | None:
    """Return the first need that is not met, in words, and the next step. None if all are met."""
    for need in needs:
        found = _NEEDS[need](desk)
        if found is not None:
            return found
    return None


def _airflow(desk: Desk) -> tuple[str, str] | None:
    stack = running(desk.settings.home)
    if stack and any(process.name == "airflow" for process in stack.processes):
        return None
    return "this stack runs without Airflow", "dojo down, then DOJO_WITHOUT= dojo up"


def _two_versions(desk: Desk) -> tuple[str, str] | None:
    for model in desk.registry.models():
        if len(desk.registry.versions(model)) > 1:
            return None
    return "no model has a second version", "dojo retrain MODEL --in-process"


_NEEDS: Mapping[Need, Callable[[Desk], tuple[str, str] | None]] = {
    "airflow": _airflow,
    "two_versions": _two_versions,
}
