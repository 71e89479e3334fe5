"""Messages are plain text: a path's brackets are no markup."""

from __future__ import annotations

import pytest
import typer

from dojo.cli.output import errors_become_messages, fail


@pytest.mark.parametrize("path", ["/data/[bold]/x", "/data/a[/b]/x", "/data/a [1] \\[2]"])
def test_an_error_shows_brackets_as_they_are(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    fail(f"no stack runs on {path}", f"look into {path}")
    with pytest.raises(typer.Exit), errors_become_messages(OSError):
        raise OSError(path)
    said = capsys.readouterr().err.splitlines()
    assert said == [f"error no stack runs on {path}", f"next  look into {path}", f"error {path}"]
