"""Graph labels: choosing their columns by name, and losses where unknown ones have no influence and no gradient."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from distgnn.errors import RequestError

LabelTask = Literal["classification", "regression"]


def label_losses(task: LabelTask, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(loss of each label float [G, T], 0 where unknown; which are known bool [G, T]); outputs, y: float [G, T], NaN = unknown.

    classification: binary cross-entropy of logits with 0/1 labels; regression: squared error.
    """
    known = ~torch.isnan(y)
    y = torch.where(known, y, 0.0)
    loss = F.binary_cross_entropy_with_logits if task == "classification" else F.mse_loss
    each = loss(outputs, y, reduction="none")
    return torch.where(known, each, 0.0), known


def label_columns(known: tuple[str, ...], asked: tuple[str, ...], where: str) -> list[int]:
    """Places among the ``known`` labels of those ``asked`` for (none: all); RequestError, starting with ``where``, if absent."""
    if not known:
        raise RequestError(f"{where}: the corpus has no labels; build it with labels")
    absent = [name for name in asked if name not in known]
    if absent:
        listed = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
        raise RequestError(f"{where}: no label column {absent[0]!r}; it has {listed}")
    return [known.index(name) for name in asked or known]
