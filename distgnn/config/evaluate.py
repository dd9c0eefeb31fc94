"""Knobs of the evaluation of fine-tuned models. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distgnn.config.base import check, check_imports
from distgnn.config.fields import reads, runtime, setting, writes


@dataclass(frozen=True)
class EvaluateConfig:
    """Ask fine-tuned models about a labelled corpus: the metrics of fine-tuning, and predictions, without training.

    Example: distgnn evaluate --model runs/finetune --corpus data/bbbp-2025
    """

    model: tuple[str, ...] = reads()
    """Fine-tuned models (distgnn finetune --save-models), or the output folder of a fine-tuning for all of its models."""
    corpus: str = reads()
    """URI of the labelled corpus."""
    part: Literal["auto", "all", "train", "val", "test", "ood"] = setting("auto")
    """Graphs to ask about; the parts are those of the split the models were fine-tuned with. auto: test and ood of the corpus
    that the models were fine-tuned on, every labelled graph of any other one."""
    out: str = writes("runs/evaluate")
    """URI of the folder for results.json and predictions.parquet."""
    imports: tuple[str, ...] = runtime(())
    """Python modules to import first, such as one that registers the encoder kind of a model."""
    device: Literal["auto", "cpu", "cuda"] = runtime("auto")
    """Where to compute; auto takes a GPU when there is one."""

    def __post_init__(self) -> None:
        check_imports(self.imports)
        check(bool(self.model), "model must name at least one fine-tuned model")
        check(len(set(self.model)) == len(self.model), f"model must name each once, found {' '.join(self.model)}")
