"""Feast is imported without Typeguard's instrumentation, and nothing else loses it."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Prints whether Feast's classes check arguments, and whether Typeguard is as before.
ASK = """
import typeguard
before = typeguard.typechecked
{how}
import feast
code = feast.Entity.__init__.__code__
checks = any("check_argument_types" in name for name in (*code.co_names, *code.co_varnames))
print(checks, typeguard.typechecked is before)
"""


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("from feature_repo.store import import_feast; import_feast()", "False True"),
        ("", "True True"),  # as Feast comes, which shows that this test can see a difference
    ],
)
def test_our_import_leaves_the_checks_out_and_typeguard_as_it_was(how: str, expected: str) -> None:
    asked = subprocess.run(
        [sys.executable, "-c", ASK.format(how=how)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert asked.stdout.split() == expected.split()
