"""Progress of comparisons: a line on stderr after each job with the time left, and the scores in the experiment loggers."""

from __future__ import annotations

import re
import time
from datetime import timedelta

from distgnn.auxiliary.trainer import TrainingResult
from distgnn.errors import printable
from distgnn.monitor.loggers.base import LoggerGroup
from distgnn.monitor.sink import NULL_SINK, MetricsSink
from distgnn.pretraining.metrics import StorageMetrics
from distgnn.terminal import stderr_console

_SEED = re.compile(r", (seed|draw) \d+$")


class JobProgress:
    """Prints a line after each job, counts jobs, and logs their scores.

    Args:
        title: Beginning of each line.
        later: Number of jobs that follow after these, for the time left.
        sink: Metrics sink that counts jobs.
        command: Label of the count.
        logs: Experiment loggers; scores are logged at the number of finished jobs.
    """

    def __init__(
        self,
        title: str = "",
        later: int = 0,
        sink: MetricsSink = NULL_SINK,
        command: str = "finetune",
        logs: LoggerGroup | None = None,
    ) -> None:
        self.title, self.later = title, later
        self._logs = logs or LoggerGroup([])
        self._sink, self._command, self._storage = sink, command, StorageMetrics(sink)
        sink.note("distgnn_jobs_total", 0, command=command)
        self._console = stderr_console()
        self._start, self._ran = time.monotonic(), 0

    def announce(self, text: str) -> None:
        """Print a line before the first job, which may take minutes."""
        self._console.print(printable(f"{self.title}{text}"), soft_wrap=True, markup=False)

    def __call__(self, done: int, jobs: int, job: str, result: TrainingResult | None) -> None:
        """Report a finished job; see :data:`distgnn.auxiliary.jobs.Progress`."""
        if result is not None:
            self._logs.log(done, _values(_SEED.sub("", job), result))
        self._ran += 1
        self._sink.note("distgnn_jobs_total", 1, command=self._command)
        self._storage.note()
        left = timedelta(seconds=round((time.monotonic() - self._start) / self._ran * (jobs - done + self.later)))
        line = printable(f"{self.title}{done}/{jobs} {job}: {_scores(result) if result else 'done'} | {left} left")
        self._console.print(line, soft_wrap=True, markup=False)


def _scores(result: TrainingResult) -> str:
    metric = result.metrics[0]
    if result.diverged:
        return f"diverged: {result.diverged}"
    if result.best_epoch:
        return (
            f"test {metric} {result.scores['test'][metric]:.4f}, best epoch {result.best_epoch}, {result.seconds:.1f} s"
        )
    values = ", ".join(f"{found[metric]:.4f} at {updates}" for updates, found in result.scores.items())
    return f"test {metric} {values} updates, {result.seconds:.1f} s"


def _values(name: str, result: TrainingResult) -> dict[str, float]:
    """Scores of a job by ``NAME/PART`` (``NAME/PART_METRIC`` with several metrics), and its best epoch."""
    several = len(result.metrics) > 1
    scores = {
        f"{name}/{part}_{metric}" if several else f"{name}/{part}": value
        for part, found in result.scores.items()
        for metric, value in found.items()
    }
    return {**scores, f"{name}/best_epoch": result.best_epoch}
