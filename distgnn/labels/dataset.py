"""Labelled corpus for training on labels: graphs in memory, chosen labels, and the split into parts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distgnn.config import FinetuneConfig, LabelChoice
from distgnn.corpus.reader import CorpusReader
from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch
from distgnn.graph.schema import Schema
from distgnn.graph.splits import Rows, make_split
from distgnn.labels.loss import label_columns
from distgnn.labels.scores import Floats, Task, defined, unlearned
from distgnn.labels.target import Target, TaskLabels, make_target, task_labels


@dataclass(frozen=True)
class LabelledSet:
    """A labelled corpus in memory.

    Attributes:
        graphs: The whole corpus.
        y: float32 [G, T], the chosen labels, NaN = unknown.
        parts: Rows of train, val, test (and ood).
        use_center: Whether the head sees the embedding of the centre node.
        digest: sha256 of the corpus's manifest.
        note: What was inferred about the labels or changed, for reports; "" if nothing.
    """

    schema: Schema
    graphs: GraphBatch
    y: Tensor
    target: Target
    parts: dict[str, Rows]
    use_center: bool
    digest: str
    note: str = ""

    def labels(self, part: str) -> Floats:
        """Return the labels of a part: float32 [rows of the part, T], NaN = unknown."""
        return self.y[torch.from_numpy(self.parts[part])].numpy()


def load_labelled(config: FinetuneConfig) -> LabelledSet:
    """Read the labelled corpus of a fine-tuning, see :func:`read_labelled`."""
    return read_labelled(config.corpus, config)


def read_labelled(corpus: str, config: LabelChoice) -> LabelledSet:
    """Read all of ``corpus`` into memory, select labels and split it.

    Raises:
        RequestError: The corpus lacks the labels, the split, or labels in a part.
    """
    reader = CorpusReader(corpus, labels=True)
    schema, where = reader.manifest.schema, corpus
    graphs, names, (task, y, note) = _chosen(reader, config, where)
    parts = make_split(
        config.split,
        graphs.graph_id.numpy(),
        groups=reader.column("group") if schema.group else None,
        column=reader.column("split") if schema.split else None,
        usable=np.any(~np.isnan(y), axis=1),
    )
    if config.max_labels:
        if task != "classification":
            raise RequestError(f"{where}: max_labels counts positives and needs 0/1 labels; choose columns with labels")
        keep = most_positives(y[parts["train"]], config.max_labels)
        y, names = y[:, keep], names[keep]
    check_defined(task, y, parts, where)
    if (unknown := unlearned(task, y[parts["train"]])).any():
        raise RequestError(
            f"{where}: label {str(names[unknown][0])!r} has no known value in part 'train'; choose another split or other labels"
        )
    target = make_target(task, tuple(names.tolist()), y, y[parts["train"]])
    chosen = torch.from_numpy(np.ascontiguousarray(y))
    center, digest = _use_center(schema, config, where), reader.manifest.digest()
    return LabelledSet(schema, graphs, chosen, target, parts, center, digest, note)


def read_undivided(corpus: str, config: LabelChoice) -> tuple[LabelledSet, npt.NDArray[np.object_] | None]:
    """Read all of ``corpus`` into memory and select labels, without a split.

    Returns:
        The corpus, whose only part "all" has the graphs with a known label, and the group of every graph (str or None,
        [G]; None without groups).

    Raises:
        RequestError: The corpus lacks the labels.
    """
    reader = CorpusReader(corpus, labels=True)
    schema = reader.manifest.schema
    graphs, names, (task, y, note) = _chosen(reader, config, corpus)
    parts = {"all": np.flatnonzero(np.any(~np.isnan(y), axis=1))}
    check_defined(task, y, parts, corpus, "choose another corpus")
    target = make_target(task, tuple(names.tolist()), y, y)
    chosen, center = torch.from_numpy(np.ascontiguousarray(y)), _use_center(schema, config, corpus)
    data = LabelledSet(schema, graphs, chosen, target, parts, center, reader.manifest.digest(), note)
    return data, reader.column("group") if schema.group else None


def _chosen(
    reader: CorpusReader, config: LabelChoice, where: str
) -> tuple[GraphBatch, npt.NDArray[np.str_], TaskLabels]:
    """Return every graph, the names of the chosen labels, and the labels as their task reads them."""
    schema = reader.manifest.schema
    graphs, y = labelled_graphs(reader, config.labels, where)
    names = np.array(config.labels or schema.labels)
    return graphs, names, task_labels(y, config.task, where, named=names[0] in schema.classes)


def labelled_graphs(reader: CorpusReader, asked: tuple[str, ...], where: str) -> tuple[GraphBatch, Floats]:
    """Read every graph and its labels.

    Args:
        reader: Reader of the corpus.
        asked: Names of the labels; empty = all.
        where: The corpus, for error messages.

    Returns:
        All graphs, and float32 [G, T], NaN = unknown.

    Raises:
        RequestError: The corpus lacks the labels.
    """
    columns = label_columns(reader.manifest.schema.labels, asked, where)
    graphs = reader.load()
    if graphs.y is None or bool(torch.isnan(graphs.y).all()):
        raise RequestError(f"{where}: no graph has a known label; build the corpus with labels")
    return replace(graphs, y=None), graphs.y.numpy()[:, columns]


def check_defined(
    task: Task, y: Floats, parts: dict[str, Rows], where: str, remedy: str = "choose another split"
) -> None:
    """Raise RequestError unless the metric is defined for at least one label of y [G, T] in every part.

    Args:
        task, y, parts: The labels, and the rows of each part.
        where: Start of the message.
        remedy: What to do, besides choosing other labels.
    """
    for name, rows in parts.items():
        if not defined(task, y[rows]).any():
            need = "both classes" if task == "classification" else "a known value"
            raise RequestError(f"{where}: no label has {need} in part {name!r}; {remedy} or other labels")


def most_positives(train: Floats, count: int) -> Rows:
    """Return the ascending columns of the ``count`` labels with most positives in ``train``; ties go to earlier
    columns.
    """
    positives = (train == 1).sum(axis=0)
    return np.sort(np.argsort(-positives, kind="stable")[:count])


def _use_center(schema: Schema, config: LabelChoice, where: str) -> bool:
    if config.use_center and not schema.center:
        raise RequestError(f"{where}: use_center=True, but the corpus has no centre nodes; leave use_center out")
    return schema.center and config.use_center is not False
