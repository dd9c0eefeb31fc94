"""Models of relational databases: ``distgnn.pretrain_databases``, ``distgnn.predict`` and ``distgnn.evaluate_databases``."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from matplotlib.figure import Figure

from distgnn.api.arguments import build_config
from distgnn.api.output import CONFIG, output_folder, write_config
from distgnn.api.results import Results
from distgnn.config import load_config, to_json
from distgnn.config.database_model import DatabasePretrainConfig, PredictConfig
from distgnn.distributed import ProcessGroup
from distgnn.errors import RequestError, WorkError
from distgnn.loading import load_function
from distgnn.pretraining.history import write_failure, write_stop
from distgnn.relational.answers import answers_of
from distgnn.relational.ensemble import DatabaseModel
from distgnn.relational.episodes import TRAIN, VAL, TaskData, load_data
from distgnn.relational.model_checkpoint import SavedModel, check_free, load_model, save_model
from distgnn.relational.predict import Answer
from distgnn.relational.pretraining import DatabaseRun, pretraining_pool, train_run
from distgnn.relational.sampling import NEVER, Limits
from distgnn.relational.scores import score_of
from distgnn.relational.store import open_database
from distgnn.relational.tasks import SPLITS, Task, load_task
from distgnn.relational.training import State
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.lock import locked
from distgnn.storage.uri import base_name

_TOLD = 5
_FILE = "predictions.parquet"


def pretrain_databases(
    config: DatabasePretrainConfig | None = None, group: ProcessGroup | None = None, **options: Any
) -> DatabaseRun:
    """Pre-train a model over several databases, or continue the run in ``out``.

    Args:
        config: The config. Alternatively, its fields as keyword options.
        group: The training processes, if you start them yourself; each calls this function. None = ``config.workers`` processes:
            this one alone, or those of Ray Train. The losses are the same.
        **options: Fields of the config, such as ``databases`` and ``out``.

    Returns:
        The run.

    Raises:
        RequestError: A database cannot be read, or the run in ``out`` has another config.
        WorkError: Training on Ray failed.
    """
    config = build_config(DatabasePretrainConfig, config, options)
    folder = open_folder(config.out)
    if group is not None and not group.is_main_process:
        return train_run(config, pretraining_pool(config), group)
    with locked(folder):
        _claim_run(folder, config)
        name = base_name(folder.uri)
        try:
            return _pretrain(config, group)
        except (RequestError, WorkError) as error:
            write_failure(folder, name, error)
            raise
        except KeyboardInterrupt:
            write_stop(folder, name)
            raise


def _pretrain(config: DatabasePretrainConfig, group: ProcessGroup | None) -> DatabaseRun:
    if group is None and config.workers > 1:
        on_ray: Any = load_function("distgnn.scale.train.databases:pretrain_on_ray")
        return on_ray(config)
    return train_run(config, pretraining_pool(config), group or ProcessGroup.single_process(torch.device("cpu")))


def _claim_run(folder: Folder, config: DatabasePretrainConfig) -> None:
    raw = folder.read_if_there(CONFIG)
    if raw is None:
        write_config(folder, config, "database pretrain")
        return
    saved = load_config(DatabasePretrainConfig, raw, folder.at(CONFIG))
    changed = {name: getattr(config, name) for name in ("checkpoint_every", "out", "workers", "max_failures")}
    if dataclasses.replace(saved, **changed) != config:
        raise RequestError(f"{folder.uri}: holds a run with another config; choose another out, or repeat its options")


@dataclass(frozen=True)
class Predictions(Results):
    """Predictions of a task.

    Attributes:
        folder: Folder with predictions.parquet and results.json.
        rows: The predictions, as pyarrow table.
        facts: Content of results.json.
        context: Number of context labels used.
        score: AUROC, accuracy (several classes) or mean absolute error of the rows whose labels are known; None if they are of
            one class, or all unknown.
        metric: "auroc", "accuracy", "mae" or "".
        columns: Table columns by mean absolute change of the prediction when they are hidden, largest first.
        baselines: Scores of the same rows by baselines with the same labels, and by the model alone; empty if ``score`` is None.
        model: Checkpoint of the fine-tuned model; empty if it was not kept.
    """

    folder: Folder
    rows: pa.Table = field(repr=False)
    facts: dict[str, Any] = field(repr=False)
    context: int
    score: float | None
    metric: str
    columns: list[tuple[str, float]]
    baselines: dict[str, float] = field(default_factory=dict)
    model: str = ""

    @property
    def better(self) -> list[str]:
        """Baselines that score better than the predictions."""
        sign = -1 if self.metric == "mae" else 1
        return [name for name, score in self.baselines.items() if sign * score > sign * (self.score or 0.0)]

    @property
    def file(self) -> str:
        """URI of predictions.parquet."""
        return self.folder.at(_FILE)

    @property
    def table(self) -> pd.DataFrame:
        """One row for each query: entity, timestamp, label, prediction and, on request, the columns that matter most."""
        return self.rows.to_pandas()

    def plot(self) -> Figure:
        """Draw a histogram of the predictions and, if they are explained, the columns that matter most."""
        picture = Figure(figsize=(9 if self.columns else 4.5, 4), layout="constrained")
        panels = np.ravel(picture.subplots(1, 2 if self.columns else 1))
        panels[0].hist(self.rows["prediction"].to_numpy(), bins=30)
        panels[0].set(xlabel="prediction", ylabel="rows")
        if self.columns:
            names, changes = zip(*self.columns[: 2 * _TOLD][::-1], strict=True)
            panels[1].barh(names, changes)
            panels[1].set_xlabel("mean change of the prediction without the column")
        return picture

    def to_json(self) -> dict[str, Any]:
        """Return the content of results.json."""
        return self.facts


def predict(config: PredictConfig | None = None, **options: Any) -> Predictions:
    """Predict a task of any database from context labels, without training, or after fine-tuning on all its labels.

    Args:
        config: The config. Alternatively, its fields as keyword options.
        **options: Fields of the config, such as ``database``, ``task``, ``model`` and ``context``.

    Returns:
        The predictions, which are also in ``out``.

    Raises:
        RequestError: The database, the task or the model cannot be read, no label is known before the first query, or there are
            too few labels to fine-tune.
    """
    config = build_config(PredictConfig, config, options)
    saved = load_model(config.model)
    database = open_database(config.database)
    task, rows = load_task(database, config.task)
    if config.save:
        check_free(open_folder(config.save))
    with output_folder(config.out, PredictConfig) as folder:
        write_config(folder, config, "predict")
        split = SPLITS.index(config.split)
        splits = (TRAIN, VAL) if config.finetune else (TRAIN,)
        data = load_data(database, task, rows, Limits(saved.facts.newest, saved.facts.random), tuple({*splits, split}))
        queries = np.flatnonzero(data.rows.split == split)
        if not queries.size:
            raise RequestError(f"{config.database}: task {config.task!r} has no rows in split {config.split}")
        found = answers_of(saved.model, data, queries, config)
        keys = database.keys(task.table).take(pa.array(data.rows.entity[found.queries]))
        table = _table(task, keys, data, found.queries, found.chosen)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        folder.write(_FILE, sink.getvalue())
        model = _save(saved, found.tuned, task.database, config) if config.save else ""
        score, metric = score_of(data, found.queries, found.chosen)
        others = {name: score_of(data, found.queries, answer)[0] for name, answer in found.others.items()}
        baselines = {name: other for name, other in others.items() if other is not None}
        columns, size = _ranking(found.chosen), int(found.context.size)
        told = {"database": config.database, "task": config.task, "split": config.split, "rows": len(found.queries)}
        told |= {"context": size, "score": score, "metric": metric, "baselines": baselines, "columns": columns}
        told |= {"classes": [_class(task, label) for label in found.chosen.classes], "model": model}
        folder.write("results.json", (json.dumps(told, indent=1) + "\n").encode())
        return Predictions(folder, table, told, size, score, metric, columns, baselines, model)


def _save(saved: SavedModel, tuned: DatabaseModel, database: str, config: PredictConfig) -> str:
    """Write a checkpoint of the fine-tuned model, which also names the database that it has seen now; return its URI."""
    names = tuple(sorted({*saved.facts.databases, database}))
    facts = dataclasses.replace(saved.facts, databases=names, run=to_json(config))
    state = State(tuned, torch.optim.Adam(tuned.parameters()), saved.step + config.finetune, saved.losses)
    return save_model(open_folder(config.save), state, facts)


def _ranking(answer: Answer) -> list[tuple[str, float]]:
    if not answer.changes.size:
        return []
    mean = np.abs(answer.changes).mean(0)
    return [(answer.names[place], float(mean[place])) for place in np.argsort(-mean, kind="stable")]


def _class(task: Task, label: float) -> str:
    """Name of a class: that of the task, else its label."""
    return task.classes[int(label)] if label in range(len(task.classes)) else f"{label:g}"


def _table(task: Task, keys: pa.Array, data: TaskData, queries: np.ndarray, answer: Answer) -> pa.Table:
    time = data.rows.time[queries]
    stamps = pa.array(time, pa.int64(), mask=time == NEVER).cast(pa.timestamp("us"))
    columns = {task.key: keys, "timestamp": stamps, "label": pa.array(data.rows.label[queries], from_pandas=True)}
    if answer.values.ndim == 2:
        best = answer.values.argmax(1)
        columns["prediction"] = pa.array(answer.classes[best])
        columns["class"] = pa.array([_class(task, label) for label in answer.classes]).take(pa.array(best))
        columns["probabilities"] = pa.array(answer.values.tolist())
    else:
        columns["prediction"] = pa.array(answer.values)
    if answer.names:
        columns["because"] = pa.array([_because(answer, row) for row in range(queries.size)])
    return pa.table(columns)


def _because(answer: Answer, row: int) -> list[dict[str, Any]]:
    changes = answer.changes[row]
    largest = np.argsort(-np.abs(changes), kind="stable")[:_TOLD]
    return [{"column": answer.names[place], "change": float(changes[place])} for place in largest]
