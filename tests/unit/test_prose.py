"""The check of sentences and widths: what it finds, what it leaves alone, and a clean checkout."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "prose.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prose", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["prose"] = module  # its structs look their own module up
    spec.loader.exec_module(module)
    return module


PROSE = load()
LONG = (
    "The monitor " + "compares a window with the reference profile and " * 4 + "writes a verdict."
)


def rules(name: str, text: str) -> list[str]:
    return [fault.rule for part in PROSE.prose(name, text) for fault in PROSE.faults_of(part)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", f'"""{LONG}"""'),
        ("a.py", f'def f():\n    """Short.\n\n    {LONG}\n    """'),
        ("a.py", f"# {LONG}\nx = 1"),
        ("a.py", f"x = 1  # {LONG}"),
        ("a.md", f"# Title\n\n{LONG}"),
        ("a.md", f"- One.\n- {LONG}"),
        ("a.yaml", f"# {LONG}\na: 1"),
        ("Makefile", f"# {LONG}"),
    ],
)
def test_a_long_sentence_is_found_wherever_it_stands(name: str, text: str) -> None:
    (rule,) = rules(name, text)
    assert rule.endswith("words, at most 20")


@pytest.mark.parametrize("word", ["nobody", "Whoever", "one that", "whatever"])
def test_a_person_without_a_name_is_found(word: str) -> None:
    assert rules("a.md", f"This is {word} calls.") == [f"name the actor instead of {word!r}"]


@pytest.mark.parametrize(
    "text", ["rows: Count; None before the first.", "rows: Count, as in: two."]
)
def test_an_entry_has_one_meaning(text: str) -> None:
    found = rules("a.py", f'def f():\n    """Do it.\n\n    Args:\n        {text}\n    """')
    assert found == ["an entry has one meaning: no colon or semicolon"]


def test_entries_end_where_the_next_begins() -> None:
    entries = "\n".join(f"        name{n}: One two three four five six seven." for n in range(6))
    assert rules("a.py", f'def f():\n    """Do it.\n\n    Args:\n{entries}\n    """') == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.md", f"```\n{LONG}\n```"),
        ("a.py", f'"""Do it.\n\n    python -m {LONG}\n"""'),
        ("a.py", f'"""Do it.\n\nSource: {LONG}\n"""'),
        ("a.py", "x = 1  # noqa: E501 nobody"),
        ("a.md", "`" + "word " * 30 + "` is code."),
        ("a.md", "Call `nobody` by its name."),
    ],
)
def test_code_and_sources_are_left_alone(name: str, text: str) -> None:
    assert rules(name, text) == []


def test_a_cell_of_a_table_may_be_longer() -> None:
    assert rules("a.md", f"| {'word ' * 25}|") == []
    assert rules("a.md", f"| {'word ' * 26}|") == ["26 words, at most 25"]


def test_wide_lines_are_found_but_for_tables_and_addresses() -> None:
    wide = "x" * 101
    assert [fault.line for fault in PROSE.too_wide("a.py", f"ok\n{wide}")] == [2]
    assert not list(PROSE.too_wide("a.md", f"| {wide} |\nhttps://{wide}\n```mermaid\n{wide}\n```"))
    assert [fault.line for fault in PROSE.too_wide("a.yaml", f"| {wide}")] == [1]


def test_this_checkout_is_clean() -> None:
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "")
