"""Knobs of the network builders, one class each. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distgnn.config.base import check
from distgnn.config.fields import reads, runtime, setting, writes


@dataclass(frozen=True, kw_only=True)
class NetworkBuildConfig:
    """What every builder of networks shares."""

    out: str = writes()
    """URI of the network to write."""
    overwrite: bool = runtime(False)
    """Replace a network that lies at the target."""


@dataclass(frozen=True, kw_only=True)
class InputNetworkConfig(NetworkBuildConfig):
    """A builder that reads files."""

    input: str = reads()
    """Path or URI of the input: a folder of files, or the one file."""
    name: str = setting("")
    """What the network is called; empty = the name of the input."""

    def __post_init__(self) -> None:
        check(bool(self.input.strip("/")), "input must name a folder or file")


@dataclass(frozen=True, kw_only=True)
class KgrecConfig(InputNetworkConfig):
    """Ratings of items that are entities of a knowledge graph, as KGCN and RippleNet publish them: user, item and label in
    ratings.txt or ratings_final.npy, triples in kg.txt or kg_final.npy, names in relation-list.txt if it is there. Item i is
    entity i. A network named last-fm or book-crossing brings the meta-paths of AUX-TS with it.

    Example: distgnn network build kgrec --input kgrec/last-fm --columns htr --out data/last-fm
    """

    columns: Literal["hrt", "htr"] = setting("hrt")
    """Order of the columns of the triples: head, relation, tail, or head, tail, relation (KGCN's Last-FM)."""


@dataclass(frozen=True, kw_only=True)
class HeteroConfig(InputNetworkConfig):
    """Papers, authors and what else a bibliography has, in HeCo's folders: pa.txt and the like, *_feat.npz, labels.npy,
    train_20.npy and the other splits.

    Example: distgnn network build hetero --input hetero/acm --layout acm --out data/acm
    """

    layout: Literal["acm", "dblp", "aminer"] = setting()
    """Which files there are and what their letters stand for."""


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


@dataclass(frozen=True, kw_only=True)
class OagConfig(InputNetworkConfig):
    """A domain of the Open Academic Graph from the raw tables of HGT and GPT-GNN: a folder with Papers_CS_20190919.tsv,
    PR_, PF_, PAuAf_, FHierarchy_20190919.tsv and vfi_vector.tsv. Kept are English papers of a known venue that are cited enough.

    Example: distgnn network build oag --input oag_raw --out data/oag-cs
    """

    domain: str = setting("_CS")
    """What follows the table's name: _CS, _Med, or empty for all."""
    citation_bar: float = setting(1.0)
    """Keep papers cited at least this often per year up to 2020, of which at most 20 count."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.citation_bar >= 0, f"citation_bar must not be negative, found {self.citation_bar}")


@dataclass(frozen=True, kw_only=True)
class MadeConfig(NetworkBuildConfig):
    """A made network whose degrees follow a power law, to try sizes. Needs no data.

    Example: distgnn network build made --nodes 1000000 --edges 10000000 --out data/made
    """

    nodes: int = setting(100_000)
    """How many nodes."""
    edges: int = setting(1_000_000)
    """How many undirected edges are drawn; each passes messages both ways, and repeated ones count once."""
    skew: float = setting(0.5)
    """Node r in the order of degrees is drawn with a weight of r^-skew; 0 = all alike."""
    seed: int = setting(0)
    """Key of everything that is drawn."""

    def __post_init__(self) -> None:
        check(1 <= self.nodes <= 1 << 31, f"nodes must lie in 1..2^31, found {self.nodes}")
        check(self.edges >= 0, f"edges must not be negative, found {self.edges}")
        check(0 <= self.skew < 1, f"skew must lie in [0, 1), found {self.skew}")
