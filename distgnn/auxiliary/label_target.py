"""Target task of problems on labelled graphs: losses of known labels, and evaluation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from distgnn.auxiliary.batches import without_judge
from distgnn.auxiliary.problem import JUDGE, PartEvaluation, Rows, Samples
from distgnn.errors import DivergedError
from distgnn.labels.dataset import LabelledSet
from distgnn.labels.influence import on_score
from distgnn.labels.scores import HIGHER_IS_BETTER, METRIC_OF, score
from distgnn.models.encoder import Encoder

EVALUATION_BATCH = 256


class LabelTarget(ABC):
    """Common part of problems on labelled graphs, see :class:`distgnn.auxiliary.problem.MultiTaskProblem`.

    Args:
        data: The labelled corpus.
        device: Device of the model.
    """

    encoder: Encoder
    heads: nn.ModuleList

    def __init__(self, data: LabelledSet, device: torch.device) -> None:
        self.data, self.device, self.target = data, device, data.target.to(str(device))
        self.train = torch.from_numpy(data.parts["train"])
        self.rows, self.strata, self.judges = len(self.train), _strata(data, "train"), 0
        self.validation = len(data.parts.get("val", ()))
        self.loss_scales: tuple[float, ...] = ()
        metric = METRIC_OF[data.target.task]
        self.metrics: tuple[str, ...] = (metric,)
        self.lower_is_better: frozenset[str] = frozenset() if HIGHER_IS_BETTER[metric] else frozenset({metric})
        self.parts = tuple(part for part in data.parts if part != "train")

    def split_validation(self, seed: int) -> None:
        """See :class:`distgnn.auxiliary.problem.MultiTaskProblem`."""
        parts = without_judge(self.data.parts, _strata(self.data, "val"), seed)
        self.data, self.judges = replace(self.data, parts=parts), len(parts[JUDGE])

    @property
    def unseen(self) -> Tensor:
        """int64, the graphs whose rows ``fetch_unseen`` takes."""
        return torch.from_numpy(self.data.parts[JUDGE]) if self.judges else self.train

    @abstractmethod
    def predict(self, rows: Tensor) -> Tensor:
        """Return outputs of the target's head [n, outputs] in evaluation mode, for the graphs ``rows`` (int64 [n])."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return the whole model: encoder.*, head.*, and the statistics that standardise its features, float [F].

        The statistics are called features.mean and features.std.
        """

    def label_samples(self, outputs: Tensor, y: Tensor) -> Samples:
        """Return the losses of the known labels among ``y`` [n, T], graph by graph; outputs: [n, outputs]."""
        losses, labels = self.target.samples(outputs, y)
        return Samples(losses, labels.to(losses.dtype), losses.new_tensor(float(losses.numel())))

    @torch.no_grad()
    def evaluate(self, part: str) -> PartEvaluation:
        """Return metric, coverage and predictions on ``part``.

        Raises:
            WorkError: Predictions are not finite.
        """
        outputs = self._outputs_of(part)
        predictions = self.target.predictions(outputs).cpu().numpy()
        if not np.isfinite(predictions).all():
            raise DivergedError(f"predictions on {part!r} are not finite: training diverged; lower lr")
        task, labels = self.target.task, self.data.labels(part)
        value, coverage = score(task, labels, predictions)
        influence = on_score(task, labels, predictions) if part == "val" else None
        return PartEvaluation({self.metrics[0]: value}, coverage, predictions, influence)

    @torch.no_grad()
    def mean_loss(self, part: str) -> float:
        """Return the mean loss of the known labels of ``part`` in evaluation mode, so without dropout."""
        y = torch.from_numpy(self.data.labels(part)).to(self.device)
        return float(self.target.loss(self._outputs_of(part), y))

    def _outputs_of(self, part: str) -> Tensor:
        rows = torch.from_numpy(self.data.parts[part])
        return torch.cat([self.predict(some) for some in rows.split(EVALUATION_BATCH)])


def _strata(data: LabelledSet, part: str) -> Rows:
    """Return int64 [graphs of the part]: the class if there is a single class label, else zeros."""
    labels = data.labels(part)
    if data.target.task == "regression" or labels.shape[1] > 1:
        return np.zeros(len(labels), np.int64)
    return np.nan_to_num(labels[:, 0], nan=-1).astype(np.int64)


def named_tensors(encoder: nn.Module, head: nn.Module, mean: Tensor, std: Tensor) -> dict[str, Tensor]:
    """Return the tensors of a model by name, as :meth:`LabelTarget.tensors`."""
    modules = (("encoder", encoder), ("head", head))
    found = {f"{part}.{name}": tensor for part, module in modules for name, tensor in module.state_dict().items()}
    return {**found, "features.mean": mean, "features.std": std}
