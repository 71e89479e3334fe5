"""Results of a trainer's child process: an exit code, and its answer as the last line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from pipelines.training.errors import (
    EXIT_BUSY,
    EXIT_FAILED,
    EXIT_REFUSED,
    RetrainingRunningError,
    StaleDataError,
)
from services.trainer.run_job import answer


@pytest.fixture(autouse=True)
def logged() -> Iterator[None]:
    """Drop the logs. Otherwise they go where an earlier test sent them."""
    with capture_logs():
        yield


def raises(error: Exception) -> Mapping[str, Any]:
    raise error


def test_an_answer_is_the_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> Mapping[str, Any]:
        print("a library's word")  # noqa: T201
        return {"outcome": "promote"}

    assert answer(work, model="m", job="j") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"outcome": "promote"}


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (StaleDataError("two days old"), EXIT_REFUSED, "StaleDataError: two days old"),
        (OSError("disk full"), EXIT_FAILED, "OSError: disk full"),
    ],
)
def test_an_error_is_said_and_its_exit_code_tells_whether_to_repeat(
    error: Exception, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(lambda: raises(error), model="m", job="j") == code
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"error": said}


def test_another_retraining_in_the_way_is_no_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(lambda: raises(RetrainingRunningError("busy")), model="m", job="j") == EXIT_BUSY
    assert capsys.readouterr().out == ""
