"""The commands of the traced shell are in the record, with their codes, and empty lines are not."""

from __future__ import annotations

import os
import pty
import select
import time
from pathlib import Path

from dojo.cli.trace import COMMANDS_FILE, read_commands
from dojo.drills.running.shell import open_shell


def typed(directory: Path, lines: str) -> int:
    """Type lines into the shell on a terminal of its own, and return its exit code."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ["HOME"] = str(directory)
        os._exit(open_shell(directory))
    os.write(terminal, lines.encode())
    end = time.monotonic() + 30
    while time.monotonic() < end:
        ready, _, _ = select.select([terminal], [], [], 0.2)
        try:
            if ready and not os.read(terminal, 4096):
                break
        except OSError:  # Linux tells the end so
            break
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status)


def test_each_command_is_written_down_once(tmp_path: Path) -> None:
    (tmp_path / COMMANDS_FILE).write_text(
        '{"at": "2026-11-30T12:00:00+00:00", "words": ["status"], "code": 0}\n'
    )
    code = typed(tmp_path, "true 'a b'\n\nfalse\n\n\nls /nowhere | cat\ntrue 'a b'\nexit 3\n")
    assert code == 3
    found = read_commands(tmp_path)
    assert [(one.said, one.code) for one in found] == [
        ("status", 0),
        ("$ true 'a b'", 0),
        ("$ false", 1),
        ("$ ls /nowhere | cat", 0),
        ("$ true 'a b'", 0),
    ]
    assert all(one.at.tzinfo for one in found)
