"""The weighting model: a network of 2 layers from signals to a positive weight (AUX-TS, section 3.2 and appendix A)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distgnn.auxiliary.weighting.signals import Signals, Weighting
from distgnn.config import WeightingConfig

_EMBEDDING = 8


class WeightModel(Weighting):
    """weight = output(W2 relu(W1 [signals of the row, type of its task] + b1) + b2).

    extra: how many signals :meth:`see` gives beside the loss. config: settled. tasks: K + 1.
    """

    learns = "meta"

    def __init__(self, config: WeightingConfig, tasks: int, extra: int) -> None:
        super().__init__()
        self.per_sample, self.normalised = config.granularity == "sample", bool(config.normalise)
        self.types = nn.Embedding(tasks, _EMBEDDING if config.types == "learned" else tasks)
        if config.types == "onehot":
            self.types = nn.Embedding.from_pretrained(torch.eye(tasks))
        self.hidden = nn.Linear(1 + extra + self.types.embedding_dim, config.hidden)
        self.out = nn.Linear(config.hidden, 1)
        self.activation = {"softplus": F.softplus, "sigmoid": torch.sigmoid}[config.output]

    def see(self, signals: Signals) -> Tensor:
        """float [R, extra]: what the method looks at beside loss and type."""
        raise NotImplementedError

    def forward(self, signals: Signals) -> Tensor:
        """Weights [R]."""
        columns = [signals.loss.unsqueeze(1), self.see(signals), self.types(signals.task)]
        return self.activation(self.out(F.relu(self.hidden(torch.cat(columns, dim=1))))).squeeze(1)
