"""PostgreSQL: a real server of Debian's package, on a Unix socket of a temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import distgnn as dg
from distgnn.relational.encode import UNKNOWN
from distgnn.relational.manifest import read_manifest
from distgnn.relational.schema import ForeignKey, Kind
from distgnn.storage.folder import open_folder
from tests.relational import shop
from tests.relational.test_sources import check_shop

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
adbc = pytest.importorskip("adbc_driver_postgresql.dbapi", reason="needs pip install 'distgnn[postgres]'")
pytestmark = pytest.mark.skipif(not BINARIES, reason="needs a PostgreSQL server: apt-get install postgresql")
OTHER = """CREATE SCHEMA other; CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE other.odd (id numeric(10, 0) PRIMARY KEY, price numeric, feeling mood, at timestamptz, u uuid, j jsonb, raw bytea,
  many int[], flag boolean, born date);
INSERT INTO other.odd VALUES
  (2, 1.25, 'good', '2024-01-01 01:00+01', '00000000-0000-0000-0000-000000000001', '{"a": 1}', 'x', '{1}', true, '1850-01-01'),
  (1, NULL, NULL, 'infinity', NULL, NULL, NULL, NULL, NULL, NULL);
CREATE DOMAIN email AS text; CREATE DOMAIN weight AS numeric(10, 0);
CREATE TABLE other.less (id int PRIMARY KEY, mail email, kilos weight, took interval, price money, secret text);
INSERT INTO other.less VALUES (2, 'b@x', 3, '1 day', '$2.50', 's'), (1, 'a@x', NULL, NULL, NULL, NULL);
CREATE TABLE other.none (id int PRIMARY KEY, less int REFERENCES other.less); CREATE ROLE reader LOGIN;
GRANT USAGE ON SCHEMA other TO reader; GRANT SELECT (mail, kilos, took, price) ON other.less TO reader;
CREATE TABLE pairs (a bigint, b bigint, PRIMARY KEY (a, b)); CREATE VIEW seen AS SELECT * FROM pairs"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """URI of a server with the shop in its database postgres."""
    binaries = BINARIES[-1].parent
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if user and (not shutil.which("runuser") or subprocess.run(["id", "postgres"], capture_output=True).returncode):
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    with tempfile.TemporaryDirectory(prefix="distgnn-pg-") as folder:
        if user:
            shutil.chown(folder, "postgres")
        data, options = f"{folder}/data", f"-k {folder} -c listen_addresses='' -c fsync=off"

        def run(*command: str) -> None:
            subprocess.run(
                [*user, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder
            )

        run(f"{binaries}/initdb", "-D", data, "-A", "trust", "-U", "postgres", "-N", "-E", "UTF8")
        run(f"{binaries}/pg_ctl", "-D", data, "-o", options, "-w", "-l", f"{folder}/log", "start")
        try:
            uri = f"postgresql:///postgres?host={folder}&user=postgres"
            _fill(uri)
            yield uri
        finally:
            run(f"{binaries}/pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")


def _fill(uri: str) -> None:
    with adbc.connect(uri) as connection, connection.cursor() as cursor:
        for statement in shop.DDL.format(reference=shop.REFERENCE, time="timestamp", number="double precision").split(
            ";"
        ):
            cursor.execute(statement)
        for name in shop.TABLES:
            for row in shop.rows_of(name):
                marks = ", ".join("NULL" if v is None or v == "gone" else f"'{v}'" for v in row)
                cursor.execute(f"INSERT INTO {name} VALUES ({marks})")
        for statement in OTHER.split(";"):
            cursor.execute(statement)
        connection.commit()


def test_a_server_gives_the_same_database(server: str, tmp_path: Path) -> None:
    (tmp_path / "schema.toml").write_text(shop.SCHEMA)
    check_shop(dg.build_database(input=server, out=tmp_path / "store", schema=tmp_path / "schema.toml"))
    assert "postgres" in read_manifest(open_folder(str(tmp_path / "store"))).source


def test_types_and_keys_are_read_from_the_server(server: str, tmp_path: Path) -> None:
    with pytest.raises(dg.RequestError, match="3 keys and times are proposed"):
        dg.build_database(input=server, out=tmp_path / "store")
    database = dg.build_database(input=server, out=tmp_path / "store", schema=tmp_path / "store.schema.toml")
    assert ForeignKey("orders", "customer_id", "customers") in database.schema.foreign_keys
    assert [table.name for table in database.schema.tables] == [
        "other.less",
        "other.none",
        "other.odd",
        "customers",
        "orders",
        "pairs",
    ]
    odd = "other.odd"
    assert database.keys(odd).to_pylist() == [1, 2]  # sorted by primary key
    np.testing.assert_array_equal(database.numbers(odd, "price"), [np.nan, 1.25])
    assert database.times(odd, "at").tolist() == [UNKNOWN, 1_704_067_200_000_000]
    assert database.times(odd, "born").tolist() == [UNKNOWN, -3_786_825_600_000_000]
    assert database.text(odd, "u")[1].as_py() == "00000000-0000-0000-0000-000000000001"
    assert database.schema.column(odd, "flag").kind is Kind.CATEGORY
    text = (tmp_path / "store.schema.toml").read_text()
    assert "# left out: other.odd.raw: bytes or nested values are not read" in text
    assert "# left out: other.odd.many: bytes or nested values are not read" in text
    assert database.schema.table("pairs").key == "a+b"


def test_a_user_reads_what_he_may(server: str, tmp_path: Path) -> None:
    source = server.replace("user=postgres", "user=reader")
    database = dg.build_database(input=source, out=tmp_path / "store", accept_proposal=True)
    assert [table.name for table in database.schema.tables] == ["other.less"]
    assert database.text("other.less", "mail").to_pylist() == ["a@x", "b@x"]
    for column, values in {"kilos": [np.nan, 3], "took": [np.nan, 86_400], "price": [np.nan, 2.5]}.items():
        np.testing.assert_array_equal(database.numbers("other.less", column), values)
    told = [one.where for one in read_manifest(open_folder(str(tmp_path / "store"))).findings]
    for name in ("other.less.id", "other.less.secret", "other.none", "orders"):
        assert f"{name}: the user may not read it" in told


def test_tables_that_were_staged_are_not_used_after_a_write(server: str, tmp_path: Path) -> None:
    with pytest.raises(dg.RequestError, match="proposed"):
        dg.build_database(input=server, out=tmp_path / "store")
    with adbc.connect(server) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO pairs VALUES (1, 2)")
        connection.commit()
    database = dg.build_database(input=server, out=tmp_path / "store", schema=tmp_path / "store.schema.toml")
    assert database.keys("pairs").to_pylist() == ["1|2"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda uri: uri.replace("///postgres", "///nowhere"), "PostgreSQL: .*nowhere"),
        (lambda _: "postgresql://me:secret@localhost/x", "the input holds a password; leave it out and set PGPASSWORD"),
        (lambda _: "postgresql://[localhost/x", "not a URI"),
    ],
)
def test_wrong_servers(change: Any, message: str, server: str, tmp_path: Path) -> None:
    with pytest.raises(dg.RequestError, match=message) as error:
        dg.build_database(input=change(server), out=tmp_path / "store")
    assert "secret" not in str(error.value)
