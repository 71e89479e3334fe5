"""The commands quoted by runbooks, and running the read-only ones."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection
from pathlib import Path

RUNBOOKS = sorted((Path(__file__).parents[2] / "monitoring" / "runbooks").glob("*.md"))

# Commands that change something, or rebuild a version for minutes.
CHANGES = re.compile(
    r"dojo (config apply|down|drift mark|features materialize"
    r"|models (promote|rollback|restore|retire|seal)|orders (cancel|unpause)|reproduce"
    r"|responder (pause|resume)|restart|restore|retrain"
    r"|rollout (abort|approve|finish|promote|resume|start)|routes (set|switch)|train|up"
    r"|world (pause|resume))\b"
)
# Commands that may find nothing in a young stack, or a fault of the machine. They then end with
# exit code 1.
MAY_FIND_NOTHING = ("dojo gate show", "dojo rollout show", "dojo doctor")

PLACEHOLDERS = {
    "NAME": "gateway",
    "MODEL@VERSION": "fraud_detection@1",
    "MODEL": "fraud_detection",
    "SERVICE": "monitor",
}

# Takes the words behind `dojo`, runs the command, and returns its exit code and error output.
Dojo = Callable[[list[str]], tuple[int, str]]


def quoted(text: str) -> list[str]:
    """Return the texts between backticks."""
    return re.findall(r"`([^`]+)`", text)


def looks() -> list[list[str]]:
    """Return every distinct command that changes nothing, with placeholders filled in.

    A command is a list of the words behind `dojo`.
    """
    commands = {
        command
        for path in RUNBOOKS
        for command in quoted(path.read_text())
        if command.startswith("dojo ")
    }
    found = [shlex.split(command)[1:] for command in sorted(commands) if not CHANGES.match(command)]
    return [[PLACEHOLDERS.get(word, word) for word in words] for words in found]


def failures(dojo: Dojo, processes: Collection[str]) -> list[str]:
    """Run each look. Returns the failed ones, with their error output.

    Args:
        dojo: Runs a command.
        processes: Processes of the stack. Logs and metrics of other processes are left out.
    """
    failed = []
    for words in looks():
        if words[0] in ("logs", "metrics") and len(words) > 1 and words[1] not in processes:
            continue
        code, errors = dojo(words)
        fine = (
            {0, 1}
            if " ".join(["dojo", *words[:2]]).startswith(MAY_FIND_NOTHING) or words == ["status"]
            else {0}
        )
        if code not in fine or "Traceback" in errors:
            failed.append(f"dojo {shlex.join(words)} ended with {code}: {errors[-500:]}")
    return failed
