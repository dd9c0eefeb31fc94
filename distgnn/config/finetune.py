"""Config of ``distgnn finetune``: labels, split, seeds and optimisation. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distgnn.config.base import check, check_imports, take_groups
from distgnn.config.fields import SEED, hyper, reads, runtime, setting, writes
from distgnn.config.metrics import MetricsConfig
from distgnn.config.pretrain import EncoderConfig

EPOCHS, BATCH, LR, DROPOUT, SEEDS = 50, 32, 1e-3, 0.5, 5
"""Defaults of all trainings on graph labels, with and without auxiliary tasks. Batch, lr and dropout are those of Hu et
al. (ICLR 2020), the protocol of most published fine-tuning results.
"""

PLAIN, ADAPTED = "plain", "adapted"


@dataclass(frozen=True)
class SplitConfig:
    """Split of the labelled graphs into train, val, test and (out of distribution) ood."""

    method: Literal["column", "random", "scaffold", "group"] = setting("scaffold")
    """column = split stored in the corpus; scaffold = groups are not divided, largest to train (Hu et al.); random = by
    graph; group = random among the groups not in ood_groups, which become 'ood'.
    """
    fractions: tuple[float, float, float] = setting((0.8, 0.1, 0.1))
    """Fractions of train, val and test."""
    ood_groups: tuple[str, ...] = setting(())
    """Groups (species, years, ...) excluded from training and evaluated separately; needs method=group."""
    seed: int = setting(0, most=SEED)
    """Seed of random splits; the split is the same for every training seed."""

    def __post_init__(self) -> None:
        good = len(self.fractions) == 3 and all(f > 0 for f in self.fractions) and abs(sum(self.fractions) - 1) < 1e-6
        check(good, f"split.fractions must be positive and add up to 1, found {self.fractions}")
        check(not self.ood_groups or self.method == "group", "split.ood_groups needs split.method=group")
        check(self.method != "group" or bool(self.ood_groups), "split.method=group needs split.ood_groups")


@dataclass(frozen=True, kw_only=True)
class LabelChoice:
    """Selection of labels and graphs of a labelled corpus, common to all trainings on labels."""

    task: Literal["auto", "classification", "multiclass", "regression"] = setting("auto")
    """auto = multi-label classification if all labels are 0 or 1 (or -1 or 1), multiclass if they are other whole numbers
    below 32, most of them used; larger whole numbers need a task; else regression.
    """
    labels: tuple[str, ...] = setting(())
    """Label columns to use; empty = all."""
    max_labels: int = setting(0)
    """Use only this many label columns, those with the most positives in the training part; 0 = all."""
    split: SplitConfig = setting(factory=SplitConfig)
    use_center: bool | None = hyper(None)
    """Concatenate the centre node's embedding to the graph embedding; None = if the corpus has centre nodes."""


@dataclass(frozen=True)
class FinetuneConfig(LabelChoice):
    """Fine-tune checkpoints on a labelled corpus and compare them with the same encoder without pre-training.

    Example: distgnn finetune --corpus data/bbbp --checkpoint runs/molecules --seeds 5
    """

    corpus: str = reads()
    """URI of the labelled corpus."""
    checkpoint: tuple[str, ...] = reads((), results=False)
    """Checkpoints (or run folders) to compare; the control 'none' is always added."""
    out: str = writes("runs/finetune")
    """URI of the folder for results, tables and predictions."""
    seeds: int = setting(SEEDS, results=False, most=100_000)
    """Training seeds 0..seeds-1."""
    epochs: int = hyper(EPOCHS)
    """Maximum number of passes over the training part."""
    patience: int = hyper(0)
    """Early stopping after this many epochs without a better validation score; 0 = off."""
    batch: int = hyper(BATCH, most=1 << 24)
    """Graphs per step."""
    lr: float = hyper(LR)
    """Learning rate of Adam."""
    weight_decay: float = hyper(0.0)
    """Weight decay (L2 penalty) of Adam."""
    dropout: float = hyper(DROPOUT)
    """Dropout probability in the encoder during fine-tuning."""
    frozen: bool = hyper(False)
    """Train only the head on the frozen encoder (linear probe)."""
    readout: tuple[Literal["plain", "adapted"], ...] = setting((PLAIN,), results=False)
    """Embeddings of a frozen encoder. plain = by its weights; adapted = by each graph's own weights: L2P's inner steps on
    some of its edges, without labels, as in pre-training. With both, a checkpoint is compared twice, as NAME and NAME
    adapted.
    """
    readout_steps: int = setting(0, results=False)
    """Inner steps of readout=adapted, on nodes and on pooling (1..3); 0 = those of the pre-training."""
    encoder: EncoderConfig = setting(factory=EncoderConfig, results=False)
    """Encoder of the control if no checkpoint is given; otherwise the checkpoint's encoder is used."""
    imports: tuple[str, ...] = runtime((), code=True)
    """Python modules to import first, such as one that registers the encoder of a checkpoint."""
    workers: int = runtime(1, most=65_536)
    """Trainings (a method with a seed) to run in parallel; more than 1 uses Ray, on CPUs."""
    device: Literal["auto", "cpu", "cuda"] = runtime("auto")
    """Device to compute on with workers=1; auto = GPU if available."""
    save_predictions: bool = runtime(False)
    """Write predictions.parquet next to the results."""
    save_models: bool = runtime(False)
    """Write every fine-tuned model to models/METHOD-seedN, for distgnn evaluate and distgnn.load_model."""
    loggers: tuple[str, ...] = runtime((), names="logger")
    """Experiment loggers besides Prometheus: tensorboard, wandb, mlflow, csv; all but csv need pip install
    'distgnn[NAME]'.
    """
    metrics: MetricsConfig = runtime(factory=MetricsConfig)

    least_batch = 1
    """Smallest valid ``batch``."""

    def __post_init__(self) -> None:
        take_groups(self)
        check_imports(self.imports)
        for name in ("seeds", "epochs", "workers"):
            value = getattr(self, name)
            check(value >= 1, f"{name} must be at least 1, found {value}")
        check(self.batch >= self.least_batch, f"batch must be at least {self.least_batch}, found {self.batch}")
        for name in ("lr", "weight_decay", "max_labels", "patience"):
            value = getattr(self, name)
            check(value >= 0, f"{name} must not be negative, found {value}")
        check(self.workers == 1 or self.device != "cuda", "device=cuda needs workers=1 (parallel trainings use CPUs)")
        check(0 <= self.dropout < 1, f"dropout must lie in [0, 1), found {self.dropout}")
        self._check_readout()

    def _check_readout(self) -> None:
        given, steps, adapts = " ".join(self.readout), self.readout_steps, ADAPTED in self.readout
        check(0 < len(set(self.readout)) == len(self.readout), f"readout must name each once, found {given or 'none'}")
        check(self.frozen or not adapts, "readout=adapted is for a linear probe; give frozen, too")
        check(
            not (adapts and self.save_models), "readout=adapted: saved models read out plainly; leave out save_models"
        )
        check(0 <= steps <= 3, f"readout_steps must be 0, 1, 2 or 3, found {steps}")
        check(adapts or not steps, f"readout_steps={steps} is an option of readout=adapted; give both")
