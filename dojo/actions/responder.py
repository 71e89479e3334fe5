"""The responder's kill switch and its dry run. Both work without a world's time."""

from __future__ import annotations

from dojo.actions.desk import Desk, reason
from dojo.core.state.responder_control import EVERY_MODEL, switch_dry_run, switch_pause


def pause(desk: Desk, model: str, who: str, why: str) -> bool:
    """Let no action begin. Returns False when it was paused already.

    Args:
        model: The model. "" stands for every model.
    """
    return _switch(desk, model, True, who, why)


def resume(desk: Desk, model: str, who: str, why: str) -> bool:
    """Let the responder act again. Arguments and result are as in `pause`."""
    return _switch(desk, model, False, who, why)


def set_dry_run(desk: Desk, on: bool, who: str, why: str) -> bool:
    """Only say what would be done, or act again. Returns False when nothing changes."""
    return switch_dry_run(desk.redis, on, who, reason(why), desk.now_if_set())


def _switch(desk: Desk, model: str, on: bool, who: str, why: str) -> bool:
    target = desk.require_model(model) if model else EVERY_MODEL
    return switch_pause(desk.redis, target, on, who, reason(why), desk.now_if_set())
