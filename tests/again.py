"""`python -m tests.again PATH...`: pytest, with a second try for failed tests of real processes.

`make test` calls it. Three hundred tests kill, hang and hurry processes, some files at a time. Once
in thousands, a process misses a deadline without a fault in the code. So files of integration and
e2e tests with a failure run again, alone and from fresh servers on. The output says so. A test that
fails twice has failed. Tests without processes get one try. When many files fail, it is no
accident, and no file gets a second try.
"""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import psutil
import pytest

WITH_PROCESSES = (Path("tests/integration"), Path("tests/e2e"))
MOST_FILES = 4
# Files that are tested side by side share the cores. A second thread in one of them only competes,
# and by default it spins while it waits for the first.
ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", "OPENBLAS_NUM_THREADS": "1"}
STACK_BYTES = 4 * 2**30  # of a file that starts a whole stack and trains in it


class FailedTest(NamedTuple):
    """A test that failed, or whose fixture broke, and the first line of why."""

    file: Path
    name: str
    cause: str


def failed_tests(report: Path) -> list[FailedTest]:
    """The failed tests of a JUnit report, in its order."""
    failed = []
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        found = case.find("failure") if case.find("failure") is not None else case.find("error")
        if found is not None:
            cause = (found.get("message") or "").strip().splitlines() or ["no message"]
            failed.append(
                FailedTest(file_of(case.get("classname", "")), case.get("name", "?"), cause[0])
            )
    return failed


def file_of(classname: str) -> Path:
    """Return the path of `tests.e2e.test_demo`, which may end with a class.

    Without such a file, the returned path does not exist.
    """
    parts = classname.split(".")
    paths = (Path("/".join(parts[:length]) + ".py") for length in range(len(parts), 0, -1))
    return next((path for path in paths if path.is_file()), Path(classname))


def deserve_another_try(files: set[Path]) -> bool:
    processes = all(
        any(file.is_relative_to(directory) for directory in WITH_PROCESSES) for file in files
    )
    return processes and 0 < len(files) <= MOST_FILES


def workers(cores: int, free_bytes: int) -> int:
    """How many files are tested at a time.

    Half the time a file waits for processes, so two files a core keep the cores busy. A machine
    with little memory still tests two at a time.
    """
    return max(2, min(2 * cores, free_bytes // STACK_BYTES))


def run(arguments: Sequence[str]) -> int:
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, env=ENVIRONMENT | os.environ, check=False).returncode


def main(arguments: Sequence[str]) -> int:
    with TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        # With loadscope, tests of one module share its servers, and each worker starts at most one
        # MLflow (15 s). Files keep their order, so that whole stacks come first. Otherwise these
        # longest files with the fewest tests would come last and run alone.
        count = workers(os.cpu_count() or 1, psutil.virtual_memory().available)
        beside = [f"--numprocesses={count}", "--dist=loadscope", "--no-loadscope-reorder"]
        code = run([*beside, f"--junitxml={report}", *arguments])
        if code != pytest.ExitCode.TESTS_FAILED:
            return code
        failed = failed_tests(report)
    files = {test.file for test in failed}
    if not deserve_another_try(files):
        return code
    names = sorted(map(str, files))
    sys.stdout.write(f"\nONCE MORE, alone, for something failed in them: {' '.join(names)}\n\n")
    sys.stdout.flush()
    code = run(names)
    result = "passed" if code == pytest.ExitCode.OK else "failed"
    sys.stdout.write(
        f"\nSECOND TRY {result}. In the first try, with other tests beside them, these failed:\n"
    )
    for test in failed:
        sys.stdout.write(f"  {test.file}::{test.name}\n      {test.cause}\n")
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
