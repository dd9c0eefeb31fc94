"""Odd databases: each is built, described and predicted, or refused in one line; no row is lost without being listed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distgnn.api.database_models import pretrain_databases
from distgnn.cli import main
from distgnn.relational.manifest import read_manifest
from distgnn.storage.folder import open_folder
from tests.helpers.databases import frames, write_database
from tests.relational.odd import Table, odd_database, write

KINDS = ("sqlite", "csv", "parquet", "duckdb")
LEFT_OUT = "none of its columns can be read"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An almost untrained model."""
    folder = tmp_path_factory.mktemp("model")
    run = pretrain_databases(
        databases=(str(write_database(folder / "in", frames())),),
        out=str(folder / "run"),
        automatic=2,
        synthetic=0,
        train={"steps": 1},
    )
    return run.checkpoint


def run(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str]:
    """Run a command: exit code 0, or 2 with one line."""
    code = main([*map(str, words)])
    out, err = capsys.readouterr()
    assert code in (0, 2), err
    if code:
        assert err.startswith("distgnn: error: "), err
        assert err.count("\n") == 1, err
    return code, out if code == 0 else err


@pytest.mark.parametrize("seed", [1, 9])
@pytest.mark.parametrize("kind", KINDS)
def test_odd_databases(kind: str, seed: int, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(kind, seed, model, tmp_path, capsys)


def check(kind: str, seed: int, model: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Build, describe, ask and predict; returns what became of it."""
    tables = odd_database(seed)
    source, store = write(kind, tables, folder / f"in.{kind}", seed), folder / "store"
    code, told = run(capsys, "database", "build", "--input", source, "--out", store, "--accept-proposal")
    if code:
        return f"refused: {told}"
    _check_rows(tables, store)
    assert run(capsys, "database", "verify", store)[0] == 0
    assert run(capsys, "database", "stat", store, "--picture", folder / "a.svg")[0] == 0
    (folder / "rules.toml").write_text("\n".join(_rules(json.loads((store / "store.json").read_text())["schema"])))
    run(capsys, "database", "tasks", store, "--add", folder / "rules.toml")
    code, told = run(capsys, "database", "tasks", store, "--automatic", 3)
    if not (store / "tasks.json").exists():
        return "no tasks"
    found = json.loads((store / "tasks.json").read_text())
    results = [
        run(
            capsys,
            "predict",
            "--database",
            store,
            "--task",
            task,
            "--model",
            model,
            "--out",
            folder / task,
            "--context",
            16,
        )
        for task in list(found)[:3]
    ]
    return f"predicted {sum(code == 0 for code, _ in results)} of {len(results)} {[t for c, t in results if c]}"


def _check_rows(tables: dict[str, Table], store: Path) -> None:
    manifest = read_manifest(open_folder(str(store)))
    stored = {
        name.split(".", 1)[1] if name.startswith(("s0.", "s1.")) else name: count
        for name, count in manifest.rows.items()
    }
    rejected = {one.where: one.count for one in manifest.findings if one.what == "rejected rows"}
    gone = [one.where for one in manifest.findings if LEFT_OUT in one.where]
    for name, table in tables.items():
        if not any(name in line for line in gone):
            assert stored[name] + rejected.get(name, 0) == table.rows, name


def _rules(schema: dict[str, Any]) -> Iterator[str]:
    """One rule a foreign key whose table has a time, and one a number of a table with a time."""
    timed = {table["name"]: table for table in schema["tables"] if table["time"]}
    for number, key in enumerate(schema["foreign_keys"]):
        if key["table"] in timed:
            rule = f"exists({_name(key['table'])}) within 900 days via {_name(key['column'])}"
            yield f"[tasks.r{number}]\nentity = {json.dumps(key['parent'])}\nrule = {json.dumps(rule)}\nevery_days = 300"
    for number, table in enumerate(timed.values()):
        for column in table["columns"]:
            if column["kind"] in ("number", "category") and table["key"]:
                rule = f"value({_name(table['name'])}.{_name(column['name'])})"
                yield f"[tasks.v{number}]\nentity = {json.dumps(table['name'])}\nrule = {json.dumps(rule)}"
                break


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
