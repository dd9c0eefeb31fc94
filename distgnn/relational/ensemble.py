"""The model of databases: members of one config that start from other weights, whose predictions are averaged."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distgnn.config.database_model import DatabaseModelConfig
from distgnn.relational.head import left_out_residuals
from distgnn.relational.model import Episode, Fitted, Member, product, query_loss, standardise


class DatabaseModel(nn.Module):
    """The pre-trained model. Members see the same episodes; each is trained on its own loss."""

    def __init__(self, config: DatabaseModelConfig) -> None:
        super().__init__()
        self.config = config
        self.members = nn.ModuleList([Member(config) for _ in range(config.members)])

    def forward(self, episode: Episode, steps: int = 0) -> Tensor:
        """Return [m]: mean logits of the queries (binary), or mean standardised predictions.

        Args:
            episode: Context and query rows.
            steps: Inner steps of adaptation of each member on the context.
        """
        return self.predict(self.fit(episode, steps), episode.query)

    def fit(self, episode: Episode, steps: int = 0) -> list[Fitted]:
        """Solve the context of an episode with each member."""
        return [member.fit(episode, steps) for member in self._all()]

    def predict(self, fitted: list[Fitted], rows: Tensor) -> Tensor:
        """Predict rows, [m, columns, 4] -> [m]; each row on its own."""
        found = [member.predict(one, rows) for member, one in zip(self._all(), fitted, strict=True)]
        return torch.stack(found).mean(0)

    def left_out(self, fitted: list[Fitted]) -> Tensor:
        """Standardised prediction of each context label without it, [n], in closed form.

        The location and scale of the labels, and what the columns say, are those of the whole context.
        """
        return torch.stack([_left_out(one) for one in fitted]).mean(0)

    def loss(self, episode: Episode, steps: int = 0) -> Tensor:
        """Mean query loss of the members, with the graph of the inner steps."""
        task = standardise(episode)
        predictions = [member(episode, steps, second_order=True) for member in self._all()]
        return torch.stack([query_loss(prediction, episode, task) for prediction in predictions]).mean()

    def _all(self) -> list[Member]:
        return [member for member in self.members if isinstance(member, Member)]


def _left_out(fitted: Fitted) -> Tensor:
    if fitted.placed is None:
        return fitted.task.labels
    noise = (fitted.prior.amplitudes[-1] + fitted.modulation.amplitudes[-1]).exp()
    residuals = left_out_residuals(product(fitted.placed, fitted.placed), noise, fitted.weights)
    return fitted.task.labels - residuals
