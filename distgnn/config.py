"""Every knob, as frozen dataclasses that check themselves when built. Standard library only; the CLI is made from these.

A field's docstring (the string below it) is its help text. Cross-field errors name the field to change.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from distgnn.errors import RequestError

C = TypeVar("C")


def _check(good: bool, message: str) -> None:
    if not good:
        raise RequestError(message)


@dataclass(frozen=True)
class EncoderConfig:
    """The graph encoder (psi) and its pooling (omega)."""

    kind: Literal["gin"] = "gin"
    """Message passing layer."""
    layers: int = 5
    """How many message passing layers."""
    width: int = 300
    """Size of node and graph embeddings."""
    norm: Literal["ghost", "batch", "graph", "layer"] = "ghost"
    """Normalisation: ghost = batch statistics within one stream (same numbers on any world size), batch = within one
    rank's whole share, graph = within each graph, layer = within each node."""
    pooling: Literal["mean", "sum"] = "mean"
    """How node embeddings become a graph embedding, before the matrix omega."""

    def __post_init__(self) -> None:
        _check(self.layers >= 1, f"encoder.layers must be at least 1, found {self.layers}")
        _check(self.width >= 2, f"encoder.width must be at least 2, found {self.width}")


@dataclass(frozen=True)
class L2PConfig:
    """L2P-GNN's meta-learning (Lu et al., AAAI 2021, Eq. 6-13)."""

    node_steps: int = 1
    """s: inner gradient steps on psi (0..3)."""
    graph_steps: int = 1
    """t: inner gradient steps on omega (0..3)."""
    order: Literal[1, 2] = 2
    """2 differentiates through the adaptation, 1 treats the adapted weights' update as constant."""
    children: int = 1
    """k: child tasks per graph."""
    support: int = 10
    """Support edges per child task; small graphs give what they have."""
    query: int = 5
    """Query edges per child task."""
    node_lr: float = 1e-3
    """alpha: inner learning rate of psi."""
    graph_lr: float = 1e-3
    """beta: inner learning rate of omega."""
    negatives: Literal["shift", "other"] = "shift"
    """Negative graph embedding: shift = some dimensions of the graph's own moved (paper), other = the next graph of the stream."""

    def __post_init__(self) -> None:
        for name in ("node_steps", "graph_steps"):
            value = getattr(self, name)
            _check(0 <= value <= 3, f"l2p.{name} must be 0, 1, 2 or 3, found {value}")
        for name in ("children", "support", "query"):
            value = getattr(self, name)
            _check(value >= 1, f"l2p.{name} must be at least 1, found {value}")
        for name in ("node_lr", "graph_lr"):
            value = getattr(self, name)
            _check(value >= 0, f"l2p.{name} must not be negative, found {value}")


@dataclass(frozen=True)
class TrainConfig:
    """The outer optimisation and the order of data."""

    epochs: int = 10
    """Passes over the corpus (held-out graphs excluded)."""
    max_steps: int = 0
    """Stop after this many steps; 0 = after all epochs."""
    seed: int = 0
    """Key of all randomness: initial weights, order, tasks."""
    streams: int = 4
    """V: virtual readers; the most ranks that can take part, and the groups of ghost normalisation."""
    graphs_per_stream: int = 16
    """Graphs each stream adds to a step; streams x graphs_per_stream is the global batch."""
    lr: float = 1e-3
    """gamma: learning rate of Adam."""
    weight_decay: float = 0.0
    """L2 penalty of Adam."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises from 0."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Learning rate after warm-up."""
    clip_norm: float = 1.0
    """Largest norm of the outer gradient; 0 = no clipping."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 = mixed precision by autocast (GPU)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU when there is one."""
    validation_fraction: float = 0.02
    """Share of the corpus (in whole units, at least one when > 0 and the corpus has two) held out for validation."""
    validate_every: int = 500
    """Steps between validations; 0 = only at the end."""
    checkpoint_every: int = 0
    """Steps between checkpoints; 0 = by time only."""
    checkpoint_minutes: float = 10.0
    """Minutes between checkpoints; 0 = only at the end."""
    keep: int = 2
    """How many of the newest checkpoints to keep."""
    log_seconds: float = 5.0
    """Seconds between progress lines and updates of progress.json."""

    def __post_init__(self) -> None:
        for name in ("epochs", "streams", "graphs_per_stream", "keep"):
            value = getattr(self, name)
            _check(value >= 1, f"train.{name} must be at least 1, found {value}")
        for name in (
            "max_steps",
            "lr",
            "weight_decay",
            "warmup_steps",
            "clip_norm",
            "validate_every",
            "checkpoint_every",
        ):
            value = getattr(self, name)
            _check(value >= 0, f"train.{name} must not be negative, found {value}")
        for name in ("checkpoint_minutes", "log_seconds"):
            value = getattr(self, name)
            _check(value >= 0, f"train.{name} must not be negative, found {value}")
        _check(
            0 <= self.validation_fraction < 1,
            f"train.validation_fraction must lie in [0, 1), found {self.validation_fraction}",
        )


