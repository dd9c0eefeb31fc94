"""Tables of molecules as other programs write them: separators, quotes, encodings, compression, rejected rows."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from distgnn.cli import main
from distgnn.corpus.inspect import cat
from distgnn.corpus.sources.files import unpacked_limit
from distgnn.corpus.sources.molecules import MoleculesConfig
from distgnn.errors import RequestError
from tests.helpers.corpora import build

SMILES = ("C", "CC", "CCO", "c1ccccc1", "C/C=C\\C", "CC(=O)Nc1ccc(O)cc1", "[NH4+]", "N#N")
ATOMS = (1, 2, 3, 6, 4, 11, 1, 2)


def made(tmp_path: Path, name: str, data: bytes | str, **options: Any) -> tuple[list[dict[str, Any]], list[list[str]]]:
    """Build and return the graphs and the rejected rows."""
    path, out = tmp_path / name, tmp_path / "out"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    manifest = build("molecules", MoleculesConfig(input=(str(path),), out=str(out), overwrite=True, **options))
    lines = [line.split("\t") for file in sorted(out.glob("rejected-*")) for line in file.read_text().splitlines()[1:]]
    assert len(lines) == manifest.rejected
    return list(cat(str(out), 0, manifest.graphs)), lines


def atoms(graphs: list[dict[str, Any]]) -> list[int]:
    return [graph["num_nodes"] for graph in graphs]


def zipped(data: bytes, name: str = "m.csv", **more: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in {name: data, f"__MACOSX/._{name}": b"x", **more}.items():
            archive.writestr(member, content)
    return file.getvalue()


TEXT = "id,smiles,y\n1,CCO,0.5\n2,C,\n"


@pytest.mark.parametrize(("name", "data"), [
    ("m.csv", TEXT),
    ("m.csv", TEXT.replace("\n", "\r\n")),
    ("m.csv", TEXT.replace("\n", "\r")),
    ("m.csv", TEXT.replace(",", ";")),
    ("m.csv", TEXT.replace(",", "\t")),
    ("m.tsv", '"id"\t"smiles"\t"y"\n"1"\t"CCO"\t"0.5"\n"2"\t"C"\t""\n'),
    ("m.csv", '"id";"smiles";"y"\n"1";"CCO";"0.5"\n"2";"C";""\n'),
    ("m.csv", "sep=;\nid;smiles;y\n1;CCO;0.5\n2;C;\n"),
    ("m.csv", "id,smiles,y,\n1,CCO,0.5,\n2,C,,,\n"),
    ("m.csv", "id,Smiles,y\n1,CCO,0.5\n2,C,NA\n"),
    ("m.csv", TEXT.encode("utf-8-sig")),
    ("m.csv", TEXT.encode("utf-16")),
    ("m.csv", TEXT.encode("utf-16-be").join([b"\xfe\xff", b""])),
    ("M.CSV.GZ", gzip.compress(TEXT.encode(), mtime=0)),  # the same name of the test in every process
    ("m.csv.bz2", bz2.compress(TEXT.encode())),
    ("m.csv.xz", lzma.compress(TEXT.encode())),
    ("m.csv.zst", pa.compress(TEXT.encode(), codec="zstd", asbytes=True)),
    ("m.zip", zipped(TEXT.encode())),
    ("m.sd", "a\n\n\n" + "  3  2  0  0  0  0            999 V2000\n" + "    0.0000    0.0000    0.0000 C   0  0\n" * 2
     + "    0.0000    0.0000    0.0000 O   0  0\n  1  2  1  0\n  2  3  1  0\nM  END\n> <id>\n1\n\n>  <y>  (1)\n0.5\n\n$$$$\n"
     "b\n\n\n  1  0  0  0  0  0            999 V2000\n    0.0000    0.0000    0.0000 C   0  0\nM  END\n$$$$\n"),
])  # fmt: skip
def test_formats(tmp_path: Path, name: str, data: bytes | str) -> None:
    graphs, refused = made(tmp_path, name, data, labels=("y",))
    assert atoms(graphs) == [3, 1]
    assert graphs[0]["node"]["atom"] == [6, 6, 8]
    assert [graph["y"] for graph in graphs] == [{"y": 0.5}, {"y": None}]
    assert refused == []


def test_parquet(tmp_path: Path) -> None:
    file = io.BytesIO()
    columns = {
        "smiles": pd.Categorical(["CCO", None, "C"]),
        "y": np.float32([0.1, 2, np.nan]),
        "active": [True, False, None],
    }
    pd.DataFrame(columns).to_parquet(file)
    graphs, refused = made(tmp_path, "m.parquet", file.getvalue(), labels=("y", "active"))
    assert [graph["y"] for graph in graphs] == [{"y": np.float32(0.1), "active": 1}, {"y": None, "active": None}]
    assert [row[1:] for row in refused] == [["2", "no atoms", ""]]
    with pytest.raises(RequestError, match=r"m.parquet: not readable as Parquet|damaged"):
        made(tmp_path, "m.parquet", file.getvalue()[:-5])
    with pytest.raises(RequestError, match="no column 'toxic'; its columns are smiles, y, active"):
        made(tmp_path, "m.parquet", file.getvalue(), labels=("toxic",))
    pd.DataFrame({"smiles": [["C"]]}).to_parquet(tmp_path / "list.parquet")
    with pytest.raises(RequestError, match="the column 'smiles' holds list"):
        made(tmp_path, "list.parquet", (tmp_path / "list.parquet").read_bytes())


def test_quotes_in_tab_separated_text_are_characters(tmp_path: Path) -> None:
    text = 'smiles\ty\tname\nCCO\t1\tethanol\nCCN\t0\t"prime\nCCC\t1\tc\nCCCC\t0\td"\nCCCl\t1\t5"\n'
    graphs, refused = made(tmp_path, "a.tsv", text, labels=("y",))
    assert [(graph["num_nodes"], graph["y"]["y"]) for graph in graphs] == [(3, 1), (3, 0), (3, 1), (4, 0), (3, 1)]
    assert refused == []
    graphs, refused = made(tmp_path, "b.smi", 'CCO\tethanol\nCCN\t"x\nCCC\tprop\nCCCC but ane\n')
    assert (atoms(graphs), refused) == ([3, 3, 3, 4], [])


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_quoted_fields_may_hold_separators_and_line_ends(tmp_path: Path, mark: str) -> None:
    text = f'name,smiles,y\n"a\nb",C,1\n"x{mark}""y""",CC,2\n"\n\n",oops,3\n'.replace(",", mark)
    graphs, refused = made(tmp_path, "m.csv", text, labels=("y",))
    assert [(graph["num_nodes"], graph["y"]["y"]) for graph in graphs] == [(1, 1), (2, 2)]
    assert [row[1:] for row in refused] == [["7", "RDKit cannot read the SMILES", "oops"]]


