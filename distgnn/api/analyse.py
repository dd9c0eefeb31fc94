"""Analysis of checkpoints before and after fine-tuning: ``distgnn.analyse``."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure

from distgnn.api.arguments import build_config
from distgnn.api.few_labels import TSV, execution, load_methods, with_named_checkpoints
from distgnn.api.metrics import open_sinks
from distgnn.api.output import check_results, output_folder, write_config
from distgnn.api.progress import JobProgress
from distgnn.api.results import Results
from distgnn.config import AnalyseConfig
from distgnn.errors import RequestError
from distgnn.finetuning.analysis import Analysis, analyse_methods
from distgnn.finetuning.results import RESULTS
from distgnn.monitor.loggers.base import LoggedRun, check_loggers, flat, open_loggers
from distgnn.report import analysis as report
from distgnn.report.png import png
from distgnn.report.table import TABLE
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.uri import base_name


@dataclass(frozen=True)
class AnalysisResults(Results):
    """What fine-tuning changed in checkpoints.

    Attributes:
        folder: Folder with table.md, table.tsv, results.json and pictures/.
        analysis: The measurements, as arrays.
    """

    folder: Folder
    analysis: Analysis = field(repr=False)

    @property
    def table(self) -> pd.DataFrame:
        """One row for each method, number of labels, number of updates and measure, with change and difference to none."""
        return pd.DataFrame(report.records(self.analysis))

    def plot(self, kind: Literal["cka", "changes", "against"] = "cka") -> Figure:
        """Draw one of the figures.

        Args:
            kind: cka = CKA of every layer after the last update (Fig. 2a); changes = change of training loss and test score
                against updates (Fig. 2b, 2c); against = scores against the fields ``against`` (Fig. 3).

        Returns:
            The figure.

        Raises:
            RequestError: There is no such figure.
        """
        figures = (
            report.FIGURES if self.analysis.fields else {n: f for n, f in report.FIGURES.items() if n != "against"}
        )
        if kind not in figures:
            raise RequestError(f"plot({kind!r}): there are {', '.join(figures)}; 'against' needs the option against")
        return figures[kind](self.analysis)

    def to_json(self) -> dict[str, Any]:
        """Return the content of results.json."""
        return report.to_values(self.analysis)

    def __str__(self) -> str:
        return report.terminal(self.analysis)


def analyse(config: AnalyseConfig | None = None, **options: Any) -> AnalysisResults:
    """Show what fine-tuning on few labels changes in checkpoints: CKA of every layer, training loss and test score.

    The figures are those of L2P-GNN (Lu et al., AAAI 2021, Fig. 2, and Fig. 3 with ``against``). Finished trainings are
    kept in ``out``: the same call continues after an interruption.

    Args:
        config: Config of the analysis. Alternatively, its fields as keyword options.
        **options: Fields of :class:`AnalyseConfig`, such as ``corpus``, ``checkpoint``, ``train_labels``, ``updates``,
            ``draws`` and ``against``. ``checkpoint`` may be a dictionary as for :func:`distgnn.finetune`.

    Returns:
        The measurements before the first update and after given numbers of updates, beside those of the control.

    Raises:
        RequestError: Corpus, labels or a checkpoint do not fit, or the checkpoints cannot be compared.
        WorkError: A training diverged or storage failed.

    Example:
        >>> methods = {"l2p": ["runs/l2p-0", "runs/l2p-1"], "edgepred": ["runs/edgepred-0"]}
        >>> results = distgnn.analyse(corpus="data/bace", checkpoint=methods, updates=[10, 100])
        >>> results.plot("changes")
    """
    chosen = build_config(AnalyseConfig, config, with_named_checkpoints(options))
    check_loggers(chosen.loggers, open_folder(chosen.out))
    methods = load_methods(chosen)
    with (
        output_folder(chosen.out, AnalyseConfig) as folder,
        open_sinks(chosen.metrics, chosen.out, chosen.workers > 1) as (sink, _),
        open_loggers(chosen.loggers, LoggedRun(base_name(chosen.out), folder, flat(chosen)), chosen.metrics) as logs,
    ):
        check_results(folder, RESULTS, "analysis", set())
        write_config(folder, chosen, "analyse")
        mapper, device = execution(chosen)
        progress = JobProgress(sink=sink, command="analyse", logs=logs)
        found = analyse_methods(chosen, methods, folder.sub("jobs"), mapper, device, progress)
        logs.summary = report.last_means(found)
        results = AnalysisResults(folder, found)
        _write(results)
    return results


def _write(results: AnalysisResults) -> None:
    folder, found = results.folder, results.analysis
    folder.write(TABLE, report.markdown(found).encode())
    folder.write(TSV, results.table.to_csv(sep="\t", index=False).encode())
    for name, draw in report.FIGURES.items():
        if name != "against" or found.fields:
            folder.write(f"pictures/{name}.png", png(draw(found)))
    folder.write(RESULTS, (json.dumps(results.to_json(), indent=1) + "\n").encode())
