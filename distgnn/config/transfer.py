"""Config of ``distgnn transfer``: auxiliary tasks and weighting. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distgnn.config.base import OpenConfig, check, check_imports, from_json, take_groups, to_json
from distgnn.config.fields import Options, hyper, reads, registered, runtime, setting, writes
from distgnn.config.finetune import DROPOUT, EPOCHS, LR, SEEDS, LabelChoice
from distgnn.config.metrics import MetricsConfig
from distgnn.config.network_tasks import NetworkTaskConfig
from distgnn.config.pretrain import UNTRAINED, EncoderConfig, PretrainConfig, TrainConfig
from distgnn.config.weighting import WeightingConfig

CONTROL = "none"
SCHEMES = ("scratch", "pretrained")
AUTO = "auto"
"""The scheme that chooses, by validation, among the trainings of a method and of the control."""
ELSEWHERE = "@corpus"
"""Suffix of the name of an auxiliary task on the graphs of aux_corpus."""


@dataclass(frozen=True)
class ObjectivesConfig(OpenConfig):
    """Options of the objectives that serve as auxiliary tasks."""

    options: Options = registered("objective")
    """Options by objective, such as {"l2p": L2PConfig(node_steps=2)}."""


@dataclass(frozen=True)
class CorpusTaskConfig(LabelChoice):
    """Auxiliary tasks and encoder for a labelled corpus."""

    auxiliary: tuple[str, ...] = hyper(("edgepred", "attrmasking"), names="objective")
    """Pre-training objectives as auxiliary tasks: NAME on the labelled graphs of the step, NAME@corpus on graphs of
    aux_corpus.
    """
    aux_corpus: str = reads("")
    """URI of the corpus for NAME@corpus tasks (unlabelled, usually larger)."""
    aux_batch: int = hyper(32, most=1 << 24)
    """Graphs of aux_corpus per step."""
    streams: int = hyper(1, most=65_536)
    """Streams per fold, the groups of ghost normalisation; also the maximum number of ranks."""
    dropout: float = hyper(DROPOUT)
    """Dropout probability in the encoder during training."""
    encoder: EncoderConfig = hyper(factory=EncoderConfig)
    """Encoder if no checkpoint is given; otherwise the checkpoint's encoder is used."""
    objectives: ObjectivesConfig = hyper(factory=ObjectivesConfig)

    def __post_init__(self) -> None:
        take_groups(self)
        for name in ("aux_batch", "streams"):
            value = getattr(self, name)
            check(value >= 1, f"corpus.{name} must be at least 1, found {value}")
        check(0 <= self.dropout < 1, f"corpus.dropout must lie in [0, 1), found {self.dropout}")
        check(self.max_labels >= 0, f"corpus.max_labels must not be negative, found {self.max_labels}")
        for name in self.auxiliary:
            trains = name.removesuffix(ELSEWHERE) != UNTRAINED
            check(trains, f"corpus.auxiliary: {name} trains nothing; leave it out")
            check(self.auxiliary.count(name) == 1, f"corpus.auxiliary names {name!r} twice; name each task once")
        elsewhere = any(name.endswith(ELSEWHERE) for name in self.auxiliary)
        check(elsewhere == bool(self.aux_corpus), f"corpus.aux_corpus and tasks NAME{ELSEWHERE} must be given together")

    def objective(self, name: str, encoder: EncoderConfig, corpus: str, seed: int) -> PretrainConfig:
        """Return the config that the objective ``name`` of an auxiliary task on ``corpus`` is built from."""
        objective, train = name.removesuffix(ELSEWHERE), TrainConfig(seed=seed)
        return PretrainConfig(
            corpus, objective=objective, encoder=encoder, train=train, options=self.objectives.options
        )


