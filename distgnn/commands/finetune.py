"""distgnn finetune: checkpoints and their control on a labelled corpus; the table, and the files beside it."""

from __future__ import annotations

import json
import time
from collections import Counter
from datetime import timedelta

from rich.console import Console

from distgnn.auxiliary.data_source import InitialEncoder
from distgnn.auxiliary.trainer import TrainingResult
from distgnn.checkpoint.format import Checkpoint, load_checkpoint
from distgnn.checkpoint.load import encoder_of
from distgnn.commands.metrics import meters
from distgnn.commands.output import Output, load_function
from distgnn.config import FinetuneConfig, to_json
from distgnn.corpus.manifest import read_manifest
from distgnn.distributed import choose_device
from distgnn.finetuning.comparison import FinetuneComparison, with_controls
from distgnn.finetuning.comparison import finetune as compare
from distgnn.finetuning.results import summary, write_results
from distgnn.finetuning.saved_model import MODELS, write_models
from distgnn.monitor.loggers.base import LoggedRun, LoggerGroup, check_loggers, flat, open_loggers
from distgnn.monitor.sink import SILENT, Meter
from distgnn.pretraining.metrics import StorageMeter
from distgnn.register import import_modules
from distgnn.report import table
from distgnn.storage.folder import open_folder
from distgnn.storage.uri import base_name


def finetune(config: FinetuneConfig, output: Output) -> int:
    """Compare, print the table, and write results.json, table.md and (on request) predictions.parquet to ``config.out``."""
    import_modules(config.imports)
    check_loggers(config.loggers, open_folder(config.out))
    checkpoints = initial_encoders([load_checkpoint(uri) for uri in config.checkpoint])
    logged = LoggedRun(base_name(config.out), open_folder(config.out), flat(config))
    with (
        meters(config.metrics, config.out, config.workers > 1) as (here, _),
        open_loggers(config.loggers, logged, config.metrics) as logs,
    ):
        result = compare_checkpoints(config, checkpoints, JobProgress(meter=here, logs=logs))
        logs.summary = _mean_scores(result)
    output.emit(summary(result), f"{table.terminal(result)}\nwritten to {open_folder(config.out).uri}")
    return 0


def compare_checkpoints(
    config: FinetuneConfig, checkpoints: list[InitialEncoder], progress: JobProgress
) -> FinetuneComparison:
    """Compare ``checkpoints`` and write the files of the comparison to ``config.out``.

    Finished trainings are kept there: the same call again continues where it was stopped.
    """
    mapper = map if config.workers == 1 else load_function("distgnn.scale.pool:ordered_map")(config.workers)
    device = choose_device(config.device if config.workers == 1 else "cpu").type
    folder = open_folder(config.out)
    folder.write(
        "config.json", (json.dumps(to_json(config), indent=1) + "\n").encode()
    )  # fails now, not after the work
    result = compare(config, checkpoints, folder.sub("jobs"), mapper, device, progress)
    folder.write(table.TABLE, table.markdown(result).encode())
    write_results(result, folder)
    if config.save_models:
        everything, _ = with_controls(checkpoints, config.encoder)
        write_models(result, everything, read_manifest(open_folder(config.corpus)).digest(), folder.sub(MODELS))
    return result


def _mean_scores(result: FinetuneComparison) -> dict[str, float]:
    """Mean over seeds of each method's scores, by ``METHOD/PART``."""
    parts = next(iter(result.results.values())).scores
    return {f"{row.method}/{part}": float(result.values(row, part).mean()) for row in result.rows for part in parts}


class JobProgress:
    """A line after each job, with the time left, and a count for ``meter`` under ``command``.

    title: what the lines begin with. later: jobs that follow these. logs: where scores are logged, at the number of jobs done.
    """

    def __init__(
        self,
        title: str = "",
        later: int = 0,
        meter: Meter = SILENT,
        command: str = "finetune",
        logs: LoggerGroup | None = None,
    ) -> None:
        self.title, self.later = title, later
        self._logs = logs or LoggerGroup([])
        self._meter, self._command, self._storage = meter, command, StorageMeter(meter)
        meter.note("distgnn_jobs_total", 0, command=command)
        self._console = Console(stderr=True, highlight=False)
        self._start, self._ran = time.monotonic(), 0

    def __call__(self, done: int, jobs: int, job: str, result: TrainingResult | None) -> None:
        """Called after each job; see :data:`distgnn.auxiliary.jobs.Progress`."""
        said = "done"
        if result is not None:
            metric = result.metrics[0]
            self._logs.log(done, _values(job.rpartition(", seed ")[0], result))
            said = f"test {metric} {result.scores['test'][metric]:.4f}, best epoch {result.best_epoch}, {result.seconds:.1f} s"
        self._ran += 1
        self._meter.note("distgnn_jobs_total", 1, command=self._command)
        self._storage.note()
        left = timedelta(seconds=round((time.monotonic() - self._start) / self._ran * (jobs - done + self.later)))
        self._console.print(f"{self.title}{done}/{jobs} {job}: {said} | {left} left", soft_wrap=True, markup=False)


def _values(name: str, result: TrainingResult) -> dict[str, float]:
    """Scores of a job by ``NAME/PART``, or ``NAME/PART_METRIC`` where there are several metrics, and its best epoch."""
    several = len(result.metrics) > 1
    scores = {
        f"{name}/{part}_{metric}" if several else f"{name}/{part}": value
        for part, found in result.scores.items()
        for metric, value in found.items()
    }
    return {**scores, f"{name}/best_epoch": result.best_epoch}


def initial_encoders(checkpoints: list[Checkpoint]) -> list[InitialEncoder]:
    """An initial encoder for each checkpoint, named after its run, and after its step too where a run comes more than once."""
    runs = Counter(checkpoint.run["name"] for checkpoint in checkpoints)
    return [
        InitialEncoder(_name(one, runs), one.encoder, encoder_of(one).state_dict(), one.schema) for one in checkpoints
    ]


def _name(checkpoint: Checkpoint, runs: Counter[str]) -> str:
    name = checkpoint.run["name"]
    return name if runs[name] == 1 else f"{name}@{checkpoint.step}"
