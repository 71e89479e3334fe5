"""Every command ends in order at SIGTERM."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path


def test_a_terminated_command_ends_by_itself(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "gateway.log").write_text("a line\n")
    command = [sys.executable, "-m", "dojo", "logs", "gateway", "--follow"]
    with subprocess.Popen(
        command, env={**os.environ, "DOJO_HOME": str(tmp_path)}, stdout=subprocess.PIPE
    ) as follower:
        assert follower.stdout is not None
        assert b"a line" in follower.stdout.readline()
        follower.terminate()
    assert (
        follower.returncode == 128 + signal.SIGTERM
    )  # killed by the signal itself it would be -15
