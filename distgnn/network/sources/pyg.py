"""Heterogeneous networks of PyG, as the arrays of a HeteroData in an .npz file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distgnn import register
from distgnn.config import InputNetworkConfig
from distgnn.config.fields import setting
from distgnn.corpus.account import Account
from distgnn.corpus.sources.npz import load_npz, npz_names
from distgnn.errors import RequestError
from distgnn.graph.splits import PARTS
from distgnn.network.csr import Edges, both_ways, build_network
from distgnn.network.network import Network, Relation
from distgnn.network.sources.reading import check_ids, edge_account, finite, provenance, whole_numbers

Array = npt.NDArray[Any]
_BETWEEN = "|"
_READ = {"x", "y", "num_nodes", "edge_index", *(f"{part}_mask" for part in PARTS)}
_REVERSE = "rev_"
_ALONE, _ALONE_PER_EDGE = 1 << 20, 1000
"""The most nodes of a type without features and labels, beside and per edge of the network."""


@dataclass(frozen=True, kw_only=True)
class PygConfig(InputNetworkConfig):
    """A HeteroData of PyG: an .npz file of its arrays, called TYPE.x, TYPE.y, TYPE.num_nodes, TYPE.train_mask and so on, and
    SOURCE|RELATION|TARGET.edge_index (see docs/own-graphs.md for three lines that write it).

    Example: distgnn network build pyg --input mine.npz --out data/mine
    """

    reverse: bool = setting(True)
    """Add the reverse of every relation that has none, as NAME^-1: without it, source nodes receive no messages. Relations
    rev_NAME (of PyG's ToUndirected) and relations within a type that hold both directions are reverses.
    """


@register.network_source("pyg", PygConfig)
def build_pyg(config: PygConfig) -> Network:
    """Build a network with features from x, tables TYPE.label or TYPE.labels from y, and a split from masks.

    Whole numbers [nodes] in y are classes (-1 = none), a matrix [nodes, classes] of 0 and 1 holds several per node. Masks are
    TYPE.train_mask, val_mask and test_mask. Other arrays are left out, and listed in the manifest.
    """
    uri, names = config.input, npz_names(config.input)
    read = [name for name in names if name.rpartition(".")[2] in _READ]
    arrays = load_npz(uri, read)
    ends = _ends(uri, arrays)
    described = [name.rpartition(".")[0] for name in read if _BETWEEN not in name]
    kinds = list(dict.fromkeys([*described, *(kind for found in ends for kind in (found.source, found.target))]))
    messages = sum(source.size for source, _ in ends.values())
    sizes = {kind: _size(uri, kind, arrays, messages) for kind in kinds}
    edges, accounts = list[Edges](), list[Account]()
    for relation, (source, target) in ends.items():
        for kind, ids in ((relation.source, source), (relation.target, target)):
            check_ids(f"{uri}, {_title(relation)}", kind, ids, sizes[kind])
        accounts.append(edge_account(uri, _title(relation), (source, target)))
        found = Edges(relation, source, target)
        edges += both_ways(found) if config.reverse and not _has_reverse(relation, ends) else [found]
    features = {kind: finite(f"{uri}, {kind}.x", arrays[f"{kind}.x"]) for kind in kinds if f"{kind}.x" in arrays}
    left_out = sorted(set(names) - set(read))
    meta = provenance("pyg", uri, config.name, [uri], accounts, reverse=config.reverse)
    return build_network(sizes, edges, features, _tables(uri, kinds, arrays, sizes), meta | {"left_out": left_out})


def _title(relation: Relation) -> str:
    return _BETWEEN.join((relation.source, relation.name, relation.target))


def _ends(uri: str, arrays: Mapping[str, Array]) -> dict[Relation, tuple[Array, Array]]:
    """Return the ends of the edges of every relation."""
    found = {}
    for name, values in arrays.items():
        title, _, what = name.rpartition(".")
        if what != "edge_index":
            continue
        parts = title.split(_BETWEEN)
        if len(parts) != 3 or not all(parts):
            raise RequestError(
                f"{uri}: {name!r} must be called SOURCE|RELATION|TARGET.edge_index; write the file again"
            )
        if values.ndim != 2 or len(values) != 2:
            raise RequestError(f"{uri}, {name}: must have the shape [2, edges], found {list(values.shape)}")
        source, target = whole_numbers(f"{uri}, {name}", values)
        found[Relation(parts[1], parts[0], parts[2])] = source, target
    if not found:
        raise RequestError(
            f"{uri}: holds no SOURCE|RELATION|TARGET.edge_index; write the file as docs/own-graphs.md says"
        )
    return found


def _size(uri: str, kind: str, arrays: Mapping[str, Array], messages: int) -> int:
    """Return the number of nodes of a type: that of its features or labels, else as num_nodes says."""
    rows = {name: len(arrays[name]) for name in (f"{kind}.x", f"{kind}.y") if name in arrays and arrays[name].ndim}
    if f"{kind}.num_nodes" in arrays:
        given = whole_numbers(f"{uri}, {kind}.num_nodes", arrays[f"{kind}.num_nodes"].reshape(-1))
        if len(given) != 1 or not 0 <= given[0] <= max([*rows.values(), _ALONE + _ALONE_PER_EDGE * messages]):
            raise RequestError(f"{uri}: {kind}.num_nodes must be one number of nodes; write the file again")
        rows[f"{kind}.num_nodes"] = int(given[0])
    if not rows:
        raise RequestError(f"{uri}: {kind!r} has neither num_nodes nor x nor y; add {kind}.num_nodes")
    if len(set(rows.values())) > 1:
        said = ", ".join(f"{name} {count}" for name, count in rows.items())
        raise RequestError(f"{uri}: the numbers of {kind} nodes differ ({said}); write the file again")
    return next(iter(rows.values()))


def _has_reverse(relation: Relation, ends: Mapping[Relation, tuple[Array, Array]]) -> bool:
    name = relation.name
    other = name.removeprefix(_REVERSE) if name.startswith(_REVERSE) else _REVERSE + name
    if Relation(other, relation.target, relation.source) in ends:
        return True
    source, target = ends[relation]
    if relation.source != relation.target or not len(source):
        return False
    nodes = int(max(source.max(), target.max())) + 1
    return np.array_equal(np.unique(source * nodes + target), np.unique(target * nodes + source))


def _tables(uri: str, kinds: list[str], arrays: Mapping[str, Array], sizes: Mapping[str, int]) -> dict[str, Array]:
    """Return the labels and the split of the labelled type; none without labels."""
    labelled = [kind for kind in kinds if f"{kind}.y" in arrays]
    if len(labelled) > 1:
        raise RequestError(f"{uri}: {' and '.join(labelled)} have labels y; leave all but one out")
    if not labelled:
        return {}
    kind = labelled[0]
    return _labels(f"{uri}, {kind}.y", kind, arrays[f"{kind}.y"]) | _split(uri, kind, arrays, sizes[kind])


def _labels(where: str, kind: str, values: Array) -> dict[str, Array]:
    numbers = whole_numbers(where, values.astype(np.int64) if values.dtype.kind == "b" else values)
    if numbers.ndim == 2 and numbers.shape[1] == 1:
        numbers = numbers[:, 0]
    if numbers.ndim == 1:
        return {f"{kind}.label": numbers}
    if numbers.ndim != 2 or not np.isin(numbers, (0, 1)).all():
        raise RequestError(f"{where}: must hold classes [nodes], or 0 and 1 [nodes, classes]")
    node, label = np.nonzero(numbers)
    columns = {"node": node, "class": label, "meaning": np.arange(numbers.shape[1])}
    return {f"{kind}.labels.{name}": column.astype(np.int64) for name, column in columns.items()}


def _split(uri: str, kind: str, arrays: Mapping[str, Array], nodes: int) -> dict[str, Array]:
    """Return the node ids of each part; none without masks."""
    masks = {part: arrays[f"{kind}.{part}_mask"] for part in PARTS if f"{kind}.{part}_mask" in arrays}
    missing = [part for part in PARTS if masks and part not in masks]
    if missing:
        raise RequestError(
            f"{uri}: {kind}.{missing[0]}_mask is missing beside the other masks; add it, or leave all out"
        )
    for part, mask in masks.items():
        if mask.dtype.kind != "b" or mask.shape != (nodes,):
            raise RequestError(
                f"{uri}, {kind}.{part}_mask: must be true or false for each of {nodes} nodes, found {mask.dtype}"
                f" {list(mask.shape)}; keep one split"
            )
    together = np.sum([mask.astype(np.int64) for mask in masks.values()], axis=0)
    if masks and (together > 1).any():
        raise RequestError(
            f"{uri}: node {int(np.argmax(together > 1))} of {kind} is in two parts of the split; mend the masks"
        )
    return {f"{kind}.{part}": np.flatnonzero(mask) for part, mask in masks.items()}
