"""Prediction target: kind of task, labels, loss over known labels, and conversion of outputs to predictions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from distgnn.errors import RequestError
from distgnn.labels.loss import label_losses
from distgnn.labels.scores import Floats, Task


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


def detect_task(y: Floats, asked: str, where: str) -> Task:
    """Return the task of labels y [G, T] (NaN = unknown): ``asked``, or inferred from the labels for "auto".

    Raises:
        RequestError: The labels do not suit the task.
    """
    known = y[~np.isnan(y)]
    binary = bool(np.isin(known, (0, 1)).all())
    whole = bool(((known >= 0) & (known == np.round(known))).all())
    if asked == "auto":
        return "classification" if binary else "multiclass" if whole and y.shape[1] == 1 else "regression"
    if asked == "classification" and not binary:
        raise RequestError(
            f"{where}: task=classification needs labels that are 0 or 1; set task=regression or multiclass"
        )
    if asked == "multiclass" and not (whole and y.shape[1] == 1):
        raise RequestError(
            f"{where}: task=multiclass needs one label column of class numbers 0, 1, ...; choose it with labels"
        )
    return "multiclass" if asked == "multiclass" else "classification" if asked == "classification" else "regression"


def make_target(task: Task, names: tuple[str, ...], y: Floats, train: Floats) -> Target:
    """Build the target of labels y [G, T]; statistics are taken from the training rows ``train`` only."""
    mean, std = np.zeros(len(names)), np.ones(len(names))
    if task == "regression":
        mean, std = np.nanmean(train, axis=0), np.nanstd(train, axis=0)
        std[std == 0] = 1.0
    outputs = int(np.nanmax(y)) + 1 if task == "multiclass" else len(names)
    return Target(task, names, outputs, torch.from_numpy(mean).float(), torch.from_numpy(std).float())
