"""Commands on a stream with no or few characters beyond ASCII."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dojo.cli.plain import PLAIN


def run(code: str, encoding: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUNBUFFERED": ""}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=False
    )


def literals(file: Path) -> set[str]:
    """Yield characters beyond ASCII in a module's texts, without its docstrings."""
    tree = ast.parse(file.read_text())
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    texts = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    return {
        character
        for node in texts
        if id(node) not in documents
        for character in str(node.value)
        if not character.isascii()
    }


def test_every_character_that_is_printed_has_a_plain_one() -> None:
    used = {
        character
        for room in ("dojo", "services", "pipelines")
        for file in Path(room).rglob("*.py")
        for character in literals(file)
    }
    assert used <= set(PLAIN), "give these a plain character in dojo/cli/plain.py"
    assert all(plain.isascii() for plain in PLAIN.values())


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_character_that_the_stream_lacks_is_replaced(encoding: str) -> None:
    code = (
        "from dojo.cli.plain import print_plainly_where_needed as p; p(); print('▸ 3,4 € → ▁█ 漢')"
    )
    done = run(code, encoding)
    assert (done.returncode, done.stdout) == (0, b"> 3,4 EUR -> 18 ?\n")


def test_a_stream_that_has_them_keeps_them() -> None:
    code = "from dojo.cli.plain import print_plainly_where_needed as p; p(); print('▸ €')"
    assert run(code, "utf-8").stdout.decode() == "▸ €\n"


def test_json_is_utf_8_in_every_locale() -> None:
    done = run(
        "from dojo.cli.output import print_json; print('first'); print_json({'name': 'Zoë €'})",
        "ascii",
    )
    first, _, document = done.stdout.partition(b"\n")
    assert (first, json.loads(document.decode())) == (b"first", {"name": "Zoë €"})


def test_a_command_prints_plainly() -> None:
    code = "import sys; sys.argv = ['dojo', 'doctor']; from dojo.cli.app import main; main()"
    done = run(code, "ascii")
    assert b"Traceback" not in done.stderr
    assert done.stdout.isascii()
    assert done.stdout
