"""Evaluation of models of databases: ``distgnn.evaluate_databases``."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from distgnn.api.arguments import build_config
from distgnn.api.output import output_folder, write_config
from distgnn.api.results import Results
from distgnn.config import to_json
from distgnn.config.database_model import DatabaseEvaluateConfig
from distgnn.errors import RequestError
from distgnn.relational.episodes import TRAIN, VAL, load_data
from distgnn.relational.evaluate import Record, evaluate_task
from distgnn.relational.model_checkpoint import SavedModel, load_model
from distgnn.relational.sampling import Limits
from distgnn.relational.store import open_database
from distgnn.relational.tasks import SPLITS, load_task, task_names
from distgnn.report.databases import figure, markdown, summary
from distgnn.report.png import png
from distgnn.storage.folder import Folder
from distgnn.storage.records import read_record


@dataclass(frozen=True)
class _Job:
    records: tuple[Record, ...]


@dataclass(frozen=True)
class DatabaseResults(Results):
    """Scores of all methods.

    Attributes:
        folder: Folder with table.md, results.json and pictures/.
        scores: One for each task, method, number of labels and draw.
    """

    folder: Folder
    scores: list[Record] = field(repr=False)

    @property
    def table(self) -> pd.DataFrame:
        """One row for each kind of task, number of labels and method: mean over tasks and paired difference."""
        return pd.DataFrame(summary(self.scores))

    @property
    def records(self) -> pd.DataFrame:
        """One row for each task, method, number of labels and draw."""
        return pd.DataFrame([asdict(score) for score in self.scores])

    def plot(self) -> Figure:
        """Draw the mean score of each method against the number of context labels."""
        return figure(self.scores)

    def to_json(self) -> dict[str, Any]:
        """Return the content of results.json."""
        return {"records": [asdict(score) for score in self.scores]}

    def __str__(self) -> str:
        return markdown(self.scores)


def evaluate_databases(config: DatabaseEvaluateConfig | None = None, **options: Any) -> DatabaseResults:
    """Evaluate models on the tasks of databases that they were not trained on. Finished tasks are not evaluated again.

    Args:
        config: The config. Alternatively, its fields as keyword options.
        **options: Fields of the config, such as ``databases``, ``models`` and ``contexts``.

    Returns:
        The scores of all methods.

    Raises:
        RequestError: A database or model cannot be read, or all models were trained on one of the databases.
    """
    config = build_config(DatabaseEvaluateConfig, config, options)
    models = [load_model(uri) for uri in config.models]
    with output_folder(config.out, DatabaseEvaluateConfig) as folder:
        write_config(folder, config, "database evaluate")
        records = [record for uri in config.databases for record in _database(uri, models, config, folder)]
        if not records:
            raise RequestError(f"{config.databases[0]}: no task to evaluate")
        results = DatabaseResults(folder, records)
        folder.write("results.json", (json.dumps(results.to_json()) + "\n").encode())
        folder.write("table.md", str(results).encode())
        folder.write("pictures/scores.png", png(results.plot()))
        return results


def _database(uri: str, models: list[SavedModel], config: DatabaseEvaluateConfig, folder: Folder) -> Iterator[Record]:
    database = open_database(uri)
    name = database.schema.name
    saved = next((model for model in models if name not in model.facts.databases), None)
    if saved is None:
        raise RequestError(f"{uri}: every model was trained on {name!r}; give one that was not, or leave it out")
    for task in task_names(uri):
        if f"{name}/{task}" in config.skip:
            continue
        job = f"jobs/{_job_key(saved, uri, task, config)}.json"
        if folder.size(job) is None:
            split = SPLITS.index(config.split)
            declared, rows = load_task(database, task)
            labels = rows.label[(rows.split == split) & ~np.isnan(rows.label)]
            if declared.kind == "multiclass" or np.unique(labels).size < 2:
                sys.stderr.write(f"left out {name}/{task}: not two classes or numbers in split {config.split}\n")
                continue
            sys.stderr.write(f"evaluating {name}/{task}\n")
            limits = Limits(saved.facts.newest, saved.facts.random)
            data = load_data(database, declared, rows, limits, tuple({TRAIN, VAL, split}))
            done = [asdict(record) for record in evaluate_task(saved.model, data, config, split)]
            folder.write(job, json.dumps({"records": done}).encode())
        yield from read_record(folder, job, _Job, "finished scores").records


def _job_key(saved: SavedModel, uri: str, task: str, config: DatabaseEvaluateConfig) -> str:
    """Identity of a finished task: whatever changes its scores."""
    chosen = {key: value for key, value in to_json(config).items() if key not in ("databases", "models", "out", "skip")}
    weights = hashlib.sha256(b"".join(t.numpy().tobytes() for t in saved.model.state_dict().values())).hexdigest()
    return hashlib.sha256(json.dumps([uri, task, weights, chosen], sort_keys=True).encode()).hexdigest()[:32]
