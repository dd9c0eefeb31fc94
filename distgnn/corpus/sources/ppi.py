"""Ego networks of every protein of one or more protein-protein interaction networks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from distgnn import register
from distgnn.config import BuildConfig, InputBuildConfig
from distgnn.config.base import check
from distgnn.config.fields import SEED, reads, setting
from distgnn.corpus.account import Account
from distgnn.corpus.shard import Piece
from distgnn.corpus.sources.base import Rejected
from distgnn.corpus.sources.edges.layout import DEFAULT, EdgeOptions, Encoding, Format
from distgnn.corpus.sources.edges.read import read_edges
from distgnn.corpus.sources.ego import Csr, Hop, ego_networks, undirected, upward
from distgnn.corpus.sources.files import cached_reads, described, new_reading
from distgnn.corpus.sources.golabels import Labels, read_labels
from distgnn.errors import RequestError
from distgnn.graph.keyed import key
from distgnn.graph.ragged import Ints, packed
from distgnn.graph.schema import Feature, Schema
from distgnn.storage.uri import base_name

_CENTERS = 2048
_DEGREE_CLASSES = 12
_DEGREE = Feature(
    "degree",
    "categorical",
    _DEGREE_CLASSES,
    "partners in the whole network: class 0 none, class c from 2^(c-1) to 2^c - 1, the last class 1024 and more",
)


_READING = tuple(item.name for item in fields(EdgeOptions))


class PpiPart(NamedTuple):
    """Centres low:high (among the usable ones) of species number ``species``."""

    species: int
    low: int
    high: int


class Network(NamedTuple):
    """Network of one species.

    Attributes:
        names: sorted protein names, object [N].
        links: both directions of each edge.
        up: each edge once.
        actions: uint8 [E, A], 0/1 action types of each edge.
        account: what became of the rows of the table.
        rejected: rows that could not be read.
    """

    names: npt.NDArray[Any]
    links: Csr
    up: Csr
    actions: npt.NDArray[np.uint8]
    account: Account
    rejected: tuple[Rejected, ...]


@cached_reads(2)
def load_network(uri: str, actions: tuple[str, ...], options: EdgeOptions = DEFAULT) -> Network:
    """Read a network. Self-loops are dropped; duplicate edges are merged, with the union of their action types.

    Args:
        uri: an edge table (see :func:`~distgnn.corpus.sources.edges.read.read_edges`).
        actions: action types to keep as edge features.
        options: how to read the table.
    """
    edges = read_edges(uri, options, actions)
    nodes = len(edges.names)
    links, up = undirected(edges.low, edges.high, nodes), upward(edges.low, edges.high, nodes)
    return Network(edges.names, links, up, edges.kinds.astype(np.uint8), edges.account, edges.rejected)


def degree_class(partners: Ints) -> Ints:
    """Return the bit length of the number of partners (floor(log2) + 1, or 0 for none), at most 11; any shape."""
    return np.minimum(np.frexp(partners)[1], _DEGREE_CLASSES - 1).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class PpiConfig(InputBuildConfig):
    """Ego networks of every protein of interaction networks: edge lists (two ids a line), STRING, BioGRID, PSI-MITAB, SIF,
    Matrix Market, adjacency lists, N-Triples, GraphML, GEXF, Pajek, Parquet, and tables with named columns.

    Example: distgnn corpus build ppi --input HSapiens.el.xz MMusculus.el.xz --out data/ppi
    """

    input: tuple[str, ...] = reads(())
    """Paths or URIs of the networks; a file's name up to the first '-' or '.' names its species."""
    species: tuple[str, ...] = setting(())
    """Networks with a species name of your own, as name=path; they follow those of input."""
    format: Format = setting("auto")
    """Format of the networks; auto recognises it from content and extension."""
    columns: tuple[str, ...] = setting(())
    """Columns of source, target and, if there is one, weight: names in the header, or numbers from 0 in files without one."""
    min_score: float = setting(0.0)
    """Drop edges with a lower score (STRING: 0 to 1000) or weight; 0 keeps all."""
    encoding: Encoding = setting("utf-8")
    """Encoding of text without a byte order mark."""
    quotes: bool = setting(True)
    """Whether fields of comma, semicolon and tab separated tables may be quoted; false = quotes are part of the identifiers."""
    hops: int = setting(2, most=1000)
    """Radius of an ego network."""
    fan_out: int = setting(10, most=1 << 20)
    """Most neighbours followed from each node of each hop (drawn without replacement); edges among all nodes reached are kept."""
    seed: int = setting(0, most=SEED)
    """Key of the draw of neighbours."""
    actions: tuple[str, ...] = setting(())
    """Action types of a STRING table (its column 'mode') that become one 0/1 edge feature each."""
    degree: bool = setting(True)
    """Node feature: how many partners the protein has in the whole network, as a class that doubles (0, 1, 2-3, 4-7, ..., 1024
    and more). A fan-out cap hides it from the ego network. Without it, all proteins have the same input."""
    labels: str = reads("")
    """Label table: a .npz with terms and <prefix>_entrez, _indptr, _indices, or tab-separated text: group, node, term."""
    label_groups: tuple[str, ...] = setting(())
    """For a .npz: which prefix labels which species, as species=prefix (HSapiens=human)."""
    min_positives: int = setting(1)
    """Keep the terms with at least this many positives in every labelled species."""
    labelled_only: bool = setting(False)
    """Only proteins of the label table become centres."""

    def __post_init__(self) -> None:
        BuildConfig.__post_init__(self)
        check(bool(self.input or self.species), "input (or species) must name at least one network")
        for name in ("species", "label_groups"):
            bad = [item for item in getattr(self, name) if not all(item.partition("="))]
            check(not bad, f"{name}: {bad[:1]} must have the form name=value")
        check(
            len(self.columns) in (0, 2, 3),
            f"columns must be SOURCE TARGET or SOURCE TARGET WEIGHT, found {self.columns}",
        )
        check(len(set(self.columns)) == len(self.columns), f"columns must differ, found {self.columns}")
        check(math.isfinite(self.min_score), f"min_score must be finite, found {self.min_score}")
        check(1 <= self.hops <= 4, f"hops must be 1, 2, 3 or 4, found {self.hops}")
        check(1 <= self.fan_out <= 1000, f"fan_out must lie in 1..1000, found {self.fan_out}")
        check(self.min_positives >= 1, f"min_positives must be at least 1, found {self.min_positives}")
        check(bool(self.labels) or not self.labelled_only, "labelled_only needs labels (a label table)")
        check(bool(self.labels) or not self.label_groups, "label_groups needs labels (a label table)")


