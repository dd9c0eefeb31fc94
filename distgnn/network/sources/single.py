"""Undirected networks of one node type with node classes: citation networks and Reddit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distgnn import register
from distgnn.config import InputNetworkConfig
from distgnn.corpus.sources.npz import load_npz
from distgnn.errors import RequestError
from distgnn.network.csr import build_network, symmetric
from distgnn.network.network import Network, Relation
from distgnn.network.sources.reading import check_ids, dense, edge_account, finite, provenance, whole_numbers
from distgnn.storage.uri import join

_LINKED = Relation("linked", "node", "node")
_PARTS = {1: "node.train", 2: "node.val", 3: "node.test"}  # as in GraphSAGE: by the day of the post
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class CitationConfig(InputNetworkConfig):
    """One undirected network of classified nodes from a .npz with n, indptr, indices, y and x_shape, x_indptr, x_indices, x_data.

    Example: distgnn network build citation --input citation/cora.npz --out data/cora
    """


@dataclass(frozen=True, kw_only=True)
class RedditConfig(InputNetworkConfig):
    """Reddit posts as DGL publishes GraphSAGE's data: a folder with reddit_data.npz and reddit_graph.npz.

    Example: distgnn network build reddit --input reddit --out data/reddit
    """


@register.network_source("citation", CitationConfig)
def build_citation(config: CitationConfig) -> Network:
    """Build a citation network: undirected edges without self-loops, features "node", table node.label."""
    uri = config.input
    found = load_npz(uri, ("n", "indptr", "indices", "y", "x_shape", "x_indptr", "x_indices", "x_data"))
    pointer = whole_numbers(f"{uri}, indptr", found["indptr"].reshape(-1))
    nodes, degree = _size(uri, found["n"]), np.diff(pointer)
    fits = len(pointer) == nodes + 1 and pointer[0] == 0 and pointer[-1] == found["indices"].size
    if not fits or (degree < 0).any():
        raise RequestError(f"{uri}: indptr does not point into indices for {nodes} nodes; download it again")
    source, target = np.repeat(np.arange(nodes), degree), whole_numbers(f"{uri}, indices", found["indices"].reshape(-1))
    check_ids(uri, "node", target, nodes)
    shape = tuple(whole_numbers(f"{uri}, x_shape", found["x_shape"].reshape(-1)).tolist())
    indices, starts = (whole_numbers(f"{uri}, {name}", found[name].reshape(-1)) for name in ("x_indices", "x_indptr"))
    features = dense(f"{uri}, x_data", "csr", found["x_data"], (indices, starts), shape)
    tables = {"node.label": _labels(uri, found["y"], nodes)}
    accounts = [edge_account(uri, "indptr, indices", (source, target), undirected=True)]
    meta = provenance("citation", uri, config.name, [uri], accounts)
    return _single(uri, nodes, (source, target), features, tables, meta)


@register.network_source("reddit", RedditConfig)
def build_reddit(config: RedditConfig) -> Network:
    """Build the Reddit network with features "node".

    Tables: node.label, node.id (of the post), and node.train, node.val, node.test from node_types.
    """
    folder = config.input.rstrip("/")
    files = join(folder, "reddit_data.npz"), join(folder, "reddit_graph.npz")
    data = load_npz(files[0], ("feature", "label", "node_ids", "node_types"))
    graph = load_npz(files[1], ("row", "col", "shape"))
    features = finite(files[0], data["feature"])
    nodes = len(features)
    shape = tuple(graph["shape"].reshape(-1).tolist())
    if shape != (nodes, nodes):
        raise RequestError(f"{files[1]}: has shape {shape} for {nodes} nodes; download both files again")
    if len(graph["row"]) != len(graph["col"]):
        raise RequestError(f"{files[1]}: {len(graph['row'])} rows but {len(graph['col'])} columns; download it again")
    for name in ("row", "col"):
        if graph[name].ndim != 1 or graph[name].dtype.kind not in "iu":
            raise RequestError(f"{files[1]}: {name} must hold integers, found {graph[name].dtype} {graph[name].shape}")
        check_ids(files[1], name, graph[name], nodes)
    part = _labels(files[0], data["node_types"], nodes)
    tables = {name: np.flatnonzero(part == number) for number, name in _PARTS.items()}
    tables |= {
        "node.label": _labels(files[0], data["label"], nodes),
        "node.id": _labels(files[0], data["node_ids"], nodes),
    }
    meta = provenance("reddit", folder, config.name, files)
    return _single(files[1], nodes, (graph["row"], graph["col"]), features, tables, meta)


def _size(uri: str, values: npt.NDArray[Any]) -> int:
    """Return a single non-negative integer."""
    numbers = whole_numbers(f"{uri}, n", values.reshape(-1))
    if len(numbers) != 1 or numbers[0] < 0:
        raise RequestError(f"{uri}: n must be one number of nodes, found {values.reshape(-1)[:3].tolist()}")
    return int(numbers[0])


def _labels(uri: str, values: npt.NDArray[Any], nodes: int) -> npt.NDArray[np.int64]:
    numbers = whole_numbers(uri, values.reshape(-1))
    if len(numbers) != nodes:
        raise RequestError(f"{uri}: {len(numbers)} labels for {nodes} nodes; download it again")
    return numbers


def _single(
    uri: str,
    nodes: int,
    ends: tuple[npt.NDArray[Any], npt.NDArray[Any]],
    features: npt.NDArray[np.float32],
    tables: Arrays,
    meta: dict[str, Any],
) -> Network:
    if len(features) != nodes:
        raise RequestError(f"{uri}: {len(features)} rows of features for {nodes} nodes; download it again")
    if not len(ends[0]):
        raise RequestError(f"{uri}: the relation 'linked' has no edges; check the input")
    return build_network({"node": nodes}, [symmetric(_LINKED, *ends)], {"node": features}, tables, meta)