@dataclass(frozen=True)
class PretrainConfig:
    """Pre-train an encoder on a corpus.

    Example: distgnn pretrain --corpus data/molecules --workers 2 --train.epochs 5
    """

    corpus: str
    """URI of the corpus."""
    out: str = "runs"
    """URI of the folder that holds runs."""
    name: str = ""
    """Run id; made unique when empty. An id that exists is refused: use --resume."""
    objective: Literal["l2p", "none"] = "l2p"
    """Pre-training loss; none writes the untrained encoder (the control)."""
    workers: int = 1
    """Training processes. 1 trains in this process without Ray; more use Ray Train."""
    cpus_per_worker: float = 0.0
    """CPUs Ray reserves for each training process; 0 = one, or an equal share of what one reader leaves."""
    max_failures: int = 3
    """How often Ray restarts the workers from the last checkpoint."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    l2p: L2PConfig = field(default_factory=L2PConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        _check(self.workers >= 1, f"workers must be at least 1, found {self.workers}")
        _check(self.max_failures >= 0, f"max_failures must not be negative, found {self.max_failures}")
        _check(self.cpus_per_worker >= 0, f"cpus_per_worker must not be negative, found {self.cpus_per_worker}")
        ok = self.workers <= self.train.streams
        _check(
            ok,
            f"workers={self.workers} exceeds train.streams={self.train.streams}; raise train.streams (one rank needs a stream)",
        )
        _check("/" not in self.name, f"name must not contain '/', found {self.name!r}")


@dataclass(frozen=True)
class SplitConfig:
    """How labelled graphs become train, val, test and (out of distribution) ood."""

    method: Literal["column", "random", "scaffold", "group"] = "scaffold"
    """column = the corpus's own split; scaffold = whole groups, largest to train (Hu et al.); random = by graph;
    group = random within the groups that are not in ood_groups, which become 'ood'."""
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """Shares of train, val and test."""
    ood_groups: tuple[str, ...] = ()
    """Groups (species, years, ...) never trained on and tested apart; needs method=group."""
    seed: int = 0
    """Key of random splits; the split is the same for every training seed."""

    def __post_init__(self) -> None:
        good = len(self.fractions) == 3 and all(f > 0 for f in self.fractions) and abs(sum(self.fractions) - 1) < 1e-6
        _check(good, f"split.fractions must be positive and add up to 1, found {self.fractions}")
        _check(not self.ood_groups or self.method == "group", "split.ood_groups needs split.method=group")
        _check(self.method != "group" or bool(self.ood_groups), "split.method=group needs split.ood_groups")


@dataclass(frozen=True)
class FinetuneConfig:
    """Fine-tune checkpoints on a labelled corpus, always beside the same encoder without pre-training.

    Example: distgnn finetune --corpus data/bbbp --checkpoint runs/molecules --seeds 5
    """

    corpus: str
    """URI of the labelled corpus."""
    checkpoint: tuple[str, ...] = ()
    """Checkpoints (or run folders) to compare; the control 'none' is always added."""
    out: str = "runs/finetune"
    """URI of the folder for table, results and predictions."""
    task: Literal["auto", "classification", "multiclass", "regression"] = "auto"
    """auto: labels that are all 0/1 are multi-label classification, other whole numbers multi-class, the rest regression."""
    labels: tuple[str, ...] = ()
    """Label columns to use; empty = all."""
    max_labels: int = 0
    """Keep only this many label columns, those with most positives in the training part; 0 = all."""
    split: SplitConfig = field(default_factory=SplitConfig)
    seeds: int = 5
    """Training seeds 0..seeds-1."""
    epochs: int = 50
    """Passes over the training part."""
    patience: int = 0
    """Stop after this many epochs without a better validation score; 0 = never."""
    batch: int = 32
    """Graphs per step."""
    lr: float = 1e-3
    """Learning rate of Adam."""
    weight_decay: float = 0.0
    """L2 penalty of Adam."""
    dropout: float = 0.5
    """Dropout in the encoder while fine-tuning."""
    frozen: bool = False
    """Train the head only (linear probe) on the frozen encoder."""
    use_center: Literal["auto", "yes", "no"] = "auto"
    """Feed the centre node's embedding to the head beside the graph's; auto = where the corpus has centres."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """Encoder of the control when no checkpoint is given; otherwise the checkpoint's own."""
    workers: int = 1
    """Runs (a method with a seed) trained side by side; more than 1 uses Ray, on CPUs."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute with workers=1; auto takes a GPU when there is one."""
    save_predictions: bool = False
    """Write predictions.parquet beside the table."""

    def __post_init__(self) -> None:
        for name in ("seeds", "epochs", "batch", "workers"):
            value = getattr(self, name)
            _check(value >= 1, f"{name} must be at least 1, found {value}")
        for name in ("lr", "weight_decay", "max_labels", "patience"):
            value = getattr(self, name)
            _check(value >= 0, f"{name} must not be negative, found {value}")
        _check(self.workers == 1 or self.device != "cuda", "device=cuda needs workers=1 (side by side runs use CPUs)")
        _check(0 <= self.dropout < 1, f"dropout must lie in [0, 1), found {self.dropout}")


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """What every builder of corpora shares."""

    out: str
    """URI of the corpus to write."""
    unit_rows: int = 512
    """Graphs in a unit (row group), the amount that is read at once."""
    shard_rows: int = 65_536
    """Graphs in a shard (file); a multiple of unit_rows. A stopped build continues after its last whole shard."""
    overwrite: bool = False
    """Replace a corpus, or the rest of an unfinished build, that lies at the target."""
    workers: int = 1
    """Processes that read the input; more than 1 uses Ray. The bytes written do not depend on it."""

    def __post_init__(self) -> None:
        _check(self.workers >= 1, f"workers must be at least 1, found {self.workers}")
        good = self.unit_rows >= 1 and self.shard_rows >= 1 and self.shard_rows % self.unit_rows == 0
        _check(good, f"shard_rows={self.shard_rows} must be a positive multiple of unit_rows={self.unit_rows}")


