"""`dojo backtest` on new files: the whole way, and refusals."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from dojo.cli.training.train import backtest
from tests.support.payments import payments

pytestmark = pytest.mark.integration

START = datetime(2019, 5, 1, tzinfo=UTC)  # dates outside all specs and public files

app = typer.Typer()
app.command()(backtest)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "payments.csv"
    payments(days=30, per_day=150, start=START).rename({"merchant_id": "shop"}).write_csv(path)
    return path


def run(file: Path, *arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(
        app, ["--transactions", str(file), *arguments], catch_exceptions=False
    )
    return done.exit_code, done.stdout, done.stderr


def test_any_file_with_the_columns_is_backtested(file: Path) -> None:
    arguments = (
        "--map",
        "shop=merchant_id",
        "--train-start",
        "2019-05-10",
        "--train-days",
        "6",
        "--delay-days",
        "7",
        "--test-days",
        "4",
    )
    code, out, _ = run(file, *arguments, "--json")
    assert code == 0
    found = json.loads(out)
    rows = pl.read_csv(file, try_parse_dates=True)
    day = pl.col("time").dt.date()
    train = rows.filter(day.is_between(date(2019, 5, 10), date(2019, 5, 15)))
    assert (found["train_rows"], found["train_positives"]) == (len(train), train["label"].sum())
    assert found["test_rows"] < 4 * 150  # compromised customers are left out
    assert found["test_positives"] > 0
    assert (
        found["pr_auc"] > 3 * found["test_positives"] / found["test_rows"]
    )  # well above a random score
    assert 0 < found["card_precision_at_100"] <= 1


def test_the_same_call_gives_the_same_figures(file: Path) -> None:
    arguments = (
        "--map",
        "shop=merchant_id",
        "--train-start",
        "2019-05-08",
        "--train-days",
        "5",
        "--test-days",
        "3",
        "--json",
    )
    first, second = (json.loads(run(file, *arguments)[1]) for _ in range(2))
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--train-start", "2019-05-20"),
            "is not covered: the file holds transactions from 2019-05-01 to 2019-05-30",
        ),
        (("--train-start", "2019-04-20"), "is not covered"),
        (("--train-start", "10.5.2019"), "expected a date such as 2018-06-10"),
        (
            ("--train-start", "2019-05-02", "--map", "nonsense"),
            "--map: expected their_column=our_column",
        ),
        (
            ("--train-start", "2019-05-02", "--train-days", "10000000000"),
            "less than or equal to 3650",
        ),
        (
            ("--train-start", "2019-05-02", "--delay-days", "10000000000"),
            "less than or equal to 3650",
        ),
        (
            ("--train-start", "2019-05-02", "--test-days", "10000000000"),
            "less than or equal to 3650",
        ),
    ],
)
def test_what_cannot_be_answered_is_refused_clearly(
    file: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = run(file, "--map", "shop=merchant_id", *arguments)
    assert code != 0
    assert message in " ".join(err.split())
    assert out == ""


def test_a_file_without_fraud_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "honest.parquet"
    payments(days=30, fraud_rate=0.0, start=START).write_parquet(path)
    code, _, err = run(path, "--train-start", (START + timedelta(days=2)).date().isoformat())
    assert code == 1
    assert (
        "the training days (2019-05-03 to 2019-05-09) need fraudulent and legitimate transactions"
        in " ".join(err.split())
    )
