# ruff: noqa: DTZ001  (files carry times without a zone)
from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from dojo.core.state.clock import wall_now
from dojo.shop.datasets import TRANSACTION_SCHEMA, CsvFormat, DatasetError, read_transactions

HEADER = "transaction_id,time,customer_id,merchant_id,amount,label"
GOOD = "1,2018-04-01 00:00:31,596,3156,57.16,0"


def csv(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def refusal(path: Path, **mapping: str) -> str:
    with pytest.raises(DatasetError) as refused:
        read_transactions(path, mapping)
    return str(refused.value)


def test_the_public_data_sets_names_and_types_are_recognised(tmp_path: Path) -> None:
    path = tmp_path / "public.parquet"
    pl.DataFrame(
        {
            "TRANSACTION_ID": [1, 0],
            "TX_DATETIME": pl.Series(
                [datetime(2018, 4, 1, 0, 2, 10), datetime(2018, 4, 1, 0, 0, 31)],
                dtype=pl.Datetime("ns"),
            ),
            "CUSTOMER_ID": ["4961", "596"],
            "TERMINAL_ID": ["3412", "3156"],
            "TX_AMOUNT": [81.51, 57.16],
            "TX_FRAUD": [1, 0],
            "TX_FRAUD_SCENARIO": [2, 0],
        }
    ).write_parquet(path)
    frame = read_transactions(path)
    assert dict(frame.schema) == TRANSACTION_SCHEMA
    assert frame.row(0) == (
        "0",
        "596",
        "3156",
        datetime(2018, 4, 1, 0, 0, 31, tzinfo=UTC),
        57.16,
        0,
    )
    assert frame["transaction_id"].to_list() == ["0", "1"], "sorted by time"


def test_canonical_names_in_any_case_and_other_columns_are_fine(tmp_path: Path) -> None:
    path = csv(
        tmp_path / "f.csv",
        f"{GOOD},x",
        header="Transaction_ID,TIME,customer_id,Merchant_Id,Amount,LABEL,note",
    )
    assert read_transactions(path).columns == list(TRANSACTION_SCHEMA)


def test_a_mapping_names_columns_and_wins_over_recognised_names(tmp_path: Path) -> None:
    path = csv(
        tmp_path / "f.csv",
        "1,2018-04-01,a,b,5,7,0",
        header="ref,time,customer_id,merchant_id,amount,total,label",
    )
    frame = read_transactions(path, {"ref": "transaction_id", "total": "amount"})
    assert frame.row(0)[0] == "1"
    assert frame.row(0)[4] == 7.0


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2018-04-01 00:00:31", datetime(2018, 4, 1, 0, 0, 31, tzinfo=UTC)),
        ("2018-04-01T00:00:31Z", datetime(2018, 4, 1, 0, 0, 31, tzinfo=UTC)),
        ("2018-04-01T02:00:31.500000+02:00", datetime(2018, 4, 1, 0, 0, 31, 500_000, tzinfo=UTC)),
        ("2018-04-01 12:30", datetime(2018, 4, 1, 12, 30, tzinfo=UTC)),
        ("1969-12-31", datetime(1969, 12, 31, tzinfo=UTC)),
    ],
)
def test_iso_times_are_read_in_every_usual_spelling(
    tmp_path: Path, written: str, expected: datetime
) -> None:
    rows = [f"1,{written},a,b,5,0", "2,2000-01-01 00:00:00,a,b,5,0"]
    times = (
        read_transactions(csv(tmp_path / "f.csv", *rows)).sort("transaction_id")["time"].to_list()
    )
    assert times == [expected, datetime(2000, 1, 1, tzinfo=UTC)]


