"""The table of documents lists exactly the families that the code keeps."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from redis import Redis

from dojo.core.state.documents import FAMILIES, Document

ROOT = Path(__file__).parents[4]
TABLE = ROOT / "dojo" / "core" / "state" / "documents.py"


def literals() -> set[str]:
    """Yield every string of the code, except docstrings and the table itself."""
    found = set()
    for package in ("dojo", "services", "pipelines", "feature_repo"):
        for path in (ROOT / package).rglob("*.py"):
            if path != TABLE:
                found |= {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
    return {value for value in found if isinstance(value, str)}


def test_the_code_keeps_every_family_of_the_table() -> None:
    assert set(FAMILIES) - literals() == set()


def test_a_family_that_the_table_does_not_say_is_refused() -> None:
    with pytest.raises(AssertionError, match="missing in the table"):
        Document(Redis(), "dojo:unheard-of:{model}", dict, model="m")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_line_says_what_is_kept_and_who_writes_it(family: str) -> None:
    kept, _, rest = FAMILIES[family].partition(": ")
    assert kept.split(",")[0].isidentifier(), "the type of the value"
    assert rest.endswith(".")