@pytest.mark.parametrize(("text", "message"), [
    ('smiles,y,name\nCCO,1,a\nCCN,0,"b\nCCC,1,c\n', "m.csv, line 3: a quote is opened and never closed"),
    ('smiles,y,name\nCCO,1,a\nCCN,0,"b\nCCC,1,"c"\n', "m.csv, line 3: a quote is opened and never closed"),
    ('smiles,y,name\nCCO,1,"a"b\n', "m.csv, line 2: text behind a closing quote"),
    ('smiles,y,name\nCCN,0,"b\nCCC,1,c"\n', "m.csv, line 2: a quote is opened and closed only in line 3"),
    ("smiles,y,y\nC,1,0\n", "m.csv: 2 columns are called 'y'"),
    ("smiles;x;x\nC;1;0\n", "m.csv: 2 columns are called 'x'"),
    ("smiles,y\nC,inf\n", "m.csv, line 2, column y: the label 'inf' is not a number"),
    ("smiles,y\nC,1e39\n", "the label '1e39' is not a number"),
    ("smiles,y\nC,1_0\n", "the label '1_0' is not a number"),
    ("smiles,y\nC,>10\n", "the label '>10' is not a number"),
    ("smiles;y\nC;1,5\n", "the label '1,5' is not a number"),
    ("smiles,y\nC,\uff11\n", "the label '\uff11' is not a number"),
])  # fmt: skip
def test_refused_tables(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        made(tmp_path, "m.csv", text, labels=("y",))


def test_decimal_comma_and_given_separator(tmp_path: Path) -> None:
    graphs, _ = made(tmp_path, "m.csv", "smiles;y\nC;1,5\nCC;2\n", labels=("y",), decimal=",")
    assert [graph["y"]["y"] for graph in graphs] == [1.5, 2]
    with pytest.raises(RequestError, match=r"'1\.5' is not a number"):
        made(tmp_path, "m.csv", "smiles;y\nC;1.5\n", labels=("y",), decimal=",")
    graphs, _ = made(tmp_path, "m.smi", "CCO|1\nC|2\n", labels=("1",), smiles="0", delimiter="|")
    assert [graph["y"]["1"] for graph in graphs] == [1, 2]
    with pytest.raises(RequestError, match="delimiter must be"):
        MoleculesConfig(input=("a",), out="", delimiter="::")


def test_encodings(tmp_path: Path) -> None:
    latin = "smiles,name\nCCO,\xb5mol\n".encode("latin-1")
    with pytest.raises(RequestError, match=r"m.csv, line 2: not UTF-8; set encoding"):
        made(tmp_path, "m.csv", latin)
    assert atoms(made(tmp_path, "m.csv", latin, encoding="latin-1")[0]) == [3]
    with pytest.raises(RequestError, match="set encoding=utf-16-le"):
        made(tmp_path, "m.csv", TEXT.encode("utf-16-le"))
    assert atoms(made(tmp_path, "m.csv", TEXT.encode("utf-16-le"), encoding="utf-16-le")[0]) == [3, 1]
    for wrong in ("klingon", "hex"):
        with pytest.raises(RequestError, match="unknown; such as"):
            MoleculesConfig(input=("a",), out="", encoding=wrong)


def test_rejected_rows_have_reasons(tmp_path: Path) -> None:
    text = "smiles,y\nCC(=O) Nc1ccc(O)cc1,1\nC,1,2\nC\nCC |c:1|,1\nC\x07,1\nC\xa0C,0\nCCO,1\n"
    graphs, refused = made(tmp_path, "m.csv", text, labels=("y",))
    assert atoms(graphs) == [3]
    assert graphs[0]["graph_id"] == 6
    assert [(row[1], row[2]) for row in refused] == [
        ("2", "text behind the SMILES"),
        ("3", "too many fields: 3 where the header has 2"),
        ("4", "too few fields: 1 where the header has 2"),
        ("5", "text behind the SMILES"),
        ("6", "a character that no SMILES has"),
        ("7", "text behind the SMILES"),
    ]
    _, refused = made(tmp_path, "m.smi", "CCO name of it\nCC |c:1| x\n")
    assert [row[1:3] for row in refused] == [["2", "text behind the SMILES (a CXSMILES extension)"]]


def test_all_rejected_rows_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "m.csv", tmp_path / "out"
    path.write_text("smiles\noops\nC C\n")
    arguments = ["corpus", "build", "molecules", "--input", str(path), "--out", str(out)]
    assert main(arguments) == 2
    assert "2 rows read, all rejected; " in capsys.readouterr().err
    assert (out / "rejected-00000.tsv").read_text().splitlines()[1:] == [
        "m.csv\t2\tRDKit cannot read the SMILES\toops",
        "m.csv\t3\ttext behind the SMILES\tC C",
    ]
    path.write_text("smiles\nCCO\n")
    assert main(arguments) == 0
    assert "1 rows read = 1 stored + 0 rejected" in capsys.readouterr().out
    assert not list(out.glob("rejected-*"))


def test_all_labels(tmp_path: Path) -> None:
    text = "a,name,smiles,b,empty,part\n1,x,C,0.5,,train\n,7,CC,na,,test\n"
    graphs, _ = made(tmp_path, "m.csv", text, labels=("all",), split="part")
    assert [graph["y"] for graph in graphs] == [{"a": 1, "b": 0.5}, {"a": None, "b": None}]
    graphs, _ = made(tmp_path, "m.csv", "smiles,all,x\nC,1,2\n", labels=("all",))
    assert graphs[0]["y"] == {"all": 1}
    graphs, _ = made(tmp_path, "m.smi", "C x 1\nCC y 2\n", labels=("all",))
    assert [graph["y"] for graph in graphs] == [{"2": 1}, {"2": 2}]
    with pytest.raises(RequestError, match="labels=all, but the column 'y' holds numbers and '>10'; name the columns"):
        made(tmp_path, "m.csv", "smiles,y\nC,1\nCC,>10\nCCC,3\n", labels=("all",))
    with pytest.raises(RequestError, match="labels=all, but no further column holds numbers only"):
        made(tmp_path, "m.csv", "smiles,name\nC,x\n", labels=("all",))


def test_all_labels_leave_out_a_column_that_counts_the_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "row,smiles,b\n" + "".join(f"{number},C,{number % 3}\n" for number in range(5, 25))
    graphs, _ = made(tmp_path, "m.csv", text, labels=("all",))
    assert graphs[4]["y"] == {"b": 0}
    assert (
        "labels=all leaves out the column 'row', which counts the rows; name it to keep it" in capsys.readouterr().err
    )
    graphs, _ = made(tmp_path, "m.csv", text, labels=("row",))
    assert graphs[4]["y"] == {"row": 9}


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda raw: pa.compress(raw, codec="zstd", asbytes=True),
    ".zip": zipped,
}