@pytest.mark.parametrize(
    "ids", [[17, 18], [17.0, 18.0], ["17", "18"], pl.Series(["17", "18"], dtype=pl.Categorical)]
)
def test_ids_may_be_numbers_or_text(tmp_path: Path, ids: list[object]) -> None:
    path = tmp_path / "f.parquet"
    time = datetime(2020, 1, 1, tzinfo=UTC)
    pl.DataFrame(
        {
            "transaction_id": ids,
            "customer_id": ids,
            "merchant_id": ids,
            "time": time,
            "amount": [1, 2],
            "label": [True, False],
        }
    ).write_parquet(path)
    frame = read_transactions(path)
    assert frame["customer_id"].to_list() == ["17", "18"]
    assert frame["label"].to_list() == [1, 0]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (
            "2,04/01/2018 12:00,a,b,5,0",
            "time: not a time such as 2018-04-01 12:30:00 or 2018-04-01T12:30:00+02:00"
            " in 1 row, first in row 2: '04/01/2018 12:00'",
        ),
        ("2,2018-04-01,a,b,abc,0", "amount: not a number in 1 row, first in row 2: 'abc'"),
        ("2,2018-04-01,a,b,-0.01,0", "amount: negative in 1 row, first in row 2: '-0.01'"),
        ("2,2018-04-01,a,b,inf,0", "amount: not finite in 1 row, first in row 2: 'inf'"),
        ("2,2018-04-01,a,b,NaN,0", "amount: not finite in 1 row, first in row 2: 'NaN'"),
        ("2,2018-04-01,a,b,,0", "amount: missing in 1 row, first in row 2: (empty)"),
        ("2,2018-04-01,a,b,5,2", "label: neither 0 nor 1 in 1 row, first in row 2: '2'"),
        ("2,2018-04-01,a,b,5,0.5", "label: neither 0 nor 1 in 1 row, first in row 2: '0.5'"),
        ("2,2018-04-01,a,b,5,fraud", "label: neither 0 nor 1 in 1 row, first in row 2: 'fraud'"),
        ("2,2018-04-01,,b,5,0", "customer_id: missing in 1 row, first in row 2: (empty)"),
        ("2,2018-04-01,a,  ,5,0", "merchant_id: missing in 1 row, first in row 2: '  '"),
        (
            "1,2018-04-01,a,b,5,0",
            "transaction_id: repeats an earlier row's id in 1 row, first in row 2: '1'",
        ),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_column_count_and_example(
    tmp_path: Path, row: str, fault: str
) -> None:
    message = refusal(csv(tmp_path / "f.csv", GOOD, row))
    assert message == f"{tmp_path / 'f.csv'}: 1 fault in 2 rows\n  {fault}"


def test_a_time_in_the_future_is_refused(tmp_path: Path) -> None:
    tomorrow = wall_now() + timedelta(days=1)
    message = refusal(csv(tmp_path / "f.csv", GOOD, f"2,{tomorrow:%Y-%m-%d %H:%M:%S},a,b,5,0"))
    assert "time: in the future (now is " in message
    assert f"in 1 row, first in row 2: '{tomorrow:%Y-%m-%d %H:%M:%S}'" in message


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    message = refusal(csv(tmp_path / "f.csv", GOOD, "1,later,,b,-5,0", "3,2018-04-01,a,b,-7,x"))
    assert message.startswith(f"{tmp_path / 'f.csv'}: 5 faults in 3 rows")
    assert "amount: negative in 2 rows, first in row 2: '-5'" in message
    for column in (
        "transaction_id: repeats",
        "time: not a time",
        "customer_id: missing",
        "label: neither",
    ):
        assert column in message


@pytest.mark.parametrize(
    ("column", "values", "fault"),
    [
        (
            "time",
            [1522540831, 1522540832],
            "expected times such as 2018-04-01 12:30:00 (a bare number's unit cannot be known),"
            " found the type Int64",
        ),
        ("amount", [True, False], "expected numbers, found the type Boolean"),
        ("customer_id", [[1], [2]], "expected text or whole numbers, found the type List(Int64)"),
        (
            "merchant_id",
            [1.5, 2.0],
            "merchant_id: not a whole number in 1 row, first in row 1: 1.5",
        ),
        ("label", [datetime(2020, 1, 1), None], "expected 0 or 1, found the type Datetime"),
    ],
)  # fmt: skip
def test_a_parquet_column_of_the_wrong_type_is_refused(
    tmp_path: Path, column: str, values: list[object], fault: str
) -> None:
    path = tmp_path / "f.parquet"
    columns = {
        "transaction_id": [1, 2],
        "customer_id": [1, 2],
        "merchant_id": [1, 2],
        "amount": [1.0, 2.0],
        "label": [0, 1],
    }
    times = [datetime(2020, 1, 1), datetime(2020, 1, 2)]
    pl.DataFrame({**columns, "time": times, column: values}).write_parquet(path)
    assert fault in refusal(path)


def test_missing_columns_are_named_with_what_was_found_and_how_to_map_it(tmp_path: Path) -> None:
    message = refusal(csv(tmp_path / "f.csv", "1,2,3", header="transaction_id,shop,amount"))
    assert "missing columns: customer_id, merchant_id, time, label" in message
    assert "the file has transaction_id, shop, amount" in message
    assert f"dojo data import {tmp_path / 'f.csv'} --map shop=customer_id" in message


def test_a_wrong_mapping_is_refused(tmp_path: Path) -> None:
    message = refusal(csv(tmp_path / "f.csv", GOOD), nowhere="amount", label="fraud")
    assert "--map nowhere=amount: the file has no column 'nowhere'" in message
    assert "--map label=fraud: 'fraud' is no column of ours" in message


