"""The table of documents lists exactly the families that the code keeps."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import msgspec
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
                found |= {
                    node.value
                    for node in ast.walk(ast.parse(path.read_text()))
                    if isinstance(node, ast.Constant)
                }
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


def structs(parent: type[msgspec.Struct] = msgspec.Struct) -> Iterator[type[msgspec.Struct]]:
    for child in parent.__subclasses__():
        yield child
        yield from structs(child)


def test_what_processes_tell_each_other_may_have_fields_that_a_reader_does_not_know() -> None:
    """Processes are upgraded one after the other. Only requests from outside are strict."""
    core = ROOT / "dojo" / "core"
    for path in [*core.rglob("*.py"), ROOT / "services" / "responder" / "state.py"]:
        import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    ours = [s for s in structs() if s.__module__.startswith(("dojo.core.", "services.responder."))]
    assert len(ours) > 40
    assert [s.__qualname__ for s in ours if s.__struct_config__.forbid_unknown_fields] == []