@pytest.mark.parametrize("suffix", PACKERS)
def test_bombs_and_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr("distgnn.corpus.sources.files._UNPACKED_BYTES", 10_000)
    monkeypatch.setattr("distgnn.corpus.sources.files._UNPACKED_TIMES", 20)
    text = b"smiles\n" + b"C\n" * 100_000
    data = PACKERS[suffix](text)
    assert len(text) > unpacked_limit(len(data))
    with pytest.raises(RequestError, match=r"m.csv.\w+: unpacks to more than"):
        made(tmp_path, f"m.csv{suffix}", data)
    small = PACKERS[suffix](b"smiles\nC\nCO\nCCCN\n")
    for damaged in (small[: len(small) - 12], b"CCO\n" * 20):
        with pytest.raises(RequestError, match="damaged"):
            made(tmp_path, f"m.csv{suffix}", damaged)


@pytest.mark.parametrize("suffix", PACKERS)
def test_files_whose_name_hides_their_packing_are_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(RequestError, match=f"m.csv: not text, but .*name it {suffix}"):
        made(tmp_path, "m.csv", PACKERS[suffix](TEXT.encode()))


def test_zips_of_several_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"m.zip: must hold one file, found 2 \(m.csv, n.csv\)"):
        made(tmp_path, "m.zip", zipped(b"smiles\nC\n", **{"n.csv": b""}))


