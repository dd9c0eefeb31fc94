"""Config of ``distgnn evaluate``. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distgnn.config.base import check, check_imports, take_groups
from distgnn.config.few_labels import DRAWS, FewLabelConfig
from distgnn.config.fields import reads, runtime, setting, writes

FEW_LABEL_OPTIONS = ("checkpoint", "train_labels", "updates", "draws")
"""Options that ask ``evaluate`` for few-label evaluation."""


@dataclass(frozen=True)
class EvaluateEncodersConfig(FewLabelConfig):
    """Evaluate pre-trained encoders with few labels, beside the same encoder without pre-training.

    This is the few-label evaluation of distgnn finetune, with all of its options.

    Example: distgnn evaluate --corpus data/bace --checkpoint runs/zinc --train-labels 30 100 --updates 10 30 100
    """

    out: str = writes("runs/evaluate")
    """URI of the folder for results, tables and pictures."""
    draws: int = setting(DRAWS, results=False, most=100_000)
    """Number of draws."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(bool(self.checkpoint), "checkpoint: there is nothing to evaluate; give pre-trained encoders or runs")
        check(self.draws >= 1, f"draws must be at least 1, found {self.draws}")


@dataclass(frozen=True)
class EvaluateConfig:
    """Evaluate fine-tuned models on a labelled corpus, without training; writes metrics and predictions.

    With --checkpoint instead of --model: few-label evaluation of pre-trained encoders, with the options of distgnn finetune
    (--train-labels, --updates, --draws, ...; see distgnn evaluate --checkpoint RUN --help).

    Example: distgnn evaluate --model runs/finetune --corpus data/bbbp-2025
    """

    model: tuple[str, ...] = reads()
    """Fine-tuned models (from distgnn finetune --save-models), or the output folder of a fine-tuning for all its
    models.
    """
    corpus: str = reads()
    """URI of the labelled corpus."""
    part: Literal["auto", "all", "train", "val", "test", "ood"] = setting("auto")
    """Graphs to evaluate on, by the split of the models' fine-tuning. auto = test and ood of the corpus that the models
    were fine-tuned on, every labelled graph of any other corpus.
    """
    out: str = writes("runs/evaluate")
    """URI of the folder for results.json and predictions.parquet."""
    imports: tuple[str, ...] = runtime((), code=True)
    """Python modules to import first, such as one that registers the encoder of a model."""
    device: Literal["auto", "cpu", "cuda"] = runtime("auto")
    """Device to compute on; auto = GPU if available."""

    def __post_init__(self) -> None:
        take_groups(self)
        check_imports(self.imports)
        check(bool(self.model), "model must name at least one fine-tuned model")
        check(len(set(self.model)) == len(self.model), f"model must name each once, found {' '.join(self.model)}")
