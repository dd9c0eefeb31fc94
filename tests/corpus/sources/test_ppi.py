"""The ppi source and its vectorised ego sampling, against a reference loop."""

from __future__ import annotations

import lzma
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.sources.ego import Hop, ego_networks, undirected, upward
from distgnn.corpus.sources.ppi import PpiConfig, PpiSource, degree_class
from distgnn.errors import RequestError
from distgnn.graph.keyed import distinct, draw
from tests.helpers.corpora import build, real

EDGES = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), min_size=1, max_size=40)


def simple(pairs: list[tuple[int, int]]) -> np.ndarray:
    """Unique undirected edges [2, E] without loops."""
    unique = sorted({(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]})
    return np.array(unique, np.int64).reshape(-1, 2).T


def ball(edges: np.ndarray, center: int, hops: int) -> set[int]:
    seen = {center}
    for _ in range(hops):
        seen |= {int(b) for a, b in edges.T if int(a) in seen} | {int(a) for a, b in edges.T if int(b) in seen}
    return seen


@settings(max_examples=80, deadline=None)
@given(pairs=EDGES, hops=st.integers(1, 3), fan_out=st.sampled_from([1, 2, 50]))
def test_ego_networks_equal_a_reference_loop(pairs: list[tuple[int, int]], hops: int, fan_out: int) -> None:
    edges, nodes = simple(pairs), 12
    links, up = undirected(*edges, nodes), upward(*edges, nodes)
    egos = ego_networks(np.arange(nodes), [Hop(links, fan_out)] * hops, up, seed=3)
    for center in range(nodes):
        rows = slice(egos.node_ptr[center], egos.node_ptr[center + 1])
        found = egos.node[rows].tolist()
        assert found[egos.center[center]] == center
        assert len(set(found)) == len(found) <= sum(fan_out**hop for hop in range(hops + 1))
        whole = ball(edges, center, hops)
        assert set(found) == whole if fan_out == 50 else set(found) <= whole
        span = slice(egos.edge_ptr[center], egos.edge_ptr[center + 1])
        ends = np.array(found, np.int64)[np.stack([egos.src[span], egos.dst[span]])]
        assert np.array_equal(np.sort(ends, axis=0), edges[:, egos.edge[span]])
        inside = {(int(a), int(b)) for a, b in edges.T if int(a) in found and int(b) in found}
        assert {(int(min(pair)), int(max(pair))) for pair in ends.T} == inside
        assert ends.shape[1] == len(inside)


@given(pairs=EDGES, order=st.permutations(range(12)))
def test_ego_network_does_not_depend_on_other_centres(pairs: list[tuple[int, int]], order: list[int]) -> None:
    edges = simple(pairs)
    hops, up = [Hop(undirected(*edges, 12), 2)] * 2, upward(*edges, 12)
    together = ego_networks(np.array(order), hops, up, seed=1)
    for place, center in enumerate(order[:3]):
        alone = ego_networks(np.array([center]), hops, up, seed=1)
        rows = slice(together.node_ptr[place], together.node_ptr[place + 1])
        assert together.node[rows].tolist() == alone.node.tolist()


def test_distinct_samples_subsets_uniformly() -> None:
    rows = 20_000
    drawn = distinct(draw(7, np.arange(rows)), np.full(rows, 5), 2)
    assert (drawn[:, 0] != drawn[:, 1]).all()
    counts = Counter(map(tuple, np.sort(drawn, axis=1).tolist()))
    assert len(counts) == 10
    assert all(abs(count - rows / 10) < 5 * (rows * 0.09) ** 0.5 for count in counts.values())


def test_upward_bounds_the_rows_of_hubs() -> None:
    star = np.stack([np.zeros(50, np.int64), np.arange(1, 51)])
    assert np.diff(upward(*star, 51).indptr).max() == 1


def network(tmp_path: Path, text: str, name: str = "Human-1.el") -> str:
    path = tmp_path / name
    path.write_bytes(lzma.compress(text.encode()) if name.endswith(".xz") else text.encode())
    return str(path)


def load(tmp_path: Path, **options: Any) -> tuple[Any, CorpusReader]:
    config = PpiConfig(out=str(tmp_path / "out"), overwrite=True, **options)
    build("ppi", config)
    reader = CorpusReader(config.out, labels=True)
    return reader.load(), reader


