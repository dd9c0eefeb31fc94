"""Losses of graph labels that ignore unknown labels, and selection of label columns by name."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from distgnn.errors import RequestError

LabelTask = Literal["classification", "regression"]


def label_losses(task: LabelTask, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the loss of each label: binary cross-entropy of logits (classification) or squared error (regression).

    Args:
        task: Kind of the labels.
        outputs: float [G, T].
        y: float [G, T], NaN = unknown.

    Returns:
        Losses float [G, T], 0 for unknown labels, and bool [G, T]: which labels are known.
    """
    known = ~torch.isnan(y)
    y = torch.where(known, y, 0.0)
    loss = F.binary_cross_entropy_with_logits if task == "classification" else F.mse_loss
    each = loss(outputs, y, reduction="none")
    return torch.where(known, each, 0.0), known


def label_columns(known: tuple[str, ...], asked: tuple[str, ...], where: str) -> list[int]:
    """Return the indices in ``known`` of the labels ``asked`` for (empty = all).

    Raises:
        RequestError: A label does not exist; the message starts with ``where``.
    """
    if not known:
        raise RequestError(f"{where}: the corpus has no labels; build it with labels")
    absent = [name for name in asked if name not in known]
    if absent:
        listed = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
        raise RequestError(f"{where}: no label column {absent[0]!r}; it has {listed}")
    return [known.index(name) for name in asked or known]