NAMES = st.text(st.sampled_from("ab1 ,;\t\"'µ|-"), max_size=8)
LABELS = st.floats(width=32, allow_nan=True, allow_infinity=False)
ROWS = st.lists(st.tuples(st.integers(0, len(SMILES) - 1), NAMES, LABELS, st.integers(-9, 9)), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(
    rows=ROWS,
    delimiter=st.sampled_from(",;\t"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    packing=st.sampled_from(["", *PACKERS]),
)
@example([(0, '"', 1.5, 0), (1, 'a"', 2.5, 1)], "\t", csv.QUOTE_MINIMAL, "\n", "utf-8", "")
def test_any_labels_in_any_dialect_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, str, float, int]],
    delimiter: str,
    quoting: Any,
    end: str,
    encoding: str,
    packing: str,
) -> None:
    frame = pd.DataFrame(rows, columns=["smiles", "name", "y", "z"])  # pyright: ignore[reportArgumentType]
    frame["smiles"] = [SMILES[row] for row in frame["smiles"]]
    frame["y"] = frame["y"].astype(np.float32)
    data = frame.to_csv(None, sep=delimiter, index=False, quoting=quoting, lineterminator=end).encode(encoding)
    packed = PACKERS[packing](data) if packing else data
    graphs, refused = made(tmp_path_factory.mktemp("m"), f"m.csv{packing}", packed, labels=("y", "z"))
    assert refused == []
    assert atoms(graphs) == [ATOMS[row[0]] for row in rows]
    expected = [{"y": None if np.isnan(y) else np.float32(y), "z": z} for _, _, y, z in rows]
    assert [graph["y"] for graph in graphs] == expected
