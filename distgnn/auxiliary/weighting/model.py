"""Weighting model: a 2-layer network from signals to a positive weight (AUX-TS, section 3.2 and appendix A)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distgnn.auxiliary.weighting.signals import Signals, Weighting, WeightingContext

_EMBEDDING = 8


class WeightModel(Weighting):
    """weight = output(W2 relu(W1 [signals of the row, embedding of its task] + b1) + b2).

    Args:
        config: The method's own options.
        context: Common options and tasks.
        extra: Number of signals that :meth:`see` adds to the loss.
    """

    learns = "meta"

    def __init__(self, config: Any, context: WeightingContext, extra: int) -> None:
        super().__init__(config, context)
        shared, tasks = context.options, context.tasks
        self.per_sample, self.normalised = shared.granularity == "sample", bool(shared.normalise)
        self.types = nn.Embedding(tasks, _EMBEDDING if shared.types == "learned" else tasks)
        if shared.types == "onehot":
            self.types = nn.Embedding.from_pretrained(torch.eye(tasks))
        self.hidden = nn.Linear(1 + extra + self.types.embedding_dim, shared.hidden)
        self.out = nn.Linear(shared.hidden, 1)
        self.activation = {"softplus": F.softplus, "sigmoid": torch.sigmoid}[shared.output]

    def see(self, signals: Signals) -> Tensor:
        """Return float [R, extra]: the signals besides loss and task."""
        raise NotImplementedError

    def forward(self, signals: Signals) -> Tensor:
        """Return weights [R]."""
        columns = [signals.loss.unsqueeze(1), self.see(signals), self.types(signals.task)]
        return self.activation(self.out(F.relu(self.hidden(torch.cat(columns, dim=1))))).squeeze(1)
