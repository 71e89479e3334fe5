"""A snapshot is whole or not there, and brings everything back."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from dojo.cli.app import build
from dojo.stack import snapshots
from dojo.stack.paths import home_markers
from dojo.stack.snapshots import SnapshotError, load, remove, save


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    marker = home_markers(home)[0]
    marker.parent.mkdir(parents=True)
    marker.write_text("{}")
    (home / "lake").mkdir()
    (home / "lake" / "a.parquet").write_text("first")
    (home / "link").symlink_to("lake/a.parquet")
    return home


def test_a_snapshot_brings_back_what_was_there_and_nothing_else(home: Path) -> None:
    made = save(home, "two-weeks")
    assert made.bytes > 0
    (home / "lake" / "a.parquet").write_text("later")
    (home / "new").write_text("later")
    load(home, "two-weeks")
    assert (home / "lake" / "a.parquet").read_text() == "first"
    assert (home / "link").readlink() == Path("lake/a.parquet")
    assert not (home / "new").exists()
    load(home, "two-weeks")  # a snapshot can be loaded again
    assert [one.name for one in snapshots.snapshots(home)] == ["two-weeks"]
    remove(home, "two-weeks")
    assert snapshots.snapshots(home) == []


def test_a_home_that_is_gone_is_brought_back(home: Path) -> None:
    save(home, "a")
    home.rename(home.with_name("elsewhere"))
    load(home, "a")
    assert (home / "lake" / "a.parquet").read_text() == "first"


@pytest.mark.parametrize("name", ["", "Two", "a/b", "../a", "a" * 41, "-a"])
def test_a_wrong_name_is_refused(home: Path, name: str) -> None:
    with pytest.raises(SnapshotError, match="no name"):
        save(home, name)


def test_nothing_is_overwritten_and_nothing_unknown_is_loaded(home: Path) -> None:
    save(home, "a")
    with pytest.raises(SnapshotError, match="already"):
        save(home, "a")
    for action in (load, remove):
        with pytest.raises(SnapshotError, match="there are a"):
            action(home, "b")
    assert (home / "lake" / "a.parquet").read_text() == "first"


def test_an_empty_home_has_no_snapshot(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="no world"):
        save(tmp_path / "home", "a")


def test_a_copy_that_fails_leaves_nothing_and_keeps_the_home(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(home, "a")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshots.shutil, "copytree", full)
    for action, name in ((load, "a"), (save, "b")):
        with pytest.raises(SnapshotError, match="No space left"):
            action(home, name)
    assert (home / "lake" / "a.parquet").read_text() == "first"
    names = [path.name for path in snapshots.directory(home).iterdir()]
    assert names == ["a"]


def test_commands_say_what_they_did(home: Path) -> None:
    def call(*words: str) -> str:
        done = CliRunner().invoke(build(), ["snapshot", *words], env={"DOJO_HOME": str(home)})
        return done.stdout + done.stderr

    assert "no snapshot" in call("list")
    assert "saved a" in call("save", "a")
    assert '"name": "a"' in call("list", "--json")
    assert "loaded a" in call("load", "a", "--yes")
    assert "there are a" in call("load", "b", "--yes")
    assert "removed a" in call("remove", "a")
