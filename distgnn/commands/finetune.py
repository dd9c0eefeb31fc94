"""The commands ``distgnn finetune``, ``distgnn analyse`` and ``distgnn evaluate``."""

from __future__ import annotations

from distgnn.api.analyse import analyse as run_analysis
from distgnn.api.finetune import evaluate as run_evaluation
from distgnn.api.finetune import finetune as run_finetuning
from distgnn.commands.output import Output
from distgnn.config import AnalyseConfig, EvaluateConfig, EvaluateEncodersConfig, FewLabelConfig


def finetune(config: FewLabelConfig, output: Output) -> int:
    """Compare checkpoints and print the table."""
    results = run_finetuning(config)
    output.emit(results.to_json(), f"{results}\nwritten to {results.uri}")
    return 0


def analyse(config: AnalyseConfig, output: Output) -> int:
    """Analyse checkpoints before and after fine-tuning and print the tables."""
    results = run_analysis(config)
    output.emit(results.to_json(), f"{results}\nwritten to {results.uri}")
    return 0


def evaluate(config: EvaluateConfig | EvaluateEncodersConfig, output: Output) -> int:
    """Evaluate fine-tuned models, or pre-trained encoders with few labels, and print the table."""
    results = run_evaluation(config)
    output.emit(results.to_json(), f"{results}\nwritten to {results.uri}")
    return 0
