"""Linear heads that reconstruct features from embeddings, and their loss."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ReconstructionLoss(NamedTuple):
    """Loss of M rows.

    Attributes:
        loss: float [M], the mean over the row's features.
        correct: Scalar, number of correctly predicted classes and channels.
        predicted: Number of predicted classes and channels (values predicted by regression do not count).
    """

    loss: Tensor
    correct: Tensor
    predicted: int


class FeatureReconstructionHead(nn.Module):
    """One linear head for each feature.

    The loss of a categorical feature is the cross-entropy. The loss of a dense feature is the mean over its channels of
    the squared error or, with ``channels``, of the binary cross-entropy of value > 0.
    """

    def __init__(self, categories: list[int], numbers: list[int], width: int, channels: bool) -> None:
        """Create the heads.

        Args:
            categories: Sizes of the categorical features.
            numbers: Sizes of the dense features.
            width: Size of the embeddings.
            channels: Whether the channels of dense features are binary labels.
        """
        super().__init__()
        self.categories, self.numbers, self.channels = categories, numbers, channels
        self.linear = nn.Linear(width, sum(categories) + sum(numbers))

    def forward(self, rows: Tensor, cat: Tensor, dense: Tensor) -> ReconstructionLoss:
        """Return the loss of each row.

        Shape:
            rows: float [M, width].
            cat: int [M, len(categories)].
            dense: float [M, sum of numbers].
        """
        outputs = self.linear(rows).split([*self.categories, *self.numbers], dim=1)
        classes, values = outputs[: len(self.categories)], outputs[len(self.categories) :]
        columns, numbers = cat.long().t(), dense.to(self.linear.weight.dtype).split(self.numbers, dim=1)
        losses, correct, predicted = [], torch.zeros((), device=rows.device), 0
        for logits, column in zip(classes, columns, strict=True):
            losses.append(F.cross_entropy(logits, column, reduction="none"))
            correct += (logits.argmax(1) == column).sum()
            predicted += column.numel()
        for value, truth in zip(values, numbers, strict=True):
            losses.append(self._dense_loss(value, truth).mean(1))
            if self.channels:
                correct += ((value > 0) == (truth > 0)).sum()
                predicted += truth.numel()
        return ReconstructionLoss(torch.stack(losses).mean(0), correct, predicted)

    def _dense_loss(self, value: Tensor, truth: Tensor) -> Tensor:
        if self.channels:
            return F.binary_cross_entropy_with_logits(value, (truth > 0).to(truth.dtype), reduction="none")
        return F.mse_loss(value, truth, reduction="none")
