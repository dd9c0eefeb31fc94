"""The molecules (SMILES) and arrays sources, which must agree."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.sources import arrays
from distgnn.corpus.sources.arrays import ArraysConfig, ArraysSource
from distgnn.corpus.sources.molecules import MoleculesConfig, MoleculesSource
from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch, select_graphs
from tests.helpers.corpora import build, real

CSV = """name,smiles,active,score,part
"a, b",C/C=C\\C,1,0.5,train
x,c1ccccc1[C@H](F)Cl,0,,valid
"q""r",oops,1,2,test
last,*C#N,,-1e3,2
"""


def source(tmp_path: Path, text: str = CSV, name: str = "m.csv", **options: Any) -> MoleculesSource:
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return MoleculesSource(MoleculesConfig(input=(str(path),), out="", **options))


def graphs(made: MoleculesSource) -> GraphBatch:
    (part,) = made.parts()
    piece = made.read(part)[0]
    assert piece is not None
    return piece.graphs


def test_features_labels_scaffold_and_split(tmp_path: Path) -> None:
    made = source(tmp_path, labels=("active", "score"), split="part")
    (part,) = made.parts()
    piece, refused = made.read(part)
    assert piece is not None
    batch = piece.graphs
    assert batch.graph_id.tolist() == [0, 1, 3]
    assert [tuple(row) for row in refused] == [("m.csv", "4", "RDKit cannot read the SMILES", "oops")]
    assert batch.node_cat[:4].tolist() == [[6, 0]] * 4
    assert batch.edge_cat[:3].tolist() == [[0, 2], [1, 0], [0, 1]]  # / and \ around a double bond
    assert batch.node_cat[int(batch.node_ptr[1]) + 6].tolist()[1] in (1, 2)
    assert batch.edge_cat[int(batch.edge_ptr[1])].tolist() == [3, 0]
    last = int(batch.node_ptr[2])
    assert batch.node_cat[last:].tolist() == [[0, 0], [6, 0], [7, 0]]
    assert batch.edge_cat[int(batch.edge_ptr[2]) :].tolist() == [[0, 0], [2, 0]]
    assert piece.group == ["", "c1ccccc1", ""]
    assert piece.split == [0, 1, 2]
    assert batch.y is not None
    assert torch.equal(batch.y.nan_to_num(9), torch.tensor([[1, 0.5], [0, 9], [9, -1000]]))


@pytest.mark.parametrize(("text", "name", "options"), [
    ("smiles\nCO\nCCN\n", "m.csv", {}),
    ("smiles\nCO\nCCN\n", "m.csv.gz", {}),
    ("id\tsmiles\n1\tCO\n2\tCCN\n", "m.tsv", {}),
    ("CO\tOC\nCCN\tNCC\n", "m.csv.gz", {"smiles": "0"}),
    ("x CO\ny CCN\n", "m.csv", {"smiles": "1"}),
    ("CO Z1\nCCN Z2\n", "m.smi.gz", {}),
    ("CO\nCCN\n", "m.smi", {}),
    ("\ufeffsmiles,a\r\nCO,1\r\n\r\nCCN,2\r\n", "m.csv", {}),
])  # fmt: skip
def test_text_formats(tmp_path: Path, text: str, name: str, options: dict[str, Any]) -> None:
    if text.startswith("x CO"):
        text = text.replace(" ", ",")
    batch = graphs(source(tmp_path, text, name, **options))
    assert batch.node_cat[:, 0].tolist() == [6, 8, 6, 6, 7]
    assert batch.graph_id.tolist() == [0, 1]


def test_chunks_are_lazy_and_ids_continue_over_files(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number}.csv").write_text("smiles\n" + "C\n" * 3000)
    made = MoleculesSource(MoleculesConfig(input=(str(tmp_path / "0.csv"), str(tmp_path / "1.csv")), out=""))
    parts = list(made.parts())
    assert [(part.first, len(part.lines)) for part in parts] == [(0, 2048), (2048, 952), (3000, 2048), (5048, 952)]
    assert parts[3].lines[0] == 2050  # line in its file, after the header
    assert made.total_parts() is None


@pytest.mark.parametrize(("options", "message"), [
    ({"smiles": "SMILES"}, r"m.csv: no column 'SMILES'; its columns are name, smiles, active, score, part"),
    ({"labels": ("toxic",)}, "no column 'toxic'"),
    ({"split": "fold"}, "no column 'fold'"),
    ({"smiles": "1", "labels": ("active",)}, r"has no header \(smiles=1\), so column 'active' must be given as a number"),
])  # fmt: skip
def test_unknown_columns(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        list(source(tmp_path, **options).parts())


def test_invalid_labels_and_splits_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"m.csv, line 2, column name: the label 'a, b' is not a number"):
        graphs(source(tmp_path, labels=("name",)))
    with pytest.raises(RequestError, match=r"m.csv, line 2, column score: '0.5' is not a valid split"):
        graphs(source(tmp_path, split="score"))


def test_rejected_rows_are_listed(tmp_path: Path) -> None:
    text = "smiles,a\nC,1\n,1\nC(C)(C)(C)(C)C,1\nC~N,1\nN\n"
    made = source(tmp_path, text, labels=("a",))
    out = tmp_path / "out"
    manifest = build("molecules", MoleculesConfig(input=made.config.input, out=str(out), labels=("a",)))
    assert (manifest.graphs, manifest.rejected) == (1, 4)
    rows = [line.split("\t") for line in (out / "rejected-00000.tsv").read_text().splitlines()]
    assert rows[0] == ["file", "row", "reason", "text"]
    reasons = ["no atoms", "RDKit cannot read the SMILES", "a bond is neither single", "too few fields"]
    assert [row[1] for row in rows[1:]] == ["3", "4", "5", "6"]
    assert all(row[2].startswith(reason) for row, reason in zip(rows[1:], reasons, strict=True))


def test_rdkit_does_not_write_to_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    graphs(source(tmp_path))
    assert capfd.readouterr() == ("", "")


def test_missing_rdkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(RequestError, match=r"pip install 'distgnn\[chem\]'"):
        source(tmp_path)


@pytest.mark.parametrize(("name", "content", "message"), [
    ("m.csv.gz", b"not gzip at all", "damaged, or not in the format"),
    ("m.csv.gz", gzip.compress(CSV.encode(), mtime=0)[:-20], "damaged, or not in the format"),
    ("m.csv.xz", b"no", "damaged, or not in the format"),
    ("m.csv", b"\xff\xfe\x00smiles\n", "no column 'smiles'"),
    ("m.csv", b"", r"no column 'smiles'; its columns are none"),
    ("m.csv", b'smiles\n"' + b"C" * 200_000, "m.csv, line 2: a quote is opened and never closed"),
])  # fmt: skip
def test_damaged_files_are_rejected(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=message):
        list(MoleculesSource(MoleculesConfig(input=(str(tmp_path / name),), out="")).parts())


def test_missing_input(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"none.csv: no such input file"):
        MoleculesSource(MoleculesConfig(input=(str(tmp_path / "none.csv"),), out=""))
    with pytest.raises(RequestError, match="input must name at least one file"):
        MoleculesConfig(input=(), out="")


@pytest.mark.data
@pytest.mark.parametrize("name", ["bbbp", "clintox", "freesolv"])
def test_smiles_equal_the_arrays_of_the_same_molecules(name: str, tmp_path: Path) -> None:
    text, packed_path = real(f"molecules/smiles/{name}.csv", f"molecules/arrays/{name}.npz")
    labels = {"bbbp": ("p_np",), "clintox": ("FDA_APPROVED", "CT_TOX"), "freesolv": ("expt",)}[name]
    build("molecules", MoleculesConfig(input=(text,), labels=labels, out=str(tmp_path / "smiles")))
    build("arrays", ArraysConfig(input=(packed_path,), out=str(tmp_path / "arrays")))
    ours = CorpusReader(str(tmp_path / "smiles"), labels=True).load()
    theirs = CorpusReader(str(tmp_path / "arrays"), labels=True).load()
    rows = torch.from_numpy(np.load(packed_path)["row"].astype(np.int64))
    position = {graph: place for place, graph in enumerate(ours.graph_id.tolist())}
    ours = select_graphs(ours, torch.tensor([position[row] for row in rows.tolist()]))
    for field in ("node_ptr", "edge_ptr", "node_cat", "edge_cat"):
        assert torch.equal(getattr(ours, field), getattr(theirs, field)), field
    assert torch.equal(ours.edges.sort(dim=0).values, theirs.edges.sort(dim=0).values)
    assert torch.equal(ours.y, theirs.y)  # type: ignore[arg-type]


def save(path: Path, graphs: int, **more: np.ndarray) -> str:
    """``graphs`` paths of 3 atoms; atom number = row + 1."""
    ptr = np.arange(graphs + 1)
    bonds = np.tile([[0, 1], [1, 2]], (graphs, 1)).astype(np.uint16)
    atoms = np.stack([np.repeat(np.arange(graphs) % 100 + 1, 3), np.zeros(3 * graphs)], axis=1).astype(np.uint8)
    made: dict[str, Any] = {
        "node_ptr": ptr * 3,
        "edge_ptr": ptr * 2,
        "atom": atoms,
        "bond_uv": bonds,
        "bond": np.zeros_like(bonds, np.uint8),
    }
    made.update(more)
    np.savez(path, **made)
    return str(path)


def load(out: Path, *inputs: str, **options: Any) -> GraphBatch:
    build("arrays", ArraysConfig(input=inputs, out=str(out), overwrite=True, **options))
    return CorpusReader(str(out), labels=True).load()


def test_arrays_drop_and_limit(tmp_path: Path) -> None:
    marks = np.arange(20) % 4 == 1
    files = save(tmp_path / "a.npz", 20, in_downstream=marks), save(tmp_path / "b.npz", 20, in_downstream=marks)
    usable = [row for row in range(40) if row % 4 != 1]
    out = tmp_path / "out"
    assert load(out, *files).graph_id.tolist() == usable
    assert load(out, *files, limit=17).graph_id.tolist() == usable[:17]
    assert load(out, *files, limit=5).graph_id.tolist() == usable[:5]
    assert load(out, *files, drop_downstream=False).graph_id.tolist() == list(range(40))
    batch = load(out, *files)
    assert batch.node_cat[::3, 0].tolist() == [row % 20 + 1 for row in usable]
    with pytest.raises(RequestError, match="limit must not be negative"):
        ArraysConfig(input=("x",), out="", limit=-1)


def test_arrays_parts_are_slices_and_load_each_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    load_npz = arrays.load_npz
    monkeypatch.setattr(arrays, "load_npz", lambda uri, *rest: calls.append(uri) or load_npz(uri, *rest))
    monkeypatch.setattr(arrays, "_ROWS", 7)
    files = save(tmp_path / "a.npz", 20), save(tmp_path / "b.npz", 3)
    made = ArraysSource(ArraysConfig(input=files, out=""))
    pieces = [made.read(part)[0] for part in made.parts()]
    assert [piece.graphs.num_graphs for piece in pieces if piece] == [7, 7, 6, 3]
    assert calls == list(files)


def test_arrays_labels_and_split(tmp_path: Path) -> None:
    y, tasks = np.array([[1, np.nan], [0, 2]], np.float32), np.array(["a", "b"])
    path = save(tmp_path / "a.npz", 2, y=y, tasks=tasks, scaffold_split=np.array([2, 0], np.uint8))
    batch = load(tmp_path / "out", path)
    assert batch.y is not None
    assert torch.equal(batch.y.nan_to_num(9), torch.tensor([[1.0, 9], [0, 2]]))
    reader = CorpusReader(str(tmp_path / "out"))
    assert reader.manifest.schema.labels == ("a", "b")
    assert reader.column("split").tolist() == [2, 0]
    with pytest.raises(RequestError, match="has no 'group' column"):
        reader.column("group")
    with pytest.raises(RequestError, match=r"b.npz: labels or split differ"):
        load(tmp_path / "out", path, save(tmp_path / "b.npz", 2))


@pytest.mark.parametrize(("more", "message"), [
    ({"node_ptr": np.array([0, 3, 7])}, "node_ptr must start at 0, never fall and end at the 6 rows of atom"),
    ({"edge_ptr": np.array([0, 4])}, r"edge_ptr: expected shape \[3\], found \[2\]"),
    ({"bond_uv": np.zeros((3, 2), np.uint16)}, r"bond_uv: expected shape \[4, 2\], found \[3, 2\]"),
    ({"in_downstream": np.array([True])}, r"in_downstream: expected shape \[2\], found \[1\]"),
    ({"bond_uv": np.array([[0, 1], [1, 3]] * 2, np.uint16)}, "arrays input, row 0 .*outside the graph"),
    ({"atom": np.full((6, 2), 120, np.uint8)}, r"atom, row 0: 120 is outside 0\.\.119"),
    ({"atom": np.full((6, 2), 2**32 + 6)}, "atom, row 0: 4294967302 is outside"),
    ({"atom": np.ones((6, 2), bool), "bond_uv": np.zeros((4, 2), bool)}, "arrays input, row 0 .*: an edge joins a node to itself"),
    ({"atom": np.full((6, 2), 4)}, "node category is outside"),
    ({"bond_uv": np.array([[0, 1.9], [1, 2]] * 2)}, r"bond_uv, row 0: 1\.9 is not a whole number"),
    ({"scaffold_split": np.array([0, 3])}, "scaffold_split, row 1: 3 is outside"),
    ({"y": np.zeros((2, 3)), "tasks": np.array(["a"])}, r"y .a column for each of tasks.: expected shape .2, 1., found .2, 3."),
    ({"y": np.full((2, 1), np.inf), "tasks": np.array(["a"])}, "a.npz, y .*, row 0: inf is infinite"),
    ({"y": np.zeros((2, 1))}, "a.npz: y needs tasks"),
    ({"atom": np.array([object()] * 6)}, "a.npz, atom: not a plain array .Object arrays cannot be loaded"),
])  # fmt: skip
def test_invalid_arrays_are_rejected(tmp_path: Path, more: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        load(tmp_path / "out", save(tmp_path / "a.npz", 2, **more))


def test_booleans_are_read_as_the_numbers_0_and_1(tmp_path: Path) -> None:
    flags = {"atom": np.eye(6, 2, dtype=bool), "bond": np.eye(4, 2, dtype=bool)}
    found = load(tmp_path / "out", save(tmp_path / "a.npz", 2, **flags))
    assert found.node_cat.tolist() == np.eye(6, 2).tolist()
    assert found.edge_cat.tolist() == np.eye(4, 2).tolist()


def test_files_without_arrays_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for content, message in ((b"PK\x03\x04 cut", "a.npz: "), (b"junk", "a.npz: "), (b"", "a.npz: ")):
        path.write_bytes(content)
        with pytest.raises(RequestError, match=message):
            load(tmp_path / "out", str(path))
    np.savez(path, node_ptr=np.array([0]))
    with pytest.raises(RequestError, match="the array 'edge_ptr' is missing; found node_ptr"):
        load(tmp_path / "out", str(path))
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(RequestError, match="holds a single array"):
        load(tmp_path / "out", str(path))
