"""Heterogeneous bibliographies with labelled nodes and published splits: ACM, DBLP and AMiner of HeCo."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from distgnn import register
from distgnn.config import InputNetworkConfig
from distgnn.config.fields import setting
from distgnn.corpus.sources.npz import load_npy
from distgnn.errors import RequestError
from distgnn.network.csr import Edges, both_ways, build_network
from distgnn.network.network import Network, Relation
from distgnn.network.paths import symmetric_paths
from distgnn.network.sources.reading import (
    Rows,
    check_ids,
    count_ids,
    edge_account,
    exists,
    find,
    id_table,
    load_matrix,
    provenance,
    whole_numbers,
)
from distgnn.storage.uri import join

_SPLITS = tuple(f"{part}_{count}" for part in ("train", "val", "test") for count in (20, 40, 60))


class Layout(NamedTuple):
    """File layout of a data set.

    Attributes:
        types: type names by their letter in file names.
        labelled: the type that has labels.
        links: letter pairs that name the files of links.
    """

    types: dict[str, str]
    labelled: str
    links: tuple[str, ...]


LAYOUTS = {
    "acm": Layout({"p": "paper", "a": "author", "s": "subject"}, "paper", ("pa", "ps")),
    "dblp": Layout({"a": "author", "p": "paper", "c": "venue", "t": "term"}, "author", ("pa", "pc", "pt")),
    "aminer": Layout({"p": "paper", "a": "author", "r": "reference"}, "paper", ("pa", "pr")),
}


@dataclass(frozen=True, kw_only=True)
class HeteroConfig(InputNetworkConfig):
    """A bibliography (papers, authors, ...) in the format of HeCo: a folder with pa.txt and so on, *_feat.npz, labels.npy,
    train_20.npy and the other splits.

    Example: distgnn network build hetero --input hetero/acm --layout acm --out data/acm
    """

    layout: Literal["acm", "dblp", "aminer"] = setting()
    """Data set, which determines the files and the meaning of the letters in their names."""


@register.network_source("hetero", HeteroConfig)
def build_hetero(config: HeteroConfig) -> Network:
    """Build a network with each link as relations such as paper_author and paper_author^-1.

    Features are read if the folder has them. With T the labelled type, tables are T.label int64 [nodes of T], and
    T.train_20 to T.test_60, the node ids of the published splits. The meta-paths are those of HeCo.
    """
    folder, layout = config.input.rstrip("/"), LAYOUTS[config.layout]
    links = {pair: id_table(find(folder, [f"{pair}.txt"]), tuple(pair)) for pair in layout.links}
    uri = find(folder, ["labels.npy"])
    label = whole_numbers(uri, load_npy(uri).reshape(-1))
    features = {
        name: load_matrix(join(folder, f"{letter}_feat.npz"))
        for letter, name in layout.types.items()
        if exists(join(folder, f"{letter}_feat.npz"))
    }
    sizes = _sizes(layout, links, label, features)
    edges: list[Edges] = []
    accounts = []
    for pair, ends in links.items():
        source, target = (layout.types[letter] for letter in pair)
        for letter in pair:
            check_ids(join(folder, f"{pair}.txt"), layout.types[letter], ends[letter], sizes[layout.types[letter]])
        _check_order(join(folder, f"{pair}.txt"), source, list(ends.values()), sizes[source])
        accounts.append(edge_account(join(folder, f"{pair}.txt"), f"{source}, {target}", list(ends.values())))
        edges += both_ways(Edges(Relation(f"{source}_{target}", source, target), ends[pair[0]], ends[pair[1]]))
    tables: dict[str, npt.NDArray[Any]] = {f"{layout.labelled}.label": label}
    for split in _SPLITS:
        tables[f"{layout.labelled}.{split}"] = _split(folder, f"{split}.npy", len(label))
    files = [uri, *(join(folder, f"{name}.txt") for name in links)]
    files += [join(folder, f"{letter}_feat.npz") for letter, name in layout.types.items() if name in features]
    meta = provenance("hetero", folder, config.name, files, accounts, layout=config.layout)
    network = build_network(sizes, edges, features, tables, meta)
    return replace(network, meta=network.meta | {"paths": list(symmetric_paths(network, layout.labelled))})


def _sizes(
    layout: Layout, links: dict[str, dict[str, Rows]], label: Rows, features: dict[str, npt.NDArray[np.float32]]
) -> dict[str, int]:
    """Return the number of nodes per type, from labels or features if present, else from the links."""
    sizes = {}
    for letter, name in layout.types.items():
        given = len(label) if name == layout.labelled else len(features.get(name, ()))
        ends = [(pair, found[letter]) for pair, found in links.items() if letter in pair]
        sizes[name] = given or count_ids(f"{ends[0][0]}.txt", name, *(column for _, column in ends))
        if name in features and len(features[name]) != sizes[name]:
            raise RequestError(
                f"{letter}_feat.npz: {len(features[name])} rows for {sizes[name]} {name}s; download it again"
            )
    return sizes


def _check_order(uri: str, source: str, ends: list[Rows], size: int) -> None:
    """Refuse a table whose second column covers the nodes of the first one's type, and its first column few of them."""
    first, second = (len(np.unique(column)) for column in ends)
    if 2 * first < size and 10 * second > 9 * size and int(ends[1].max()) < size:
        raise RequestError(
            f"{uri}: its first column names {first:,} of {size:,} {source}s, its second {second:,}; are the columns swapped?"
        )


def _split(folder: str, name: str, nodes: int) -> Rows:
    uri = find(folder, [name])
    rows = whole_numbers(uri, load_npy(uri).reshape(-1))
    check_ids(uri, "node", rows, nodes)
    return rows