HUMAN, MOUSE = "1 2\n2 3\n3 1\n3 4\n4 3\n2\t2\n", "7 8\n"


def test_species_centres_and_clean_edges(tmp_path: Path) -> None:
    files = network(tmp_path, HUMAN), network(tmp_path, MOUSE, "Mouse-1.el.xz")
    batch, reader = load(tmp_path, input=files)
    assert reader.column("group").tolist() == ["Human"] * 4 + ["Mouse"] * 2
    assert batch.graph_id.tolist() == list(range(6))
    assert batch.node_ptr.diff().tolist() == [4, 4, 4, 4, 2, 2]
    assert batch.edge_ptr.diff().tolist() == [4, 4, 4, 4, 1, 1]  # the loop is gone, the repeated edge is there once
    assert batch.center is not None
    assert (batch.center - batch.node_ptr[:-1]).tolist() == [0, 1, 2, 3, 0, 1]
    assert batch.node_cat.shape[1] == 1  # the degree
    assert batch.node_dense.shape[1] == 0
    named, reader = load(tmp_path, input=files[:1], species=(f"maus={files[1]}",))
    assert reader.column("group").tolist()[-1] == "maus"
    assert torch.equal(named.edges, batch.edges)


def test_files_that_change_between_builds_are_read_again(tmp_path: Path) -> None:
    options = {"input": (network(tmp_path, HUMAN),), "labels": str(tmp_path / "labels.tsv")}
    (tmp_path / "labels.tsv").write_text("group\tnode\tterm\nHuman\t1\tA\n")
    assert len(load(tmp_path, **options)[0].graph_id) == 4
    network(tmp_path, HUMAN + "4 5\n")
    (tmp_path / "labels.tsv").write_text("group\tnode\tterm\nHuman\t1\tB\n")
    batch, reader = load(tmp_path, **options)
    assert len(batch.graph_id) == 5
    assert reader.manifest.schema.labels == ("B",)


def test_hops_fan_out_and_seed(tmp_path: Path) -> None:
    star = network(tmp_path, "".join(f"0 {leaf}\n" for leaf in range(1, 40)) + "39 99\n")
    assert load(tmp_path, input=(star,), hops=1, fan_out=5)[0].node_ptr.diff().max() == 6
    assert load(tmp_path, input=(star,), hops=1, fan_out=7)[0].node_ptr.diff().max() == 8
    assert load(tmp_path, input=(star,), hops=2, fan_out=1000)[0].node_ptr.diff().min() == 3
    nodes = {seed: load(tmp_path, input=(star,), fan_out=5, seed=seed)[0].node_ptr.diff().tolist() for seed in range(3)}
    assert len({tuple(value) for value in nodes.values()}) > 1
    again = load(tmp_path, input=(star,), fan_out=5, seed=1)[0]
    assert again.node_ptr.diff().tolist() == nodes[1]


def test_degree_classes_are_powers_of_two() -> None:
    numbers = np.array([0, 1, 2, 3, 4, 7, 8, 1023, 1024, 10**6])
    assert degree_class(numbers).tolist() == [0, 1, 2, 2, 3, 3, 4, 10, 11, 11]


def test_degree_is_of_the_whole_network(tmp_path: Path) -> None:
    """Protein 0 has 40 partners, leaf 01 one more; protein 99 has only itself."""
    star = "".join(f"00 {leaf:02}\n" for leaf in range(1, 41))
    path = network(tmp_path, star + "01 41\n99 99\n")
    batch, reader = load(tmp_path, input=(path,), fan_out=5)
    (feature,) = reader.manifest.schema.node
    assert (feature.name, feature.kind, feature.size) == ("degree", "categorical", 12)
    assert reader.manifest.provenance["options"]["degree"] is True
    sizes = batch.node_ptr.diff().tolist()
    assert sizes[0] <= 7, "the star's 40 partners are not in its ego network"
    assert batch.node_cat[batch.center].flatten().tolist() == [6, 2, *[1] * 40, 0]
    assert batch.node_cat[: sizes[0]].flatten().tolist()[0] == 6
    plain, reader = load(tmp_path, input=(path,), fan_out=5, degree=False)
    assert torch.equal(plain.edges, batch.edges)
    assert plain.node_cat.shape[1] == 0
    assert "degree" not in reader.manifest.provenance["options"], "corpora without it stay the same, byte for byte"


