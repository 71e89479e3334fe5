"""Reads single facts for the scripts in `gold`. A person reads them on the screen.

`newest ALERT told` reads `dojo alerts --json`, and exits with 0 if the newest message says so.
`since CHECK` reads `dojo drift show --json`, and prints the world time of the finding's begin.
`holder` reads `dojo status --json`, and prints the process that holds the lake.
`told ALERT` reads `dojo alerts --json`, and prints the world time of the newest message.
`paged` prints the alert that paged.
"""

import json
import os
import re
import sys
from pathlib import Path


def newest(alert: str, wanted: str) -> int:
    found = [
        one
        for one in json.load(sys.stdin)
        if f"{alert} (" in one["text"] or one["text"].endswith(f"dojo runbook {alert}")
    ]
    last = max(found, key=lambda one: one["wall_time"], default=None)
    if last is None:
        return 1
    return int(last["title"].startswith("resolved: ") != (wanted == "quiet"))


def since(check: str) -> int:
    verdicts = json.load(sys.stdin)["verdicts"]
    print(min(one["since"] for one in verdicts if one["check"] == check and one["since"])[:16])
    return 0


def told(alert: str) -> int:
    found = [one for one in json.load(sys.stdin) if f"{alert} (" in one["text"]]
    print(max(found, key=lambda one: one["wall_time"])["world_time"][:16])
    return 0


def holder() -> int:
    processes = {one["name"]: one for one in json.load(sys.stdin)["processes"]}
    found = re.search(r"\(process (\d+)", processes["recorder"]["details"]["reason"])
    print(found[1] if found else "")
    return 0


def paged() -> int:
    root = Path(os.environ["DOJO_HOME"], "drills")
    run = json.loads((root / (root / "open").read_text() / "run.json").read_text())
    print(run["alert"])
    return 0


if __name__ == "__main__":
    known = {"newest": newest, "since": since, "told": told, "holder": holder, "paged": paged}
    asked = known[sys.argv[1]]
    sys.exit(asked(*sys.argv[2:]))
