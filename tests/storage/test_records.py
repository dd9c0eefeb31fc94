"""The one door for JSON files: limits of size, depth and numbers, typed records, and regular files only."""

from __future__ import annotations

import ast
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from distgnn.config.values import MAX_DEPTH, read_json
from distgnn.errors import RequestError, printable
from distgnn.storage.folder import open_folder
from distgnn.storage.records import (
    Count,
    Digest,
    Finite,
    Name,
    Positive,
    Seconds,
    Small,
    Text,
    check_version,
    convert,
    read_record,
)

ROOT = Path(__file__).parents[2] / "distgnn"
READERS = {"config/base.py", "config/values.py", "corpus/payload.py"}
"""Where JSON may be parsed: the door, and the header of a batch between processes of one run."""


@dataclass(frozen=True)
class Inner:
    x: Count


@dataclass(frozen=True)
class Outer:
    name: Name
    count: Count
    inner: tuple[Inner, ...] = ()
    loss: Finite = 0.0
    seconds: Seconds | None = None
    digest: Digest = "0" * 64
    free: dict[str, Any] | None = None
    named: dict[Name, Inner] = field(default_factory=dict)


WHOLE: dict[str, Any] = {"name": "a", "count": 3, "inner": [{"x": 1}], "loss": 0.5, "seconds": 1, "digest": "a" * 64}


def read(tmp_path: Path, raw: bytes | str, limit: int = 10_000) -> Outer:
    (tmp_path / "x.json").write_bytes(raw.encode() if isinstance(raw, str) else raw)
    return read_record(open_folder(str(tmp_path)), "x.json", Outer, "an outer", "restore it", limit)


def test_a_record(tmp_path: Path) -> None:
    assert read(tmp_path, json.dumps(WHOLE)) == Outer("a", 3, (Inner(1),), 0.5, 1.0, "a" * 64)
    assert read(tmp_path, b"\xef\xbb\xbf" + json.dumps(WHOLE).encode()).count == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"count": -1}, r"Expected `int` >= 0 - at `\$.count`"),
        ({"count": 1 << 49}, r"`int` <= 281474976710656 - at `\$.count`"),
        ({"count": 1.0}, r"Expected `int`, got `float`"),
        ({"count": True}, r"Expected `int`, got `bool`"),
        ({"count": "3"}, r"Expected `int`, got `str`"),
        ({"name": "a" * 5000}, r"length <= 4096"),
        ({"inner": [{"x": 1}, {"x": -1}]}, r"\$.inner\[1\].x"),
        ({"inner": [{"x": 1, "y": 2}]}, r"inner.'y' is an unknown field"),
        (
            {"named": {"a": {"x": 1}, "b": {"x": 1, "y": 2}}},
            r"'named.b.y' is an unknown field|named.b.'y' is an unknown field",
        ),
        ({"other": 1}, r"'other' is an unknown field; is the file of a newer version\?"),
        ({"loss": float("nan")}, r"\$.loss"),
        ({"loss": float("inf")}, r"\$.loss"),
        ({"seconds": 1e300}, r"\$.seconds"),
        ({"digest": "../x"}, r"\$.digest"),
    ],
)
def test_limits_of_fields(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=rf"x\.json: not an outer \(.*{said}.*\); restore it$"):
        read(tmp_path, json.dumps(WHOLE | changes))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"[" * 4900 + b"]" * 4900, "nested more than 64 deep"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "nested more than 64 deep"),
        (b'{"name": "a", "count": 1, "count": 2}', "the key 'count' occurs twice"),
        (b'{"count": ' + b"9" * 5000 + b"}", "more than 64 bits"),
        (b'{"count": 36893488147419103232}', "more than 64 bits"),
        (b'{"name": "\\ud800"}', "surrogates not allowed"),
        (b"\xff\xfe", "can't decode"),
        (b"", "Expecting value"),
        (b"[]", "expected an object, found list"),
        (b" " * 10_001, "has more than 10000 bytes"),
    ],
)
def test_limits_of_the_file(tmp_path: Path, raw: bytes, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        read(tmp_path, raw)


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [(Count, 0, 1 << 48), (Positive, 1, 1 << 48), (Small, 0, (1 << 31) - 1), (Seconds, 0, 1e11)],
)
def test_limits_of_numbers(kind: Any, low: float, high: float) -> None:
    assert [msgspec.convert(value, kind) for value in (low, high)] == [low, high]
    for value in (low - 1, high + 1):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(value, kind)


@pytest.mark.parametrize(("kind", "most"), [(Name, 4096), (Text, 65_536)])
def test_limits_of_texts(kind: Any, most: int) -> None:
    assert len(msgspec.convert("a" * most, kind)) == most
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert("a" * (most + 1), kind)


def test_the_limit_of_a_file_is_16_mib(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b" " * ((16 << 20) - 1) + b"{}")
    with pytest.raises(RequestError, match="has more than 16777216 bytes"):
        read_record(open_folder(str(tmp_path)), "x.json", Outer, "an outer")


def test_deepest_json() -> None:
    assert read_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert read_json('"\\ud83d\\ude00"') == "\U0001f600"  # a pair of surrogates is one character


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (3, "written by a newer version of distgnn.*update distgnn"),
        (1, "version 1 is unknown"),
        (None, "is missing"),
        ("2", "unknown"),
    ],
)
def test_versions(version: Any, said: str) -> None:
    check_version({"version": 2}, 2, "x.json", "a record")
    with pytest.raises(RequestError, match=said):
        check_version({} if version is None else {"version": version}, 2, "x.json", "a record")


def test_convert_names_the_place() -> None:
    with pytest.raises(RequestError, match=r"^here: not a number of things \("):
        convert([], Outer, "here", "a number of things")


def test_only_regular_files(tmp_path: Path) -> None:
    """A FIFO without a writer would block for ever, a device would never end."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "device").symlink_to("/dev/zero")
    folder = open_folder(str(tmp_path))
    for name in ("fifo", "device"):
        for action in (folder.read, folder.read_if_there, folder.open, folder.open_if_there):
            with pytest.raises(RequestError, match=rf"{name}: not a regular file"):
                action(name)
    assert folder.read_if_there("missing") is None
    assert folder.open_if_there("missing") is None
    with pytest.raises(RequestError, match="Is a directory"):
        open_folder(str(tmp_path.parent)).read(tmp_path.name)


def test_json_is_parsed_in_one_place() -> None:
    for path in sorted(ROOT.rglob("*.py")):
        called = {
            f"{node.func.value.id}.{node.func.attr}"
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
        }
        found = called & {"json.load", "json.loads", "pd.read_json", "msgspec.json.decode"}
        assert not found or str(path.relative_to(ROOT)) in READERS, path


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;pwned\x07", r"\x1b]0;pwned\x07"),
        ("a\tb\nc", "a\tb\nc"),
        ("\r\x7f\x9b", r"\r\x7f\x9b"),
        ("\u202eevil\u2066", r"\u202eevil\u2066"),
        ("\ud800", r"\ud800"),
        ("é \u00a0 ★ 漢", "é \u00a0 ★ 漢"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
