from __future__ import annotations

import json
import shlex
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from dojo.cli.world.data import app
from dojo.shop.datasets import TRANSACTION_SCHEMA, DatasetError, read_transactions
from services.simulator.sources import importing
from services.simulator.sources.importing import import_transactions
from services.simulator.sources.replay import ReplaySource

START = datetime(2021, 3, 1, tzinfo=UTC)


def silent(step: str, share: float) -> None: ...


def raw(rows: int = 300) -> pl.DataFrame:
    """Make ten days of payments with the public data set's columns, unordered."""
    return pl.DataFrame(
        {
            "TRANSACTION_ID": range(rows),
            "TX_DATETIME": [START + timedelta(days=10) * n / rows for n in range(rows)],
            "CUSTOMER_ID": [f"{n % 17}" for n in range(rows)],
            "TERMINAL_ID": [f"{n % 23}" for n in range(rows)],
            "TX_AMOUNT": [float(n % 50) for n in range(rows)],
            "TX_FRAUD": [int(n % 100 == 0) for n in range(rows)],
        }
    ).sample(fraction=1, shuffle=True, seed=1)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "my payments (1).parquet"
    raw().write_parquet(path)
    return path


def test_an_import_keeps_data_and_summary_under_a_name_of_its_content(
    tmp_path: Path, source: Path
) -> None:
    directory = tmp_path / "imports"
    imported = import_transactions(source, directory, {}, silent)
    assert not imported.already_imported
    assert (imported.rows, imported.customers, imported.merchants, imported.fraud_rate) == (
        300,
        17,
        23,
        0.01,
    )
    kept = Path(imported.path)
    assert sorted(p.name for p in directory.iterdir()) == [
        f"my-payments-1-{imported.sha256[:12]}{s}" for s in (".json", ".parquet")
    ]
    assert json.loads(kept.with_suffix(".json").read_text())["rows"] == 300
    assert dict(pl.read_parquet_schema(kept)) == TRANSACTION_SCHEMA


def test_the_same_content_is_imported_once_whatever_its_file_is_called(
    tmp_path: Path, source: Path
) -> None:
    first = import_transactions(source, tmp_path / "imports", {}, silent)
    before = Path(first.path).stat().st_mtime_ns
    other = tmp_path / "other.csv"
    pl.read_parquet(source).write_csv(other)
    again = import_transactions(other, tmp_path / "imports", {}, silent)
    assert again.already_imported
    assert again.path == first.path
    assert Path(first.path).stat().st_mtime_ns == before
    assert len(list((tmp_path / "imports").iterdir())) == 2


def test_other_content_is_another_data_set(tmp_path: Path, source: Path) -> None:
    first = import_transactions(source, tmp_path / "imports", {}, silent)
    raw(299).write_parquet(source)
    assert import_transactions(source, tmp_path / "imports", {}, silent).path != first.path


def test_a_refused_file_leaves_nothing(tmp_path: Path, source: Path) -> None:
    raw().with_columns(TX_AMOUNT=-1.0).write_parquet(source)
    with pytest.raises(DatasetError):
        import_transactions(source, tmp_path / "imports", {}, silent)
    assert not list(tmp_path.glob("imports/*"))


def test_a_write_that_fails_leaves_nothing(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(importing.os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        import_transactions(source, tmp_path / "imports", {}, silent)
    assert not list(tmp_path.glob("imports/*"))


def test_what_a_killed_import_left_is_removed_by_the_next(tmp_path: Path, source: Path) -> None:
    directory = tmp_path / "imports"
    directory.mkdir()
    process = 2**22 + 1  # above Linux' largest process id, so surely dead
    (directory / f".importing-{process}-x.parquet").write_bytes(b"half")
    import_transactions(source, directory, {}, silent)
    assert not list(directory.glob(".importing-*"))


def test_a_replay_gives_the_imported_rows_day_by_day(tmp_path: Path, source: Path) -> None:
    replay = ReplaySource(Path(import_transactions(source, tmp_path / "imports", {}, silent).path))
    assert replay.days() == (date(2021, 3, 1), date(2021, 3, 10))
    days = [replay.day(date(2021, 3, 1) + timedelta(days=n)) for n in range(10)]
    assert [d["time"].dt.date().n_unique() for d in days] == [1] * 10
    every = pl.concat(days)
    assert every["transaction_id"].to_list() == [str(n) for n in range(300)]
    assert every["time"].is_sorted()
    assert replay.day(date(2021, 3, 11)).is_empty()
    assert dict(replay.day(date(2021, 3, 11)).schema) == TRANSACTION_SCHEMA


def test_only_an_imported_file_can_be_replayed(tmp_path: Path, source: Path) -> None:
    with pytest.raises(DatasetError, match="import it first"):
        ReplaySource(source)
    with pytest.raises(DatasetError, match=r"nowhere\.parquet: cannot be replayed"):
        ReplaySource(tmp_path / "nowhere.parquet")


def test_the_command_imports_and_says_what_is_next(tmp_path: Path, source: Path) -> None:
    home = {"DOJO_HOME": str(tmp_path / "home")}
    done = CliRunner().invoke(app, ["import", str(source)], env=home)
    assert done.exit_code == 0
    assert "300" in done.stdout
    assert "dojo demo --transactions" in done.stdout
    again = CliRunner().invoke(app, ["import", str(source), "--json"], env=home)
    assert json.loads(again.stdout)["already_imported"] is True


def test_the_next_step_that_is_printed_works_as_it_stands(tmp_path: Path) -> None:
    source = tmp_path / "shops.csv"
    raw().rename({"TERMINAL_ID": "shop"}).write_csv(source, separator=";")
    home = {"DOJO_HOME": str(tmp_path / "a home")}
    mapped = [str(source), "--map", "shop=merchant_id", "--separator", ";"]
    done = CliRunner().invoke(app, ["import", *mapped], env=home)
    assert done.exit_code == 0, done.stderr
    (step,) = (line for line in done.stdout.splitlines() if "dojo demo --transactions" in line)
    *_, path = shlex.split(step)
    assert read_transactions(Path(path)).height == 300  # its columns need no --map
    refused = CliRunner().invoke(app, ["import", str(source), "--separator", ";;"], env=home)
    assert refused.exit_code == 2


def test_the_command_refuses_with_every_fault_and_a_next_step(tmp_path: Path, source: Path) -> None:
    raw().rename({"TERMINAL_ID": "shop"}).with_columns(TX_AMOUNT=-1.0).write_parquet(source)
    home = {"DOJO_HOME": str(tmp_path / "home")}
    missing = CliRunner().invoke(app, ["import", str(source)], env=home)
    assert missing.exit_code == 1
    assert "--map shop=merchant_id" in missing.stderr
    negative = CliRunner().invoke(
        app, ["import", str(source), "--map", "shop=merchant_id"], env=home
    )
    assert negative.exit_code == 1
    assert "TX_AMOUNT: negative in 300 rows" in negative.stderr
    wrong = CliRunner().invoke(app, ["import", str(source), "--map", "shop"], env=home)
    assert wrong.exit_code == 2
    assert "THEIRS=OURS" in wrong.stderr