def test_two_columns_for_one_are_refused(tmp_path: Path) -> None:
    path = csv(tmp_path / "f.csv", f"{GOOD},9", header=f"{HEADER},TX_AMOUNT")
    assert "amount: more than one column for it: amount, TX_AMOUNT" in refusal(path)


def test_files_that_hold_nothing_or_cannot_be_read_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.touch()
    assert "the file is empty (0 bytes)" in refusal(empty)
    assert "holds no rows" in refusal(csv(tmp_path / "header.csv"))
    assert "No such file" in refusal(tmp_path / "nowhere.csv")
    assert "Is a directory" in refusal(tmp_path)
    text = csv(tmp_path / "text.parquet", GOOD)
    assert "does not begin with PAR1" in refusal(text)
    torn = tmp_path / "torn.parquet"
    pl.DataFrame({"a": range(1000)}).write_parquet(torn)
    torn.write_bytes(torn.read_bytes()[:-100])
    assert "cannot be read as Parquet" in refusal(torn)
    ragged = csv(tmp_path / "ragged.csv", GOOD, f"{GOOD},extra,cells")
    assert "cannot be read as CSV" in refusal(ragged)
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"transaction_id,time\n\xff\xfe,\x00\n")
    assert str(binary) in refusal(binary)


def test_a_gzipped_csv_is_read(tmp_path: Path) -> None:
    path = tmp_path / "f.csv.gz"
    path.write_bytes(gzip.compress(f"{HEADER}\n{GOOD}\n".encode()))
    assert read_transactions(path).height == 1


def test_a_backtest_may_read_a_future_that_no_world_has_lived(tmp_path: Path) -> None:
    path = tmp_path / "future.csv"
    path.write_text(
        "transaction_id,time,customer_id,merchant_id,amount,label\n1,2199-05-01 12:00:00,c,m,10,0\n"
    )
    with pytest.raises(DatasetError, match="in the future"):
        read_transactions(path)
    assert read_transactions(path, future_allowed=True)["time"][0].year == 2199


# ---- what spreadsheets, data frames and editors do to a file


def test_a_whole_number_that_became_a_float_is_the_same_customer(tmp_path: Path) -> None:
    frame = read_transactions(csv(tmp_path / "f.csv", GOOD, "2,2018-04-01,596.0,v1.0,5,0"))
    assert frame["customer_id"].to_list() == ["596", "596"]
    assert set(frame["merchant_id"]) == {"3156", "v1.0"}
    assert "repeats an earlier row's id" in refusal(
        csv(tmp_path / "g.csv", GOOD, "1.0,2018-04-01,a,b,5,0")
    )


@pytest.mark.parametrize("written", ["3.77E+15", "1e+12", "3,77E+15"])
def test_an_id_that_a_spreadsheet_rounded_is_refused(tmp_path: Path, written: str) -> None:
    path = csv(tmp_path / "f.csv", GOOD, f'2,2018-04-01,"{written}",b,5,0')
    assert (
        "customer_id: looks like a long number that a spreadsheet has rounded, so that different"
        f" ids became one in 1 row, first in row 2: {written!r}" in refusal(path)
    )


def test_a_hexadecimal_id_with_an_e_is_an_id(tmp_path: Path) -> None:
    frame = read_transactions(csv(tmp_path / "f.csv", GOOD, "2,2018-04-01,7e12,1E5,5,0"))
    assert set(frame["customer_id"]) == {"596", "7e12"}


@pytest.mark.parametrize(
    "written", ["nan", "NaN", "None", "NULL", "N/A", "#N/A", "<NA>", "undefined"]
)
def test_what_stands_for_a_missing_value_is_no_entity(tmp_path: Path, written: str) -> None:
    path = csv(tmp_path / "f.csv", GOOD, f"2,2018-04-01,a,{written},5,0")
    assert (
        "merchant_id: stands for a missing value and is no id in 1 row, first in row 2:"
        f" {written!r}" in refusal(path)
    )


