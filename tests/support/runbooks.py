"""The commands that runbooks quote, and running those that only look."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection
from pathlib import Path
from subprocess import CompletedProcess

RUNBOOKS = sorted((Path(__file__).parents[2] / "monitoring" / "runbooks").glob("*.md"))

# Commands that change something, or rebuild a version for minutes.
CHANGES = re.compile(
    r"dojo (down|up|restart|config apply|retrain|reproduce|features materialize|drift mark|models (promote|rollback)"
    r"|responder (pause|resume)|rollout (abort|approve|finish|promote|resume|start)|routes switch|world (pause|resume))\b"
)
# Commands that find nothing in a young stack, or find something wrong with the machine, and say so with exit code 1.
MAY_FIND_NOTHING = ("dojo gate show", "dojo rollout show", "dojo doctor")

PLACEHOLDERS = {"NAME": "gateway", "MODEL@VERSION": "fraud_detection@1", "MODEL": "fraud_detection", "SERVICE": "monitor"}

# Command of `dojo` with its words -> how it ended.
Dojo = Callable[[list[str]], "CompletedProcess[str]"]


def quoted(text: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", text)


def looks() -> list[list[str]]:
    """Every distinct command that changes nothing, as words behind `dojo`, with placeholders filled in."""
    commands = {command for path in RUNBOOKS for command in quoted(path.read_text()) if command.startswith("dojo ")}
    found = [shlex.split(command)[1:] for command in sorted(commands) if not CHANGES.match(command)]
    return [[PLACEHOLDERS.get(word, word) for word in words] for words in found]


def failures(dojo: Dojo, processes: Collection[str]) -> list[str]:
    """Run each look. Returns those that fail, with what they said.

    Args:
        processes: Those of the stack. Logs and metrics of another process are not asked for.
    """
    failed = []
    for words in looks():
        if words[0] in ("logs", "metrics") and len(words) > 1 and words[1] not in processes:
            continue
        done = dojo(words)
        fine = {0, 1} if " ".join(["dojo", *words[:2]]).startswith(MAY_FIND_NOTHING) or words == ["status"] else {0}
        if done.returncode not in fine or "Traceback" in done.stderr:
            failed.append(f"dojo {shlex.join(words)} ended with {done.returncode}: {done.stderr[-500:]}")
    return failed
