"""A whole joint training: epochs of steps, the epoch chosen by validation, one look at the test part; or auxiliary tasks alone."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from distgnn.auxiliary.epoch_metrics import note_epoch
from distgnn.auxiliary.problem import Problem, Rows, Samples
from distgnn.auxiliary.step import JointStep, StepRecord
from distgnn.auxiliary.task_gradients import flat_gradient
from distgnn.auxiliary.weighting import build_weighting
from distgnn.config import TransferConfig
from distgnn.distributed import ProcessGroup
from distgnn.errors import DivergedError
from distgnn.graph.keyed import key, permutation
from distgnn.graph.purposes import AuxiliaryDraw
from distgnn.models.norm import apply_statistics, statistics
from distgnn.monitor.sink import SILENT, Meter

CURVES = ("losses", "weights", "cosines", "hypergradients")
"""Fields of a StepRecord that are kept, one number a task."""


@dataclass(frozen=True)
class Fitted:
    """What a joint training reached. names: of the tasks. metrics: their names, the selecting one first.

    best_epoch: counted from 1, the first with the best validation score. validation: metrics after each epoch. test: of the
    best epoch's weights. curves: float32 [steps, K + 1] by name (CURVES), NaN where a method has no such number. meta_loss:
    float32 [steps]. seconds: wall time.
    """

    names: tuple[str, ...]
    metrics: tuple[str, ...]
    best_epoch: int
    seconds: float
    validation: tuple[dict[str, float], ...]
    test: dict[str, float]
    curves: dict[str, npt.NDArray[np.float32]] = field(repr=False)
    meta_loss: npt.NDArray[np.float32] = field(repr=False)


class JointFit:
    """A joint training, epoch by epoch; every rank makes one of its own share of the same problem and calls it alike.

    validation: metrics after each epoch so far. best_epoch: counted from 1; 0 before the first.
    meter: of the leading rank; takes task weights and cosines after each epoch.
    """

    def __init__(
        self,
        problem: Problem,
        config: TransferConfig,
        method: str,
        seed: int,
        group: ProcessGroup,
        meter: Meter = SILENT,
    ) -> None:
        self.problem, self.config, self.method, self.group, self.meter = problem, config, method, group, meter
        weighted = _Weighted(config, method)
        weighting = build_weighting(weighted.weighting, problem.names, seed)
        if config.similarities and weighting.reads == "losses":
            weighting.reads = "cosines"  # they are taken and recorded; the method still does not look
        self.step = JointStep(problem, weighting, weighted, group, seed)
        self.trained = nn.ModuleList([problem.shared, problem.heads])
        self.sign = -1 if problem.metrics[0] in problem.lower_is_better else 1
        self.records: list[StepRecord] = []
        self.validation: list[dict[str, float]] = []
        self.best_epoch, self.kept = 0, self.trained.state_dict()
        self._seconds = 0.0

    @property
    def best(self) -> float:
        """The selecting metric on "val" after the best epoch so far; there must have been one."""
        return self.validation[self.best_epoch - 1][self.problem.metrics[0]]

    @property
    def over(self) -> bool:
        """Whether the epochs, or the patience, of the config are used up."""
        waited, patience = len(self.validation) - self.best_epoch, self.config.patience
        return len(self.validation) >= self.config.epochs or bool(patience and self.best_epoch and waited >= patience)

    def advance(self, epochs: int) -> None:
        """Train until ``epochs`` epochs are done or the training is over. Raises WorkError where it diverges."""
        start = time.perf_counter()
        count = steps_per_epoch(self.problem, self.config)
        while len(self.validation) < epochs and not self.over:
            found = _train_epoch(self.problem, self.step, len(self.validation) * count, count, self.group)
            self.records += found
            if self.group.is_main_process:
                note_epoch(self.meter, self.problem.names, self.method, found)
            self._judge(self.problem.scores("val"))
        self._seconds += time.perf_counter() - start

    def _judge(self, scores: dict[str, float]) -> None:
        self.validation.append(scores)
        if not self.best_epoch or self.sign * scores[self.problem.metrics[0]] > self.sign * self.best:
            self.best_epoch, self.kept = len(self.validation), copy.deepcopy(self.trained.state_dict())

    def run(self) -> Fitted:
        """All epochs, then :meth:`finish`."""
        self.advance(self.config.epochs)
        return self.finish()

    def finish(self) -> Fitted:
        """What was reached, with the one look at the test part; the problem is left with the weights of the best epoch."""
        self.trained.load_state_dict(self.kept)
        test, records, problem = self.problem.scores("test"), self.records, self.problem
        curves = {name: np.array([getattr(record, name) for record in records], np.float32) for name in CURVES}
        meta_loss = np.array([record.meta_loss for record in records], np.float32)
        validation = tuple(self.validation)
        return Fitted(
            problem.names, problem.metrics, self.best_epoch, self._seconds, validation, test, curves, meta_loss
        )


class _Weighted:
    """What a step reads of the run's config, with the options of one method."""

    def __init__(self, config: TransferConfig, method: str) -> None:
        self.batch, self.lr, self.weight_decay = config.batch, config.lr, config.weight_decay
        self.weighting = config.weighted(method)


def steps_per_epoch(problem: Problem, config: TransferConfig) -> int:
    """Steps that take about as many rows as the target has."""
    return max(1, round(problem.rows / config.batch))


def _train_epoch(problem: Problem, step: JointStep, first: int, count: int, group: ProcessGroup) -> list[StepRecord]:
    records = []
    for number in range(first, first + count):
        statistics(problem.shared)  # forgets passes that must not count, such as evaluations in training mode
        records.append(step.step(number))
        settle(problem.shared, group)
    return records


def settle(shared: nn.Module, group: ProcessGroup) -> None:
    """Move running statistics by those of the first pass since they were last read, summed over ranks; a collective."""
    found = statistics(shared).to(group.device)
    if found.numel():
        apply_statistics(shared, group.all_reduce(found))


def pretrain_auxiliary(problem: Problem, config: TransferConfig, seed: int, group: ProcessGroup) -> dict[str, Tensor]:
    """Train on the auxiliary tasks alone, each with weight 1, for config.pretrain_epochs: the shared weights, on the CPU.

    Steps take ``config.batch`` training rows in a keyed order (their labels are not used). A collective. Raises WorkError
    where a loss is not finite.
    """
    parameters = [p for module in (problem.shared, *problem.heads[1:]) for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(parameters, lr=config.lr, weight_decay=config.weight_decay)
    count = steps_per_epoch(problem, config)
    for number in range(config.pretrain_epochs * count):
        rows = _pretrain_rows(problem.rows, count, number, seed)
        _auxiliary_step(problem, problem.fetch([rows], number), optimiser, parameters, number, group)
        settle(problem.shared, group)
    return {name: tensor.detach().cpu().clone() for name, tensor in problem.shared.state_dict().items()}


def _pretrain_rows(rows: int, count: int, number: int, seed: int) -> Rows:
    epoch, place = divmod(number, count)
    return np.array_split(permutation(key(seed, AuxiliaryDraw.PRETRAIN_ORDER, epoch), rows), count)[place]


def _auxiliary_step(
    problem: Problem,
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
