"""Training on a target and auxiliary tasks: ``distgnn.transfer``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from distgnn.api.arguments import build_config
from distgnn.api.metrics import open_sinks
from distgnn.api.output import output_folder, write_config
from distgnn.api.progress import JobProgress
from distgnn.api.results import ComparisonResults
from distgnn.auxiliary.comparison import Comparison, compare_methods
from distgnn.auxiliary.data_source import CorpusDataSource, DataSource, InitialEncoder, NetworkDataSource, is_network
from distgnn.auxiliary.jobs import RunJob
from distgnn.config import TransferConfig
from distgnn.corpus.writer import Mapper
from distgnn.distributed import choose_device
from distgnn.finetuning.results import RESULTS
from distgnn.finetuning.saved_model import model_uris
from distgnn.finetuning.transfer_outputs import check_outputs, write_outputs
from distgnn.loading import load_function
from distgnn.monitor.loggers.base import LoggedRun, check_loggers, flat, open_loggers
from distgnn.report.auxiliary import markdown, terminal, transfer_summary
from distgnn.report.curves import write_curves, write_pictures
from distgnn.report.table import TABLE
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.uri import base_name

_CELL = ("scheme", "encoder", "method", "metric")


@dataclass(frozen=True)
class TransferResults(ComparisonResults[Comparison[TransferConfig]]):
    """Result of a comparison of weighting methods.

    Attributes:
        folder: Folder with table.md, results.json, curves.parquet, pictures/ and, on request, predictions.parquet and
            models/.
        comparison: Scores and curves of each training.
        note: What was inferred about the labels or changed; "" if nothing.
    """

    note: str = ""

    @property
    def models(self) -> list[str]:
        """URIs of the saved models (``save_models=True``), for :func:`distgnn.load_model`."""
        return model_uris(self.uri)

    def to_json(self) -> dict[str, Any]:
        """Return the content of results.json."""
        return transfer_summary(self.comparison) | ({"note": self.note} if self.note else {})

    def __str__(self) -> str:
        return terminal(self.comparison) + (f"\n\nTarget: {self.note}." if self.note else "")


def transfer(config: TransferConfig | None = None, **options: Any) -> TransferResults:
    """Train a target beside auxiliary tasks with several weighting methods, and compare them.

    Finished trainings are kept in ``out``: the same call continues after an interruption.

    Args:
        config: Config of the comparison. Alternatively, its fields as keyword options.
        **options: Fields of :class:`TransferConfig`, such as ``data``, ``methods``, ``encoders`` and ``seeds``.

    Returns:
        Scores over seeds with paired tests against the target alone.

    Raises:
        RequestError: Data and tasks do not fit.
        WorkError: A training of the target alone diverged, or storage failed.

    Example:
        >>> distgnn.transfer(data="data/last-fm", encoders=["gcn"], methods=["none", "auxts_all"], seeds=3).table
    """
    chosen = build_config(TransferConfig, config, options)
    check_loggers(chosen.loggers, open_folder(chosen.out))
    source = _source(chosen)
    check_outputs(source)
    with output_folder(chosen.out, TransferConfig) as folder:
        return _compared(chosen, source, folder)


def _compared(config: TransferConfig, source: DataSource, folder: Folder) -> TransferResults:
    logged = LoggedRun(base_name(config.out), folder, flat(config))
    write_config(folder, config, "transfer")
    device = choose_device(config.device if config.workers == 1 else "cpu").type
    with (
        open_sinks(config.metrics, config.out, config.workers > 1 or config.ranks > 1) as (sink, worker_sink),
        open_loggers(config.loggers, logged, config.metrics) as logs,
    ):
        run = RunJob(source, folder.sub("jobs"), device, worker_sink, config.save_models, keep_diverged=True)
        progress = JobProgress(sink=sink, command="transfer", logs=logs)
        rest = f"trainings of at most {config.epochs} epochs; a line follows for each that has ended"
        result = compare_methods(run, _mapper(config), progress, lambda jobs: progress.announce(f"{jobs} {rest}"))
        results = TransferResults(folder, result, source.data.note if isinstance(source, CorpusDataSource) else "")
        value = results.to_json()
        logs.summary = {"/".join(cell[name] for name in _CELL): cell["mean"] for cell in value["cells"]}
    folder.write(TABLE, markdown(result).encode())
    folder.write(RESULTS, (json.dumps(value, indent=1) + "\n").encode())
    write_outputs(result, source, folder)
    write_curves(result, folder)
    write_pictures(result, folder)
    return results


def _source(config: TransferConfig) -> DataSource:
    if is_network(config.data):
        return NetworkDataSource.read(config)
    return CorpusDataSource.read(config, InitialEncoder.load_all(config.checkpoint))


def _mapper(config: TransferConfig) -> Mapper:
    if config.ranks > 1:
        return load_function("distgnn.scale.train.auxiliary:ranked_map")(config)
    return map if config.workers == 1 else load_function("distgnn.scale.pool:ordered_map")(config.workers)
