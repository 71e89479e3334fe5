"""`python -m services.trainer.run_order < asked.json`: one work order that is no retraining, in a process of its own.

Settings come from the environment. The answer goes to stdout as JSON, or `error` in words. Exit codes as run_job's.
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
    """The order asks for nothing that is done here, or leaves out what it takes."""


def main() -> int:
    settings, order = asked(AskedOrder)
    return answer(lambda: execute(order, settings), model=order.order.model, order=order.order.id)


def execute(asked: AskedOrder, settings: Settings) -> dict[str, Any]:
    """The order's answer.

    Raises:
        tasks.REFUSALS: repeating it as things are ends the same. Others may pass.
    """
    order = asked.order
    match order.kind:
        case "evaluate":
            from pipelines.champion_check.evaluate import evaluate_champion  # Feast: seconds

            spec = load_spec(settings.models_dir / f"{order.model}.yaml")
            since = _moment(order.parameters, "since") if "since" in order.parameters else None
            with alone(settings.home / "orders") as workspace:
                found = evaluate_champion(
                    spec, Lake(settings.lake_dir), ModelRegistry.of(settings), asked.as_of, since, workspace
                )
            return {**msgspec.to_builtins(found), "degraded": found.degraded}
        case "drift_report":
            from pipelines.drift_report import EmptyWindowError, NoReferenceError, build  # Evidently: seconds

            wanted = order.parameters
            version, start, end = _text(wanted, "version"), _moment(wanted, "start"), _moment(wanted, "end")
            try:
                report = build(settings, order.model, version, start, end)
            except (EmptyWindowError, NoReferenceError) as error:
                raise WrongOrderError(str(error)) from error
            return {"url": report.url, "version": version, "drifted": list(report.drifted), "rows": report.current_rows}
        case other:
            raise WrongOrderError(f"{order.id}: expected evaluate or drift_report, got {other}")


@contextmanager
def alone(directory: Path) -> Iterator[Path]:
    """An empty workspace, gone afterwards. A trainer that was killed leaves its child to itself: while that one works, nobody else does, and
    what a killed child left goes with the next one.

    Raises:
        RetrainingRunningError: another one works there; the kernel lets go when it dies.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "running.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RetrainingRunningError(f"{directory}: another process executes an order") from None
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
        raise WrongOrderError(f"{name}: expected an ISO instant in the order's parameters, got {text!r}") from None
    if moment.tzinfo is None:
        raise WrongOrderError(f"{name}: expected an instant with its zone, got {text!r}")
    return moment


if __name__ == "__main__":
    sys.exit(main())
