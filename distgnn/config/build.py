"""Knobs of the corpus builders, one class each. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distgnn.config.base import check
from distgnn.config.fields import reads, runtime, setting, writes
from distgnn.config.metrics import MetricsConfig


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """What every builder of corpora shares."""

    out: str = writes()
    """URI of the corpus to write."""
    unit_rows: int = setting(512)
    """Graphs in a unit (row group), the amount that is read at once."""
    shard_rows: int = setting(65_536)
    """Graphs in a shard (file); a multiple of unit_rows. A stopped build continues after its last whole shard."""
    overwrite: bool = runtime(False)
    """Replace a corpus, or the rest of an unfinished build, that lies at the target."""
    workers: int = runtime(1)
    """Processes that read the input; more than 1 uses Ray. The bytes written do not depend on it."""
    metrics: MetricsConfig = runtime(factory=MetricsConfig)

    def __post_init__(self) -> None:
        check(self.workers >= 1, f"workers must be at least 1, found {self.workers}")
        good = self.unit_rows >= 1 and self.shard_rows >= 1 and self.shard_rows % self.unit_rows == 0
        check(good, f"shard_rows={self.shard_rows} must be a positive multiple of unit_rows={self.unit_rows}")


@dataclass(frozen=True, kw_only=True)
class InputBuildConfig(BuildConfig):
    """A builder that reads files."""

    input: tuple[str, ...] = reads()
    """Paths or URIs of the input files, in order; .gz and .xz are unpacked while reading."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(bool(self.input), "input must name at least one file")


@dataclass(frozen=True, kw_only=True)
class MoleculesConfig(InputBuildConfig):
    """Molecules from SMILES text (csv, tsv, smi); needs RDKit (the extra 'chem').

    Example: distgnn corpus build molecules --input bbbp.csv --labels p_np --out data/bbbp
    """

    smiles: str = setting("smiles")
    """Column with the SMILES: its name in the header, or its number from 0 for files without a header (.smi: always 0)."""
    labels: tuple[str, ...] = setting(())
    """Columns with labels (names, or numbers in files without a header); an empty field is an unknown label."""
    split: str = setting("")
    """Column with the split: train, val (or valid), test, or 0, 1, 2; empty = the input has none."""


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


@dataclass(frozen=True, kw_only=True)
class PpiConfig(InputBuildConfig):
    """Ego networks of every protein of interaction networks: edge lists (two ids a line) or STRING action tables.

    Example: distgnn corpus build ppi --input HSapiens.el.xz MMusculus.el.xz --out data/ppi
    """

    input: tuple[str, ...] = reads(())
    """Paths or URIs of the networks; a file's name up to the first '-' or '.' names its species."""
    species: tuple[str, ...] = setting(())
    """Networks with a species name of your own, as name=path; they follow those of input."""
    hops: int = setting(2)
    """Radius of an ego network."""
    fan_out: int = setting(10)
    """Most neighbours followed from each node of each hop (drawn without replacement); edges among all nodes reached are kept."""
    seed: int = setting(0)
    """Key of the draw of neighbours."""
    actions: tuple[str, ...] = setting(())
    """Action types of a STRING table (its column 'mode') that become one 0/1 edge feature each."""
    degree: bool = setting(False)
    """Node feature: how many partners the protein has in the whole network, as a class that doubles (0, 1, 2-3, 4-7, ..., 1024
    and more). A fan-out cap hides it from the ego network, so that masking has something to predict."""
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
        check(1 <= self.hops <= 4, f"hops must be 1, 2, 3 or 4, found {self.hops}")
        check(1 <= self.fan_out <= 1000, f"fan_out must lie in 1..1000, found {self.fan_out}")
        check(self.min_positives >= 1, f"min_positives must be at least 1, found {self.min_positives}")
        check(bool(self.labels) or not self.labelled_only, "labelled_only needs labels (a label table)")
        check(bool(self.labels) or not self.label_groups, "label_groups needs labels (a label table)")


@dataclass(frozen=True, kw_only=True)
class BiblioConfig(InputBuildConfig):
    """Paper-centred sub-graphs of a bibliography: the paper, its authors, terms and venue, and other papers of its authors.

    Example: distgnn corpus build biblio --input hetero/dblp4area --drop-venue --out data/papers
    """

    format: Literal["tables", "predblp"] = setting("tables")
    """tables: a folder with paper_author.txt, paper_term.txt, paper_conf.txt, conf.txt (and conf_label.txt for labels);
    predblp: PreDBLP's JSON lines, one sub-graph a line."""
    drop_venue: bool = setting(False)
    """Leave the venue nodes out, where the label follows from the venue."""
    papers_per_author: int = setting(5)
    """Most papers followed from each author of the centre paper (tables only)."""
    fan_out: int = setting(50)
    """Most authors, terms and venues taken around the centre paper (tables only)."""
    seed: int = setting(0)
    """Key of the draw of neighbours (tables only)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("papers_per_author", "fan_out"):
            value = getattr(self, name)
            check(1 <= value <= 1000, f"{name} must lie in 1..1000, found {value}")
        check(self.format == "predblp" or len(self.input) == 1, "input must be one folder of tables (format=tables)")


@dataclass(frozen=True, kw_only=True)
class TuDatasetConfig(InputBuildConfig):
    """A TUDataset (text tables, as a folder or a zip). PyG graphs in memory are written with distgnn.write_corpus instead.

    Example: distgnn corpus build tudataset --input PROTEINS.zip --out data/proteins
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        check(len(self.input) == 1, f"input must be one TUDataset folder or zip, found {len(self.input)}")


@dataclass(frozen=True, kw_only=True)
class PygConfig(TuDatasetConfig):
    """Deprecated alias of the kind tudataset.

    Example: distgnn corpus build pyg --input PROTEINS.zip --out data/proteins
    """


@dataclass(frozen=True, kw_only=True)
class MotifsConfig(BuildConfig):
    """Made graphs: random trees in which motifs are planted, labelled with the motifs they hold. Needs no data.

    Example: distgnn corpus build motifs --graphs 10000 --out data/motifs
    """

    graphs: int = setting(10_000)
    """How many graphs."""
    nodes: tuple[int, ...] = setting((12, 30))
    """Fewest and most nodes of the tree, before motifs are planted."""
    plant: float = setting(0.3)
    """Probability of each motif to be planted in a graph."""
    labelled: float = setting(1.0)
    """Share of graphs whose labels are known."""
    seed: int = setting(0)
    """Key of everything that is drawn."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.graphs >= 1, f"graphs must be at least 1, found {self.graphs}")
        good = len(self.nodes) == 2 and 2 <= self.nodes[0] <= self.nodes[-1] <= 10_000
        check(good, f"nodes must be two numbers with 2 <= fewest <= most <= 10000, found {self.nodes}")
        for name in ("plant", "labelled"):
            value = getattr(self, name)
            check(0 <= value <= 1, f"{name} must lie in [0, 1], found {value}")
