"""A pre-training run over databases: its tasks with their evidence, checkpoints, and training on each rank."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from distgnn.checkpoint.format import newest
from distgnn.config import to_json
from distgnn.config.database_model import DatabasePretrainConfig
from distgnn.corpus.writer import Mapper
from distgnn.distributed import ProcessGroup
from distgnn.errors import RequestError
from distgnn.pretraining.history import NAME as PROGRESS
from distgnn.pretraining.history import Recorder, read_progress, steps_since
from distgnn.pretraining.memory import peak_memory_mb
from distgnn.pretraining.step import StepResult
from distgnn.relational.automatic import automatic_tasks
from distgnn.relational.episodes import TRAIN, VAL, TaskData, load_data
from distgnn.relational.model_checkpoint import Facts, load_model, restore, save_model
from distgnn.relational.sampling import Limits
from distgnn.relational.store import open_database
from distgnn.relational.synthetic import synthetic_database
from distgnn.relational.tasks import load_task, task_names
from distgnn.relational.training import State, new_state, train_steps
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.uri import base_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FEWEST, _TOLD_EVERY, _ROW_SECONDS = 32, 50, 5.0
_OF_SYNTHETIC = 12
"""Most automatic tasks of a synthetic database."""
Say = Callable[[str], object]


@dataclass(frozen=True)
class DatabaseRun:
    """A pre-training run over databases.

    Attributes:
        uri: The run folder.
        checkpoint: Its newest checkpoint.
        losses: Mean query loss of each step.
        tasks: Number of tasks.
        seconds: Seconds of training, reading not included.
    """

    uri: str
    checkpoint: str
    losses: list[float]
    tasks: int
    seconds: float

    def __fspath__(self) -> str:
        """Return :attr:`uri`, so that a run may be given wherever its folder may."""
        return self.uri

    @property
    def table(self) -> pd.DataFrame:
        """The loss of each step."""
        return pd.DataFrame({"step": range(1, len(self.losses) + 1), "loss": self.losses})

    def plot(self) -> Figure:
        """Draw the loss against the step, and its mean over :data:`_TOLD_EVERY` steps."""
        from matplotlib.figure import Figure  # training draws nothing

        figure, table = Figure(figsize=(7, 4), layout="constrained"), self.table
        axes = figure.subplots()
        axes.plot(table["step"], table["loss"], "-o" if len(table) == 1 else "-", color="C0", alpha=0.4, label="loss")
        mean = table["loss"].rolling(_TOLD_EVERY, min_periods=1).mean()
        axes.plot(table["step"], mean, color="C0", label=f"mean of {_TOLD_EVERY} steps")
        axes.set(xlabel="step", ylabel="loss", title=base_name(self.uri))
        axes.grid(alpha=0.3)
        axes.legend()
        return figure

    def _repr_html_(self) -> str:
        """HTML for notebooks; all text is escaped."""
        return f"<p>{escape(self.uri)}</p>{self.table.tail().to_html(index=False, escape=True)}"


class Loading(NamedTuple):
    """What one process loads: the tasks of a database, or of the synthetic database ``number``."""

    uri: str
    number: int = 0


def pretraining_pool(config: DatabasePretrainConfig, mapper: Mapper = map) -> list[TaskData]:
    """Training and validation rows of the declared tasks of all databases, and automatic tasks, with their evidence.

    Args:
        config: The config.
        mapper: Ordered map; one over several processes loads databases in parallel.

    Raises:
        RequestError: A database cannot be read, or there is no task to train on.
    """
    jobs = [Loading(uri) for uri in config.databases] + [Loading("", number) for number in range(config.synthetic)]
    pool = [data for found in mapper(partial(_load, config), jobs) for data in found]
    if not pool:
        raise RequestError(f"{config.databases[0]}: no task to train on; declare one, or give automatic")
    return pool


def _load(config: DatabasePretrainConfig, job: Loading) -> list[TaskData]:
    limits, pool = Limits(config.sample.newest, config.sample.random), []
    database = open_database(job.uri) if job.uri else synthetic_database(job.number, config.train.seed).database
    for name in task_names(job.uri) if job.uri else ():
        task, rows = load_task(database, name)
        pool.append(load_data(database, task, rows, limits, (TRAIN, VAL)))
    most = config.automatic if job.uri else min(config.automatic, _OF_SYNTHETIC)
    for made in automatic_tasks(database, most, config.train.seed):
        pool.append(load_data(database, made.task, made.rows, limits))
    return [data for data in pool if _is_usable(data)]


def _is_usable(data: TaskData) -> bool:
    return data.kind != "multiclass" and data.missing.size > 0 and data.rows.entity.size >= _FEWEST


def train_run(
    config: DatabasePretrainConfig, pool: list[TaskData], group: ProcessGroup, say: Say | None = None
) -> DatabaseRun:
    """Train, or continue from the newest checkpoint of the run in ``config.out``. Collective.

    Args:
        config: The config.
        pool: The tasks, see :func:`pretraining_pool`.
        group: The training processes.
        say: Receives lines about the progress on the main process; None = they are written to stderr.
    """
    folder, start = open_folder(config.out), time.monotonic()
    state = new_state(config.model, config.train)
    if found := newest(folder):
        restore(state, load_model(found.uri))
    names = tuple(sorted({open_database(uri).schema.name for uri in config.databases}))
    facts = Facts(to_json(config.model), names, config.sample.newest, config.sample.random, to_json(config))
    group.barrier()  # no rank may write before all have read
    if not group.is_main_process:
        train_steps(state, pool, config.train, group, lambda _: False)
        group.barrier()
        return DatabaseRun(folder.uri, folder.uri, state.losses, len(pool), time.monotonic() - start)
    recorder = _recorder(config, folder, state.step, partial(peak_memory_mb, group.device))
    told = partial(after_step, config, folder, facts, say or sys.stderr.write, start, recorder)
    train_steps(state, pool, config.train, group, told)
    uri = save_model(folder, state, facts)
    recorder.checkpoint = uri.removeprefix(f"{folder.uri}/")
    recorder.finish(state.step, "finished" if state.step == config.train.steps else "stopped")
    group.barrier()
    return DatabaseRun(folder.uri, uri, state.losses, len(pool), time.monotonic() - start)


def _recorder(config: DatabasePretrainConfig, folder: Folder, first: int, peak: Callable[[], float]) -> Recorder:
    """Writer of progress.json and history/, as pre-training over graphs has it; without validation."""
    metrics = read_progress(folder)["metrics"] if folder.size(PROGRESS) is not None else {}
    spent = {"episodes": float(first * config.train.episodes)}
    return Recorder(
        folder, base_name(folder.uri), config.train.steps, first, _ROW_SECONDS, lambda _: None, peak,
        metrics=metrics, cost=spent, counted="episodes", lost=steps_since(folder, first),
    )  # fmt: skip


def after_step(
    config: DatabasePretrainConfig,
    folder: Folder,
    facts: Facts,
    say: Say,
    start: float,
    recorder: Recorder,
    state: State,
) -> bool:
    """Record the step, report the progress and write checkpoints; returns whether to stop."""
    sums = {"loss": (state.losses[-1], 1.0)}
    result = StepResult(sums, config.train.episodes, stop=False, applied=True)
    recorder.add(state.step, result, state.optimiser.param_groups[0]["lr"], 0.0)
    if state.step % _TOLD_EVERY == 0:
        mean = float(np.mean(state.losses[-_TOLD_EVERY:]))
        took = time.monotonic() - start
        say(f"step {state.step} of {config.train.steps}: loss {mean:.4f}, {took:.0f} s\n")
    if state.step % config.checkpoint_every == 0:
        recorder.checkpoint = save_model(folder, state, facts).removeprefix(f"{folder.uri}/")
    return False
