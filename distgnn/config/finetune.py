"""Knobs of fine-tuning: labels, split, seeds, optimisation. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distgnn.config.base import check, check_imports
from distgnn.config.fields import hyper, reads, runtime, setting, writes
from distgnn.config.metrics import MetricsConfig
from distgnn.config.pretrain import EncoderConfig

EPOCHS, BATCH, LR, DROPOUT, SEEDS = 50, 32, 1e-3, 0.5, 5
"""Defaults of every training on graph labels, with and without auxiliary tasks. Batch, rate and dropout are those of Hu et al.
2020, the protocol of most published fine-tuning results."""


@dataclass(frozen=True)
class SplitConfig:
    """How labelled graphs become train, val, test and (out of distribution) ood."""

    method: Literal["column", "random", "scaffold", "group"] = setting("scaffold")
    """column = the corpus's own split; scaffold = whole groups, largest to train (Hu et al.); random = by graph;
    group = random within the groups that are not in ood_groups, which become 'ood'."""
    fractions: tuple[float, float, float] = setting((0.8, 0.1, 0.1))
    """Shares of train, val and test."""
    ood_groups: tuple[str, ...] = setting(())
    """Groups (species, years, ...) never trained on and tested apart; needs method=group."""
    seed: int = setting(0)
    """Key of random splits; the split is the same for every training seed."""

    def __post_init__(self) -> None:
        good = len(self.fractions) == 3 and all(f > 0 for f in self.fractions) and abs(sum(self.fractions) - 1) < 1e-6
        check(good, f"split.fractions must be positive and add up to 1, found {self.fractions}")
        check(not self.ood_groups or self.method == "group", "split.ood_groups needs split.method=group")
        check(self.method != "group" or bool(self.ood_groups), "split.method=group needs split.ood_groups")


@dataclass(frozen=True, kw_only=True)
class LabelChoice:
    """What of a labelled corpus is predicted, and for which graphs; shared by everything that is trained on labels."""

    task: Literal["auto", "classification", "multiclass", "regression"] = setting("auto")
    """auto: labels that are all 0/1 are multi-label classification, other whole numbers multi-class, the rest regression."""
    labels: tuple[str, ...] = setting(())
    """Label columns to use; empty = all."""
    max_labels: int = setting(0)
    """Keep only this many label columns, those with most positives in the training part; 0 = all."""
    split: SplitConfig = setting(factory=SplitConfig)
    use_center: bool | None = hyper(None)
    """Feed the centre node's embedding to the head beside the graph's; None = where the corpus has centres."""


@dataclass(frozen=True)
class FinetuneConfig(LabelChoice):
    """Fine-tune checkpoints on a labelled corpus, always beside the same encoder without pre-training.

    Example: distgnn finetune --corpus data/bbbp --checkpoint runs/molecules --seeds 5
    """

    corpus: str = reads()
    """URI of the labelled corpus."""
    checkpoint: tuple[str, ...] = reads((), results=False)
    """Checkpoints (or run folders) to compare; the control 'none' is always added."""
    out: str = writes("runs/finetune")
    """URI of the folder for table, results and predictions."""
    seeds: int = setting(SEEDS, results=False)
    """Training seeds 0..seeds-1."""
    epochs: int = hyper(EPOCHS)
    """Passes over the training part."""
    patience: int = hyper(0)
    """Stop after this many epochs without a better validation score; 0 = never."""
    batch: int = hyper(BATCH)
    """Graphs per step."""
    lr: float = hyper(LR)
    """Learning rate of Adam."""
    weight_decay: float = hyper(0.0)
    """L2 penalty of Adam."""
    dropout: float = hyper(DROPOUT)
    """Dropout in the encoder while fine-tuning."""
    frozen: bool = hyper(False)
    """Train the head only (linear probe) on the frozen encoder."""
    encoder: EncoderConfig = setting(factory=EncoderConfig, results=False)
    """Encoder of the control when no checkpoint is given; otherwise the checkpoint's own."""
    imports: tuple[str, ...] = runtime(())
    """Python modules to import first, such as one that registers the encoder kind of a checkpoint."""
    workers: int = runtime(1)
    """Runs (a method with a seed) trained side by side; more than 1 uses Ray, on CPUs."""
    device: Literal["auto", "cpu", "cuda"] = runtime("auto")
    """Where to compute with workers=1; auto takes a GPU when there is one."""
    save_predictions: bool = runtime(False)
    """Write predictions.parquet beside the table."""
    save_models: bool = runtime(False)
    """Write every fine-tuned model to models/METHOD-seedN, for distgnn evaluate and distgnn.load_model."""
    loggers: tuple[str, ...] = runtime((), names="logger")
    """Experiment loggers beside Prometheus: tensorboard, wandb, mlflow, csv; all but csv need pip install 'distgnn[NAME]'."""
    metrics: MetricsConfig = runtime(factory=MetricsConfig)

    def __post_init__(self) -> None:
        check_imports(self.imports)
        for name in ("seeds", "epochs", "batch", "workers"):
            value = getattr(self, name)
            check(value >= 1, f"{name} must be at least 1, found {value}")
        for name in ("lr", "weight_decay", "max_labels", "patience"):
            value = getattr(self, name)
            check(value >= 0, f"{name} must not be negative, found {value}")
        check(self.workers == 1 or self.device != "cuda", "device=cuda needs workers=1 (side by side runs use CPUs)")
        check(0 <= self.dropout < 1, f"dropout must lie in [0, 1), found {self.dropout}")
