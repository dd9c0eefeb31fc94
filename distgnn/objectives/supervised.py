"""Supervised pre-training on graph labels (Hu et al., ICLR 2020, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from distgnn import register
from distgnn.config.base import check
from distgnn.config.fields import hyper
from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch, Ragged
from distgnn.labels.loss import LabelTask, label_columns, label_losses
from distgnn.models.encoder import Encoder
from distgnn.objectives.base import Losses, Objective, ObjectiveContext, no_extras


@dataclass(frozen=True)
class LabelCheck:
    """Checks in the data readers that class labels are 0 or 1; adds no extras.

    Args:
        columns: Columns of y to check.
        names: Names of the columns.
        where: The corpus, for error messages.
    """

    columns: list[int]
    names: list[str]
    where: str

    def __call__(self, graphs: GraphBatch, seed: int, epoch: int) -> dict[str, Ragged]:  # noqa: ARG002
        """Check the labels.

        Raises:
            RequestError: A label is neither 0 nor 1 nor unknown.
        """
        y = chosen_labels(graphs, self.columns)
        invalid = torch.nonzero(~torch.isnan(y) & (y != 0) & (y != 1))
        if invalid.numel():
            graph, column = invalid[0].tolist()
            raise RequestError(
                f"{self.where}: label {self.names[column]!r} is {float(y[graph, column]):g} in graph {int(graphs.graph_id[graph])}"
                " where 0 or 1 belongs; set supervised.task=regression or choose others with supervised.labels"
            )
        return {}


@dataclass(frozen=True)
class SupervisedConfig:
    """Supervised pre-training on the graph labels of the corpus (Hu et al., ICLR 2020, section 3.2)."""

    labels: tuple[str, ...] = hyper((), structural=True)
    """Label columns to use; empty = all."""
    task: Literal["classification", "regression"] = hyper("classification", structural=True)
    """classification = 0/1 labels, regression = real values, not rescaled. Unknown labels are ignored."""

    def __post_init__(self) -> None:
        twice = [name for name in self.labels if self.labels.count(name) > 1]
        check(not twice, f"supervised.labels names {twice[:1]} twice; name each label once")


@register.objective("supervised", SupervisedConfig)
class Supervised(Objective):
    """Predict graph labels with a linear head on the graph embedding (Hu et al., ICLR 2020).

    The loss of a graph is the mean over its known labels. Regression labels are not rescaled: bring labels of very
    different magnitudes to a common scale when building the corpus. The metric ``skipped`` is the share of graphs
    without a known label.
    """

    reads_labels = True

    def __init__(self, config: SupervisedConfig, context: ObjectiveContext) -> None:
        """Create the head.

        Raises:
            RequestError: The corpus lacks the labels.
        """
        super().__init__()
        schema, where = context.schema, context.options.corpus
        self.task: LabelTask = config.task
        self.columns = label_columns(schema.labels, config.labels, where)
        names = [schema.labels[column] for column in self.columns]
        classes = config.task == "classification"
        self.prepare = LabelCheck(self.columns, names, where) if classes else no_extras
        self.metric_names = ("label_accuracy" if classes else "label_error", "skipped")
        self.head = nn.Linear(context.width, len(self.columns))

    def losses(self, encoder: Encoder, batch: GraphBatch, seed: int, epoch: int) -> Losses:  # noqa: ARG002
        """Return the losses, summed over graphs with a known label."""
        y = chosen_labels(batch, self.columns).to(self.head.weight.dtype)
        outputs = self.head(encoder.pool(encoder(batch), batch)).to(y.dtype)
        each, known = label_losses(self.task, outputs, y)
        known_of_each = known.sum(1)
        total = (each.sum(1) / known_of_each.clamp(min=1)).sum()
        count = (known_of_each > 0).sum().float()
        graphs = torch.full_like(count, batch.num_graphs)
        good = self._quality(outputs.detach(), y, known)
        return Losses(total, count, {self.metric_names[0]: good, "skipped": (graphs - count, graphs)})

    def _quality(self, outputs: Tensor, y: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Return over known labels: (number of correct classes or sum of absolute errors, number of labels)."""
        each = (outputs > 0) == (y > 0.5) if self.task == "classification" else (outputs - y).abs()
        return torch.where(known, each, 0).sum(), known.sum()


def chosen_labels(graphs: GraphBatch, columns: list[int]) -> Tensor:
    """Return float32 [G, len(columns)], NaN = unknown.

    Raises:
        RequestError: The graphs were read without labels.
    """
    if graphs.y is None:
        raise RequestError("supervised: these graphs come without labels; use CorpusReader(uri, labels=True)")
    return graphs.y[:, columns]