def test_a_number_that_is_not_exact_as_a_float_is_no_id(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    rows = {
        "transaction_id": [1, 2],
        "customer_id": [2.0**53, 3.0],
        "merchant_id": [1, 2],
        "amount": [1.0, 2.0],
        "label": [0, 1],
    }
    pl.DataFrame({**rows, "time": [datetime(2020, 1, 1), datetime(2020, 1, 2)]}).write_parquet(path)
    assert "customer_id: too large to be exact as a float" in refusal(path)


@pytest.mark.parametrize("header", [f"{HEADER},amount", f"{HEADER},note, note"])
def test_a_column_that_the_header_names_twice_is_refused(tmp_path: Path, header: str) -> None:
    more = ",9" * (header.count(",") - HEADER.count(","))
    for path in (tmp_path / "f.csv", tmp_path / "f.csv.gz"):
        text = f"{header}\n{GOOD}{more}\n".encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
        assert (
            f"the header names more than one column '{header.rpartition(',')[2].strip()}'"
            in refusal(path)
        )


def test_blank_lines_at_the_end_are_no_rows_and_one_in_the_middle_is_a_fault(
    tmp_path: Path,
) -> None:
    assert read_transactions(csv(tmp_path / "f.csv", GOOD, "", ",,,,,", " , , , , , ")).height == 1
    assert "6 faults in 3 rows" in refusal(
        csv(tmp_path / "g.csv", GOOD, ",,,,,", GOOD.replace("1", "2", 1))
    )


@pytest.mark.parametrize("zone", [" UTC", " GMT", "UTC", "Z"])
def test_a_time_may_name_utc(tmp_path: Path, zone: str) -> None:
    frame = read_transactions(
        csv(tmp_path / "f.csv", f"1,2018-04-01 00:00:31{zone},596,3156,57.16,0")
    )
    assert frame["time"][0] == datetime(2018, 4, 1, 0, 0, 31, tzinfo=UTC)


@pytest.mark.parametrize(("separator", "said"), [(";", "';'"), ("|", "'|'"), ("\t", "$'\\t'")])
def test_another_separator_is_recognised_and_can_be_said(
    tmp_path: Path, separator: str, said: str
) -> None:
    path = csv(
        tmp_path / "f.csv", GOOD.replace(",", separator), header=HEADER.replace(",", separator)
    )
    assert f"seems to be the separator: dojo data import {path} --separator {said}" in refusal(path)
    assert read_transactions(path, csv_format=CsvFormat(separator)).height == 1


def test_decimal_commas_are_read_when_they_are_said(tmp_path: Path) -> None:
    written = CsvFormat(";", decimal_comma=True)
    path = tmp_path / "f.csv"
    path.write_text(
        f'{HEADER}\n1,2018-04-01,a,b,"57,16",0\n2,2018-04-02,a,b,5,0\n'.replace(",", ";").replace(
            "57;16", "57,16"
        )
    )
    assert read_transactions(path, csv_format=written)["amount"].to_list() == [57.16, 5.0]
    said = (
        "amount: not a number, unless the comma is a decimal one (--decimal-comma) in 1 row, first"
        " in row 1: '57,16'"
    )
    assert said in _refused(path, CsvFormat(";"))
    path.write_text(f"{HEADER}\n1,2018-04-01,a,b,1.000,0\n".replace(",", ";"))
    assert "amount: not a number in 1 row, first in row 1: '1.000'" in _refused(
        path, written
    )  # one euro, or a thousand


def _refused(path: Path, csv_format: CsvFormat) -> str:
    with pytest.raises(DatasetError) as refused:
        read_transactions(path, csv_format=csv_format)
    return str(refused.value)


# ---- labels that a later row corrects


def test_the_last_row_of_a_payment_has_its_label_and_that_is_told(tmp_path: Path) -> None:
    first, wrong, again = "1,2018-04-01,a,b,5,0", "2,2018-04-01,a,b,5,1", "3,2018-04-02,a,b,5,1"
    told: list[str] = []
    path = csv(
        tmp_path / "f.csv",
        first,
        wrong,
        again,
        "1,2018-04-01,a,b,5.00,1",
        "2,2018-04-01T00:00:00Z,a,b,5,0",
        again,
    )
    frame = read_transactions(path, note=told.append)
    assert dict(frame.select("transaction_id", "label").rows()) == {"1": 1, "2": 0, "3": 1}
    assert told == [
        f"{path}: rows that repeat an earlier payment: 3. The label of a payment's last row counts."
        " Payments whose label that corrects: 2."
    ]


@pytest.mark.parametrize(
    "row",
    [
        "1,2018-04-02,a,b,5,1",
        "1,2018-04-01,c,b,5,1",
        "1,2018-04-01,a,c,5,1",
        "1,2018-04-01,a,b,6,1",
    ],
)
def test_another_payment_with_the_same_id_is_no_correction(tmp_path: Path, row: str) -> None:
    message = refusal(csv(tmp_path / "f.csv", "1,2018-04-01,a,b,5,0", "1,2018-04-01,a,b,5,1", row))
    assert "transaction_id: repeats an earlier row's id in 1 row, first in row 3: '1'" in message
