"""Evaluation of models of databases: ``distgnn.evaluate_databases``."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from distgnn.api.arguments import build_config
from distgnn.api.output import output_folder, write_config
from distgnn.api.results import Results
from distgnn.config import to_json
from distgnn.config.database_model import DatabaseEvaluateConfig
from distgnn.config.few_labels import checkpoint_groups
from distgnn.errors import RequestError
from distgnn.relational.database import Database
from distgnn.relational.episodes import TRAIN, VAL, load_data
from distgnn.relational.evaluate import Record, evaluate_task, why_not_scored
from distgnn.relational.finetune import why_not_tuned
from distgnn.relational.model_checkpoint import SavedModel, load_model
from distgnn.relational.sampling import Limits
from distgnn.relational.store import open_database
from distgnn.relational.tasks import SPLITS, load_task, task_names
from distgnn.report.databases import figure, markdown, summary
from distgnn.report.png import png
from distgnn.storage.folder import Folder
from distgnn.storage.records import read_record

_METHODS = 2
"""Version of the methods: scores of an earlier one are not taken over."""


@dataclass(frozen=True)
class _Job:
    """Finished scores of a task, or why it has none."""

    records: tuple[Record, ...]
    left_out: str = ""


@dataclass(frozen=True)
class DatabaseResults(Results):
    """Scores of all methods.

    Attributes:
        folder: Folder with table.md, results.json and pictures/.
        scores: One for each task, method, number of labels and draw.
        left_out: Why tasks are not scored, by ``database/task``; they do not enter the means.
    """

    folder: Folder
    scores: list[Record] = field(repr=False)
    left_out: dict[str, str] = field(default_factory=dict)

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
        return {"records": [asdict(score) for score in self.scores], "left_out": self.left_out}

    def __str__(self) -> str:
        told = "".join(f"- {task}: {why}\n" for task, why in self.left_out.items())
        return markdown(self.scores) + (f"\n## Left out\n\n{told}" if told else "")


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
    others = {name: [load_model(uri) for uri in uris] for name, uris in checkpoint_groups(config.others)}
    with output_folder(config.out, DatabaseEvaluateConfig) as folder:
        write_config(folder, config, "database evaluate")
        jobs = [pair for uri in config.databases for pair in _database(uri, models, others, config, folder)]
        left_out = {name: job.left_out for name, job in jobs if job.left_out}
        records = [record for _, job in jobs for record in job.records]
        if not records:
            told = "".join(f"; {name}: {why}" for name, why in left_out.items())
            raise RequestError(f"{config.databases[0]}: no task to evaluate{told}")
        results = DatabaseResults(folder, records, left_out)
        folder.write("results.json", (json.dumps(results.to_json()) + "\n").encode())
        folder.write("table.md", str(results).encode())
        folder.write("pictures/scores.png", png(results.plot()))
        return results


def _database(
    uri: str,
    models: list[SavedModel],
    others: dict[str, list[SavedModel]],
    config: DatabaseEvaluateConfig,
    folder: Folder,
) -> Iterator[tuple[str, _Job]]:
    database = open_database(uri)
    name = database.schema.name
    saved = _unseen(models, name, uri)
    compared = {method: _unseen(found, name, uri) for method, found in others.items()}
    for method, other in compared.items():
        if (other.facts.newest, other.facts.random) != (saved.facts.newest, saved.facts.random):
            told = f"was pre-trained with other --sample options than {saved.uri}, so it would read other rows"
            raise RequestError(f"others: {method}={other.uri} {told}; give one with the same")
    for task in task_names(uri):
        if f"{name}/{task}" in config.skip:
            continue
        file = f"jobs/{_job_key(saved, compared, uri, task, config)}.json"
        if folder.size(file) is None:
            sys.stderr.write(f"evaluating {name}/{task}\n")
            done = _evaluate(database, task, saved, compared, config)
            folder.write(file, json.dumps(asdict(done)).encode())
        job = read_record(folder, file, _Job, "finished scores")
        if job.left_out:
            sys.stderr.write(f"left out {name}/{task}: {job.left_out}\n")
        yield f"{name}/{task}", job


def _unseen(models: list[SavedModel], name: str, uri: str) -> SavedModel:
    found = next((model for model in models if name not in model.facts.databases), None)
    if found is None:
        told = ", ".join(model.uri for model in models)
        raise RequestError(
            f"{uri}: every model ({told}) was trained on {name!r}; give one that was not, or leave it out"
        )
    return found


def _evaluate(
    database: Database, task: str, saved: SavedModel, others: dict[str, SavedModel], config: DatabaseEvaluateConfig
) -> _Job:
    split = SPLITS.index(config.split)
    declared, rows = load_task(database, task)
    if why := why_not_scored(rows, split, config.rows):
        return _Job((), why)
    limits = Limits(saved.facts.newest, saved.facts.random)
    data = load_data(database, declared, rows, limits, tuple({TRAIN, VAL, split}))
    if config.finetune and (why := why_not_tuned(data, int(data.rows.time[data.rows.split == split].min()))):
        return _Job((), why)
    models = {name: other.model for name, other in others.items()}
    return _Job(tuple(evaluate_task(saved.model, data, config, split, models)))


def _job_key(
    saved: SavedModel, others: dict[str, SavedModel], uri: str, task: str, config: DatabaseEvaluateConfig
) -> str:
    """Identity of a finished task: whatever changes its scores."""
    chosen = {
        key: value
        for key, value in to_json(config).items()
        if key not in ("databases", "models", "others", "out", "skip")
    }
    weights = _weights(saved)
    if others:
        chosen["others"] = {name: _weights(other) for name, other in others.items()}
    return hashlib.sha256(json.dumps([_METHODS, uri, task, weights, chosen], sort_keys=True).encode()).hexdigest()[:32]


def _weights(saved: SavedModel) -> str:
    return hashlib.sha256(b"".join(t.numpy().tobytes() for t in saved.model.state_dict().values())).hexdigest()
