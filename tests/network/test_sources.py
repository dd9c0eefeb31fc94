"""Network sources on small files in the published formats; errors name file and row in one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from distgnn import register
from distgnn.corpus.account import Account
from distgnn.errors import RequestError
from distgnn.network.csr import edges_of
from distgnn.network.network import Network, Relation
from distgnn.network.sources.hetero import HeteroConfig, build_hetero
from distgnn.network.sources.kgrec import KgrecConfig, build_kgrec
from distgnn.network.sources.single import CitationConfig, RedditConfig, build_citation, build_reddit
from distgnn.network.sources.synthetic import SyntheticNetworkConfig, build_synthetic
from tests.helpers.corpora import real

RATINGS = "0 0 1\n0 1 0\n1 2 1\n"
TRIPLES = "0\t3\t0\n1\t3\t0\n3\t4\t1\n2\t0\t1\n"  # head tail relation; items 0..2, entities 3 and 4


def pairs(network: Network, name: str, source: str, target: str) -> set[tuple[int, int]]:
    """Local (source, target) of a relation's messages."""
    (edges,) = edges_of(network, [Relation(name, source, target)])
    return set(zip(edges.source.tolist(), edges.target.tolist(), strict=True))


def undirected(network: Network) -> set[tuple[int, int]]:
    found = pairs(network, "linked", "node", "node")
    assert found == {(b, a) for a, b in found}
    return {(a, b) for a, b in found if a < b}


def kgrec(tmp_path: Path, **files: str) -> Network:
    texts = {"ratings": RATINGS, "kg": TRIPLES} | {name.replace("_", "-"): text for name, text in files.items()}
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(text)
    return build_kgrec(KgrecConfig(input=f"{tmp_path}/", out="x", columns="htr"))


def test_kgrec_splits_relations_by_end_types(tmp_path: Path) -> None:
    network = kgrec(tmp_path)
    assert dict(zip(network.types, np.diff(network.type_ptr).tolist(), strict=True)) == {
        "item": 3,
        "entity": 2,
        "user": 2,
    }
    assert pairs(network, "0", "item", "entity") == {(0, 0), (1, 0)}
    assert pairs(network, "0^-1", "entity", "item") == {(0, 0), (0, 1)}
    assert pairs(network, "1", "entity", "entity") == {(0, 1)}
    assert pairs(network, "1", "item", "item") == {(2, 0)}
    assert len(network.relations) == 6
    assert network.num_messages == 8
    assert network.tables["rating.user"].tolist() == [0, 0, 1]
    assert network.tables["rating.item"].tolist() == [0, 1, 2]
    assert network.tables["rating.label"].tolist() == [1, 0, 1]
    assert str(tmp_path.parent) not in str(network.meta)


def test_kgrec_relation_names_column_order_and_npy_files(tmp_path: Path) -> None:
    network = kgrec(tmp_path, relation_list="0 film.actor\n1 film.prequel\n")
    assert pairs(network, "film.prequel", "item", "item") == {(2, 0)}
    table = np.array([[int(word) for word in row.split()] for row in TRIPLES.splitlines()], np.int32)
    folder = tmp_path / "npy"
    folder.mkdir()
    np.save(folder / "kg_final.npy", table[:, [0, 2, 1]])
    np.save(folder / "ratings_final.npy", np.array([[0, 0, 1], [0, 1, 0], [1, 2, 1]]))
    again = build_kgrec(KgrecConfig(input=str(folder), out="x", name="last-fm"))
    assert again.source.tolist() == network.source.tolist()
    assert again.meta["name"] == "last-fm"
    assert len(again.meta["paths"]) == 5
    assert network.meta["paths"] == []


