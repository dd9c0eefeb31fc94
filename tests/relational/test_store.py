"""Stores: verified, memory-mapped, the same for equal inputs, resumable, and never over files of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import distgnn as dg
from distgnn.relational import build as build_module
from distgnn.relational.arrow_files import write_array
from distgnn.relational.links import children_of
from distgnn.relational.manifest import read_manifest
from distgnn.relational.store import verify_database
from distgnn.storage.folder import open_folder
from tests.relational import shop
from tests.relational.test_sources import LINK, check_shop


def build(tmp_path: Path, **options: Any) -> Path:
    if not (tmp_path / "in").exists():
        shop.write_json(tmp_path / "in")
    dg.build_database(**({"input": tmp_path / "in", "out": tmp_path / "store"} | options))
    return tmp_path / "store"


def file_of(store: Path, *part: str) -> Path:
    found = [one for one in read_manifest(open_folder(str(store))).arrays if (one.table, one.column, one.part) == part]
    return store / found[0].file


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    first, again = build(tmp_path), build(tmp_path, out=tmp_path / "again")
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in again.iterdir())
    assert all((first / name).read_bytes() == (again / name).read_bytes() for name in names)
    assert verify_database(str(first)) == []
    assert not any(name.startswith("_") for name in names)


def test_columns_are_memory_mapped(tmp_path: Path) -> None:
    database = dg.open_database(str(build(tmp_path)))
    before = pa.total_allocated_bytes()
    amounts, parent = database.numbers("orders", "amount"), database.parent(LINK)
    assert pa.total_allocated_bytes() == before
    assert not amounts.flags.writeable
    assert parent.dtype == np.int32


@pytest.mark.parametrize(
    "part", [("orders", "amount", ""), ("orders", "customer_id", "rows"), ("customers", "note", "")]
)
def test_a_changed_byte_is_found(part: tuple[str, str, str], tmp_path: Path) -> None:
    path = file_of(build(tmp_path), *part)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    problems = verify_database(str(tmp_path / "store"))
    assert len(problems) == 1
    assert path.name in problems[0]


def test_missing_and_short_files_are_refused_when_used(tmp_path: Path) -> None:
    store = build(tmp_path)
    path = file_of(store, "orders", "amount", "")
    path.write_bytes(path.read_bytes()[:-8])
    database = dg.open_database(str(store))
    with pytest.raises(dg.RequestError, match=r"has \d+ bytes, not \d+; restore it"):
        database.numbers("orders", "amount")
    path.unlink()
    with pytest.raises(dg.RequestError, match="is missing"):
        dg.open_database(str(store)).numbers("orders", "amount")
    assert "is missing" in verify_database(str(store))[0]


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        (("orders", "amount", ""), pa.array([1.0]), "holds 1 values, not 6"),
        (("orders", "amount", ""), pa.array([1] * 6), "holds int64, not double"),
        (("orders", "amount", ""), pa.array([1.0, None] * 3), "holds 3 nulls"),
        (("orders", "customer_id", "parent"), pa.array([3] * 6, pa.int32()), "holds rows outside of"),
        (("orders", "customer_id", "rows"), pa.array([6], pa.int32()), "holds rows outside of"),
        (("orders", "customer_id", "indptr"), pa.array([0, 9, 1, 2]), "does not point into the children"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(part: Any, values: pa.Array, message: str, tmp_path: Path) -> None:
    """Even with the right digest, as a store of others may have."""
    store = build(tmp_path)
    path = file_of(store, *part)
    digest, size = write_array(open_folder(str(store)), path.name, values)
    manifest = json.loads((store / "store.json").read_text())
    for one in manifest["arrays"]:
        if one["file"] == path.name:
            one |= {"sha256": digest, "bytes": size}
    (store / "store.json").write_text(json.dumps(manifest))
    problems = verify_database(str(store))
    assert len(problems) == 1
    assert message in problems[0]


def test_a_killed_build_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(folder: Any, name: str, array: pa.Array) -> Any:
        calls.append(name)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return write_array(folder, name, array)

    monkeypatch.setattr(build_module, "write_array", counted)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path)
    assert not (tmp_path / "store" / "store.json").exists()
    with pytest.raises(dg.RequestError, match="not a database store"):
        dg.open_database(str(tmp_path / "store"))
    with monkeypatch.context() as patched:
        patched.setattr(build_module, "write_table", lambda *_: pytest.fail("the tables were staged before"))
        build(tmp_path)
    assert calls.count(calls[0]) == 1
    assert calls.count(calls[4]) == 2
    check_shop(dg.open_database(str(tmp_path / "store")))
    whole = build(tmp_path, out=tmp_path / "whole")
    assert (whole / "store.json").read_bytes() == (tmp_path / "store" / "store.json").read_bytes()


def test_a_build_of_another_input_does_not_continue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(build_module, "link_arrays", stop)
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path)
    size = (tmp_path / "in" / "orders.parquet").stat().st_size
    amounts = [1.5, 2.0, None, 4.0, 5.0, 7.0]
    shop.write_json(tmp_path / "in", {"orders": pa.table(shop.TABLES["orders"] | {"amount": amounts})})
    assert (tmp_path / "in" / "orders.parquet").stat().st_size == size  # the time tells them apart
    build(tmp_path)
    assert dg.open_database(str(tmp_path / "store")).numbers("orders", "amount")[5] == 7


def test_targets(tmp_path: Path) -> None:
    store = build(tmp_path)
    with pytest.raises(dg.RequestError, match="a store already exists; use another out or overwrite"):
        build(tmp_path)
    (store / "mine.txt").write_text("keep")
    build(tmp_path, overwrite=True)
    assert (store / "mine.txt").read_text() == "keep"
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("keep")
    for overwrite in (False, True):
        with pytest.raises(dg.RequestError, match=r"holds other things \(mine.txt\)"):
            build(tmp_path, out=other, overwrite=overwrite)
    assert [path.name for path in other.iterdir()] == ["mine.txt"]


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    database = dg.open_database(str(build(tmp_path)))
    for call, message in (
        (lambda: database.numbers("orders", "placed"), "is of kind time, not number"),
        (lambda: database.numbers("orders", "nothing"), "no column 'nothing'"),
        (lambda: database.rows("nothing"), "no table 'nothing'"),
        (lambda: database.parent(LINK.__class__("orders", "order_id", "customers")), "no foreign key"),
    ):
        with pytest.raises(dg.RequestError, match=message):
            call()


def test_children_are_sorted_by_time_then_row() -> None:
    generator = np.random.default_rng(0)
    for count, parents in ((0, 3), (1, 1), (1000, 7), (1000, 0)):
        parent = (
            generator.integers(-1, max(parents, 0), count).astype(np.int32) if parents else np.full(count, -1, np.int32)
        )
        time = generator.integers(0, 20, count)
        for when in (time, np.sort(time), None):
            found = children_of(parent, when, parents)
            order = np.lexsort((np.arange(count), np.zeros(count) if when is None else when, parent))
            np.testing.assert_array_equal(found.rows, order[(parent < 0).sum() :])
            assert found.indptr.tolist() == [int((parent[parent >= 0] < one).sum()) for one in range(parents + 1)]
            assert (found.indptr.dtype, found.rows.dtype) == (np.int64, np.int32)


def test_delays_of_late_columns(tmp_path: Path) -> None:
    text = shop.SCHEMA.replace('amount = "number"', 'amount = { kind = "number", late = true, late_after_days = 1.5 }')
    (tmp_path / "s.toml").write_text(text)
    database = dg.open_database(str(build(tmp_path, schema=tmp_path / "s.toml")))
    known, time = database.known("orders", "amount"), database.time("orders")
    assert known is not None
    np.testing.assert_array_equal(known, time + 3 * shop.DAY // 2)
    assert database.known("orders", "placed") is None
