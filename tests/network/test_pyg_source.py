"""Networks from the arrays of PyG's HeteroData, written by the lines of docs/own-graphs.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import HeteroData

from distgnn.auxiliary.network_tasks.build import build_problem
from distgnn.config import NetworkTaskConfig
from distgnn.distributed import ProcessGroup
from distgnn.errors import RequestError
from distgnn.network.csr import edges_of
from distgnn.network.network import Network
from distgnn.network.sources.pyg import PygConfig, build_pyg
from tests.helpers.networks import CPU

PAGE = Path(__file__).resolve().parents[2] / "docs/own-graphs.md"
PAPERS = 12


def made() -> HeteroData:
    data, rng = HeteroData(), np.random.default_rng(0)
    data["paper"].x = torch.from_numpy(rng.normal(size=(PAPERS, 3)))
    data["paper"].y = torch.arange(PAPERS) % 3
    for place, part in enumerate(("train", "val", "test")):
        data["paper"][f"{part}_mask"] = torch.arange(PAPERS) // 4 == place
    data["author"].num_nodes = 5
    data["paper", "cites", "paper"].edge_index = torch.tensor([[0, 1, 7], [1, 2, 9]])
    data["author", "writes", "paper"].edge_index = torch.tensor([[0, 1, 3, 3], [1, 2, 4, 11]])
    data["author", "writes", "paper"].edge_attr = torch.ones(4, 2)
    return data


def saved(data: HeteroData, folder: Path) -> str:
    """Run the lines of the page, which write ``data`` to a file."""
    text = PAGE.read_text()
    code = next(block.split("```")[0] for block in text.split("```python\n")[1:] if "np.savez" in block)
    lines = code[code.index("stores =") : code.index(")\n", code.index("np.savez")) + 1]
    uri = str(folder / "mine.npz")
    exec(lines.replace('"mine.npz"', repr(uri)), {"data": data, "np": np, "torch": torch})
    return uri


def build(folder: Path, data: HeteroData | None = None, **options: Any) -> Network:
    return build_pyg(PygConfig(input=saved(data or made(), folder), out="x", **options))


def ends(network: Network) -> dict[tuple[str, str, str], list[tuple[int, int]]]:
    return {
        (found.relation.source, found.relation.name, found.relation.target): sorted(
            zip(found.source.tolist(), found.target.tolist(), strict=True)
        )
        for found in edges_of(network)
    }


def test_types_edges_features_labels_and_split(tmp_path: Path) -> None:
    network = build(tmp_path)
    assert dict(zip(network.types, np.diff(network.type_ptr).tolist(), strict=True)) == {"paper": PAPERS, "author": 5}
    found = ends(network)
    assert found["author", "writes", "paper"] == [(0, 1), (1, 2), (3, 4), (3, 11)]
    assert found["paper", "writes^-1", "author"] == [(1, 0), (2, 1), (4, 3), (11, 3)]
    assert found["paper", "cites^-1", "paper"] == [(1, 0), (2, 1), (9, 7)]
    np.testing.assert_array_equal(network.features["paper"], made()["paper"].x.numpy().astype(np.float32))
    assert network.tables["paper.label"].tolist() == [0, 1, 2] * 4
    assert network.tables["paper.val"].tolist() == [4, 5, 6, 7]
    assert network.meta["left_out"] == ["author|writes|paper.edge_attr"]
    problem = build_problem(network, NetworkTaskConfig(width=4), 0, ProcessGroup.single_process(CPU))
    assert (problem.rows, problem.validation, problem.target.kind) == (4, 4, "paper")


def test_reverses_are_added_once(tmp_path: Path) -> None:
    """Not beside rev_ relations, nor where a relation within a type holds both directions."""
    data = made()
    data["paper", "rev_writes", "author"].edge_index = data["author", "writes", "paper"].edge_index.flip(0)
    edges = data["paper", "cites", "paper"].edge_index
    data["paper", "cites", "paper"].edge_index = torch.cat([edges, edges.flip(0)], dim=1)
    kept = {("paper", "cites", "paper"), ("author", "writes", "paper"), ("paper", "rev_writes", "author")}
    assert set(ends(build(tmp_path, data))) == kept
    assert set(ends(build(tmp_path, reverse=False))) == {("paper", "cites", "paper"), ("author", "writes", "paper")}


def test_several_labels_per_node(tmp_path: Path) -> None:
    data = made()
    data["paper"].y = (torch.arange(PAPERS)[:, None] % torch.tensor([1, 2, 3]) == 0).float()
    network = build(tmp_path, data)
    pairs = zip(network.tables["paper.labels.node"], network.tables["paper.labels.class"], strict=True)
    assert set(pairs) == {(node, place) for node in range(PAPERS) for place, d in enumerate((1, 2, 3)) if node % d == 0}
    problem = build_problem(network, NetworkTaskConfig(width=4), 0, ProcessGroup.single_process(CPU))
    assert problem.metrics == ("mrr", "ndcg")


CHANGES = {
    "edge_index of another shape": (
        {"author|writes|paper.edge_index": np.zeros((3, 2), int)},
        r"must have the shape \[2, edges\]",
    ),
    "a node that does not exist": (
        {"author|writes|paper.edge_index": np.array([[5], [0]])},
        "author 5 is out of range",
    ),
    "a name of two parts": ({"author|writes.edge_index": np.zeros((2, 1), int)}, r"SOURCE\|RELATION\|TARGET"),
    "another number of nodes": ({"paper.num_nodes": np.array(13)}, "the numbers of paper nodes differ"),
    "a huge number of nodes": ({"author.num_nodes": np.array(1 << 50)}, "author.num_nodes must be one number of nodes"),
    "labels that are no numbers": ({"paper.y": np.linspace(0, 1, PAPERS)}, "is not an integer"),
    "two labelled types": ({"author.y": np.arange(5)}, "paper and author have labels y; leave all but one out"),
    "masks of several splits": ({"paper.val_mask": np.zeros((PAPERS, 10), bool)}, "keep one split"),
    "overlapping masks": ({"paper.val_mask": np.ones(PAPERS, bool)}, "node 0 of paper is in two parts"),
    "a missing mask": ({"paper.val_mask": None}, "paper.val_mask is missing beside the other masks"),
    "no size": ({"author.num_nodes": None}, "'author' has neither num_nodes nor x nor y"),
    "no edges": ({"author|writes|paper.edge_index": None, "paper|cites|paper.edge_index": None}, "holds no SOURCE"),
    "Python objects": ({"paper.y": np.array([{}] * PAPERS, object)}, "not a plain array"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_wrong_files_are_one_line(tmp_path: Path, change: tuple[dict[str, Any], str]) -> None:
    uri = saved(made(), tmp_path)
    with np.load(uri) as found:
        arrays = dict(found) | change[0]
    np.savez(uri, **{name: values for name, values in arrays.items() if values is not None})
    with pytest.raises(RequestError, match=change[1]) as caught:
        build_pyg(PygConfig(input=uri, out="x"))
    assert "\n" not in str(caught.value)
