"""Linear heads that tell hidden features from embeddings, and how wrong they are."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ReconstructionLoss(NamedTuple):
    """Of M rows. loss: float [M], the mean over the row's features. right, asked: scalars, how many classes and channels
    were told right, of how many (plain numbers are not asked for)."""

    loss: Tensor
    right: Tensor
    asked: int


class FeatureReconstructionHead(nn.Module):
    """One linear head for every feature. A categorical feature costs its cross-entropy; a dense one, the mean over its
    channels of the squared error or, where ``channels``, of the binary cross-entropy of value > 0.
    """

    def __init__(self, categories: list[int], numbers: list[int], width: int, channels: bool) -> None:
        """categories, numbers: sizes of the categorical and of the dense features."""
        super().__init__()
        self.categories, self.numbers, self.channels = categories, numbers, channels
        self.linear = nn.Linear(width, sum(categories) + sum(numbers))

    def forward(self, rows: Tensor, cat: Tensor, dense: Tensor) -> ReconstructionLoss:
        """rows: float [M, width]; cat: int [M, len(categories)]; dense: float [M, sum of numbers]."""
        outputs = self.linear(rows).split([*self.categories, *self.numbers], dim=1)
        classes, values = outputs[: len(self.categories)], outputs[len(self.categories) :]
        columns, numbers = cat.long().t(), dense.to(self.linear.weight.dtype).split(self.numbers, dim=1)
        losses, right, asked = [], torch.zeros((), device=rows.device), 0
        for logits, column in zip(classes, columns, strict=True):
            losses.append(F.cross_entropy(logits, column, reduction="none"))
            right += (logits.argmax(1) == column).sum()
            asked += column.numel()
        for value, truth in zip(values, numbers, strict=True):
            losses.append(self._dense_loss(value, truth).mean(1))
            if self.channels:
                right += ((value > 0) == (truth > 0)).sum()
                asked += truth.numel()
        return ReconstructionLoss(torch.stack(losses).mean(0), right, asked)

    def _dense_loss(self, value: Tensor, truth: Tensor) -> Tensor:
        if self.channels:
            return F.binary_cross_entropy_with_logits(value, (truth > 0).to(truth.dtype), reduction="none")
        return F.mse_loss(value, truth, reduction="none")