STRING = "item_id_a\titem_id_b\tmode\taction\tis_directional\ta_is_acting\tscore\n" + "".join(
    f"{a}\t{b}\t{mode}\t\tt\tt\t900\n"
    for a, b, mode in (("x", "y", "binding"), ("y", "x", "reaction"), ("z", "y", "reaction"))
)


def test_actions_become_edge_features(tmp_path: Path) -> None:
    path = network(tmp_path, STRING, "9606.tsv")
    batch, reader = load(tmp_path, input=(path,), actions=("reaction", "binding"))
    assert reader.manifest.schema.edge[0].meaning == "reaction, binding"
    first = batch.edge_dense[: int(batch.edge_ptr[1])]
    assert sorted(first.tolist()) == [[1.0, 0.0], [1.0, 1.0]]
    plain, _ = load(tmp_path, input=(path,))
    assert plain.edge_dense.shape[1] == 0
    assert torch.equal(plain.edges, batch.edges)
    with pytest.raises(RequestError, match="no action type 'ptmod'; the table has binding, reaction"):
        load(tmp_path, input=(path,), actions=("ptmod",))
    with pytest.raises(RequestError, match="actions need a table with types of interaction, such as STRING's"):
        load(tmp_path, input=(network(tmp_path, HUMAN),), actions=("binding",))


def npz(tmp_path: Path) -> str:
    """human: 1 has t2, 2 has t1 t2, 3 has t2, 9 (no protein of the network) has t1; mouse: 7 has t1 t2, 8 nothing."""
    path = tmp_path / "go.npz"
    human = {"human_entrez": [9, 1, 3, 2], "human_indptr": [0, 1, 2, 3, 5], "human_indices": [0, 1, 1, 0, 1]}
    mouse = {"mouse_entrez": [7, 8], "mouse_indptr": [0, 2, 2], "mouse_indices": [1, 0]}
    np.savez(path, terms=np.array(["t1", "t2"]), **{name: np.array(value) for name, value in (human | mouse).items()})
    return str(path)


def table(tmp_path: Path) -> str:
    rows = [
        ("Human", "1", "t2"),
        ("Human", "2", "t1"),
        ("Human", "2", "t2"),
        ("Human", "3", "t2"),
        ("Human", "9", "t1"),
    ]
    path = tmp_path / "go.tsv"
    path.write_text("group\tnode\tterm\n" + "".join("\t".join(row) + "\n" for row in [*rows, rows[0]]))
    return str(path)


def test_labels(tmp_path: Path) -> None:
    files = network(tmp_path, HUMAN), network(tmp_path, MOUSE, "Mouse-1.el")
    groups = ("Human=human", "Mouse=mouse")
    batch, reader = load(tmp_path, input=files, labels=npz(tmp_path), label_groups=groups)
    assert reader.manifest.schema.labels == ("t1", "t2")
    nan = float("nan")
    expected = torch.tensor([[0, 1], [1, 1], [0, 1], [nan, nan], [1, 1], [0, 0]])
    assert torch.equal(batch.y.nan_to_num(9), expected.nan_to_num(9))
    text, _ = load(tmp_path, input=files, labels=table(tmp_path))
    assert torch.equal(text.y[:4].nan_to_num(9), expected[:4].nan_to_num(9))
    assert text.y[4:].isnan().all()


def test_labelled_only_and_min_positives(tmp_path: Path) -> None:
    files = network(tmp_path, HUMAN), network(tmp_path, MOUSE, "Mouse-1.el")
    options = {"input": files, "labels": npz(tmp_path), "label_groups": ("Human=human",)}
    batch, reader = load(tmp_path, labelled_only=True, **options)
    assert batch.graph_id.tolist() == [0, 1, 2]
    assert reader.manifest.schema.labels == ("t1", "t2")
    assert load(tmp_path, min_positives=2, **options)[1].manifest.schema.labels == ("t2",)
    both = options | {"label_groups": ("Human=human", "Mouse=mouse")}
    with pytest.raises(RequestError, match="no term has min_positives=2 positives in every group"):
        load(tmp_path, min_positives=2, **both)


