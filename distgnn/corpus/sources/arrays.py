"""Molecules from packed .npz arrays, with the same features as the SMILES source, without RDKit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from distgnn import register
from distgnn.config import InputBuildConfig
from distgnn.config.base import check
from distgnn.config.fields import setting
from distgnn.corpus.shard import Piece
from distgnn.corpus.sources.base import Rejected
from distgnn.corpus.sources.files import cached_reads, described, new_reading
from distgnn.corpus.sources.molecules import ATOM_FEATURES, BOND_FEATURES
from distgnn.corpus.sources.npz import Array, load_npz
from distgnn.errors import RequestError
from distgnn.graph.checked import Shape, real, whole
from distgnn.graph.ragged import packed, pointers, ranges
from distgnn.graph.schema import Schema

_WANTED = ("node_ptr", "edge_ptr", "atom", "bond_uv", "bond")
_OPTIONAL = ("in_downstream", "y", "tasks", "scaffold_split")
_ROWS = 8192


class ArraysPart(NamedTuple):
    """Rows low:high of a file.

    Attributes:
        file: number of the file.
        low: first row.
        high: one past the last row.
        first: graph id of row 0 of the file.
        take: largest number of usable graphs to take.
    """

    file: int
    low: int
    high: int
    first: int
    take: int


@cached_reads(1)
def _load(uri: str) -> dict[str, Array]:
    """Load and check a file; only one is cached because parts are read in file order."""
    data = load_npz(uri, _WANTED, _OPTIONAL)
    graphs = len(np.atleast_1d(data["node_ptr"])) - 1
    for kind, rows in (("node", "atom"), ("edge", "bond")):
        data[f"{kind}_ptr"] = _pointers(
            uri, f"{kind}_ptr", data[f"{kind}_ptr"], graphs, rows, len(np.atleast_1d(data[rows]))
        )
    for name, features in (("atom", ATOM_FEATURES), ("bond", BOND_FEATURES)):
        _narrow(data, uri, name, (None, 2), max(feature.size for feature in features) - 1)
    _narrow(data, uri, "bond_uv", (len(data["bond"]), 2), (1 << 32) - 1)
    for name, high in (("in_downstream", 1), ("scaffold_split", 2)):
        if name in data:
            _narrow(data, uri, name, (graphs,), high)
    if "tasks" in data and data["tasks"].ndim != 1:
        raise RequestError(f"{uri}, tasks: expected shape [*], found {list(data['tasks'].shape)}")
    if "y" in data and "tasks" not in data:
        raise RequestError(f"{uri}: y needs tasks, the names of its columns")
    if _tasks(data):
        y = data["y"]
        data["y"] = y[:, None] if y.ndim == 1 and len(_tasks(data)) == 1 else y
        data["y"] = real(
            data["y"], f"{uri}, y (a column for each of tasks)", shape=(graphs, len(_tasks(data))), unknown=True
        )
    return data


def _pointers(uri: str, name: str, values: Array, graphs: int, kind: str, rows: int) -> Array:
    ptr = whole(values, f"{uri}, {name}", shape=(graphs + 1,))
    if graphs < 0 or ptr[0] != 0 or ptr[-1] != rows or (np.diff(ptr) < 0).any():
        raise RequestError(f"{uri}: {name} must start at 0, never fall and end at the {rows} rows of {kind}")
    return ptr


def _narrow(data: dict[str, Array], uri: str, name: str, shape: Shape, high: int) -> None:
    """Check an array of whole numbers 0..high; arrays of integers keep their dtype and memory."""
    checked = whole(data[name], f"{uri}, {name}", shape=shape, low=0, high=high)
    if data[name].dtype.kind in "bf":
        data[name] = checked


def _tasks(data: dict[str, Array]) -> tuple[str, ...]:
    return tuple(map(str, data["tasks"])) if "y" in data and "tasks" in data else ()


@dataclass(frozen=True, kw_only=True)
class ArraysConfig(InputBuildConfig):
    """Molecules from packed arrays (.npz with node_ptr, edge_ptr, atom, bond_uv, bond); RDKit is not needed.

    Example: distgnn corpus build arrays --input pretrain_*.npz --out data/molecules
    """

    drop_downstream: bool = setting(True)
    """Leave out the rows that a file's in_downstream marks (molecules that also lie in a labelled set)."""
    limit: int = setting(0)
    """Take only this many graphs; 0 = all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.limit >= 0, f"limit must not be negative, found {self.limit}")


@register.corpus_source("arrays", ArraysConfig)
class ArraysSource:
    """Packed molecules.

    ``y`` and ``tasks`` become labels, ``scaffold_split`` the split column. There is no group column because the arrays
    hold no scaffolds. graph_id is the row number over all files, dropped rows included.
    """

    def __init__(self, config: ArraysConfig) -> None:
        self.config = config
        self._files = described(config.input)
        self._reading = new_reading()
        first = _load(self._reading, config.input[0])
        self._split, self._labels = "scaffold_split" in first, _tasks(first)
        meta = {"domain": "molecule"}
        self._schema = Schema(ATOM_FEATURES, BOND_FEATURES, self._labels, split=self._split, meta=meta)

    @property
    def schema(self) -> Schema:
        """Atoms and bonds as in Hu et al., with labels and split if the first file has them."""
        return self._schema

    def _usable(self, data: dict[str, Array]) -> Array:
        if self.config.drop_downstream and "in_downstream" in data:
            return data["in_downstream"] == 0
        return np.ones(len(data["node_ptr"]) - 1, bool)

    def parts(self) -> Iterator[ArraysPart]:
        """Iterate over slices of the files in order."""
        first, left = 0, self.config.limit or 1 << 62
        for number, uri in enumerate(self.config.input):
            usable = pointers(self._usable(_load(self._reading, uri)))
            graphs = len(usable) - 1
            for low in range(0, graphs, _ROWS):
                high = min(low + _ROWS, graphs)
                if left > 0:
                    take = min(left, int(usable[high] - usable[low]))
                    left -= take
                    yield ArraysPart(number, low, high, first, take)
            first += graphs

    def total_parts(self) -> None:
        """Return None: counting would open every file in advance."""
        return

    def rows(self, part: ArraysPart) -> int:
        """Return the number of graphs to take of a slice."""
        return part.take

    def read(self, part: ArraysPart) -> tuple[Piece | None, list[Rejected]]:
        """Return the usable graphs of a slice."""
        uri = self.config.input[part.file]
        data = _load(self._reading, uri)
        if _tasks(data) != self._labels or ("scaffold_split" in data) != self._split:
            raise RequestError(
                f"{uri}: labels or split differ from those of {self.config.input[0]}; build them separately"
            )
        rows = part.low + np.flatnonzero(self._usable(data)[part.low : part.high])[: part.take]
        if not len(rows):
            return None, []
        counts = {kind: np.diff(data[f"{kind}_ptr"])[rows] for kind in ("node", "edge")}
        nodes, bonds = (ranges(data[f"{kind}_ptr"][rows], counts[kind]) for kind in ("node", "edge"))
        graphs = packed(
            part.first + rows,
            pointers(counts["node"]),
            pointers(counts["edge"]),
            data["bond_uv"][bonds].T,
            node_cat=data["atom"][nodes],
            edge_cat=data["bond"][bonds],
            y=data["y"][rows] if self._labels else None,
        )
        return Piece(graphs, split=data["scaffold_split"][rows].tolist() if self._split else None), []

    def provenance(self) -> dict[str, Any]:
        """Return input files and options."""
        options = {"drop_downstream": self.config.drop_downstream, "limit": self.config.limit}
        return {"source": "arrays", "files": self._files, "options": options}
