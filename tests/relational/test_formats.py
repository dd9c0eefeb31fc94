"""Numbers and times as people write them are proposed, with the form that they are read in."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import distgnn as dg
from distgnn.cli import main
from distgnn.relational.encode import UNKNOWN, encode
from distgnn.relational.measure import MARKS, measured
from distgnn.relational.schema import Column, ForeignKey, Kind, Unit


def read(values: list[Any], name: str = "c") -> tuple[Column, list[Any], str]:
    """Measure a column and read it as measured: (column, values, why it is a guess)."""
    column = pa.chunked_array([pa.array(values)])
    found = measured(name, column)
    return found.column, encode(column, found.column, name).arrays[""].to_pylist(), found.guess


def at(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 1_000_000  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "formats", "first"),
    [
        (["31/12/2023", "1/2/2023", None], ("%d/%m/%Y",), at(2023, 12, 31)),
        (["12/31/2023", "1/2/2023"], ("%m/%d/%Y",), at(2023, 12, 31)),
        (["01.02.2023 17:07", "13.02.2023 07:00"], ("%d.%m.%Y %H:%M",), at(2023, 2, 1, 17, 7)),
        (["01/02/2023 5:07 PM", "01/22/2023 1:00 AM"], ("%m/%d/%Y %I:%M %p",), at(2023, 1, 2, 17, 7)),
        (["Jan 5, 2024", "May 31, 2024"], ("%b %d, %Y",), at(2024, 1, 5)),
        (["5-MAR-21", "16-APR-99"], ("%d-%b-%y",), at(2021, 3, 5)),
        (["2024-1-5", "2024-12-05"], ("%Y-%m-%d",), at(2024, 1, 5)),
        (["2023-01-01", "31/12/2023", "2020-01-01 10:00"], ("%d/%m/%Y",), at(2023, 1, 1)),
    ],
)
def test_times(values: list[Any], formats: tuple[str, ...], first: int) -> None:
    column, found, guess = read(values)
    assert (column.kind, column.formats, found[0]) == (Kind.TIME, formats, first)
    assert "look like times in the form" in guess


def test_a_sorted_column_is_looked_at_all_over() -> None:
    start = datetime(2020, 1, 1, tzinfo=UTC)
    values = [(start + timedelta(minutes=30 * step)).strftime("%d/%m/%Y %H:%M") for step in range(20_000)]
    column, found, _ = read(values)  # the first 4,096 are ambiguous or of the first months
    assert (column.formats, found[-1]) == (("%d/%m/%Y %H:%M",), at(2021, 2, 20, 15, 30))
    days = [f"{1 + step // 2000:02d}/01/2020" for step in range(20_000)] + ["31/01/2020"]
    assert read(days)[0].formats == ("%d/%m/%Y",)


@pytest.mark.parametrize("months", ["01/{:02d}/2023", "{:02d}/01/2023"])
def test_first_days_of_months(months: str) -> None:
    _, found, _ = read([months.format(month) for month in range(1, 13)])
    assert found == [at(2023, month, 1) for month in range(1, 13)]


@pytest.mark.parametrize("name", ["amount", "order_date"])
def test_whole_numbers_are_dates_only_if_the_name_says_so(name: str) -> None:
    column, found, _ = read([20230101, 20231231], name)
    assert (column.kind, found[0]) == ((Kind.TIME, at(2023, 1, 1)) if name == "order_date" else (Kind.NUMBER, 20230101))


@pytest.mark.parametrize("name", ["started", "startTime", "ended_unix", "day"])
def test_names_of_times(name: str) -> None:
    column, found, guess = read([1_700_000_000, 1_700_000_001], name)
    assert (column.kind, column.unit, found[0]) == (Kind.TIME, Unit.SECONDS, at(2023, 11, 14, 22, 13, 20))
    assert guess
    assert read([1_700_000_000, 1_700_000_001], "phone")[0].kind is Kind.NUMBER


def test_julian_days() -> None:
    column, found, guess = read([2_459_945.5, 2_459_945.75, None], "day")
    assert (column.kind, column.unit) == (Kind.TIME, Unit.JULIAN)
    assert found[:2] == [at(2023, 1, 1), at(2023, 1, 1, 6)]
    assert "Julian days" in guess
    whole = encode(pa.array([2_440_588]), column, "day").arrays[""].to_pylist()
    assert whole == [at(1970, 1, 1, 12)]


def test_epochs_in_text_files() -> None:
    column, found, guess = read(["1700000000", "1700000001", None], "ts")
    assert (column.kind, column.unit, found[0]) == (Kind.TIME, Unit.SECONDS, at(2023, 11, 14, 22, 13, 20))
    assert guess


@pytest.mark.parametrize(
    ("values", "mark", "numbers"),
    [
        (["1.234,50 €", "3,5 €", "-2 €"], ",", [1234.5, 3.5, -2]),
        (["$1,234.50", "$3", "-$5.25"], ".", [1234.5, 3, -5.25]),
        (["0,5", "2,75", "100"], ",", [0.5, 2.75, 100]),
        (["12%", "3.5%"], ".", [12, 3.5]),
    ],
)
def test_numbers(values: list[str], mark: str, numbers: list[float]) -> None:
    column, found, guess = read(values)
    assert (column.kind, column.formats, found) == (Kind.NUMBER, (mark,), numbers)
    assert f"decimal mark {mark!r}" in guess


@pytest.mark.parametrize(
    "values",
    [
        ["555 1234", "555 9999"],
        ["01234", "04567"],
        ["1.2.3", "2.3.4"],
        ["10:30", "11:20"],
        ["1-2", "3-4"],
        ["May 1", "x"],
    ],
)
def test_what_is_neither(values: list[str]) -> None:
    assert read(values)[0].kind is Kind.TEXT


@pytest.mark.parametrize(
    ("value", "other", "kind"),
    [
        ("2024-01-{:02d}", "0000-00-00", Kind.TIME),
        ("2024-01-{:02d}", "soon", Kind.TIME),
        ("{:02d}.01.2024", "soon", Kind.TIME),
        ("{:d}", "unknown", Kind.NUMBER),
        ("{:d}", "see note", Kind.NUMBER),
        ("{:d},50", "see note", Kind.NUMBER),
        ("17000000{:02d}", "see note", Kind.TIME),
        ("202401{:02d}", "0", Kind.TIME),
    ],
)
def test_one_bad_cell_does_not_change_the_kind(value: str, other: str, kind: Kind) -> None:
    values = [value.format(10 + i % 18) for i in range(60)]
    column, found, guess = read([*values, other], "day")
    assert (column.kind, column.nulls) == (kind, (other,))
    good, _, _ = read(values, "day")
    assert (column.unit, column.formats) == (good.unit, good.formats)
    assert sum(one != one or one == UNKNOWN for one in found) == 1
    if other not in MARKS:
        assert f"1 other values count as missing: {other!r} (1)" in guess


def test_values_of_another_kind_are_no_nulls_if_they_are_many() -> None:
    column, found, guess = read([*(str(i) for i in range(1500)), *(f"about {i}" for i in range(25))], "n")
    assert (column.kind, column.nulls, sum(one != one for one in found)) == (Kind.NUMBER, (), 25)
    assert "25 other values count as missing: 'about 0' (1), 'about 1' (1), 'about 2' (1) and 22 more" in guess
    assert read([*map(str, range(100)), *"abc"], "n")[0].kind is Kind.TEXT
    assert read([*map(str, range(100)), "007"], "n")[0].kind is Kind.TEXT  # a number with leading zeros is a name


def test_numbers_out_of_range_do_not_hide_times() -> None:
    column, found, guess = read([*range(1_700_000_000, 1_700_000_060), 0], "ts")
    assert (column.kind, column.unit, column.nulls, found[-1]) == (Kind.TIME, Unit.SECONDS, ("0",), UNKNOWN)
    assert "1 other values count as missing: '0' (1)" in guess


def test_a_table_without_a_time_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    rows = "".join(f"{i},{'soon' if i % 9 == 0 else f'2024-01-{i % 28 + 1:02}'}\n" for i in range(60))
    (tmp_path / "in" / "t.csv").write_text(f"id,placed\n{rows}")
    store = str(tmp_path / "s")
    assert main(["database", "build", "--input", str(tmp_path / "in"), "--out", store, "--accept-proposal"]) == 0
    told = "warning: t: has no time, so all its rows are visible always, but placed looks like times"
    assert told in capsys.readouterr().out
    assert main(["database", "stat", store]) == 0
    assert told in capsys.readouterr().out


def test_formats_are_written_to_the_schema_file_and_read_from_it(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    rows = "".join(f"{i};{i % 28 + 1:02}/12/2023;{i},5\n" for i in range(40))
    (tmp_path / "in" / "t.csv").write_text(f"id;placed;price\n{rows}40;soon;7\n")
    with pytest.raises(dg.RequestError, match="4 keys and times are proposed"):
        dg.build_database(input=tmp_path / "in", out=tmp_path / "store")
    schema = tmp_path / "store.schema.toml"
    assert (
        'placed = { kind = "time", nulls = ["soon"], formats = ["%d/%m/%Y"] }  # proposed: texts such as'
        in schema.read_text()
    )
    database = dg.build_database(input=tmp_path / "in", out=tmp_path / "store", schema=schema)
    assert database.times("t", "placed")[0] == at(2023, 12, 1)
    assert database.numbers("t", "price")[1] == 1.5
    schema.write_text(schema.read_text().replace('formats = [","]', 'formats = ["%d"]'))
    with pytest.raises(dg.RequestError, match="formats of a number are its decimal mark"):
        dg.build_database(input=tmp_path / "in", out=tmp_path / "store", schema=schema, overwrite=True)


def test_names_of_sqlite_differ_in_case_and_numbers_of_pandas_are_keys(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as connection, connection:
        connection.executescript(
            "CREATE TABLE Users (Id INTEGER PRIMARY KEY); CREATE TABLE b (i INTEGER PRIMARY KEY, u INTEGER REFERENCES users(ID));"
            "INSERT INTO Users VALUES (5), (7); INSERT INTO b VALUES (1, 7)"
        )
    database = dg.build_database(input=tmp_path / "a.sqlite", out=tmp_path / "one")
    assert database.parent(ForeignKey("b", "u", "Users")).tolist() == [1]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "users.csv").write_text("id,x\n5,a\n7,b\n")
    (tmp_path / "in" / "b.csv").write_text("b_id,user_id\n1,7.0\n2,\n3,5.0\n")
    database = dg.build_database(input=tmp_path / "in", out=tmp_path / "two", accept_proposal=True)
    assert database.parent(ForeignKey("b", "user_id", "users")).tolist() == [1, -1, 0]


def test_the_time_of_a_row_is_not_its_due_date(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    rows = "".join(f"{i},2024-02-{i % 28 + 1:02},2024-01-{i % 28 + 1:02}\n" for i in range(30))
    (tmp_path / "in" / "t.csv").write_text(f"id,due_date,placed\n{rows}")
    database = dg.build_database(input=tmp_path / "in", out=tmp_path / "store", accept_proposal=True)
    assert database.schema.table("t").time == "placed"
