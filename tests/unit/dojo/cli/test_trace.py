"""Commands are written down while a drill is open, and never otherwise."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from dojo.cli.trace import COMMANDS_FILE, OPEN_FILE, read_commands, traced


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOJO_HOME", str(tmp_path))
    return tmp_path


def opened(home: Path, run: str = "3") -> Path:
    (home / "drills" / run).mkdir(parents=True)
    (home / "drills" / OPEN_FILE).write_text(run)
    return home / "drills" / run


def test_without_a_drill_nothing_is_written(home: Path) -> None:
    with traced(["status"]):
        pass
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("ends", "code"), [(None, 0), (SystemExit(2), 2), (SystemExit(), 0), (SystemExit("no"), 1),
                       (RuntimeError(), 1), (KeyboardInterrupt(), 1)],
)  # fmt: skip
def test_a_call_is_written_with_its_exit_code(
    home: Path, ends: BaseException | None, code: int
) -> None:
    directory = opened(home)
    with suppress(SystemExit, RuntimeError, KeyboardInterrupt), traced(["drift", "show", "--json"]):
        if ends is not None:
            raise ends
    (call,) = read_commands(directory)
    assert (call.said, call.code) == ("drift show --json", code)


def test_the_command_that_ends_the_drill_is_written_too(home: Path) -> None:
    directory = opened(home)
    with traced(["drill", "stop"]):
        (home / "drills" / OPEN_FILE).unlink()
    assert [one.said for one in read_commands(directory)] == ["drill stop"]


def test_a_line_that_was_cut_short_is_left_out(home: Path) -> None:
    directory = opened(home)
    with traced(["status"]):
        pass
    with (directory / COMMANDS_FILE).open("a") as file:
        file.write('{"at": "2026-')
    assert [one.said for one in read_commands(directory)] == ["status"]
    assert read_commands(home) == []


def test_a_record_that_cannot_be_written_is_said_and_stops_no_command(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = opened(home)
    (directory / COMMANDS_FILE).mkdir()
    done = []
    with traced(["status"]):
        done.append(1)
    assert done
    assert "record was not written" in capsys.readouterr().err