@dataclass(frozen=True)
class TransferConfig:
    """Train on a target with auxiliary tasks, by learned or fixed weights, and compare with the target alone (AUX-TS).

    Example: distgnn transfer --data data/bace --corpus.auxiliary edgepred attrmasking --methods fixed auxts_all --seeds
    3
    """

    data: str = reads()
    """URI of a labelled corpus or of a network."""
    out: str = writes("runs/transfer")
    """URI of the folder for results, tables and curves; repeating the command continues an interrupted comparison."""
    methods: tuple[str, ...] = hyper(
        (CONTROL, "fixed", "cosine", "selar", "auxts_one", "auxts_all"), results=False, names="weighting"
    )
    """Weighting methods: none, fixed, cosine, selar, auxts_one, auxts_all, frozen, uncertainty, library; none is always
    added.
    """
    schemes: tuple[str, ...] = setting((*SCHEMES, AUTO), results=False)
    """scratch = from initial weights; pretrained = from the checkpoints or, without them, after pre-training on the
    auxiliary tasks only; auto = none and the method under both schemes, of which validation chooses one for all seeds
    (costs nothing beside the other two).
    """
    auto_margin: float = setting(1.0, results=False, before=0.0)
    """Scheme auto takes another training than none from scratch if its mean validation score is better by more than this
    many standard errors of the difference (over validation rows and seeds); 0 = the best mean score.
    """
    encoders: tuple[str, ...] = hyper((), results=False)
    """Kinds of encoders to compare, the columns of the table; empty = corpus.encoder or network.encoder, or the
    checkpoints.
    """
    checkpoint: tuple[str, ...] = reads((), results=False)
    """Checkpoints (or runs) for scheme pretrained; labelled corpora only."""
    seeds: int = setting(SEEDS, results=False, most=100_000)
    """Training seeds 0..seeds-1."""
    epochs: int = setting(EPOCHS)
    """Maximum number of passes over the target's training rows."""
    pretrain_epochs: int = hyper(50, results=False)
    """Epochs of pre-training on the auxiliary tasks (scheme pretrained without checkpoint)."""
    patience: int = hyper(0)
    """Early stopping after this many epochs without a better validation score; 0 = off."""
    batch: int = hyper(0, most=1 << 24)
    """Training rows per step, over all folds; 0 = 32 graphs of a corpus (as in fine-tuning), 128 rows of a network."""
    lr: float = hyper(LR)
    """Learning rate of Adam."""
    weight_decay: float = hyper(0.0)
    """Weight decay (L2 penalty) of Adam."""
    loss_scales: tuple[float, ...] = hyper(())
    """Factors of the auxiliary tasks' losses, one for each, as in Table 4 of AUX-TS; empty = 1."""
    similarities: bool = setting(False)
    """Record gradient similarities also for methods that do not use them; this computes the gradients of each task."""
    weighting: WeightingConfig = hyper(factory=WeightingConfig, results=False)
    corpus: CorpusTaskConfig = hyper(factory=CorpusTaskConfig)
    network: NetworkTaskConfig = hyper(factory=NetworkTaskConfig)
    imports: tuple[str, ...] = runtime((), code=True)
    """Python modules to import first, such as one that registers an encoder."""
    workers: int = runtime(1, most=65_536)
    """Jobs (a method, encoder, scheme and seed) to run in parallel; more than 1 uses Ray tasks, on CPUs."""
    ranks: int = runtime(1, most=65_536)
    """Data-parallel training processes per job; more than 1 uses Ray Train."""
    max_failures: int = runtime(3)
    """Maximum number of restarts by Ray Train; finished jobs are not run again."""
    device: Literal["auto", "cpu", "cuda"] = runtime("auto")
    """Device to compute on; auto = GPU if available."""
    save_predictions: bool = runtime(False)
    """Write predictions.parquet next to the results: of a corpus the labels of the graphs outside of training, of a network
    the test rows. With scheme auto, of the trainings that it chose.
    """
    save_models: bool = runtime(False)
    """Write trained models to models/METHOD-seedN, for distgnn evaluate, predict and distgnn.load_model; labelled corpora
    only. With scheme auto, those that it chose, else the model of every training.
    """
    loggers: tuple[str, ...] = runtime((), names="logger")
    """Experiment loggers besides Prometheus: tensorboard, wandb, mlflow, csv; all but csv need pip install
    'distgnn[NAME]'.
    """
    metrics: MetricsConfig = runtime(factory=MetricsConfig)

    def __post_init__(self) -> None:
        take_groups(self)
        check_imports(self.imports)
        for name in ("seeds", "epochs", "workers", "ranks"):
            value = getattr(self, name)
            check(value >= 1, f"{name} must be at least 1, found {value}")
        for name in ("pretrain_epochs", "patience", "batch", "lr", "weight_decay", "max_failures", "auto_margin"):
            value = getattr(self, name)
            check(value >= 0, f"{name} must not be negative, found {value}")
        check(
            all(0 < value < float("inf") for value in self.loss_scales),
            f"loss_scales must be finite and positive, found {' '.join(map(str, self.loss_scales))}",
        )
        bad = [item for item in self.schemes if item not in (*SCHEMES, AUTO)]
        check(not bad, f"schemes: {bad[:1]} is none of {', '.join((*SCHEMES, AUTO))}")
        for name in ("methods", "schemes"):
            check(bool(getattr(self, name)), f"{name} must name at least one")
        for name in ("methods", "schemes", "encoders", "checkpoint"):
            found = getattr(self, name)
            check(len(set(found)) == len(found), f"{name} must name each once, found {' '.join(found)}")
        check(
            self.workers == 1 or self.ranks == 1,
            "workers and ranks are both above 1; set one of them to 1",
        )
        check(self.workers == 1 or self.device != "cuda", "device=cuda needs workers=1 (parallel jobs use CPUs)")
        check(
            not (self.checkpoint and self.encoders),
            "encoders: checkpoints determine the encoder; leave out encoders or checkpoint",
        )
        check(
            not self.checkpoint or "pretrained" in self.trained_schemes,
            "checkpoint is only used by scheme pretrained; add it to schemes",
        )
        ready = "pretrained" not in self.trained_schemes or bool(self.checkpoint) or self.pretrain_epochs > 0
        check(ready, "scheme pretrained without checkpoint needs pretrain_epochs of at least 1")
        self._check_weighting()

    def _check_weighting(self) -> None:
        """Check that weighting.method marks only options of fixed or library; the methods themselves come from
        ``methods``.
        """
        given, usual = self.weighting.method, WeightingConfig().method
        owned = bool(self.weighting.fixed or self.weighting.library)
        check(given == usual or owned, f"weighting.method={given}: set methods instead")
        check(not owned or given in self.methods, f"weighting.{given} is given, but methods lacks {given}")
        has = bool(self.weighting.library) or "library" not in self.methods
        check(has, "methods: library needs weighting.method=library and weighting.library=module:Class")

    @property
    def trained_schemes(self) -> tuple[str, ...]:
        """The schemes of the trainings: those that auto chooses from, or those that are named."""
        return SCHEMES if AUTO in self.schemes else self.schemes

    @property
    def compared(self) -> tuple[str, ...]:
        """The methods, the control first."""
        return (CONTROL, *(method for method in self.methods if method != CONTROL))

    def weighted(self, method: str) -> WeightingConfig:
        """Return the weighting options of ``method``, without options that apply to other methods only."""
        fixed = self.weighting.fixed if method == "fixed" else ()
        library = self.weighting.library if method == "library" else ""
        return from_json(
            WeightingConfig, to_json(self.weighting) | {"method": method, "fixed": fixed, "library": library}
        )
