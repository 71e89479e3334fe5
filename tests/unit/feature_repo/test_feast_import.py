"""Feast is imported without Typeguard's instrumentation, and changes nothing else."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Prints whether Feast's classes check arguments, and whether Typeguard is as before. Then, whether
# metrics go to files, in children and here.
ASK = """
import os
import typeguard
before = typeguard.typechecked
{how}
import feast
code = feast.Entity.__init__.__code__
checks = any("check_argument_types" in name for name in (*code.co_names, *code.co_varnames))
from prometheus_client.values import ValueClass
in_files = any("PROMETHEUS_MULTI" in n for n in os.environ), ValueClass.__name__ != "MutexValue"
print(checks, typeguard.typechecked is before, *in_files)
"""


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("from feature_repo.store import import_feast; import_feast()", "False True False False"),
        (
            "",
            "True True True True",
        ),  # as Feast comes, which shows that this test can see a difference
    ],
)
def test_our_import_leaves_the_checks_out_and_all_else_as_it_was(how: str, expected: str) -> None:
    asked = subprocess.run(
        [sys.executable, "-c", ASK.format(how=how)],
        env={n: value for n, value in os.environ.items() if "PROMETHEUS_MULTI" not in n},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert asked.stdout.split() == expected.split()
