"""Config of ``distgnn pretrain``: encoder, objective and training. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distgnn.config.base import OpenConfig, check, check_imports
from distgnn.config.fields import SEED, Options, hyper, reads, registered, runtime, setting, writes
from distgnn.config.metrics import MetricsConfig
from distgnn.config.recovery import RecoveryConfig

UNTRAINED = "none"
"""The objective of the control without training."""


@dataclass(frozen=True)
class EncoderConfig(OpenConfig):
    """The graph encoder (psi) and its pooling (omega)."""

    kind: str = hyper("gin", structural=True, names="encoder")
    """gin, gcn, sage, gat, or a kind registered by distgnn.register.encoder (see imports). A registered module decides
    itself whether to use layers, norm, jumping_knowledge, residual and heads.
    """
    layers: int = hyper(5, structural=True, most=1000)
    """Number of message passing layers."""
    width: int = hyper(300, structural=True, most=32_768)
    """Size of node and graph embeddings."""
    norm: Literal["ghost", "batch", "graph", "layer", "none"] = hyper("ghost", structural=True)
    """Normalisation: ghost = batch statistics within each stream (independent of the number of ranks), batch = within
    the share of a rank, graph = within each graph, layer = within each node.
    """
    jumping_knowledge: Literal["last", "sum", "max", "concat"] = hyper("last", structural=True, aliases=("jump",))
    """Jumping knowledge: node embeddings of the last layer, or of all layers combined by sum, maximum, or concatenation
    with a projection.
    """
    residual: bool = hyper(False, structural=True, before=False)
    """Residual connections: every layer's output is added to its input."""
    heads: int = hyper(2, structural=True, most=1024)
    """Attention heads of a gat layer, averaged."""
    pooling: str = hyper("mean", structural=True, names="pooling")
    """Pooling of node embeddings to a graph embedding, before the matrix omega."""
    omega: bool = hyper(True, structural=True)
    """Multiply the pooled embedding by the matrix omega (adapted by L2P-GNN at graph level)."""
    options: Options = registered("encoder", "pooling")
    """Options of registered encoders and poolings."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.layers >= 1, f"encoder.layers must be at least 1, found {self.layers}")
        check(self.width >= 2, f"encoder.width must be at least 2, found {self.width}")
        check(self.heads >= 1, f"encoder.heads must be at least 1, found {self.heads}")


@dataclass(frozen=True)
class TrainConfig:
    """Optimisation and order of the data."""

    epochs: int = setting(10)
    """Passes over the corpus (held-out graphs excluded)."""
    max_steps: int = setting(0, most=1 << 48)
    """Stop after this many steps; 0 = after all epochs."""
    max_cpu_seconds: float = setting(0.0, before=0.0)
    """Stop when the steps of all workers have taken this many CPU seconds, reading included, validation and checkpoints
    not; 0 = no limit. The learning rate decays with the share of the seconds, if that is larger than the share of the steps.
    """
    seed: int = hyper(0, structural=True, most=SEED)
    """Seed of all randomness: initial weights, order of the data, tasks."""
    streams: int = hyper(4, structural=True, most=65_536)
    """V: virtual readers; the maximum number of ranks, and the groups of ghost normalisation."""
    graphs_per_stream: int = hyper(16, structural=True, most=1 << 24)
    """Graphs per stream and step; streams x graphs_per_stream is the global batch size. 0 = determine it when the run
    starts (what fits the GPU, or the fastest on a CPU; needs workers=1) and keep it for the run.
    """
    order: Literal["balanced", "shuffled"] = hyper("balanced", structural=True, before="shuffled")
    """Order of the graphs of a unit: balanced = at random such that the steps get about equally many nodes and edges, so
    that ranks wait less for each other; shuffled = at random (runs that began before there was a choice).
    """
    lr: float = hyper(1e-3)
    """gamma: learning rate of Adam."""
    weight_decay: float = hyper(0.0)
    """Weight decay (L2 penalty) of Adam."""
    warmup_steps: int = hyper(0)
    """Steps of linear learning rate warm-up from 0."""
    schedule: Literal["cosine", "constant"] = hyper("cosine")
    """Learning rate schedule after the warm-up."""
    clip_norm: float = hyper(1.0)
    """Maximum norm of the outer gradient; 0 = no clipping."""
    precision: Literal["fp32", "tf32", "bf16"] = hyper("fp32")
    """tf32 = fp32 with dense products in TF32, a mantissa of 10 bits (GPU only; a CPU uses fp32), bf16 = dense products
    in bfloat16, 7 bits; sparse sums, weights and Adam remain fp32.
    """
    exact: bool = hyper(False)
    """Bitwise identical weights for any number of workers (with the same number of threads per worker, on CPUs of one
    kind): streams are computed one at a time and summed in float64. Otherwise the order of float32 sums differs, and
    training amplifies the difference.
    """
    device: Literal["auto", "cpu", "cuda"] = runtime("auto")
    """Device to compute on; auto = GPU if available."""
    validation_fraction: float = setting(0.02)
    """Fraction of the corpus held out for validation (whole units, at least one if > 0 and the corpus has two)."""
    validation_graphs: int = setting(8192, before=0)
    """Most graphs of a validation, in whole units chosen by the seed; 0 = all that are held out."""
    validate_every: int = runtime(500)
    """Steps between validations; 0 = only at the end."""
    checkpoint_every: int = runtime(0)
    """Steps between checkpoints; 0 = by time only."""
    checkpoint_minutes: float = runtime(2.0)
    """Minutes between checkpoints; 0 = only at the end, and before workers are added or taken away."""
    keep: int = runtime(2)
    """Number of most recent checkpoints to keep."""
    keep_best: int = runtime(0)
    """Number of checkpoints with the lowest validation loss to keep in addition. If > 0, a checkpoint is written after
    each validation that is among the best so far.
    """
    log_seconds: float = runtime(5.0)
    """Seconds between progress lines and updates of progress.json."""

    def __post_init__(self) -> None:
        for name in ("epochs", "streams", "keep"):
            value = getattr(self, name)
            check(value >= 1, f"train.{name} must be at least 1, found {value}")
        for name in (
            "graphs_per_stream",
            "max_steps",
            "lr",
            "weight_decay",
            "warmup_steps",
            "clip_norm",
            "max_cpu_seconds",
            "validate_every",
            "validation_graphs",
            "checkpoint_every",
            "keep_best",
        ):
            value = getattr(self, name)
            check(value >= 0, f"train.{name} must not be negative, found {value}")
        for name in ("checkpoint_minutes", "log_seconds"):
            value = getattr(self, name)
            check(value >= 0, f"train.{name} must not be negative, found {value}")
        check(
            0 <= self.validation_fraction < 1,
            f"train.validation_fraction must lie in [0, 1), found {self.validation_fraction}",
        )
        check(
            not self.keep_best or self.validation_fraction > 0,
            f"train.keep_best={self.keep_best} needs held-out graphs; raise train.validation_fraction",
        )


@dataclass(frozen=True)
class PretrainConfig(OpenConfig):
    """Pre-train an encoder on a corpus.

    Example: distgnn pretrain --corpus data/molecules --workers 2 --train.epochs 5
    """

    corpus: str = reads()
    """URI of the corpus."""
    out: str = writes("runs")
    """URI of the folder that holds runs."""
    name: str = setting("")
    """Name of the run; generated if empty. An existing name is an error: use --resume or --resume-or-new."""
    resume_or_new: bool = runtime(False)
    """Continue the run of this name if it exists and its config is the same, else start it: one command for schedulers
    that start a job again, such as Kubernetes.
    """
    objective: str = setting("l2p", names="objective", also=("none",))
    """Pre-training objective; none = write the untrained encoder (the control)."""
    init: str = reads("")
    """Checkpoint (or run) to initialise the encoder from, such as a self-supervised one before objective=supervised;
    read only when the run is created.
    """
    imports: tuple[str, ...] = runtime((), code=True)
    """Python modules to import first, such as one that registers an encoder."""
    workers: int = runtime(1, most=65_536)
    """Number of training processes. 1 = in this process, without Ray; more use Ray Train."""
    min_workers: int = runtime(0)
    """Elastic training: continue with at least this many processes when nodes are lost, and scale up to workers when
    nodes are added, with the same losses. 0 = always use workers processes.
    """
    cpus_per_worker: float = runtime(0.0)
    """CPUs that Ray reserves for each training process; 0 = one, or an equal share of the CPUs that there are."""
    reading: Literal["auto", "ray", "rank"] = runtime("auto")
    """Who reads the corpus when workers > 1: ray = tasks of Ray Data, on CPUs beside those of the training processes;
    rank = threads of each training process; auto = ray if the cluster has such CPUs. The units are the same.
    """
    max_failures: int = runtime(3)
    """Maximum number of restarts from the last checkpoint by Ray (announced preemptions of nodes do not count)."""
    recovery: RecoveryConfig = runtime(factory=RecoveryConfig)
    encoder: EncoderConfig = hyper(factory=EncoderConfig)
    train: TrainConfig = hyper(factory=TrainConfig)
    loggers: tuple[str, ...] = runtime((), names="logger")
    """Experiment loggers besides Prometheus: tensorboard, wandb, mlflow, csv; all but csv need pip install
    'distgnn[NAME]'.
    """
    metrics: MetricsConfig = runtime(factory=MetricsConfig)
    options: Options = registered("objective")
    """Options of the objectives, such as {"l2p": L2PConfig(node_steps=2)}."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_imports(self.imports)
        check(self.workers >= 1, f"workers must be at least 1, found {self.workers}")
        check(
            0 <= self.min_workers <= self.workers,
            f"min_workers must lie in 0..workers={self.workers}, found {self.min_workers}",
        )
        check(self.max_failures >= 0, f"max_failures must not be negative, found {self.max_failures}")
        check(self.cpus_per_worker >= 0, f"cpus_per_worker must not be negative, found {self.cpus_per_worker}")
        ok = self.workers <= self.train.streams
        check(
            ok,
            f"workers={self.workers} exceeds train.streams={self.train.streams}; raise train.streams (one rank needs a stream)",
        )
        ok = not self.train.exact or self.encoder.norm != "batch"
        check(ok, "train.exact: encoder.norm=batch takes its statistics from all graphs of a worker; use ghost")
        check(
            bool(self.name) or not self.resume_or_new, "resume_or_new: needs the name of the run; give --name as well"
        )
        check("/" not in self.name, f"name must not contain '/', found {self.name!r}")
        check(self.name not in (".", ".."), f"name must be that of a folder of its own, found {self.name!r}")
