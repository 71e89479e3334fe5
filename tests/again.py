"""`python -m tests.again PATH...`: pytest, and what failed of real processes once more, alone. `make test` calls it.

Three hundred tests kill, hang and hurry processes on two cores for twenty minutes, two files at a time; a deadline that one in thousands
misses says nothing of the code. So files of integration and e2e tests in which something failed are run again from fresh servers on, with
nothing beside them, and the output says so. What fails twice has failed. Tests without processes get one try, and so does everybody when many
files fail: that is no accident.
"""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

WITH_PROCESSES = (Path("tests/integration"), Path("tests/e2e"))
MOST_FILES = 4


def failed_files(report: Path) -> set[Path]:
    """The files of a JUnit report's failed tests and broken fixtures."""
    cases = ElementTree.parse(report).getroot().iter("testcase")
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    return {file_of(case.get("classname", "")) for case in failed}


def file_of(classname: str) -> Path:
    """`tests.e2e.test_demo`, or with a class at its end, as a path; one that does not exist where it names none."""
    parts = classname.split(".")
    paths = (Path("/".join(parts[:length]) + ".py") for length in range(len(parts), 0, -1))
    return next((path for path in paths if path.is_file()), Path(classname))


def deserve_another_try(files: set[Path]) -> bool:
    processes = all(any(file.is_relative_to(directory) for directory in WITH_PROCESSES) for file in files)
    return processes and 0 < len(files) <= MOST_FILES


def run(arguments: Sequence[str]) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], check=False).returncode


def main(arguments: Sequence[str]) -> int:
    with TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        # loadscope: tests of one module share its servers, and each worker starts an MLflow (15 s) at most once. In their order: whole stacks
        # first, as the longest files with the fewest tests would else come last, with nothing beside them.
        beside = ["--numprocesses", "2", "--dist", "loadscope", "--no-loadscope-reorder"]
        code = run([*beside, f"--junitxml={report}", *arguments])
        if code != pytest.ExitCode.TESTS_FAILED:
            return code
        files = failed_files(report)
    if not deserve_another_try(files):
        return code
    names = sorted(map(str, files))
    sys.stdout.write(f"\nONCE MORE, alone, for something failed in them: {' '.join(names)}\n\n")
    sys.stdout.flush()
    return run(names)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