@dataclass(frozen=True, kw_only=True)
class InputBuildConfig(BuildConfig):
    """A builder that reads files."""

    input: tuple[str, ...]
    """Paths or URIs of the input files, in order; .gz and .xz are unpacked while reading."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(bool(self.input), "input must name at least one file")


@dataclass(frozen=True, kw_only=True)
class MoleculesConfig(InputBuildConfig):
    """Molecules from SMILES text (csv, tsv, smi); needs RDKit (the extra 'chem').

    Example: distgnn corpus build molecules --input bbbp.csv --labels p_np --out data/bbbp
    """

    smiles: str = "smiles"
    """Column with the SMILES: its name in the header, or its number from 0 for files without a header (.smi: always 0)."""
    labels: tuple[str, ...] = ()
    """Columns with labels (names, or numbers in files without a header); an empty field is an unknown label."""
    split: str = ""
    """Column with the split: train, val (or valid), test, or 0, 1, 2; empty = the input has none."""


@dataclass(frozen=True, kw_only=True)
class ArraysConfig(InputBuildConfig):
    """Molecules from packed arrays (.npz with node_ptr, edge_ptr, atom, bond_uv, bond); RDKit is not needed.

    Example: distgnn corpus build arrays --input pretrain_*.npz --out data/molecules
    """

    drop_downstream: bool = True
    """Leave out the rows that a file's in_downstream marks (molecules that also lie in a labelled set)."""
    limit: int = 0
    """Take only this many graphs; 0 = all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.limit >= 0, f"limit must not be negative, found {self.limit}")


@dataclass(frozen=True, kw_only=True)
class PpiConfig(InputBuildConfig):
    """Ego networks of every protein of interaction networks: edge lists (two ids a line) or STRING action tables.

    Example: distgnn corpus build ppi --input HSapiens.el.xz MMusculus.el.xz --out data/ppi
    """

    input: tuple[str, ...] = ()
    """Paths or URIs of the networks; a file's name up to the first '-' or '.' names its species."""
    species: tuple[str, ...] = ()
    """Networks with a species name of your own, as name=path; they follow those of input."""
    hops: int = 2
    """Radius of an ego network."""
    fan_out: int = 10
    """Most neighbours followed from each node of each hop (drawn without replacement); edges among all nodes reached are kept."""
    seed: int = 0
    """Key of the draw of neighbours."""
    actions: tuple[str, ...] = ()
    """Action types of a STRING table (its column 'mode') that become one 0/1 edge feature each."""
    labels: str = ""
    """Label table: a .npz with terms and <prefix>_entrez, _indptr, _indices, or tab-separated text: group, node, term."""
    label_groups: tuple[str, ...] = ()
    """For a .npz: which prefix labels which species, as species=prefix (HSapiens=human)."""
    min_positives: int = 1
    """Keep the terms with at least this many positives in every labelled species."""
    labelled_only: bool = False
    """Only proteins of the label table become centres."""

    def __post_init__(self) -> None:
        BuildConfig.__post_init__(self)
        _check(bool(self.input or self.species), "input (or species) must name at least one network")
        for name in ("species", "label_groups"):
            bad = [item for item in getattr(self, name) if not all(item.partition("="))]
            _check(not bad, f"{name}: {bad[:1]} must have the form name=value")
        _check(1 <= self.hops <= 4, f"hops must be 1, 2, 3 or 4, found {self.hops}")
        _check(1 <= self.fan_out <= 1000, f"fan_out must lie in 1..1000, found {self.fan_out}")
        _check(self.min_positives >= 1, f"min_positives must be at least 1, found {self.min_positives}")
        _check(bool(self.labels) or not self.labelled_only, "labelled_only needs labels (a label table)")
        _check(bool(self.labels) or not self.label_groups, "label_groups needs labels (a label table)")


