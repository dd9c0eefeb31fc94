"""Trainer on labels: epochs of steps, early stopping on validation data, one evaluation of the best epoch."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from distgnn.auxiliary.batches import Batches
from distgnn.auxiliary.epoch_metrics import record_epoch
from distgnn.auxiliary.problem import MultiTaskProblem, PartEvaluation, Samples
from distgnn.auxiliary.step import MultiTaskStep, StepData, StepRecord
from distgnn.auxiliary.task_gradients import flat_gradient
from distgnn.auxiliary.weighting import build_weighting
from distgnn.checkpoint.training_state import not_finite
from distgnn.config import TransferConfig
from distgnn.corpus.prefetch import Prefetch
from distgnn.distributed import ProcessGroup
from distgnn.errors import DivergedError
from distgnn.graph.keyed import key
from distgnn.graph.purposes import AuxiliaryDraw
from distgnn.labels.scores import Floats
from distgnn.models.norm import apply_statistics, statistics
from distgnn.monitor.sink import NULL_SINK, MetricsSink

AHEAD = 2
"""Steps whose data are fetched while a step is computed, with auxiliary tasks; a few rows of the target are fetched faster than
a thread hands them over.
"""
CURVES = ("losses", "weights", "cosines", "hypergradients")
"""Fields of a StepRecord that are saved, one number per task."""


@dataclass(frozen=True)
class TrainingResult:
    """The result of one training.

    Args:
        tasks: Names of the tasks, the target first.
        metrics: Names of the target's metrics; the first selects the epoch.
        best_epoch: The first epoch with the best validation score, counted from 1.
        seconds: Wall time.
        validation: Metrics on the validation part after each epoch.
        scores: Metrics by part ("val", "test" and, if the split has one, "ood") at the best epoch.
        coverage: Share of the labels that the metric is defined for, by part.
        predictions: float32 [rows of the part, T] by part; of networks those of the test rows, see
            :meth:`TargetTask.evaluate`.
        curves: float32 [steps, tasks] by name (CURVES); NaN for values that the method does not have.
        meta_loss: float32 [steps], loss of the target after the look-ahead step.
        weights: The trained model, if saved; see :meth:`distgnn.auxiliary.label_target.LabelTarget.tensors`.
        start_seconds: Wall time of the pre-training on auxiliary tasks alone that it starts from.
        chosen: For scheme auto, the training that was chosen: its method and scheme.
        influence: float32 [rows of "val"], influence of the rows on the validation score at the best epoch, see
            :mod:`distgnn.labels.influence`; empty if it was not kept.
        diverged: Why the training diverged; there are then no scores. "" if it did not.
    """

    tasks: tuple[str, ...]
    metrics: tuple[str, ...]
    best_epoch: int
    seconds: float
    validation: tuple[dict[str, float], ...]
    scores: dict[str, dict[str, float]]
    coverage: dict[str, float]
    predictions: dict[str, Floats] = field(repr=False)
    curves: dict[str, npt.NDArray[np.float32]] = field(repr=False)
    meta_loss: npt.NDArray[np.float32] = field(repr=False)
    weights: dict[str, Tensor] = field(default_factory=dict, repr=False)
    start_seconds: float = 0.0
    chosen: str = ""
    influence: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32), repr=False)
    diverged: str = ""

    @property
    def cost(self) -> float:
        """Wall time with that of the pre-training."""
        return self.seconds + self.start_seconds

    @property
    def history(self) -> tuple[float, ...]:
        """Validation values of the selecting metric, one per epoch."""
        return tuple(scores[self.metrics[0]] for scores in self.validation)


class Trainer:
    """Trains one problem with one weighting method and keeps the weights of the best epoch.

    Without auxiliary tasks this is fine-tuning. Every rank creates a trainer on its own share of the same problem and
    calls the same methods.

    Args:
        problem: The tasks, the shared network and the heads; trained in place.
        config: Epochs, patience, batch, optimizer and weighting options.
        method: Name of the weighting method.
        seed: Key of the order of rows and of the weighting's initial weights.
        group: The training processes.
        sink: Metrics sink of the main process; receives task weights and cosines after each epoch.

    Attributes:
        validation: Validation metrics of each finished epoch.
        best_epoch: Counted from 1; 0 before the first epoch.
    """

    def __init__(
        self,
        problem: MultiTaskProblem,
        config: TransferConfig,
        method: str,
        seed: int,
        group: ProcessGroup,
        sink: MetricsSink = NULL_SINK,
    ) -> None:
        self.problem, self.config, self.method, self.group, self.sink = problem, config, method, group, sink
        weighted = MethodOptions(config, method)
        weighting = build_weighting(weighted.weighting, problem.names, seed)
        if config.similarities and weighting.reads == "losses":
            weighting.reads = "cosines"  # only recorded; the method does not read them
        self.step = MultiTaskStep(problem, weighting, weighted, group, seed)
        self.trained = nn.ModuleList([problem.shared, problem.heads])
        self.sign = -1 if problem.metrics[0] in problem.lower_is_better else 1
        self.records: list[StepRecord] = []
        self.validation: list[dict[str, float]] = []
        self.best_epoch, self.best_weights = 0, self.trained.state_dict()
        self._best_evaluation: PartEvaluation | None = None
        self._seconds = 0.0

    @property
    def best(self) -> float:
        """Validation value of the selecting metric at the best epoch. Undefined before the first epoch."""
        return self.validation[self.best_epoch - 1][self.problem.metrics[0]]

    @property
    def finished(self) -> bool:
        """Whether the maximum number of epochs is reached or early stopping applies."""
        waited, patience = len(self.validation) - self.best_epoch, self.config.patience
        return len(self.validation) >= self.config.epochs or bool(patience and self.best_epoch and waited >= patience)

    def train_until(self, epochs: int) -> None:
        """Train until ``epochs`` epochs are done or the training is finished.

        Raises:
            WorkError: The training diverged.
        """
        start, count = time.perf_counter(), self.step.batches.steps_per_epoch
        first, last = len(self.validation), min(epochs, self.config.epochs)
        steps = self.step.data(first * count, last * count)
        try:
            with nullcontext(steps) if self.step.target_only else Prefetch(steps, AHEAD) as data:
                while len(self.validation) < last and not self.finished:
                    records = self._train_epoch(islice(data, count))
                    self.records += records
                    check_weights_finite(self.trained, f"epoch {len(self.validation) + 1}", self.config.lr)
                    if self.group.is_main_process:
                        record_epoch(self.sink, self.problem.names, self.method, records)
                    self._select(self.problem.evaluate("val"))
        finally:
            self._seconds += time.perf_counter() - start

    def _train_epoch(self, data: Iterable[StepData]) -> list[StepRecord]:
        shared, records = self.problem.shared, []
        statistics(shared)  # discard passes that must not count, such as evaluations in training mode
        for one in data:
            records.append(self.step.step(*one))
            update_running_stats(shared, self.group)
        return records

    def _select(self, found: PartEvaluation) -> None:
        """Keep the weights if the validation score is the best so far."""
        self.validation.append(found.scores)
        if not self.best_epoch or self.sign * found.scores[self.problem.metrics[0]] > self.sign * self.best:
            self.best_epoch, self.best_weights = len(self.validation), copy.deepcopy(self.trained.state_dict())
            self._best_evaluation = found

    def run(self) -> TrainingResult:
        """Train all epochs, then call :meth:`finish`."""
        self.train_until(self.config.epochs)
        return self.finish()

    def finish(self) -> TrainingResult:
        """Evaluate the weights of the best epoch on all parts; the problem keeps these weights."""
        start, problem = time.perf_counter(), self.problem
        self.trained.load_state_dict(self.best_weights)
        known = {"val": self._best_evaluation} if self._best_evaluation else {}
        found = {part: known.get(part) or problem.evaluate(part) for part in problem.parts}
        influence = found["val"].influence
        return replace(
            self._without_scores(),
            seconds=self._seconds + time.perf_counter() - start,
            scores={part: evaluated.scores for part, evaluated in found.items()},
            coverage={part: evaluated.coverage for part, evaluated in found.items()},
            predictions={part: e.predictions for part, e in found.items() if e.predictions is not None},
            influence=np.zeros(0, np.float32) if influence is None else influence.astype(np.float32),
        )

    def diverged(self, reason: str) -> TrainingResult:
        """Return the result of a training that diverged for ``reason``: its curves, and no scores."""
        return replace(self._without_scores(), diverged=reason)

    def _without_scores(self) -> TrainingResult:
        tasks = len(self.problem.names)
        return TrainingResult(
            tasks=self.problem.names,
            metrics=self.problem.metrics,
            best_epoch=self.best_epoch,
            seconds=self._seconds,
            validation=tuple(self.validation),
            scores={},
            coverage={},
            predictions={},
            curves={
                name: np.array([getattr(record, name) for record in self.records], np.float32).reshape(-1, tasks)
                for name in CURVES
            },
            meta_loss=np.array([record.meta_loss for record in self.records], np.float32),
        )


class MethodOptions:
    """The options of a step, with those of one weighting method."""

    def __init__(self, config: TransferConfig, method: str) -> None:
        self.batch, self.lr, self.weight_decay = config.batch, config.lr, config.weight_decay
        self.weighting = config.weighted(method)


def check_weights_finite(module: nn.Module, where: str, lr: float) -> None:
    """Raise DivergedError if a weight or running statistic of ``module`` is not finite."""
    tensors: dict[str, Tensor] = dict(module.named_parameters())
    tensors |= {name: buffer for name, buffer in module.named_buffers() if "running_" in name}
    if found := not_finite(tensors):
        raise DivergedError(f"{where}: weight {found} is not finite; lower lr (now {lr:g}) or weight_decay")


def update_running_stats(shared: nn.Module, group: ProcessGroup) -> None:
    """Update running statistics with those of the first forward pass since the last call. A collective: sums over
    ranks.
    """
    found = statistics(shared).to(group.device)
    if found.numel():
        apply_statistics(shared, group.all_reduce(found))


def pretrain_auxiliary(
    problem: MultiTaskProblem, config: TransferConfig, seed: int, group: ProcessGroup
) -> dict[str, Tensor]:
    """Train on the auxiliary tasks only, each with weight 1, for ``config.pretrain_epochs`` epochs. A collective.

    Training rows are sampled by :class:`Batches`; their labels are not used.

    Returns:
        The shared weights, on the CPU.

    Raises:
        WorkError: A loss is not finite.
    """
    parameters = [p for module in (problem.shared, *problem.heads[1:]) for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True)
    batches = Batches(problem.strata, config.batch, key(seed, AuxiliaryDraw.PRETRAIN_ORDER))
    numbers = range(config.pretrain_epochs * batches.steps_per_epoch)
    with Prefetch((problem.fetch(batches.rows(number), number) for number in numbers), AHEAD) as fetched:
        for number, batch in zip(numbers, fetched, strict=True):
            _auxiliary_step(problem, batch, optimiser, parameters, number, group)
            update_running_stats(problem.shared, group)
    check_weights_finite(problem.shared, "pre-training on auxiliary tasks", config.lr)
    return {name: tensor.detach().cpu().clone() for name, tensor in problem.shared.state_dict().items()}


def _auxiliary_step(
    problem: MultiTaskProblem,
    batch: Any,
    optimiser: torch.optim.Adam,
    parameters: list[nn.Parameter],
    number: int,
    group: ProcessGroup,
) -> None:
    """One Adam step on the sum of the auxiliary tasks' mean losses."""
    found: list[Samples] = problem.losses(batch)[1]
    counts = group.all_reduce(torch.stack([samples.count.to(parameters[0]) for samples in found])).clamp(min=1)
    loss = torch.stack([samples.losses.sum() for samples in found]).div(counts).sum()
    flat = group.all_reduce(torch.cat([flat_gradient(loss, parameters, keep=False), loss.detach().reshape(1)]))
    if not torch.isfinite(flat).all():
        raise DivergedError(f"pre-training on auxiliary tasks, step {number}: the loss is {float(flat[-1])}; lower lr")
    pieces = flat[:-1].split([parameter.numel() for parameter in parameters])
    for parameter, piece in zip(parameters, pieces, strict=True):
        parameter.grad = piece.view_as(parameter)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
