"""The reader of edge tables: every format, odd files, refusals, accounts, and identifiers that survive unchanged."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distgnn.corpus.account import Account
from distgnn.corpus.sources.edges import edge_set, lines
from distgnn.corpus.sources.edges.edge_set import EdgeList
from distgnn.corpus.sources.edges.layout import EdgeOptions
from distgnn.corpus.sources.edges.read import read_edges
from distgnn.errors import RequestError, WorkError

BIOGRID = "#BioGRID Interaction ID\tEntrez Gene Interactor A\tEntrez Gene Interactor B\tExperimental System\tScore\n"
MITAB = "#ID Interactor A\tID Interactor B\t" + "\t".join(f"column {number}" for number in range(13)) + "\n"
XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
COO = "%%MatrixMarket matrix coordinate pattern general\n"
NOTHING: dict[str, int] = {}


def put(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def pairs(edges: EdgeList) -> set[tuple[str, str]]:
    return {(edges.names[low], edges.names[high]) for low, high in zip(edges.low, edges.high, strict=True)}


def mitab(*rows: Sequence[str]) -> str:
    return "".join("\t".join([*row, *["-"] * 13]) + "\n" for row in rows)


READ: dict[str, tuple[str, str | bytes, dict[str, Any], set[tuple[str, str]], set[str]]] = {
    "string": (
        "9606.protein.links.txt", "protein1 protein2 combined_score\n9606.A 9606.B 900\n9606.A 9606.C 150\n", {},
        {("9606.A", "9606.B"), ("9606.A", "9606.C")}, set(),
    ),
    "string detailed, with scores": (
        "a.txt", "protein1 protein2 experimental combined_score\r\nA B 0 900\r\nA C 800 150\r\n", {"min_score": 700},
        {("A", "B")}, set(),
    ),
    "string, another score": (
        "a.txt", "protein1 protein2 experimental combined_score\nA B 0 900\nA C 800 150\n",
        {"columns": ("protein1", "protein2", "experimental"), "min_score": 700}, {("A", "C")}, set(),
    ),
    "string actions": (
        "a.txt", "item_id_a\titem_id_b\tmode\taction\tscore\nA\tB\tbinding\t\t900\nB\tA\tptmod\t\t1\n", {},
        {("A", "B")}, set(),
    ),
    "string export": (
        "a.tsv", "#node1\tnode2\tcombined_score\nA\tB\t0.9\nA\tC\t0.2\n",
        {"min_score": 0.4}, {("A", "B")}, set(),
    ),
    "biogrid": (
        "b.txt", BIOGRID + "103\t6416\t2318\tTwo-hybrid\t-\n117\t84665\t88\tTwo-hybrid\t-\n9\t-\t88\tx\t-\n", {},
        {("2318", "6416"), ("84665", "88")}, set(),
    ),
    "mitab": (
        "m.txt", MITAB + mitab(("entrez gene/locuslink:6416|biogrid:1", "entrez gene/locuslink:2318"), ("uniprotkb:P1", "-"),
                               ("uniprotkb:P1", 'chebi:"CHEBI:15"')), {},
        {("2318", "6416"), ("CHEBI:15", "P1")}, set(),
    ),
    "mitab without header": ("m.txt", mitab(("a:1", "b:2")), {}, {("1", "2")}, set()),
    "sif": (
        "c.sif", "geneA pp geneB\ngeneB pd geneC geneD\nalone\n",
        {}, {("geneA", "geneB"), ("geneB", "geneC"), ("geneB", "geneD")}, {"alone"},
    ),
    "sif with tabs": ("c.sif", "gene A\tpp\tgene B\t\r\n", {}, {("gene A", "gene B")}, set()),
    "matrix market": (
        "m.mtx", "%%MatrixMarket matrix coordinate pattern symmetric\n% note\n3 3 2\n2 1\n3 2\n",
        {}, {("1", "2"), ("2", "3")}, set(),
    ),
    "weighted matrix": (
        "m.txt", "%%matrixmarket MATRIX Coordinate Real General\n\n3 3 3\n2 1 0.5\n3 2 1e2\n1 1 3\n", {"min_score": 1},
        {("2", "3")}, {"1"},
    ),
    "adjacency": (
        "g.adjlist", "# by networkx\n0 1 2 3\n1 2\n3 4\n5\n",
        {}, {("0", "1"), ("0", "2"), ("0", "3"), ("1", "2"), ("3", "4")}, {"5"},
    ),
    "triples": (
        "t.nt", '# c\n<http://x/a> <p:> <http://x/b> .\n_:b1 <p:> <http://x/\\u00e9> . # end\n<http://x/a> <p:> "x <y> ."@en .\n',
        {}, {("http://x/a", "http://x/b"), ("_:b1", "http://x/é")}, set(),
    ),
    "graphml": (
        "g.graphml", XML + '<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><graph><node id="a&amp;"/><node id="b"/>'
        '<node id="c"/><edge source="a&amp;" target="b"/></graph></graphml>', {}, {("a&", "b")}, {"c"},
    ),
    "gexf": (
        "g.xml", '<gexf xmlns="http://gexf.net/1.3"><graph><nodes><node id="a" label="A"/></nodes><edges>'
        '<edge source="a" target="b" weight="0.3"/><edge source="a" target="c"/></edges></graph></gexf>', {"min_score": 0.5},
        {("a", "c")}, set(),
    ),
    "pajek": (
        "p.net", '*Vertices 4\n1 "A b" 0.1 0.2 ellipse\n2 C\n3\n4 "D"\n*Arcs\n1 2 0.5\n*Edgeslist\n2 3 1\n', {},
        {("A b", "C"), ("3", "C")}, {"D"},
    ),
    "csv": ("c.csv", "source, target\na, b\nb, a\na, c\n", {}, {("a", "b"), ("a", "c")}, set()),
    "csv of excel": (
        "c.csv", b"\xef\xbb\xbfsep=;\r\nWeight;Source;Target\r\n1;NA;nan\r\n2;007;1e5\r\n",
        {}, {("NA", "nan"), ("007", "1e5")}, set(),
    ),
    "quoted csv": ("c.csv", '"from","to","n"\n"a,1","b""x",1\n"#c",d,\n', {}, {("a,1", 'b"x'), ("#c", "d")}, set()),
    "quotes as text": ("c.tsv", 'source\ttarget\n"a\t5\'"\n', {"quotes": False}, {('"a', "5'\"")}, set()),
    "named columns": ("c.csv", "Gene A,Gene B,x\na,b,1\n", {"columns": ("Gene B", "Gene A")}, {("a", "b")}, set()),
    "numbered columns": (
        "c.txt", "x a b 0.5\nx a c 0.7\n",
        {"columns": ("1", "2", "3"), "min_score": 0.6}, {("a", "c")}, set(),
    ),
    "trailing tabs": ("c.tsv", "source\ttarget\na\tb\t\t\nc\td\n", {}, {("a", "b"), ("c", "d")}, set()),
    "comments before a header": ("c.txt", "# a\n# FromNodeId\tToNodeId\n0\t1\n", {}, {("0", "1")}, set()),
    "utf-16": ("c.csv", "source,target\né,ß\n".encode("utf-16"), {}, {("ß", "é")}, set()),
    "latin-1": ("c.csv", "source,target\né,ß\n".encode("latin-1"), {"encoding": "latin-1"}, {("ß", "é")}, set()),
    "plain": ("h.el", "b g#2\n#x y\nc\tg#3\r\n\n  d g#4  ", {}, {("b", "g#2"), ("c", "g#3"), ("d", "g#4")}, set()),
    "plain with quotes": ("q.el", '"a" "b"\n"b" "c\n', {}, {('"a"', '"b"'), ('"b"', '"c')}, set()),
    "plain with one tab": (
        "t.el", "gene A\tgene B\n gene B\tc d\n",
        {}, {("gene A", "gene B"), ("c d", "gene B")}, set(),
    ),
    "old line ends": ("m.el", "a b\rb c\r", {}, {("a", "b"), ("b", "c")}, set()),
    "a header by force": ("h.el", "gene protein\n1 2\n", {"format": "edges"}, {("gene", "protein"), ("1", "2")}, set()),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_formats(case: str, tmp_path: Path) -> None:
    name, content, options, expected, alone = READ[case]
    edges = read_edges(put(tmp_path, name, content), EdgeOptions(**options))
    assert pairs(edges) == {(min(pair), max(pair)) for pair in expected}
    assert set(edges.names) == {name for pair in expected for name in pair} | alone
    assert edges.names.tolist() == sorted(edges.names)
    edges.account.check()


REFUSED: dict[str, tuple[str, str | bytes, dict[str, Any], str]] = {
    "three columns": (
        "w.txt", "1 2 0.5\n",
        {}, r"3 columns separated by white space, line 1 is '1 2 0.5'; give columns .* or format=sif",
    ),
    "ragged": ("g.txt", "0 1 2 3\n1 2\n", {}, "2, 4 columns .*; give format=adjlist"),
    "one column": ("g.txt", "a\nb\n", {}, "1 columns separated by white space"),
    "a longer row": ("g.txt", "1 2\n0 1 2\n", {}, "edge 2: '0 1 2' does not hold two ids"),
    "a longer row later": ("g.txt", "1 2\n" * 40_000 + "3\n", {}, r"line 40001: '3' does not hold two ids"),
    "csv without known header": (
        "c.csv", "Gene X,Gene Y\na,b\n",
        {}, r"2 columns separated by commas, line 1 is 'Gene X,Gene Y'; give columns",
    ),
    "missing column": (
        "c.csv", "Gene A,Gene B\na,b\n",
        {"columns": ("Gene A", "GeneB")}, "no column 'GeneB' .*; the columns are Gene A, Gene B",
    ),
    "missing number": ("c.txt", "a b\n", {"columns": ("0", "2")}, r"line 1 \('a b'\) has the columns 0 to 1"),
    "mixed columns": ("c.txt", "a b\n", {"columns": ("0", "b")}, "no column '0'"),
    "two pairs": ("c.csv", "source,target,from,to\na,b,c,d\n", {}, "source, target and from, to could be the ends"),
    "a column twice": ("c.csv", "source,target,source\na,b,c\n", {}, "the column 'source' twice"),
    "numbers below words": (
        "h.el", "geneA geneB\n1 2\n2 3\n",
        {}, r"line 1: 'geneA geneB' looks like a header; give columns geneA geneB",
    ),
    "words of headers": ("h.el", "GeneID_A\tGeneID_B\nTP53\tMDM2\n", {}, "looks like a header"),
    "empty": ("e.el", "", {}, "the file is empty"),
    "only comments": ("e.el", "# a\n", {}, "no rows, only comments"),
    "open quote": ("c.csv", 'source,target\na,b\n"a","b\nc,d\n', {}, "line 3: a quote is not closed on its line"),
    "text after a quote": (
        "c.csv", 'source,target\n"a"x,b\n',
        {}, "line 2: a quote is not closed on its line, or text follows",
    ),
    "space before a quote": ("c.csv", 'source, target\n"a", "b"\n', {}, "line 2: a space before a quoted field"),
    "latin-1": (
        "c.csv", "source,target\né,ß\n".encode("latin-1"),
        {}, "not utf-8 text near byte 14 .*; give encoding",
    ),
    "binary": ("c.el", b"a b\n\0\1 c\n", {}, "line 2: a NUL byte"),
    "hidden gzip": ("c.el", gzip.compress(b"a b\n"), {}, r"holds .gz data but is not named so"),
    "no gzip": ("c.el.gz", "a b\n", {}, "damaged, or not in the format of its extension"),
    "no scores": ("c.el", "a b\n", {"min_score": 1}, "min_score needs a score, but the file .edges, two columns. has none"),
    "high scores": ("c.csv", "source,target,weight\na,b,1\n", {"min_score": 9}, "no edge is left: .* 1 skipped"),
    "all wrong": (
        "c.csv", "source,target,weight\na,b\nc,d\ne,f,1\n",
        {}, r"2 of 3 rows cannot be read .* row 2 \(2 fields where",
    ),
    "dense matrix": ("m.mtx", "%%MatrixMarket matrix array real general\n2 2\n1\n", {}, "not a sparse matrix"),
    "rectangle": ("m.mtx", COO + "2 3 1\n1 1\n", {}, "a matrix of 2 x 3"),
    "matrix index": ("m.mtx", COO + "2 2 1\n1 3\n", {}, "line 3: not an entry of 2 fields"),
    "cut matrix": ("m.mtx", COO + "2 2 2\n1 2\n", {}, "holds 1 entries, but its size line says 2"),
    "no size": ("m.mtx", COO + "1 2\n", {}, "'1 2' is not a size"),
    "no matrix": ("m.mtx", "1 2\n", {}, "the content is not mtx"),
    "entities": (
        "g.graphml", XML + '<!DOCTYPE x [<!ENTITY a "b">]><graphml><node id="&a;"/></graphml>',
        {}, "has a document type",
    ),
    "broken xml": ("g.graphml", XML + "<graphml><graph>", {}, "not well-formed graphml"),
    "commas in names": ("g.el", "1,2-diol x\n", {}, "or format=edges if the identifiers hold them"),
    "odd number": ("g.el", "a b\n", {"columns": ("0", "²")}, "no column '0'"),
    "json": ("g.txt", '{"a": "b"}\n', {}, "looks like JSON"),
    "gml": ("g.gml", "graph [\n", {}, "GML is not read"),
    "html": ("g.txt", "<html lang=en>\n", {}, "an XML file, but neither"),
    "another header": ("g.txt", "protein1 protein2 combined_score\na b 1\n", {"format": "mitab"}, "has the header of string"),
    "a quoted header": ("g.txt", '"from" "to"\n"a" "b"\n', {}, "looks like a header"),
    "other xml": ("g.xml", XML + "<html/>", {}, "an XML file, but neither GraphML nor GEXF"),
    "columns of xml": ("g.graphml", XML + "<graphml/>", {"columns": ("a", "b")}, "is graphml, which has no columns"),
    "pajek matrix": ("p.net", "*Vertices 2\n*Matrix\n0 1\n1 0\n", {}, r"line 2: a section '\*Matrix'"),
    "pajek label twice": ("p.net", "*Vertices 2\n1 a\n2 a\n*Edges\n1 2\n", {}, "the label 'a' is given twice"),
    "pajek names": (
        "p.net", "*Vertices 2\n1 a\n2 b\n*Edges\na b\n",
        {}, "line 5: the ends of an edge must be vertex numbers",
    ),
    "sif with a late tab": ("c.sif", "a x b\n" * 20_000 + "a\tx\tb\n", {}, "line 20001: the first tab"),
    "mitab twice": ("m.txt", mitab(("a:1", "b:2"), ("b:1", "b:2")), {}, "'1' occurs in two databases"),
    "not biogrid": ("b.txt", "a\tb\n", {"format": "biogrid"}, "has no header of biogrid"),
    "not parquet": ("b.parquet", "a b\n", {}, "the content is not parquet"),
    "many columns": ("c.csv", ",".join(["source", "target", *"x" * 2000]) + "\n", {}, "2,002 columns, more than 1,000"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_say_what_was_seen(case: str, tmp_path: Path) -> None:
    name, content, options, says = REFUSED[case]
    with pytest.raises(RequestError, match=says) as caught:
        read_edges(put(tmp_path, name, content), EdgeOptions(**options))
    assert "\n" not in str(caught.value)


def test_the_account_names_every_entry(tmp_path: Path) -> None:
    text = "source,target,weight\na,b,1\nb,a,2\na,a,3\nc,,4\nc,d\nsource,target,weight\nc,d,-\nc,d,x\nc,e,0.1\nc,f,9\n"
    edges = read_edges(put(tmp_path, "c.csv", text), EdgeOptions(min_score=0.5))
    assert edges.account == Account(
        file="c.csv",
        format="table, columns source, target, weight",
        read=10,
        stored={"edges": 2, "duplicates": 1, "self-loops": 1},
        skipped={"no score": 1, "score below 0.5": 1},
        rejected={
            "2 fields where the header or first row has 3": 1,
            "an empty identifier": 1,
            "the header again": 1,
            "the score is not a number": 1,
        },
    )
    assert sorted((row.row, row.text) for row in edges.rejected) == [
        ("5", "c"), ("6", "c,d"), ("7", "source target"), ("9", "c d"),
    ]  # fmt: skip
    assert edges.account.line().startswith(
        "c.csv (table, columns source, target, weight): 10 entries read = 2 edges + 1 "
    )
    with pytest.raises(WorkError, match=r"x: 3 entries read, but 2 accounted for"):
        Account("x", "", 3, {"edges": 2}).check()


def test_columns_that_are_not_read_are_named(tmp_path: Path) -> None:
    edges = read_edges(put(tmp_path, "c.csv", "source,target,year,note\na,b,1,2\n"))
    assert edges.account.format == "table, columns source, target; not read: year, note"


def test_kinds_of_interactions(tmp_path: Path) -> None:
    uri = put(
        tmp_path, "b.txt", BIOGRID + "1\ta\tb\tTwo-hybrid\t-\n2\tb\ta\tFRET\t-\n3\tb\tc\tFRET\t-\n4\tb\tc\tFRET\t-\n"
    )
    edges = read_edges(uri, kinds=("FRET", "Two-hybrid"))
    assert edges.kinds.tolist() == [[True, True], [True, False]]
    with pytest.raises(RequestError, match="no action type 'x'; the table has FRET, Two-hybrid"):
        read_edges(uri, kinds=("x",))
    with pytest.raises(RequestError, match="actions need a table with types of interaction"):
        read_edges(put(tmp_path, "a.el", "a b\n"), kinds=("x",))


def test_blocks_do_not_change_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "source,target,weight\r\n" + "".join(f'"n{n % 7}",é{n % 5},{n}\r\n' for n in range(200))
    uri = put(tmp_path, "c.csv", text)
    whole = read_edges(uri)
    monkeypatch.setattr(lines, "BLOCK_BYTES", 13)
    monkeypatch.setattr(lines._decoded, "__defaults__", (13,))
    monkeypatch.setattr(edge_set, "_PENDING", 3)
    parts = read_edges(uri)
    assert (parts.names.tolist(), parts.low.tolist(), parts.high.tolist()) == (
        whole.names.tolist(), whole.low.tolist(), whole.high.tolist(),
    )  # fmt: skip
    assert parts.account == whole.account


def test_unreadable_rows_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_set, "_MOST_REJECTED", 5)
    with pytest.raises(RequestError, match=r"more than 5 rows cannot be read; the first is row 2 "):
        read_edges(put(tmp_path, "c.csv", "source,target,w\n" + "a,b\n" * 6))
    monkeypatch.setattr(lines, "LONGEST_LINE", 100)
    with pytest.raises(RequestError, match="line 2: longer than 0 MiB"):
        read_edges(put(tmp_path, "c.el", "a b\na " + "b" * 200))


def zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("x.txt", data)
    return out.getvalue()


PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.compress(data, "zstd", asbytes=True),
    ".zip": zipped,
}


@pytest.mark.parametrize("extension", PACK)
def test_compressed_files(extension: str, tmp_path: Path) -> None:
    data = COO.encode() + b"2 2 1\n1 2\n"
    name = f"x{extension}" if extension == ".zip" else f"x.mtx{extension}"
    assert pairs(read_edges(put(tmp_path, name, PACK[extension](data)))) == {("1", "2")}
    with pytest.raises(RequestError):
        read_edges(put(tmp_path, name, PACK[extension](data)[:-9]))


def test_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": ["x", None, "z", ""], "b": [1, 2, 3, 4], "w": [0.5, 1, 2, 3]})
    uri = str(tmp_path / "e.parquet")
    frame.to_parquet(uri)
    edges = read_edges(uri, EdgeOptions(columns=("a", "1", "w"), min_score=1))
    assert pairs(edges) == {("3", "z")}
    assert edges.account.rejected == {"an empty identifier": 2}
    assert [row.row for row in edges.rejected] == ["2", "4"]
    with pytest.raises(RequestError, match="no known columns of edges; the columns are a, b, w"):
        read_edges(uri)
    with pytest.raises(RequestError, match="the column 'w' is double; identifiers must be text or integers"):
        read_edges(uri, EdgeOptions(columns=("a", "w")))
    pq.write_table(pa.table({"source": ["a"] * 3_000_000, "target": ["b"] * 3_000_000}), uri)
    with pytest.raises(RequestError, match="claims 3,000,000 rows in"):
        read_edges(uri)


def quoted_csv(rows: list[tuple[str, str]], delimiter: str) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows([("source", "target"), *rows])
    return out.getvalue()


def by_networkx(write: Callable[[Any, Any], None]) -> Callable[[list[tuple[str, str]]], bytes]:
    def written(rows: list[tuple[str, str]]) -> bytes:
        out = io.BytesIO()
        write(nx.Graph(rows), out)
        return out.getvalue()

    return written


def parquet(rows: list[tuple[str, str]]) -> bytes:
    out = io.BytesIO()
    pd.DataFrame(rows, columns=["source", "target"]).to_parquet(out)
    return out.getvalue()


def joined(separator: str, head: str = "", end: str = "\n") -> Callable[[list[tuple[str, str]]], bytes]:
    return lambda rows: (head + "".join(f"{a}{separator}{b}{end}" for a, b in rows)).encode()


TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0\n\r"), min_size=1, max_size=6)
HARD = st.sampled_from(
    ["NA", "nan", "null", "None", "1e5", "007", '"', '"a', 'a"b', "a#b", "#", "-", "True", "é", "\u2028"]
)
IDS = TEXT | HARD
WORDS = IDS.filter(lambda text: not set(text) & set(" \t\v\f"))
BARE = WORDS.filter(lambda text: not text.startswith(("#", "%", "*", "<", "_:", "sep=")) and not set(text) & set(",;"))
TABBED = IDS.filter(
    lambda text: "\t" not in text and text.strip(" \v\f") == text and not text.startswith(("#", "sep="))
)
IRIS = WORDS.filter(lambda text: not set(text) & set('<>"{}|^`\\') and min(text) > " " and not text.startswith("_:"))
XML_IDS = IDS.filter(lambda text: all(c >= " " and c not in "\ufffe\uffff" for c in text) and text.strip(" ") == text)
LABELS = BARE.filter(lambda text: '"' not in text)
CARRIES: dict[str, tuple[str, Any, Callable[[list[tuple[str, str]]], bytes], dict[str, Any]]] = {
    "plain": ("x.el", BARE, joined(" "), {"format": "edges"}),
    "string": ("x.txt", WORDS, joined(" ", "protein1 protein2 combined_score\n", " 1\n"), {}),
    "biogrid": (
        "x.txt", TABBED.filter(lambda text: text != "-"),
        lambda rows: (BIOGRID + "".join(f"1\t{a}\t{b}\tx\t-\n" for a, b in rows)).encode(), {},
    ),
    "csv": ("x.csv", IDS, lambda rows: quoted_csv(rows, ",").encode(), {}),
    "semicolons": ("x.csv", IDS, lambda rows: quoted_csv(rows, ";").encode("utf-16"), {}),
    "tsv": ("x.tsv", IDS, lambda rows: quoted_csv(rows, "\t").encode("utf-8-sig"), {}),
    "sif": ("x.sif", TABBED, joined("\tpp\t"), {"format": "sif"}),
    "adjacency": ("x.adjlist", BARE, joined(" "), {"format": "adjlist"}),
    "triples": ("x.nt", IRIS, joined("> <p:> <", "", "> .\n"), {}),
    "parquet": ("x.parquet", IDS, parquet, {}),
    "graphml": ("x.graphml", XML_IDS, by_networkx(nx.write_graphml_xml), {}),
    "gexf": ("x.gexf", XML_IDS, by_networkx(nx.write_gexf), {}),
    "pajek": ("x.net", LABELS, by_networkx(nx.write_pajek), {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CARRIES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_identifiers_survive_every_format_that_can_carry_them(
    case: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    name, ids, write, options = CARRIES[case]
    rows = data.draw(st.lists(st.tuples(ids, ids).filter(lambda pair: pair[0] != pair[1]), min_size=1, max_size=6))
    content = write(rows)
    if case == "triples":
        content = b"".join(b"<" + line + b"\n" for line in content.splitlines())
    edges = read_edges(put(tmp_path_factory.getbasetemp(), name, content), EdgeOptions(**options))
    assert pairs(edges) == {(min(pair), max(pair)) for pair in rows}
    assert set(edges.names) == {name for pair in rows for name in pair}
    assert edges.account.rejected == NOTHING


@settings(max_examples=150, deadline=None)
@given(
    case=st.sampled_from(sorted(READ)),
    place=st.integers(0, 200),
    cut=st.integers(0, 20),
    piece=st.binary(max_size=6) | st.sampled_from([b"\0", b'"', b"\t", b"\n", b"#", b"*", b"<", b"9" * 30, b"\xff"]),
)
def test_damaged_files_are_read_or_refused_in_one_line(
    case: str, place: int, cut: int, piece: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    name, content, options, *_ = READ[case]
    whole = content.encode() if isinstance(content, str) else content
    damaged = whole[:place] + piece + whole[place + cut :]
    said = ""
    try:
        read_edges(put(tmp_path_factory.getbasetemp(), name, damaged), EdgeOptions(**options)).account.check()
    except RequestError as error:
        said = str(error)
    assert "\n" not in said