KGREC_WRONG = {
    "kg.txt: no rows": ({"kg": ""}, r"kg.txt: the table has no rows"),
    "two columns": ({"kg": "0 1\n"}, r"kg.txt, row 1: '0 1' is not 3 numbers \(head, tail, relation\)"),
    "more columns later": ({"kg": "0 1 0\n0 1 0 3\n"}, r"kg.txt, row 2: '0 1 0 3' is not 3 numbers"),
    "commas": ({"kg": "0,1,0\n"}, r"kg.txt, row 1: '0,1,0' is not 3 numbers"),
    "powers": ({"kg": "0 1e2 0\n"}, r"kg.txt, row 1: '0 1e2 0' is not 3 numbers"),
    "other order": ({"kg": "0 1 100000000\n"}, r"kg.txt: 1 relations up to number 100000000.*give columns"),
    "gaps": (
        {"kg": "0 100000000 1\n"},
        r"kg.txt: head or tail 100000000 in a table of 1 rows; ids must be numbers from 0",
    ),
    "users": ({"ratings": "2000000000 0 1\n"}, r"ratings.txt: user 2000000000 in a table of 1 rows"),
    "names of three words": ({"relation_list": "0 a b\n"}, r"relation-list.txt, row 1: must hold the number 0"),
    "fewer columns later": ({"kg": "0 1 0\n0 1\n"}, r"kg.txt, row 2: .* is not 3 numbers"),
    "text": ({"ratings": "0 0 1\na 0 1\n"}, r"ratings.txt, row 2: 'a 0 1' is not 3 numbers"),
    "not whole": ({"ratings": "0 0 1\n0 0.5 1\n"}, r"ratings.txt, row 2: 0.5 is not an integer"),
    "negative": ({"kg": "0 3 0\n0 -3 0\n"}, r"kg.txt, row 2: tail -3 is out of range"),
    "label": ({"ratings": "0 0 1\n0 1 5\n"}, r"ratings.txt, row 2: label 5 is out of range; it must be in \[0, 2\)"),
    "relation": ({"relation_list": "0 only\n"}, r"kg.txt, row 3: relation 1 is out of range; it must be in \[0, 1\)"),
    "relation numbers": ({"relation_list": "0 a\n2 b\n"}, r"relation-list.txt, row 2: must hold the number 1"),
    "relation names": ({"relation_list": "0 a\n1 a\n"}, r"relation-list.txt, row 2: must hold the number 1"),
}


@pytest.mark.parametrize("case", KGREC_WRONG)
def test_kgrec_invalid_files_are_rejected_in_one_line(case: str, tmp_path: Path) -> None:
    files, says = KGREC_WRONG[case]
    with pytest.raises(RequestError, match=says) as caught:
        kgrec(tmp_path, **files)
    assert "\n" not in str(caught.value)


