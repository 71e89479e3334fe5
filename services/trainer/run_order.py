"""`python -m services.trainer.run_order < asked.json`: one work order in its own process.

Retrainings are not among these orders. Settings come from the environment. The answer goes to
stdout as JSON, or the reason as `error`. The exit codes are the same as in run_job.
"""

from __future__ import annotations

import fcntl
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from dojo.core.lake import Lake
from dojo.core.registry.versions import ModelRegistry
from dojo.core.settings import Settings
from dojo.core.tasks.specs import load_spec
from pipelines.training.errors import RefusedError, RetrainingRunningError
from services.trainer.order_executor import AskedOrder
from services.trainer.run_job import answer, asked


class WrongOrderError(RefusedError):
    """This process does not do such an order, or the order lacks a parameter."""


def main() -> int:
    settings, order = asked(AskedOrder)
    return answer(lambda: execute(order, settings), model=order.order.model, order=order.order.id)


def execute(asked: AskedOrder, settings: Settings) -> dict[str, Any]:
    """Return the order's answer.

    Raises:
        tasks.REFUSALS: A repetition would end the same. Other errors may pass.
    """
    order = asked.order
    match order.kind:
        case "evaluate":
            from pipelines.champion_check.evaluate import evaluate_champion  # Feast: seconds

            spec = load_spec(settings.models_dir / f"{order.model}.yaml")
            since = _moment(order.parameters, "since") if "since" in order.parameters else None
            with alone(settings.home / "orders") as workspace:
                found = evaluate_champion(
                    spec,
                    Lake(settings.lake_dir),
                    ModelRegistry.of(settings),
                    asked.as_of,
                    since,
                    workspace,
                )
            return {**msgspec.to_builtins(found), "degraded": found.degraded}
        case "drift_report":
            from pipelines.drift_report import (
                EmptyWindowError,
                NoReferenceError,
                build,
            )  # Evidently: seconds

            wanted = order.parameters
            version, start, end = (
                _text(wanted, "version"),
                _moment(wanted, "start"),
                _moment(wanted, "end"),
            )
            try:
                report = build(settings, order.model, version, start, end)
            except (EmptyWindowError, NoReferenceError) as error:
                raise WrongOrderError(str(error)) from error
            return {
                "url": report.url,
                "version": version,
                "drifted": list(report.drifted),
                "rows": report.current_rows,
            }
        case other:
            raise WrongOrderError(f"{order.id}: expected evaluate or drift_report, got {other}")


@contextmanager
def alone(directory: Path) -> Iterator[Path]:
    """Yield an empty workspace and delete it afterwards.

    If a trainer is killed, its child may go on. While it works, no other child does. Leftovers of a
    killed child are deleted with the next order.

    Raises:
        RetrainingRunningError: Another child works there. The kernel frees the lock when it dies.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "running.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RetrainingRunningError(
                f"{directory}: another process executes an order"
            ) from None
        for left in directory.iterdir():
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
        with TemporaryDirectory(dir=directory) as workspace:
            yield Path(workspace)


def _text(parameters: dict[str, Any], name: str) -> str:
    if not isinstance(value := parameters.get(name), str):
        raise WrongOrderError(f"{name}: expected text in the order's parameters, got {value!r}")
    return value


def _moment(parameters: dict[str, Any], name: str) -> datetime:
    text = _text(parameters, name)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise WrongOrderError(
            f"{name}: expected an ISO instant in the order's parameters, got {text!r}"
        ) from None
    if moment.tzinfo is None:
        raise WrongOrderError(f"{name}: expected an instant with its zone, got {text!r}")
    return moment


if __name__ == "__main__":
    sys.exit(main())
