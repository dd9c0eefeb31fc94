"""Models and predictions of a comparison of weighting methods, on request."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from distgnn.auxiliary.comparison import Comparison, Row
from distgnn.auxiliary.data_source import CorpusDataSource, DataSource, NetworkDataSource
from distgnn.auxiliary.network_tasks.problem import PREDICTED
from distgnn.auxiliary.trainer import TrainingResult
from distgnn.config import TransferConfig
from distgnn.config.transfer import AUTO
from distgnn.distributed import ProcessGroup
from distgnn.errors import RequestError
from distgnn.finetuning.results import PREDICTIONS, predictions
from distgnn.finetuning.saved_model import MODELS, Trained, write_trained
from distgnn.storage.folder import Folder


def check_outputs(source: DataSource) -> None:
    """Raise RequestError if models are to be saved that cannot be."""
    if source.config.save_models and not isinstance(source, CorpusDataSource):
        raise RequestError(
            f"save_models: {source.config.data} is a network, whose models have no form to load; use save_predictions"
        )


def write_outputs(result: Comparison[TransferConfig], source: DataSource, folder: Folder) -> None:
    """Write the files that ``result.config`` asks for.

    Args:
        result: The comparison.
        source: Its data.
        folder: Destination.
    """
    named = saved_names(result)
    if result.config.save_predictions and isinstance(source, CorpusDataSource):
        folder.write(PREDICTIONS, _of_corpus(result, source, named))
    if result.config.save_predictions and isinstance(source, NetworkDataSource):
        folder.write(PREDICTIONS, _of_network(result, source, named))
    if result.config.save_models and isinstance(source, CorpusDataSource):
        encoders = {start.name: start.encoder for start in source.starts}
        models = [Trained(named[row], seed, encoders[row.encoder], found) for row, seed, found in _saved(result, named)]
        write_trained(models, source.data, source.config.corpus, folder.sub(MODELS))


def saved_names(result: Comparison[TransferConfig]) -> dict[Row, str]:
    """Return the rows to save with their names: METHOD, and what else tells them apart.

    They are those of scheme auto, if there is one.
    """
    rows = [row for row in result.rows if row.scheme == AUTO] or list(result.rows)
    several = [field for field in ("encoder", "scheme") if len({getattr(row, field) for row in rows}) > 1]
    return {row: " ".join([row.method, *(getattr(row, field) for field in several)]) for row in rows}


def _saved(result: Comparison[TransferConfig], named: dict[Row, str]) -> Iterator[tuple[Row, int, TrainingResult]]:
    for (row, seed), found in result.results.items():
        if row in named:
            yield row, seed, found


def _of_corpus(result: Comparison[TransferConfig], source: CorpusDataSource, named: dict[Row, str]) -> pa.Buffer:
    """Return the predictions of the parts outside of training; without those of validation rows that judged."""
    sizes = {part: len(rows) for part, rows in source.data.parts.items()}
    runs = [
        (named[row], seed, {part: values for part, values in found.predictions.items() if len(values) == sizes[part]})
        for row, seed, found in _saved(result, named)
    ]
    return predictions(source.data, runs)


def _of_network(result: Comparison[TransferConfig], source: NetworkDataSource, named: dict[Row, str]) -> pa.Buffer:
    """Return the predictions of the test rows: a row per method, seed and test row.

    Columns: method, seed, the nodes (ids within their type) by type, y where a row has one label, prediction, and for
    classes its probability.
    """
    problem = source.problem(0, 0, ProcessGroup.single_process(torch.device("cpu")))
    network, tables = problem.views.network, []
    columns = {
        name: ids if name == "y" else ids - network.nodes(name).start
        for name, ids in problem.target.described(PREDICTED).items()
    }
    for row, seed, found in _saved(result, named):
        values = found.predictions[PREDICTED]
        own = dict(zip(("prediction", "probability"), values.T, strict=False))
        count = len(values)
        place = {"method": pa.array([named[row]] * count).dictionary_encode(), "seed": np.full(count, seed, np.int32)}
        tables.append(pa.table(place | columns | own))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.concat_tables(tables).unify_dictionaries(), sink, compression="zstd")
    return sink.getvalue()
