"""Fine-tuning and evaluation: ``distgnn.finetune`` and ``distgnn.evaluate``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, Literal, cast, overload

import pandas as pd
from matplotlib.figure import Figure

from distgnn.api.arguments import build_config
from distgnn.api.few_labels import (
    FewLabelResults,
    compare_with_few_labels,
    execution,
    load_methods,
    single_encoders,
    with_named_checkpoints,
)
from distgnn.api.metrics import open_sinks
from distgnn.api.output import check_config, check_results, output_folder, write_config
from distgnn.api.progress import JobProgress
from distgnn.api.results import ComparisonResults, Results
from distgnn.auxiliary.data_source import InitialEncoder
from distgnn.config import EvaluateConfig, EvaluateEncodersConfig, FewLabelConfig, FinetuneConfig, from_json, to_json
from distgnn.config.evaluate import FEW_LABEL_OPTIONS
from distgnn.distributed import choose_device
from distgnn.errors import RequestError
from distgnn.finetuning.comparison import FinetuneComparison, with_controls
from distgnn.finetuning.comparison import finetune as compare
from distgnn.finetuning.evaluate import Evaluation
from distgnn.finetuning.evaluate import evaluate as evaluate_models
from distgnn.finetuning.results import PREDICTIONS, RESULTS, predictions, summary, write_results
from distgnn.finetuning.saved_model import MODELS, load_model, model_uris, write_models
from distgnn.monitor.loggers.base import LoggedRun, check_loggers, flat, open_loggers
from distgnn.report import evaluation, table
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.lock import locked
from distgnn.storage.uri import base_name


@dataclass(frozen=True)
class FinetuneResults(ComparisonResults[FinetuneComparison]):
    """Result of a fine-tuning: every checkpoint and its control, over seeds.

    Attributes:
        folder: Folder with table.md, results.json and, on request, predictions.parquet and models/.
        comparison: Scores, predictions and curves of each training.
    """

    @property
    def models(self) -> list[str]:
        """URIs of the saved models (``save_models=True``), for :func:`distgnn.load_model`."""
        return model_uris(self.uri)

    def to_json(self) -> dict[str, Any]:
        """Return the content of results.json."""
        return summary(self.comparison)

    def __str__(self) -> str:
        return table.terminal(self.comparison)


@overload
def finetune(  # pyright: ignore[reportOverlappingOverload] - a keyword of few-label evaluation decides
    config: FewLabelConfig | None = None, *, train_labels: Sequence[int | Literal["all"]], **options: Any
) -> FewLabelResults: ...
@overload
def finetune(config: FewLabelConfig | None = None, *, updates: Sequence[int], **options: Any) -> FewLabelResults: ...
@overload
def finetune(config: FinetuneConfig | None = None, **options: Any) -> FinetuneResults: ...
def finetune(config: FinetuneConfig | None = None, **options: Any) -> FinetuneResults | FewLabelResults:
    """Fine-tune checkpoints on a labelled corpus, beside the same encoders without pre-training.

    Finished trainings are kept in ``out``: the same call continues after an interruption, and more seeds extend it.

    Args:
        config: Config of the comparison. Alternatively, its fields as keyword options.
        **options: Fields of :class:`FinetuneConfig` and :class:`FewLabelConfig`, such as ``corpus``, ``checkpoint``,
            ``seeds`` and ``split``. ``checkpoint`` may be a dictionary from the name of a method to its checkpoint, or to
            the checkpoints of its pre-training seeds.

    Returns:
        Scores over seeds with paired tests. With ``train_labels``, ``updates`` or ``draws``: a :class:`FewLabelResults`,
        scores over draws by number of labels and updates.

    Raises:
        RequestError: Corpus, labels, split or a checkpoint do not fit.
        WorkError: A training diverged or storage failed.

    Example:
        >>> results = distgnn.finetune(corpus="data/bbbp", checkpoint="runs/zinc", seeds=5)
        >>> results.table
        >>> methods = {"l2p": ["runs/l2p-0", "runs/l2p-1"], "edgepred": ["runs/edgepred-0"]}
        >>> distgnn.finetune(corpus="data/bbbp", checkpoint=methods, train_labels=[30, 100], updates=[10, 100]).plot()
    """
    chosen = _chosen(config, options)
    check_loggers(chosen.loggers, open_folder(chosen.out))
    methods = load_methods(chosen)
    several = [method.name for method in methods if len(method.starts) > 1]
    if several and not chosen.few_labels:
        raise RequestError(
            f"checkpoint {several[0]}: several pre-training seeds need few-label evaluation; give train_labels or updates"
        )
    with (
        output_folder(chosen.out, FewLabelConfig) as folder,
        open_sinks(chosen.metrics, chosen.out, chosen.workers > 1) as (sink, _),
        open_loggers(chosen.loggers, LoggedRun(base_name(chosen.out), folder, flat(chosen)), chosen.metrics) as logs,
    ):
        progress = JobProgress(sink=sink, logs=logs)
        if chosen.few_labels:
            results = compare_with_few_labels(chosen, methods, progress)
            logs.summary = {
                f"{name}/{size}_labels/{updates}": float(values.mean())
                for (name, size, updates), values in results.comparison.scores.items()
            }
            return results
        compared = compare_checkpoints(chosen.plain(), single_encoders(methods), progress)
        logs.summary = _mean_scores(compared.comparison)
    return compared


def _chosen(config: FinetuneConfig | None, options: dict[str, Any]) -> FewLabelConfig:
    """Return the config of a call; a :class:`FinetuneConfig` keeps its values, batch size included."""
    options = with_named_checkpoints(options)
    if config is not None and not isinstance(config, FewLabelConfig):
        config = from_json(FewLabelConfig, to_json(build_config(FinetuneConfig, config, {})), "FinetuneConfig")
    return build_config(FewLabelConfig, config, options)


def compare_checkpoints(
    config: FinetuneConfig, checkpoints: list[InitialEncoder], progress: JobProgress
) -> FinetuneResults:
    """Compare ``checkpoints`` and write the files of the comparison to ``config.out``."""
    mapper, device = execution(config)
    folder = open_folder(config.out)
    write_config(folder, config, "finetune")
    result = compare(config, checkpoints, folder.sub("jobs"), mapper, device, progress)
    folder.write(table.TABLE, table.markdown(result).encode())
    write_results(result, folder)
    if config.save_models:
        everything, _ = with_controls(checkpoints, config.encoder)
        write_models(result, everything, folder.sub(MODELS))
    return FinetuneResults(folder, result)


def _mean_scores(result: FinetuneComparison) -> dict[str, float]:
    """Mean over seeds of each method's scores, by ``METHOD/PART``."""
    parts = next(iter(result.results.values())).scores
    return {f"{row.method}/{part}": float(result.values(row, part).mean()) for row in result.rows for part in parts}