@pytest.mark.parametrize(("text", "message"), [
    ("1\n2\n", "not a known table of edges: 1 columns"),
    ("", "the file is empty"),
    ("1 2\n3\n", r"edge 2: '3' does not hold two ids"),
])  # fmt: skip
def test_invalid_edge_lists_are_rejected(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        load(tmp_path, input=(network(tmp_path, text, "bad.el"),))


LABELS_WRONG = {
    "a\tb\n1\t2\n": "needs the tab-separated columns group, node, term; its first line is 'a.tb'",
    "": "needs the tab-separated columns group, node, term; its first line is empty",
    "group\tnode\tterm\nHuman\t1\t\n": r"bad.tsv, line 2: an empty field; fix or remove the line",
    "group\tnode\tterm\nHuman\t1\tt\nHuman\t1\n": r"bad.tsv, line 3: 2 fields where line 1 has 3",
    "group\tnode\tterm\tterm\nHuman\t1\tt\tt\n": "needs the tab-separated columns group, node, term",
}


def test_identifiers_and_terms_are_text(tmp_path: Path) -> None:
    files = (network(tmp_path, "iav\tnan\nnan\tg#1\n007 1e5\n", "fly.el"),)
    labels = tmp_path / "lab.tsv"
    rows = (("iav", "GO:1"), ("nan", "NA"), ("g#1", "NA"), ("007", "GO:1"))
    labels.write_text("node\tx\tgroup\tterm\r\n" + "".join(f"{node}\t\tfly\t{term}\r\n" for node, term in rows))
    batch, reader = load(tmp_path, input=files, labels=str(labels))
    assert reader.manifest.schema.labels == ("GO:1", "NA")
    nan = float("nan")
    expected = torch.tensor([[1, 0], [nan, nan], [0, 1], [1, 0], [0, 1]])  # 007 1e5 g#1 iav nan
    assert torch.equal(batch.y.nan_to_num(9), expected.nan_to_num(9))


def test_reading_options_and_accounts(tmp_path: Path) -> None:
    text = "Gene A;Gene B;conf\nä;b;0.5\nb;c;x\nc;a;0.1\nc;a\n"
    path = tmp_path / "fly.csv"
    path.write_bytes(text.encode("latin-1"))
    options = {
        "columns": ("Gene A", "Gene B", "conf"),
        "min_score": 0.3,
        "encoding": "latin-1",
        "format": "csv",
        "quotes": False,
    }
    batch, reader = load(tmp_path, input=(str(path),), **options)
    assert batch.node_ptr.diff().tolist() == [2, 2]
    (account,) = reader.manifest.accounts
    assert (account.file, account.read, account.stored["edges"]) == ("fly.csv", 4, 1)
    assert account.skipped == {"score below 0.3": 1}
    assert list(account.rejected.values()) == [1, 1]
    listed = (tmp_path / "out" / "rejected-inputs.tsv").read_text().splitlines()
    assert [line.split("\t")[:2] for line in listed[1:]] == [["fly.csv", "5"], ["fly.csv", "3"]]
    saved = reader.manifest.provenance["options"]
    assert {name: saved[name] for name in options} == {
        name: list(v) if name == "columns" else v for name, v in options.items()
    }
    assert replace(reader.manifest, accounts=()).digest() == reader.manifest.digest()


def test_corpora_of_plain_lists_keep_their_identity(tmp_path: Path) -> None:
    _, reader = load(tmp_path, input=(network(tmp_path, HUMAN),), degree=False)
    assert set(reader.manifest.provenance["options"]) == PLAIN_OPTIONS
    assert reader.manifest.accounts[0].line().endswith("6 entries read = 4 edges + 1 duplicates + 1 self-loops")
    assert not (tmp_path / "out" / "rejected-inputs.tsv").exists()


PLAIN_OPTIONS = {"hops", "fan_out", "seed", "actions", "label_groups", "min_positives", "labelled_only"}


def test_invalid_label_tables_are_rejected(tmp_path: Path) -> None:
    human = (network(tmp_path, HUMAN),)
    with pytest.raises(RequestError, match="set label_groups to the species of each prefix"):
        load(tmp_path, input=human, labels=npz(tmp_path))
    with pytest.raises(RequestError, match="the array 'rat_entrez' is missing"):
        load(tmp_path, input=human, labels=npz(tmp_path), label_groups=("Human=rat",))
    with pytest.raises(RequestError, match="labels the unknown group 'Maus'; the networks are Human"):
        load(tmp_path, input=human, labels=npz(tmp_path), label_groups=("Maus=mouse",))
    with pytest.raises(RequestError, match=r"use label_groups with .npz tables only"):
        load(tmp_path, input=human, labels=table(tmp_path), label_groups=("Human=human",))
    bad = tmp_path / "bad.tsv"
    for text, says in LABELS_WRONG.items():
        bad.write_text(text)
        with pytest.raises(RequestError, match=says):
            load(tmp_path, input=human, labels=str(bad))
    broken = tmp_path / "broken.npz"
    np.savez(broken, **{**np.load(npz(tmp_path)), "human_indices": np.array([0, 1, 1, 0, 5])})
    with pytest.raises(RequestError, match="human_indptr and human_indices do not match"):
        load(tmp_path, input=human, labels=str(broken), label_groups=("Human=human",))
    for wrong in ([9.0, 1, 2, 3], [9, 9, 2, 3]):
        np.savez(broken, **{**np.load(npz(tmp_path)), "human_entrez": np.array(wrong)})
        with pytest.raises(RequestError, match="human_entrez must hold distinct integers or texts"):
            load(tmp_path, input=human, labels=str(broken), label_groups=("Human=human",))
    bad.write_text("group\tnode\tterm\n" + "".join(f"g{n}\t1\tt\n" for n in range(1001)))
    with pytest.raises(RequestError, match="1,001 groups, more than 1,000"):
        load(tmp_path, input=human, labels=str(bad))


@pytest.mark.parametrize(("options", "message"), [
    ({}, "input .* must name at least one network"),
    ({"input": ("a",), "hops": 0}, "hops must be 1, 2, 3 or 4"),
    ({"input": ("a",), "fan_out": 0}, "fan_out must lie in"),
    ({"species": ("a",)}, "species: .* must have the form name=value"),
    ({"input": ("a",), "labels": "x", "label_groups": ("h",)}, "label_groups: .* must have the form"),
    ({"input": ("a",), "label_groups": ("h=x",)}, "label_groups needs labels"),
    ({"input": ("a",), "labelled_only": True}, "labelled_only needs labels"),
    ({"input": ("a",), "columns": ("a",)}, "columns must be SOURCE TARGET or SOURCE TARGET WEIGHT"),
    ({"input": ("a",), "columns": ("a", "a")}, "columns must differ"),
    ({"input": ("a",), "min_score": float("nan")}, "min_score must be finite"),
    ({"input": ("a",), "min_positives": 0}, "min_positives must be at least 1"),
])  # fmt: skip
def test_invalid_configs_are_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        PpiConfig(out="x", **options)


def test_duplicate_species_are_rejected(tmp_path: Path) -> None:
    path = network(tmp_path, HUMAN)
    with pytest.raises(RequestError, match="two networks are named 'Human'"):
        PpiSource(PpiConfig(input=(path, path), out=""))


def test_devices_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.el")
    with pytest.raises(RequestError, match=r"pipe.el: "):
        PpiSource(PpiConfig(input=(str(tmp_path / "pipe.el"),), out=""))


@pytest.mark.data
def test_shs27k_has_the_published_sizes() -> None:
    (path,) = real("ppi/shs27k/protein.actions.SHS27k.STRING.txt")
    found = PpiSource(PpiConfig(species=(f"human={path}",), out=""))._network(0)
    assert (len(found.names), found.account.stored["edges"], found.account.read) == (1690, 7624, 63_408)


@pytest.mark.data
def test_biogrid_has_the_published_sizes() -> None:
    (path,) = real("ppi/biogrid/SPombe-3.4.164.el.xz")
    made = PpiSource(PpiConfig(input=(path,), out=""))
    pieces = [made.read(part)[0].graphs for part in made.parts()]
    assert sum(piece.num_graphs for piece in pieces) == 2811
    assert sum(len(part.links.indices) for part in [made._network(0)]) == 2 * 8931