def test_missing_and_pickled_files_are_rejected(tmp_path: Path) -> None:
    config = KgrecConfig(input=str(tmp_path), out="x")
    with pytest.raises(RequestError, match=r"ratings.txt or ratings_final.npy or ratings_final.txt not found"):
        build_kgrec(config)
    np.save(tmp_path / "ratings_final.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "kg.txt").write_text(TRIPLES)
    with pytest.raises(RequestError, match=r"ratings_final.npy: not a plain .npy array"):
        build_kgrec(config)
    np.savez(tmp_path / "two.npz", np.zeros(1))
    (tmp_path / "two.npz").rename(tmp_path / "ratings_final.npy")
    with pytest.raises(RequestError, match=r"ratings_final.npy: not a plain .npy array .the magic string"):
        build_kgrec(config)
    np.save(tmp_path / "ratings_final.npy", np.array([["a", "b", "c"]]))
    with pytest.raises(RequestError, match=r"ratings_final.npy: must hold integers, found <U1"):
        build_kgrec(config)


def hetero(tmp_path: Path) -> Path:
    """ACM's files: 4 papers, 3 authors, 2 subjects."""
    (tmp_path / "pa.txt").write_text("0\t0\n1\t2\n1\t2\n3\t1\n")
    (tmp_path / "ps.txt").write_text("0\t1\n2\t0\n")
    np.save(tmp_path / "labels.npy", np.array([0.0, 1, 2, 0]))
    sp.save_npz(tmp_path / "p_feat.npz", sp.csr_matrix(np.eye(4, 6)))
    sp.save_npz(tmp_path / "a_feat.npz", sp.coo_matrix(np.ones((3, 2), np.int64)))
    for part in ("train", "val", "test"):
        for count in (20, 40, 60):
            np.save(tmp_path / f"{part}_{count}.npy", np.array([3, 1]))
    return tmp_path


def acm(folder: Path) -> Network:
    return build_hetero(HeteroConfig(input=str(folder), out="x", layout="acm"))


def test_hetero(tmp_path: Path) -> None:
    network = acm(hetero(tmp_path))
    assert dict(zip(network.types, np.diff(network.type_ptr).tolist(), strict=True)) == {
        "paper": 4,
        "author": 3,
        "subject": 2,
    }
    assert pairs(network, "paper_author", "paper", "author") == {(0, 0), (1, 2), (3, 1)}
    assert pairs(network, "paper_subject^-1", "subject", "paper") == {(1, 0), (0, 2)}
    assert network.features["paper"].tolist() == np.eye(4, 6).tolist()
    assert network.features["author"].tolist() == np.ones((3, 2)).tolist()
    assert network.features.keys() == {"paper", "author"}
    assert network.tables["paper.label"].tolist() == [0, 1, 2, 0]
    assert network.tables["paper.test_60"].tolist() == [3, 1]
    assert len(network.tables) == 10
    assert network.meta["paths"] == [
        "paper paper_author author paper_author^-1 paper",
        "paper paper_subject subject paper_subject^-1 paper",
    ]


def test_hetero_layout_without_features_and_with_plain_arrays(tmp_path: Path) -> None:
    folder = hetero(tmp_path)
    (folder / "ps.txt").rename(folder / "pr.txt")
    with (folder / "a_feat.npz").open("wb") as file:
        np.save(file, np.full((3, 2), 0.5))  # as DBLP's t_feat.npz is
    (folder / "p_feat.npz").unlink()
    network = build_hetero(HeteroConfig(input=str(folder), out="x", layout="aminer"))
    assert network.types == ("paper", "author", "reference")
    assert network.features["author"].tolist() == np.full((3, 2), 0.5).tolist()
    assert network.meta["options"] == {"layout": "aminer"}


def text(name: str, content: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_text(content)


def array(name: str, values: Any) -> Callable[[Path], Any]:
    return lambda folder: np.save(folder / name, values)


def parts(name: str, **values: Any) -> Callable[[Path], Any]:
    return lambda folder: np.savez(folder / name, **values)


def test_accounts_name_every_row(tmp_path: Path) -> None:
    (papers,) = [item for item in acm(hetero(tmp_path)).meta["accounts"] if item["file"] == "pa.txt"]
    expected = Account("pa.txt", "paper, author", 4, {"edges": 3, "duplicates": 1})
    assert papers == asdict(expected)
    assert [item["stored"] for item in kgrec(tmp_path, kg=TRIPLES + "0 3 0\n").meta["accounts"]] == [
        {"ratings": 3},
        {"edges": 4, "duplicates": 1},
    ]
    (linked,) = citation(tmp_path).meta["accounts"]
    assert (linked["read"], linked["stored"]) == (4, {"edges": 2, "duplicates": 1, "self-loops": 1})


def test_relations_more_varied_than_tails_are_refused(tmp_path: Path) -> None:
    rows = "".join(f"{n % 5} {n % 7} {n}\n" for n in range(300))
    with pytest.raises(RequestError, match=r"kg.txt: 300 relations but 7 tails; are the columns in another order"):
        kgrec(tmp_path, kg=rows)


HETERO_WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "paper": (text("pa.txt", "0 0\n9 0\n"), r"pa.txt, row 2: paper 9 is out of range; it must be in \[0, 4\)"),
    "author": (text("pa.txt", "0 0\n1 3\n"), r"pa.txt, row 2: author 3 is out of range; it must be in \[0, 3\)"),
    "empty": (text("ps.txt", ""), r"ps.txt: the table has no rows"),
    "columns": (text("ps.txt", "1 1 1\n"), r"ps.txt, row 1: '1 1 1' is not 2 numbers \(p, s\)"),
    "header": (text("ps.txt", "paper subject\n1 1\n"), r"ps.txt, row 1: 'paper subject' is not 2 numbers"),
    "swapped": (text("ps.txt", "0 0\n0 1\n0 2\n0 3\n"), r"its first column names 1 of 4 papers, its second 4"),
    "gaps": (text("ps.txt", "0 99999999\n"), r"ps.txt: subject 99999999 in a table of 1 rows"),
    "missing": (lambda folder: (folder / "ps.txt").unlink(), r"ps.txt not found"),
    "no split": (lambda folder: (folder / "val_40.npy").unlink(), r"val_40.npy not found"),
    "split": (array("train_20.npy", [1, 4]), r"train_20.npy, row 2: node 4 is out of range"),
    "labels": (array("labels.npy", [0, 1, 0.5, 1]), r"labels.npy, row 3: 0.5 is not an integer"),
    "rows": (
        parts("a_feat.npz", format=b"csr", shape=[2, 2], data=[1.0], indices=[0], indptr=[0, 1, 1]),
        "out of range",
    ),
    "paper rows": (array("labels.npy", [0, 1, 0]), r"pa.txt|p_feat.npz: 4 rows for 3 papers"),
    "format": (
        parts("p_feat.npz", format=b"dia", shape=[4, 1], data=[1.0]),
        r"p_feat.npz: .* format 'dia' is not supported",
    ),
    "no parts": (parts("p_feat.npz", format=b"csr", shape=[4, 1], data=[1.0]), r"format 'csr' is not supported"),
    "no data": (parts("p_feat.npz", format=b"csr"), r"p_feat.npz: the array 'data' is missing"),
    "index": (
        parts("p_feat.npz", format=b"csr", shape=[4, 1], data=[1.0], indices=[7], indptr=[0, 1, 1, 1, 1]),
        r"p_feat.npz: not a sparse matrix of shape \(4, 1\)",
    ),
    "nan": (
        parts("p_feat.npz", format=b"coo", shape=[4, 1], data=[np.nan], row=[2], col=[0]),
        r"p_feat.npz, row 3: a feature is not finite",
    ),
    "damaged": (lambda folder: (folder / "p_feat.npz").write_bytes(b"PK\3\4 no zip"), r"p_feat.npz: "),
}


@pytest.mark.parametrize("case", HETERO_WRONG)
def test_hetero_invalid_files_are_rejected_in_one_line(case: str, tmp_path: Path) -> None:
    damage, says = HETERO_WRONG[case]
    damage(hetero(tmp_path))
    with pytest.raises(RequestError, match=says) as caught:
        acm(tmp_path)
    assert "\n" not in str(caught.value)


CITED: dict[str, Any] = {
    "n": 4,
    "indptr": [0, 2, 3, 3, 4],
    "indices": [1, 0, 0, 1],  # 0-1 twice, a loop at 0, 3-1
    "y": np.array([1, 0, 0, 2], np.int16),
    "x_shape": [4, 3],
    "x_indptr": [0, 1, 1, 2, 2],
    "x_indices": np.array([2, 0], np.int16),
    "x_data": [1.0, 0.5],
}


def citation(tmp_path: Path, **changes: Any) -> Network:
    np.savez(tmp_path / "cora.npz", **(CITED | changes))
    return build_citation(CitationConfig(input=str(tmp_path / "cora.npz"), out="x"))


def test_citation(tmp_path: Path) -> None:
    network = citation(tmp_path)
    assert undirected(network) == {(0, 1), (1, 3)}
    assert network.num_messages == 4
    assert network.features["node"].tolist() == [[0, 0, 1], [0, 0, 0], [0.5, 0, 0], [0, 0, 0]]
    assert network.tables["node.label"].tolist() == [1, 0, 0, 2]
    assert network.meta["name"] == "cora"


CITATION_WRONG = {
    "indptr": ({"indptr": [0, 2, 3, 4]}, "indptr does not point into indices for 4 nodes"),
    "scalar": ({"indices": 1}, "indptr does not point into indices for 4 nodes"),
    "falling": ({"indptr": [0, 3, 2, 3, 4]}, "indptr does not point into indices"),
    "indices": ({"indices": [1, 0, 4, 1]}, "cora.npz, row 3: node 4 is out of range"),
    "labels": ({"y": [1, 2]}, "2 labels for 4 nodes"),
    "features": ({"x_shape": [4, 1]}, "not a sparse matrix of shape"),
    "rows": ({"x_shape": [2, 3], "x_indptr": [0, 1, 2]}, "2 rows of features for 4 nodes"),
    "empty": ({"indptr": [0] * 5, "indices": []}, "the relation 'linked' has no edges"),
    "huge": (
        {"x_shape": [4, 10**12]},
        r"x_data: a matrix of shape \(4, 1000000000000\) .* too sparse to be used densely",
    ),
    "text": ({"n": "a"}, r"cora.npz, n: must hold integers, found <U1"),
    "nan": ({"n": np.nan}, r"cora.npz, n, row 1: nan is not an integer"),
    "two sizes": ({"n": [4, 4]}, "n must be one number of nodes"),
    "infinite pointer": ({"indptr": [0, 2, 3, 3, np.inf]}, r"indptr, row 5: inf is not an integer"),
    "unsigned": ({"y": np.array([1, 0, 0, 2**63], np.uint64)}, r"row 4: 9223372036854775808 is not an integer"),
    "values": ({"x_data": ["a", "b"]}, r"x_data: a sparse matrix must hold numbers at integer places, found <U1"),
    "large values": ({"x_data": [1e300, 1.0]}, "row 1: a feature is not finite"),
    "object": ({"y": np.array([None] * 4)}, r"cora.npz, y: not a plain array \(Object arrays"),
}


@pytest.mark.parametrize("case", CITATION_WRONG)
def test_citation_invalid_files_are_rejected_in_one_line(case: str, tmp_path: Path) -> None:
    changes, says = CITATION_WRONG[case]
    with pytest.raises(RequestError, match=says):
        citation(tmp_path, **changes)


POSTS: dict[str, Any] = {
    "feature": np.arange(8.0).reshape(4, 2),
    "label": np.array([4, 0, 1, 1]),
    "node_ids": np.array([10, 11, 12, 13]),
    "node_types": np.array([1, 3, 2, 1]),
}
ADJACENCY: dict[str, Any] = {
    "row": np.array([0, 1, 2, 2], np.int32),
    "col": np.array([1, 0, 2, 3], np.int32),
    "data": np.ones(4),
    "shape": np.array([4, 4]),
    "format": np.array(b"coo"),
}


def reddit(tmp_path: Path, **changes: Any) -> Network:
    np.savez(tmp_path / "reddit_data.npz", **{name: changes.get(name, value) for name, value in POSTS.items()})
    np.savez(tmp_path / "reddit_graph.npz", **{name: changes.get(name, value) for name, value in ADJACENCY.items()})
    return build_reddit(RedditConfig(input=str(tmp_path), out="x", name="reddit"))


def test_reddit(tmp_path: Path) -> None:
    network = reddit(tmp_path)
    assert undirected(network) == {(0, 1), (2, 3)}
    assert network.features["node"].dtype == np.float32
    assert {name: column.tolist() for name, column in network.tables.items()} == {
        "node.train": [0, 3],
        "node.val": [2],
        "node.test": [1],
        "node.label": [4, 0, 1, 1],
        "node.id": [10, 11, 12, 13],
    }


REDDIT_WRONG = {
    "shape": ({"shape": np.array([5, 5])}, r"reddit_graph.npz: has shape"),
    "row": ({"row": np.array([0, 1, 2, 4])}, r"reddit_graph.npz, row 4: row 4 is out of range"),
    "real row": ({"row": np.array([0.0, 1, 2, 2])}, r"reddit_graph.npz: row must hold integers, found float64"),
    "uneven": ({"row": np.array([0])}, r"reddit_graph.npz: 1 rows but 4 columns"),
    "label": ({"label": np.array([1])}, r"reddit_data.npz: 1 labels for 4 nodes"),
    "nan": ({"feature": np.full((4, 1), np.nan)}, r"reddit_data.npz, row 1: a feature is not finite"),
    "flat": ({"feature": np.zeros(4)}, r"reddit_data.npz: features must be a matrix of numbers"),
    "pickle": ({"label": np.array([None] * 4)}, r"reddit_data.npz, label: not a plain array"),
}


@pytest.mark.parametrize("case", REDDIT_WRONG)
def test_reddit_invalid_files_are_rejected_in_one_line(case: str, tmp_path: Path) -> None:
    changes, says = REDDIT_WRONG[case]
    with pytest.raises(RequestError, match=says):
        reddit(tmp_path, **changes)


def test_synthetic_networks_follow_their_options() -> None:
    def made(**options: Any) -> Network:
        return build_synthetic(SyntheticNetworkConfig(**({"out": "x", "nodes": 400, "edges": 4000} | options)))

    network = made()
    assert undirected(network)
    assert 0 not in {a - b for a, b in undirected(network)}
    assert made().source.tolist() == network.source.tolist() != made(seed=1).source.tolist()
    assert made(edges=40).num_messages < 81
    degree = {skew: np.sort(np.diff(made(skew=skew).indptr)) for skew in (0.0, 0.8)}
    assert degree[0.0][-1] < 50 < degree[0.8][-1]
    assert made(nodes=1, edges=3).num_messages == 0


def test_every_source_has_an_example() -> None:
    for entry in register.network_source.entries():
        assert f"Example: distgnn network build {entry.name} " in (entry.config.__doc__ or "")


@pytest.mark.data
def test_sizes_of_the_real_data_sets() -> None:
    music, books, papers = real("kgrec/last-fm", "kgrec/book-crossing-full", "hetero/aminer")
    network = build_kgrec(KgrecConfig(input=music, out="x", columns="htr"))
    assert (network.num_nodes, network.num_messages, len(network.tables["rating.user"])) == (11_238, 2 * 15_518, 42_346)
    network = build_kgrec(KgrecConfig(input=books, out="x"))
    assert (network.num_nodes, network.num_messages) == (77_903 + 17_860, 2 * 151_500)
    network = build_hetero(HeteroConfig(input=papers, out="x", layout="aminer"))
    assert np.diff(network.type_ptr).tolist() == [6_564, 13_329, 35_890]