@dataclass(frozen=True)
class EvaluationResults(Results):
    """Scores and predictions of fine-tuned models on a labelled corpus.

    Attributes:
        folder: Folder with results.json and predictions.parquet.
        evaluation: Scores and predictions of each model.
        model_uris: The models, in order.
    """

    folder: Folder
    evaluation: Evaluation = field(repr=False)
    model_uris: tuple[str, ...] = ()

    @property
    def table(self) -> pd.DataFrame:
        """One row for each model and part."""
        rows = [
            {"model": model["model"], "method": model["method"], "seed": model["seed"], "part": part, **score}
            for model in self.to_json()["models"]
            for part, score in model["scores"].items()
        ]
        return pd.DataFrame(rows)

    def plot(self) -> Figure:
        """Draw the score of each model, one panel for each part."""
        return evaluation.figure(self.evaluation)

    def to_json(self) -> dict[str, Any]:
        """Return the content of results.json."""
        return evaluation.summary(self.evaluation, self.model_uris)

    def __str__(self) -> str:
        return evaluation.terminal(self.evaluation)


@overload
def evaluate(config: EvaluateEncodersConfig, **options: Any) -> FewLabelResults: ...
@overload
def evaluate(  # pyright: ignore[reportOverlappingOverload] - the keyword of few-label evaluation decides
    config: None = None, *, checkpoint: Sequence[str] | Mapping[str, Any] | PathLike[str], **options: Any
) -> FewLabelResults: ...
@overload
def evaluate(config: EvaluateConfig | None = None, **options: Any) -> EvaluationResults: ...
def evaluate(
    config: EvaluateConfig | EvaluateEncodersConfig | None = None, **options: Any
) -> EvaluationResults | FewLabelResults:
    """Evaluate fine-tuned models on a labelled corpus, or pre-trained encoders with few labels.

    Args:
        config: Config of the evaluation. Alternatively, its fields as keyword options.
        **options: Fields of :class:`EvaluateConfig`, such as ``model``, ``corpus`` and ``part``; or, with ``checkpoint``, of
            :class:`EvaluateEncodersConfig`, such as ``train_labels``, ``updates`` and ``draws``.

    Returns:
        Scores of every model. With ``checkpoint``: a :class:`FewLabelResults`, that of :func:`distgnn.finetune`.

    Raises:
        RequestError: A model is missing, or does not fit the corpus.

    Example:
        >>> distgnn.evaluate(model="runs/bbbp", corpus="data/bbbp-2025").table
        >>> distgnn.evaluate(checkpoint="runs/zinc", corpus="data/bbbp", train_labels=[30, 100], updates=[10, 100]).plot()
    """
    if isinstance(config, EvaluateEncodersConfig) or set(FEW_LABEL_OPTIONS) & set(options):
        if "model" in options or isinstance(config, EvaluateConfig):
            raise RequestError("model: excludes few-label evaluation; give checkpoint instead, or model alone")
        asked = build_config(EvaluateEncodersConfig, config, with_named_checkpoints(options))
        return cast(FewLabelResults, finetune(asked))
    chosen = build_config(EvaluateConfig, config, options)
    uris = tuple(uri for given in chosen.model for uri in model_uris(given))
    folder = open_folder(chosen.out)
    with locked(folder):
        check_results(folder, RESULTS, "models", {PREDICTIONS})
        check_config(folder, EvaluateConfig)
        found = evaluate_models(chosen, [load_model(uri) for uri in uris], choose_device(chosen.device).type)
        write_config(folder, chosen, "evaluate")
        results = EvaluationResults(folder, found, uris)
        folder.write(RESULTS, (json.dumps(results.to_json(), indent=1) + "\n").encode())
        folder.write(
            PREDICTIONS, predictions(found.data, [(one.method, one.seed, one.predictions) for one in found.models])
        )
    return results
