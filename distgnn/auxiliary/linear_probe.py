"""Linear probe: predict the labels of a corpus by a linear head on the features of a frozen encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distgnn.auxiliary.label_target import EVALUATION_BATCH, LabelTarget, named_tensors
from distgnn.auxiliary.problem import Rows, Samples
from distgnn.distributed import ProcessGroup
from distgnn.graph.batch import select_graphs
from distgnn.labels.dataset import LabelledSet
from distgnn.models.encoder import Encoder
from distgnn.models.heads import Readout, build_head, graph_features, plain_readout


class LinearProbe(LabelTarget):
    """A problem without auxiliary tasks, see :class:`distgnn.auxiliary.problem.MultiTaskProblem`.

    Features are computed once and standardised with the statistics of the training part.

    Args:
        data: The labelled corpus.
        encoder: The frozen encoder, with its weights.
        head_seed: Key of the head's initial weights.
        group: The training processes; must be a single process.
        readout: What embeds nodes and graphs.
    """

    names: tuple[str, ...] = ("target",)

    def __init__(
        self,
        data: LabelledSet,
        encoder: Encoder,
        head_seed: int,
        group: ProcessGroup,
        readout: Readout = plain_readout,
    ) -> None:
        super().__init__(data, group.device)
        self.readout = readout
        self.encoder = encoder.to(self.device).eval()
        width = encoder.width * (2 if data.use_center else 1)
        self.features = self._features(width)
        train = self.features[self.train.to(self.device)]
        spread = train.std(dim=0, correction=0)
        self.mean, self.std = train.mean(dim=0), torch.where(spread > 0, spread, 1.0)
        self.features = (self.features - self.mean) / self.std
        self.shared: nn.Module = nn.Module()
        self.heads = nn.ModuleList([build_head(width, data.target.outputs, head_seed)]).to(self.device)

    @torch.no_grad()
    def _features(self, width: int) -> Tensor:
        """Return [G, width]; zeros for graphs that belong to no part."""
        graphs = self.data.graphs.to(self.device)
        features = torch.zeros(graphs.num_graphs, width, device=self.device)
        for part in self.data.parts.values():
            for rows in torch.from_numpy(part).to(self.device).split(EVALUATION_BATCH):
                batch = select_graphs(graphs, rows)
                features[rows] = graph_features(self.encoder, batch, self.data.use_center, self.readout)
        return features

    def fetch(self, folds: Sequence[Rows], step: int, auxiliary: bool = True) -> list[Tensor]:  # noqa: ARG002
        """Return the rows of the corpus, fold by fold."""
        return [self.train[torch.from_numpy(rows)] for rows in folds]

    def fetch_unseen(self, rows: Rows, step: int) -> list[Tensor]:  # noqa: ARG002
        """See :class:`distgnn.auxiliary.problem.MultiTaskProblem`."""
        return [self.unseen[torch.from_numpy(rows)]]

    def losses(self, batch: list[Tensor]) -> tuple[list[Samples], list[Samples]]:
        """See :class:`distgnn.auxiliary.problem.MultiTaskProblem`."""
        return [self.fold_losses(batch, fold) for fold in range(len(batch))], []

    def fold_losses(self, batch: list[Tensor], fold: int) -> Samples:
        """See :class:`distgnn.auxiliary.problem.MultiTaskProblem`."""
        rows = batch[fold]
        return self.label_samples(self.predict(rows), self.data.y[rows].to(self.device))

    def predict(self, rows: Tensor) -> Tensor:
        """Return outputs of the head, which is the same in training and evaluation mode."""
        return self.heads[0](self.features[rows.to(self.device)])

    def tensors(self) -> dict[str, Tensor]:
        """Return the unchanged encoder, the trained head and the statistics of the features."""
        return named_tensors(self.encoder, self.heads[0], self.mean, self.std)
