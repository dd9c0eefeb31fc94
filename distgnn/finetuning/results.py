"""Result files of a fine-tuning: results.json, and predictions.parquet on request."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distgnn.auxiliary.trainer import TrainingResult
from distgnn.config import to_json
from distgnn.finetuning.comparison import FinetuneComparison
from distgnn.labels.dataset import LabelledSet
from distgnn.labels.scores import HIGHER_IS_BETTER, Floats
from distgnn.storage.folder import Folder

RESULTS, PREDICTIONS = "results.json", "predictions.parquet"
_SCHEMA = pa.schema(
    [
        ("graph_id", pa.uint64()),
        ("part", pa.dictionary(pa.int8(), pa.string())),
        ("method", pa.dictionary(pa.int32(), pa.string())),
        ("seed", pa.int32()),
        ("label", pa.dictionary(pa.int32(), pa.string())),
        ("y", pa.float32()),
        ("prediction", pa.float32()),
    ]
)


def summary(result: FinetuneComparison) -> dict[str, Any]:
    """Return the result as JSON values."""
    return scored_on(result.config, result.data, result.metric) | {
        "controls": {row.method: control.method for row, control in result.controls.items()},
        "summary": result.summary(),
        "runs": [
            {
                "method": row.method,
                "seed": seed,
                "best_epoch": found.best_epoch,
                "seconds": round(found.seconds, 3),
                "scores": part_scores(found),
                "validation": list(found.history),
            }
            for (row, seed), found in result.results.items()
        ],
    }


def part_scores(result: TrainingResult) -> dict[str, dict[str, float]]:
    """Return {"value", "coverage"} of the metric, by part."""
    return {
        part: {"value": scores[result.metrics[0]], "coverage": result.coverage[part]}
        for part, scores in result.scores.items()
    }


def scored_on(config: object, data: LabelledSet, metric: str) -> dict[str, Any]:
    """Return the config, the metric and the data of an evaluation as JSON values."""
    return {
        "config": to_json(config),
        "task": data.target.task,
        "metric": metric,
        "higher_is_better": HIGHER_IS_BETTER[metric],
        "labels": list(data.target.names),
        "graphs": {part: len(rows) for part, rows in data.parts.items()},
        **({"note": data.note} if data.note else {}),
    }


def write_results(result: FinetuneComparison, folder: Folder) -> None:
    """Write results.json to ``folder``, and predictions.parquet if the config enables it."""
    if result.config.save_predictions:
        runs = [(row.method, seed, found.predictions) for (row, seed), found in result.results.items()]
        folder.write(PREDICTIONS, predictions(result.data, runs))
    folder.write(RESULTS, (json.dumps(summary(result), indent=1) + "\n").encode())


def predictions(data: LabelledSet, runs: Iterable[tuple[str, int, Mapping[str, Floats]]]) -> pa.Buffer:
    """Build predictions.parquet: a row per graph, part, method, seed and label; y is null if unknown.

    Args:
        data: The labelled corpus.
        runs: (method, seed, predictions [rows of the part, T] by part).
    """
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, _SCHEMA, compression="zstd") as writer:
        for method, seed, parts in runs:
            for part, found in parts.items():
                writer.write_table(_rows(data, method, seed, part, found))
    return sink.getvalue()


def _rows(data: LabelledSet, method: str, seed: int, part: str, found: Floats) -> pa.Table:
    graphs, labels = found.shape
    ids = data.graphs.graph_id.numpy()[data.parts[part]].view(np.uint64)
    y = data.labels(part).reshape(-1)
    columns = [
        pa.array(np.repeat(ids, labels)),
        _constant(part, found.size, pa.int8()),
        _constant(method, found.size, pa.int32()),
        pa.array(np.full(found.size, seed, np.int32)),
        pa.DictionaryArray.from_arrays(np.tile(np.arange(labels, dtype=np.int32), graphs), list(data.target.names)),
        pa.array(y, mask=np.isnan(y)),
        pa.array(found.reshape(-1)),
    ]
    return pa.Table.from_arrays(columns, schema=_SCHEMA)


def _constant(text: str, count: int, index: pa.DataType) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int8)).cast(index), [text])
