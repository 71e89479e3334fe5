"""Files that other users of the machine cannot read, with any umask."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dojo.core.private import close_off, kept_text, write_private


@pytest.fixture(autouse=True)
def _a_wide_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_wide_directory_is_closed_with_everything_below_and_named(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    (home / "lake" / "date=2025-01-01").mkdir(parents=True)
    (home / "lake" / "date=2025-01-01" / "part.parquet").write_text("rows")
    (home / "closed").mkdir(mode=0o700)
    (home / "run.sh").touch(mode=0o755)
    elsewhere.write_text("not ours")
    (home / "link").symlink_to(elsewhere)

    narrowed = close_off(home)

    day = home / "lake" / "date=2025-01-01"
    assert set(narrowed) == {home, home / "lake", day, day / "part.parquet", home / "run.sh"}
    assert {
        mode(path) for path in (home, home / "lake", day, home / "closed", home / "run.sh")
    } == {0o700}
    assert mode(day / "part.parquet") == 0o600
    assert mode(elsewhere) == 0o666, "what a link leads to is not ours"
    assert close_off(home) == []


def test_what_is_kept_is_private_and_the_same_for_all_who_make_it_at_once(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "time"
    assert kept_text(path, lambda: "first") == "first"
    script = "import sys; from pathlib import Path; from dojo.core.private import kept_text; "
    script += "sys.stdout.write(kept_text(Path(sys.argv[1]), lambda: sys.argv[2]))"
    other = tmp_path / "keys" / "seal"
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", script, other, str(number)], stdout=subprocess.PIPE, text=True
        )
        for number in range(4)
    ]
    assert len({maker.communicate()[0] for maker in makers}) == 1
    assert kept_text(path, lambda: "second") == "first"
    assert {mode(file) for file in (path, other)} == {0o600}
    assert mode(path.parent) == 0o700
    assert set(path.parent.iterdir()) == {path, other}, "nothing temporary is left"


def test_a_replaced_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "passwords.json"
    path.write_text("old")
    write_private(path, "new")
    assert (path.read_text(), mode(path)) == ("new", 0o600)


def test_a_process_of_ours_writes_privately_and_so_do_its_children(tmp_path: Path) -> None:
    script = """
import subprocess, sys
from pathlib import Path
from dojo.core.service import run_process
def run(settings):
    settings.home.mkdir(parents=True)
    (settings.home / "own").write_text("")
    return subprocess.call(["touch", str(settings.home / "of_a_child")])
sys.exit(run_process("test", run))
"""
    home = tmp_path / "home"
    subprocess.run(
        [sys.executable, "-c", script], check=True, env={**os.environ, "DOJO_HOME": str(home)}
    )
    assert mode(home) == 0o700
    assert {path.name: mode(path) for path in home.iterdir()} == {"own": 0o600, "of_a_child": 0o600}
