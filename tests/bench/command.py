"""The command line of a bench that measures in a directory of its own."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def run_bench(
    description: str | None,
    measure: Callable[[Path], dict[str, Any]],
    table: Callable[[dict[str, Any]], str],
    arguments: Sequence[str] | None,
) -> int:
    """Print a report as a table, or as JSON on `--json`. Return 0 if it has `passed`.

    Args:
        measure: Returns the report. It may write into the directory.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    as_json = parser.parse_args(arguments).json
    with tempfile.TemporaryDirectory() as directory:
        report = measure(Path(directory))
    print(json.dumps(report) if as_json else table(report))  # noqa: T201
    return 0 if report["passed"] else 1
