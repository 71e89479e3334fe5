"""A shell. Its commands are written down, with their exit codes and times."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from dojo.cli.trace import SHELL_FILE

# bash calls PROMPT_COMMAND before each prompt. The history's number tells a new command from an
# empty line.
RC = """
[ -f ~/.bashrc ] && . ~/.bashrc
HISTCONTROL= HISTTIMEFORMAT=
__written() {{
  local code=$? entry number
  entry=$(history 1)
  read -r number entry <<< "$entry"
  if [ -n "$number" ] && [ "$number" != "${{__last:-}}" ] && [ -n "${{__last+known}}" ]; then
    printf '%s\\t%s\\t%s\\n' "${{EPOCHREALTIME:-$(date +%s)}}" "$code" "$entry" >> {file}
  fi
  __last=$number
}}
PROMPT_COMMAND=__written
PS1='drill \\w $ '
"""


def open_shell(directory: Path) -> int:
    """Open bash on the terminal, and return its exit code when it ends.

    Raises:
        FileNotFoundError: There is no bash.
    """
    bash = shutil.which("bash")
    if bash is None:
        raise FileNotFoundError("bash is not installed")
    quoted = "'" + str((directory / SHELL_FILE).resolve()).replace("'", "'\\''") + "'"
    with tempfile.NamedTemporaryFile("w", suffix=".bashrc") as rc:
        rc.write(RC.format(file=quoted))
        rc.flush()
        command = [bash, "--rcfile", rc.name, "-i"]
        return subprocess.call(command, env={**os.environ, "BASH_SILENCE_DEPRECATION_WARNING": "1"})
