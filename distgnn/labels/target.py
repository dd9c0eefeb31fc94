"""Prediction target: kind of task, labels, loss over known labels, and conversion of outputs to predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from distgnn.errors import RequestError
from distgnn.labels.loss import label_losses
from distgnn.labels.scores import Floats, Task

_FEW, _MOST_CLASSES, _SHOWN = 32, 65_536, 10


@dataclass(frozen=True)
class Target:
    """A prediction target.

    Attributes:
        task: Kind of task.
        names: Names of the T labels.
        outputs: Number of outputs of the head: T, or the number of classes.
        mean, std: float32 [T], statistics of the known training labels, by which regression labels are standardised; 0
            and 1 for other tasks.
    """

    task: Task
    names: tuple[str, ...]
    outputs: int
    mean: Tensor
    std: Tensor

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean loss over known labels.

        Shape:
            outputs: [G, outputs].
            y: float [G, T], NaN = unknown (ignored).
        """
        if self.task == "multiclass":
            return F.cross_entropy(outputs, y[:, 0].long())
        each, known = label_losses(self.task, outputs, (y - self.mean) / self.std)
        return each.sum() / known.sum().clamp(min=1)

    def samples(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return (losses, labels), float [n] each, of the n known labels, graph by graph.

        The mean of the losses is :meth:`loss`.
        """
        if self.task == "multiclass":
            return F.cross_entropy(outputs, y[:, 0].long(), reduction="none"), y[:, 0]
        y = (y - self.mean) / self.std
        each, known = label_losses(self.task, outputs, y.to(outputs.dtype))
        return each[known], y[known]

    def predictions(self, outputs: Tensor) -> Tensor:
        """Return float [G, T]: probabilities (classification), class numbers (multiclass) or values in the labels'
        units.
        """
        if self.task == "multiclass":
            return outputs.argmax(1, keepdim=True).float()
        return outputs.sigmoid() if self.task == "classification" else outputs * self.std + self.mean

    def to(self, device: str) -> Target:
        """Return the target on another device."""
        return Target(self.task, self.names, self.outputs, self.mean.to(device), self.std.to(device))


class TaskLabels(NamedTuple):
    """Labels as a task reads them.

    Attributes:
        task: Kind of task.
        y: float [G, T], NaN = unknown; classes are 0 and 1, or 0, 1, ... (multiclass).
        note: What was inferred or changed, for reports; "" if nothing.
    """

    task: Task
    y: Floats
    note: str


def task_labels(y: Floats, asked: str, where: str, named: bool = False) -> TaskLabels:
    """Return the task of labels and the labels as it reads them.

    Args:
        y: float [G, T], NaN = unknown.
        asked: A task, or "auto" to infer it: classification for 0/1 and -1/1, multiclass for few whole numbers, else
            regression.
        where: Start of error messages.
        named: Whether the corpus names the classes of the label, so that its whole numbers are class numbers.

    Raises:
        RequestError: The labels do not suit the task, or may be classes as well as numbers.
    """
    if asked == "regression":
        return TaskLabels("regression", y, "")
    if asked != "multiclass" and (binary := _binary(y)) is not None:
        return TaskLabels("classification", *binary)
    if asked == "classification":
        raise RequestError(
            f"{where}: task=classification needs labels that are 0 or 1 (or -1 or 1); set task=regression or multiclass"
        )
    known = y[~np.isnan(y)]
    single = y.shape[1] == 1
    classes = single and bool(((known >= 0) & (known == np.round(known))).all())
    if asked == "multiclass":
        if not classes or known.max(initial=0) >= _MOST_CLASSES:
            raise RequestError(
                f"{where}: task=multiclass needs one label column of class numbers 0, 1, ... (below {_MOST_CLASSES});"
                " choose it with labels"
            )
    elif not classes and np.isin(known, (-1, 0, 1)).all():
        raise RequestError(
            f"{where}: the labels are {_counts(known)}; set task=regression, or build the corpus with 0/1 labels"
            " (unknown ones left empty)"
        )
    elif not classes:
        return TaskLabels("regression", y, _mixed(y))
    elif not named and not _few(known):
        raise RequestError(
            f"{where}: the labels are whole numbers ({_counts(known)}): set task=regression, or task=multiclass if they"
            " are class numbers"
        )
    return TaskLabels("multiclass", y, f"class numbers {_counts(known)}")


def _binary(y: Floats) -> tuple[Floats, str] | None:
    """Return 0/1 labels and a note, or None if a column is neither 0/1 nor -1/1."""
    unknown = np.isnan(y)
    signed = (y == -1).any(axis=0)
    if not (unknown | (y == 1) | np.where(signed, y == -1, y == 0)).all():
        return None
    if not signed.any():
        return y, ""
    return np.where(signed & (y == -1), np.float32(0), y), "labels -1 and 1 read as 0 and 1"


def _mixed(y: Floats) -> str:
    """Return a note if some labels are classes though the others are not; all are then values to regress."""
    binary = sum(_binary(column) is not None for column in y.T[:, :, None] if not np.isnan(column).all())
    if not binary:
        return ""
    return f"{binary} of {y.shape[1]} labels are 0 or 1, but regressed like the others; choose labels of one kind"


def _few(known: Floats) -> bool:
    """Return whether whole numbers look like class numbers: below 32, and most of them used."""
    largest = int(known.max(initial=0))
    return largest < _FEW and 2 * len(np.unique(known)) > largest


def _counts(known: Floats) -> str:
    """Return the values and how often each occurs, such as "0: 12, 1: 30"."""
    values, counts = np.unique(known, return_counts=True)
    shown = ", ".join(f"{value:.9g}: {count}" for value, count in zip(values[:_SHOWN], counts[:_SHOWN], strict=True))
    return shown if len(values) <= _SHOWN else f"{shown}, ...; {len(values)} values up to {values[-1]:.9g}"


def check_known_classes(target: Target, y: Floats, where: str) -> None:
    """Raise RequestError if labels y [G, T] hold a class that a multiclass ``target`` does not have."""
    if target.task == "multiclass" and np.nanmax(y, initial=0) >= target.outputs:
        raise RequestError(
            f"{where}: a label is class {np.nanmax(y):.9g}, but the model has {target.outputs} classes 0, 1, ..."
        )


def make_target(task: Task, names: tuple[str, ...], y: Floats, train: Floats) -> Target:
    """Build the target of labels y [G, T]; statistics are taken from the training rows ``train`` only."""
    mean, std = np.zeros(len(names)), np.ones(len(names))
    if task == "regression":
        known = ~np.isnan(train).all(axis=0)
        mean[known], std[known] = np.nanmean(train[:, known], axis=0), np.nanstd(train[:, known], axis=0)
        std[std == 0] = 1.0
    outputs = int(np.nanmax(y)) + 1 if task == "multiclass" else len(names)
    return Target(task, names, outputs, torch.from_numpy(mean).float(), torch.from_numpy(std).float())
