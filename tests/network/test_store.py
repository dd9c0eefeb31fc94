"""Stored networks: round trips, and one-line errors for damaged files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distgnn.cli import main
from distgnn.errors import RequestError
from distgnn.network.csr import build_network
from distgnn.network.network import Network
from distgnn.network.store import load_network, save_network, verify_network
from tests.network.test_sampling import hub, small, triples
from tests.test_cli import complaint


def whole() -> Network:
    """Every kind of array."""
    network = small(3)
    features = {"item": np.arange(14, dtype=np.float32).reshape(7, 2)}
    tables = {
        "rating.user": np.array([0, 1]),
        "item.weight": np.array([0.5], np.float32),
        "item.label": np.zeros(0, np.int64),
    }
    return Network(**(vars(network) | {"features": features, "tables": tables, "meta": {"name": "small", "paths": []}}))


def assert_same(one: Network, two: Network) -> None:
    assert (one.types, one.relations, one.meta) == (two.types, two.relations, two.meta)
    assert one.type_ptr.tolist() == two.type_ptr.tolist()
    assert triples(one) == triples(two)
    for actual, expected in ((one.features, two.features), (one.tables, two.tables)):
        assert actual.keys() == expected.keys()
        assert all(
            np.array_equal(actual[name], expected[name]) and actual[name].dtype == expected[name].dtype
            for name in actual
        )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_network(whole(), str(tmp_path / "net"))
    return tmp_path / "net"


def test_networks_load_as_memory_maps(folder: Path) -> None:
    again = load_network(str(folder))
    assert_same(whole(), again)
    assert isinstance(again.source, np.memmap)
    assert isinstance(again.features["item"], np.memmap)
    assert not again.source.flags.writeable
    assert verify_network(str(folder)) == []


@pytest.mark.parametrize("network", [hub(), build_network({"node": 2}, []), build_network({}, [])])
def test_small_and_empty_networks_round_trip(network: Network, tmp_path: Path) -> None:
    save_network(network, str(tmp_path))
    assert_same(network, load_network(str(tmp_path)))


def test_network_round_trips_through_object_storage(s3: str, tmp_path: Path) -> None:
    manifest = save_network(whole(), f"{s3}/net")
    assert_same(whole(), load_network(f"{s3}/net"))
    assert verify_network(f"{s3}/net") == []
    assert manifest == save_network(whole(), str(tmp_path))


def test_existing_network_requires_overwrite(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="a network already exists; use another out or overwrite"):
        save_network(hub(), str(folder))
    assert_same(whole(), load_network(str(folder)))
    with monkeypatch.context() as patch:
        patch.setattr("distgnn.network.store._write", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            save_network(hub(), str(folder), overwrite=True)
    with pytest.raises(RequestError, match=r"no network here \(network.json is missing\)"):
        load_network(str(folder))  # neither the old one nor half of the new one
    save_network(hub(), str(folder), overwrite=True)
    assert_same(hub(), load_network(str(folder)))


def test_invalid_names_and_dtypes_are_rejected(tmp_path: Path) -> None:
    cases = {
        "'../up' is not a valid file name": {"tables": {"../up": np.array([1])}},
        "features/item' \\(float64\\) must be float32": {"features": {"item": np.zeros((7, 1))}},
        "tables/a' \\(object\\) must be int64 or float32": {"tables": {"a": np.array([None])}},
    }
    for says, change in cases.items():
        with pytest.raises(RequestError, match=says):
            save_network(Network(**(vars(small()) | change)), str(tmp_path))
    assert not list(tmp_path.iterdir())


def edit(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        data = json.loads((folder / "network.json").read_text())
        change(data)
        (folder / "network.json").write_text(json.dumps(data))

    return damage


def put(name: str, make: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        np.save(folder / name, make(np.load(folder / name)))

    return damage


def at(place: int, value: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: np.where(np.arange(len(array)) == place, value, array).astype(array.dtype)


def byte_keys(folder: Path) -> None:
    """Let a key of the header be bytes, which NumPy cannot sort beside texts."""
    raw = (folder / "source.npy").read_bytes()
    (folder / "source.npy").write_bytes(raw.replace(b" 'fortran_order'", b"b'fortran_order'"))


def pickled(folder: Path) -> None:
    raw = (folder / "source.npy").read_bytes()
    (folder / "source.npy").write_bytes(raw.replace(b"'<i4'", b"'|O' "))


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "version": (
        edit(lambda data: data.update(version=9)),
        r"written by a newer version of distgnn .format version 9, this one reads 1.",
    ),
    "no version": (edit(lambda data: data.pop("version")), "not a network manifest"),
    "not json": (lambda folder: (folder / "network.json").write_bytes(b"{"), "not a network manifest"),
    "a list": (lambda folder: (folder / "network.json").write_bytes(b"[]"), "not a network manifest"),
    "no source": (edit(lambda data: data["arrays"].pop("source")), "the array 'source' is missing"),
    "odd array": (edit(lambda data: data["arrays"].update(more=data["arrays"]["source"])), "'more' .int32. is unknown"),
    "dtype": (edit(lambda data: data["arrays"]["source"].update(dtype="float32")), "must be int32 or int64"),
    "no dtype": (edit(lambda data: data["arrays"]["source"].update(dtype="odd")), "not a network manifest"),
    "other dtype": (edit(lambda data: data["arrays"]["source"].update(dtype="int64")), "must be int64 .* found int32"),
    "shape": (edit(lambda data: data["arrays"]["indptr"].update(shape=[4])), "'indptr' has shape"),
    "relations": (edit(lambda data: data["arrays"]["relation"].update(shape=[4])), "'relation' has shape"),
    "features": (edit(lambda data: data["arrays"]["features/item"].update(shape=[6, 2])), "'features/item' has shape"),
    "types": (edit(lambda data: data["types"].pop()), "do not match its relations"),
    "fewer nodes": (edit(lambda data: data["types"][2].__setitem__(1, -1)), "not a network manifest"),
    "climbs": (edit(lambda data: data["arrays"]["source"].update(file="../s.npy")), "does not stay inside its folder"),
    "absolute": (
        edit(lambda data: data["arrays"]["source"].update(file="/etc/passwd")),
        "does not stay inside its folder",
    ),
    "missing": (lambda folder: (folder / "source.npy").unlink(), "source.npy: the file is missing"),
    "short": (lambda folder: os.truncate(folder / "source.npy", 130), "source.npy: the file has 130 bytes, not"),
    "header": (lambda folder: pickled(folder), "source.npy: not a plain .npy array"),
    "header keys": (lambda folder: byte_keys(folder), "source.npy: not a plain .npy array"),
    "sender": (put("source.npy", at(3, 16)), r"message 3 has node 16, which must be in \[0, 16\)"),
    "negative": (put("source.npy", at(2, -1)), "message 2 has node -1"),
    "relation": (put("relation.npy", at(1, 4)), "message 1 has relation 4"),
    "pointer": (put("indptr.npy", at(5, 999)), "indptr does not point into"),
    "first pointer": (put("indptr.npy", at(0, 1)), "indptr does not point into"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_files_are_rejected_in_one_line(name: str, folder: Path) -> None:
    damage, says = DAMAGES[name]
    damage(folder)
    with pytest.raises(RequestError, match=says) as caught:
        load_network(str(folder))
    assert "\n" not in str(caught.value)


def test_only_verify_detects_a_changed_feature(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put("features/item.npy", lambda array: array + 1)(folder)
    load_network(str(folder))
    assert main(["network", "verify", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert "features/item.npy: the bytes differ from the checksum in network.json" in out
    assert "1 problems found" in err


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "made")
    words = ["network", "build", "made", "--nodes", "50", "--edges", "200", "--out", out]
    assert main([*words, "--json"]) == 0
    built = json.loads(capsys.readouterr().out)
    assert (built["nodes"], built["relations"], built["features"]) == (50, 1, {})
    assert built["messages"] == load_network(out).num_messages == 2 * (built["messages"] // 2) > 200
    assert "a network already exists" in complaint(capsys, 2, *words)
    assert main([*words, "--overwrite"]) == 0
    assert "50 nodes" in capsys.readouterr().out
    assert main(["network", "stat", out, "--json"]) == 0
    stat = json.loads(capsys.readouterr().out)
    assert stat.items() <= built.items()
    assert stat["bytes"] == sum(path.stat().st_size for path in Path(out).rglob("*.npy"))
    assert main(["network", "verify", out]) == 0
    assert "no problems" in capsys.readouterr().out


WRONG = {
    "network": "unknown command 'network'",
    "network build": "network build: which kind? the kinds are: citation, hetero, kgrec, made, oag, pyg, reddit",
    "network build frobnicate": "network build: kind='frobnicate' is unknown (there are citation",
    "network build made": "--out",
    "network build made --out x --nodes 0": "nodes must lie in 1..2^31, found 0",
    "network build made --out x --edges -1": "edges must not be negative, found -1",
    "network build made --out x --skew 1": "skew must lie in [0, 1), found 1.0",
    "network build oag --out x --input y --citation-bar -1": "citation_bar must not be negative, found -1.0",
    "network build oag --out x --input /": "input must name a folder or file",
    "network stat /nowhere": "/nowhere: no network here",
    "network verify /nowhere": "/nowhere: no network here",
}


@pytest.mark.parametrize(("words", "says"), WRONG.items())
def test_invalid_command_lines_are_rejected(words: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert says in complaint(capsys, 2, *words.split())


def test_manifest_is_written_last(folder: Path) -> None:
    written = (folder / "network.json").stat().st_mtime_ns
    assert written >= max(path.stat().st_mtime_ns for path in folder.rglob("*.npy"))