@register.corpus_source("ppi", PpiConfig)
class PpiSource:
    """Ego networks: nodes within ``hops`` of a protein over at most ``fan_out`` links of each, and all edges among them.

    Nodes have the degree as their feature, or none (a constant input) if ``degree`` is false. The group is the species.
    graph_id is the running number of the protein (sorted by name within its species) over all networks, labelled or not.
    Labels of a protein that the label table does not list are unknown; a listed protein is negative for the terms it does
    not have.
    """

    def __init__(self, config: PpiConfig) -> None:
        self.config = config
        self._reading, self._options = new_reading(), EdgeOptions(**{name: getattr(config, name) for name in _READING})
        named = [item.partition("=")[::2] for item in config.species]
        self._networks = [*((base_name(uri).split(".")[0].split("-")[0], uri) for uri in config.input), *named]
        species = [name for name, _ in self._networks]
        twice = {name for name in species if species.count(name) > 1}
        if twice:
            raise RequestError(
                f"species: two networks are named {min(twice)!r}; give distinct names with species=name=path"
            )
        uris = [uri for _, uri in self._networks]
        self._files = described([*uris, *([config.labels] if config.labels else [])])
        names, self._accounts = {}, []
        for number, name in enumerate(species):
            network = self._network(number)
            names[name] = network.names
            self._accounts.append((network.account, network.rejected))
        self._first = np.cumsum([0, *(len(found) for found in names.values())])
        self._terms = self._labels().chosen(names, config.min_positives) if config.labels else ()
        self._counts = [len(self._centers(number)) for number in range(len(species))]
        largest = max(len(found) for found in names.values())
        reach = sum(config.fan_out**hop for hop in range(config.hops + 1))
        self._schema = Schema(
            node=(_DEGREE,) if config.degree else (),
            edge=(Feature("action", "dense", len(config.actions), ", ".join(config.actions), config.actions),)
            if config.actions
            else (),
            labels=self._terms,
            center=True,
            group="species",
            max_nodes=max(min(reach, largest), 1),
            meta={"domain": "protein"},
        )

    def _network(self, number: int) -> Network:
        return load_network(self._reading, self._networks[number][1], self.config.actions, self._options)

    def _labels(self) -> Labels:
        return read_labels(self._reading, self.config.labels, self.config.label_groups)

    @property
    def schema(self) -> Schema:
        """Node degree and edge action types if configured, centre, species and the selected terms."""
        return self._schema

    def _centers(self, number: int) -> Ints:
        names = self._network(number).names
        if not self.config.labelled_only:
            return np.arange(len(names))
        return np.flatnonzero(self._labels().rows(self._networks[number][0], names) >= 0)

    def parts(self) -> Iterator[PpiPart]:
        """Iterate over slices of the centres, species by species."""
        for number, count in enumerate(self._counts):
            for low in range(0, count, _CENTERS):
                yield PpiPart(number, low, min(low + _CENTERS, count))

    def total_parts(self) -> int:
        """Return the number of slices."""
        return sum(-(-count // _CENTERS) for count in self._counts)

    def rows(self, part: PpiPart) -> int:
        """Return the number of centres of a slice."""
        return part.high - part.low

    def read(self, part: PpiPart) -> tuple[Piece, list[Rejected]]:
        """Return the ego networks of a slice of centres."""
        config, network, species = self.config, self._network(part.species), self._networks[part.species][0]
        centers = self._centers(part.species)[part.low : part.high]
        hops = [Hop(network.links, config.fan_out)] * config.hops
        egos = ego_networks(centers, hops, network.up, key(config.seed, part.species))
        y = self._labels().table(species, network.names[centers], self._terms) if self._terms else None
        graphs = packed(
            self._first[part.species] + centers,
            egos.node_ptr,
            egos.edge_ptr,
            np.stack([egos.src, egos.dst]),
            node_cat=degree_class(np.diff(network.links.indptr))[egos.node, None] if config.degree else None,
            edge_dense=network.actions[egos.edge] if config.actions else None,
            center=egos.center,
            y=y,
        )
        return Piece(graphs, group=[species] * len(centers)), []

    def accounts(self) -> list[tuple[Account, Sequence[Rejected]]]:
        """Return what became of the rows of each network, and the rows that could not be read."""
        return self._accounts

    def provenance(self) -> dict[str, Any]:
        """Return input files, species and options."""
        config = self.config
        names = ("hops", "fan_out", "seed", "actions", "label_groups", "min_positives", "labelled_only")
        names += ("degree",) if config.degree else ()
        names += tuple(name for name in _READING if getattr(config, name) != getattr(DEFAULT, name))
        options = {
            name: value if not isinstance(value := getattr(config, name), tuple) else list(value) for name in names
        }
        return {
            "source": "ppi",
            "files": self._files,
            "species": [name for name, _ in self._networks],
            "options": options,
        }