@dataclass(frozen=True, kw_only=True)
class BiblioConfig(InputBuildConfig):
    """Paper-centred sub-graphs of a bibliography: the paper, its authors, terms and venue, and other papers of its authors.

    Example: distgnn corpus build biblio --input hetero/dblp4area --drop-venue --out data/papers
    """

    format: Literal["tables", "predblp"] = "tables"
    """tables: a folder with paper_author.txt, paper_term.txt, paper_conf.txt, conf.txt (and conf_label.txt for labels);
    predblp: PreDBLP's JSON lines, one sub-graph a line."""
    drop_venue: bool = False
    """Leave the venue nodes out, where the label follows from the venue."""
    papers_per_author: int = 5
    """Most papers followed from each author of the centre paper (tables only)."""
    fan_out: int = 50
    """Most authors, terms and venues taken around the centre paper (tables only)."""
    seed: int = 0
    """Key of the draw of neighbours (tables only)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("papers_per_author", "fan_out"):
            value = getattr(self, name)
            _check(1 <= value <= 1000, f"{name} must lie in 1..1000, found {value}")
        _check(self.format == "predblp" or len(self.input) == 1, "input must be one folder of tables (format=tables)")


@dataclass(frozen=True, kw_only=True)
class PygConfig(InputBuildConfig):
    """TUDataset folders or zips. Graphs in memory go through distgnn.write_corpus instead.

    Example: distgnn corpus build pyg --input PROTEINS.zip --out data/proteins
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(len(self.input) == 1, f"input must be one TUDataset folder or zip, found {len(self.input)}")


@dataclass(frozen=True, kw_only=True)
class MotifsConfig(BuildConfig):
    """Made graphs: random trees in which motifs are planted, labelled with the motifs they hold. Needs no data.

    Example: distgnn corpus build motifs --graphs 10000 --out data/motifs
    """

    graphs: int = 10_000
    """How many graphs."""
    nodes: tuple[int, ...] = (12, 30)
    """Fewest and most nodes of the tree, before motifs are planted."""
    plant: float = 0.3
    """Probability of each motif to be planted in a graph."""
    labelled: float = 1.0
    """Share of graphs whose labels are known."""
    seed: int = 0
    """Key of everything that is drawn."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.graphs >= 1, f"graphs must be at least 1, found {self.graphs}")
        good = len(self.nodes) == 2 and 2 <= self.nodes[0] <= self.nodes[-1] <= 10_000
        _check(good, f"nodes must be two numbers with 2 <= fewest <= most <= 10000, found {self.nodes}")
        for name in ("plant", "labelled"):
            value = getattr(self, name)
            _check(0 <= value <= 1, f"{name} must lie in [0, 1], found {value}")


def to_json(config: Any) -> dict[str, Any]:
    """A config as plain JSON values; the inverse of :func:`from_json`."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_json(kind: type[C], data: dict[str, Any], where: str = "config") -> C:
    """Build a config from a dictionary, naming unknown or missing fields; raises RequestError."""
    if not isinstance(data, dict):
        raise RequestError(
            f"{where}: expected an object with the fields of {kind.__name__}, found {type(data).__name__}"
        )
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(data) - {item.name for item in dataclasses.fields(kind)})  # pyright: ignore[reportArgumentType]
    if unknown:
        raise RequestError(f"{where}.{unknown[0]}: unknown field of {kind.__name__}")
    values = {name: _convert(hints[name], value, f"{where}.{name}") for name, value in data.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise RequestError(f"{where}: {error}") from error


def load_config(kind: type[C], raw: bytes, where: str) -> C:
    """A config from JSON text; raises RequestError naming ``where``."""
    try:
        data = json.loads(raw)
    except ValueError as error:
        raise RequestError(f"{where}: not JSON ({error})") from error
    return from_json(kind, data, where)


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_json(typing.cast(type, hint), value, where)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise RequestError(f"{where}: expected a list, found {value!r}")
        item = typing.get_args(hint)[0]
        return tuple(_convert(item, entry, f"{where}[{i}]") for i, entry in enumerate(value))
    if typing.get_origin(hint) is Literal:
        if value not in typing.get_args(hint):
            raise RequestError(f"{where}: must be one of {', '.join(map(str, typing.get_args(hint)))}, found {value!r}")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        raise RequestError(f"{where}: expected {hint.__name__}, found {value!r}")
    return value
