"""One step of multi-task training with any weighting method (AUX-TS, Algorithm 1)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from distgnn.auxiliary.batches import Batches
from distgnn.auxiliary.forward_pass import ForwardPass
from distgnn.auxiliary.hypergradient import WeightedGradients, meta_gradient, normalised, shifted_parameters, surrogate
from distgnn.auxiliary.look_ahead import look_ahead, only_first
from distgnn.auxiliary.problem import MultiTaskProblem
from distgnn.auxiliary.task_gradients import Layout, WeightedTaskGradients, flat_gradient
from distgnn.auxiliary.task_moments import TaskMoments
from distgnn.auxiliary.unrolling import Unrolling
from distgnn.auxiliary.weighting import Weighting
from distgnn.config import WeightingConfig
from distgnn.distributed import ProcessGroup
from distgnn.errors import DivergedError


class StepOptions(Protocol):
    """Protocol of the options that a step uses."""

    @property
    def batch(self) -> int:
        """Rows of the target per step, over all folds."""
        ...

    @property
    def lr(self) -> float:
        """Adam's learning rate for the model."""
        ...

    @property
    def weight_decay(self) -> float:
        """Adam's weight decay (L2 penalty) for the model."""
        ...

    @property
    def weighting(self) -> WeightingConfig:
        """Options of the weighting method."""
        ...


@dataclass(frozen=True)
class StepRecord:
    """Per-task values of one step: K + 1 numbers each, the target first, identical on all ranks; NaN if undefined.

    Losses and cosines of tasks that the step does not compute are undefined.

    Attributes:
        losses: Mean losses at the parameters before the step.
        weights: Weights of the shared parameters' gradients (the mean over samples if samples are weighted).
        cosines: Cosine similarities with the target's gradient.
        hypergradients: Derivatives of the judge's objective by the weights, averaged over folds (summed over samples): of
            L_meta, plus the cost of the step with ``weighting.proximal``.
        meta_loss: Loss of the target after the look-ahead step, averaged over folds.
    """

    step: int
    losses: tuple[float, ...]
    weights: tuple[float, ...]
    cosines: tuple[float, ...]
    hypergradients: tuple[float, ...]
    meta_loss: float


class StepData(NamedTuple):
    """The arguments of :meth:`MultiTaskStep.step`."""

    number: int
    batch: Any
    unseen: Any
    following: tuple[Any, ...]


class MultiTaskStep:
    """Trains a problem's shared network and heads, and the weighting method, each with its own Adam.

    All ranks must start with the same parameters; they remain identical.

    Attributes:
        weighting: The method, from ``build_weighting(config.weighting, problem.names, seed)``.
        optimiser: Optimizer of the model; its learning rate may be changed between steps. With moments per task, it is the
            Adam of the target's loss for the shared parameters, and the Adam of every task's own loss for its head.
        moments: Adam's moments of the auxiliary tasks; None with joint moments.
    """

    def __init__(
        self, problem: MultiTaskProblem, weighting: Weighting, config: StepOptions, group: ProcessGroup, seed: int
    ) -> None:
        self.problem, self.options, self.group = problem, config.weighting, group
        self.layout = Layout(problem)
        self.weighting = weighting.to(self.layout.parameters[0])
        self.batches = batches_of(problem, weighting, config, seed)
        self.optimiser: torch.optim.Optimizer = torch.optim.Adam(
            self.layout.parameters, config.lr, weight_decay=config.weight_decay, fused=True
        )
        apart = (
            config.weighting.moments == "task" and weighting.by_task and not weighting.alone and len(problem.names) > 1
        )
        self.moments = TaskMoments(len(problem.names) - 1, self.layout) if apart else None
        self._own = [parameter for parameter in weighting.parameters() if parameter.requires_grad]
        learns = weighting.learns != "nothing"
        self._own_optimiser = torch.optim.Adam(self._own, config.weighting.settled().lr) if learns else None

    @property
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Optimizers whose state is saved: of the model, of the auxiliary tasks' moments, and of the weighting method."""
        moments = {"moments": self.moments.optimiser} if self.moments else {}
        own = {"own_optimiser": self._own_optimiser} if self._own_optimiser else {}
        return {"optimiser": self.optimiser, **moments, **own}

    @property
    def target_only(self) -> bool:
        """Whether the auxiliary tasks are neither fetched nor computed."""
        return self.weighting.alone and self.weighting.reads == "losses"

    def fetch(self, number: int) -> Any:
        """Return the data of step ``number``; may be called ahead."""
        return self.problem.fetch(self.batches.rows(number), number, not self.target_only)

    def fetch_judge(self, number: int) -> Any:
        """Return the rows outside of training that evaluate the look-ahead of step ``number``, like :meth:`fetch`.

        None if there are none: without a look-ahead in this step, or with folds of the batch.
        """
        looks = self.weighting.learns == "meta" and number % self._horizon == 0 and len(self.batches.judging)
        return self.problem.fetch_unseen(self.batches.judge_rows(number), number) if looks else None

    def data(self, first: int, last: int) -> Iterator[StepData]:
        """Yield the arguments of :meth:`step` for the steps ``first`` to ``last`` - 1; may run ahead, in another thread.

        Every batch is fetched once, also those that a look-ahead with a horizon reads before their own step.
        """
        following: deque[Any] = deque()
        for number in range(first, last):
            batch = following.popleft() if following else self.fetch(number)
            if self._unrolls_at(number):
                following = deque(self.fetch(place) for place in range(number + 1, number + self._horizon))
            yield StepData(number, batch, self.fetch_judge(number), tuple(following))

    def _unrolls_at(self, number: int) -> bool:
        return self._horizon > 1 and number % self._horizon == 0

    def step(self, number: int, batch: Any = None, unseen: Any = None, following: Sequence[Any] = ()) -> StepRecord:
        """Run step ``number`` (counted from 0).

        Args:
            number: Number of the step.
            batch: Its data, from :meth:`fetch`; None = fetch them now.
            unseen: Its judge, from :meth:`fetch_judge`; None = fetch it now.
            following: Data of the next ``weighting.horizon`` - 1 steps, if this one is unrolled; empty = fetch them now.

        Raises:
            WorkError: A loss or the weighted gradient is not finite. The parameters of the model are then unchanged.
        """
        batch = self.fetch(number) if batch is None else batch
        unseen = self.fetch_judge(number) if unseen is None else unseen
        by_layer = self.options.similarity == "layer"
        per_task = self.moments is not None
        found = ForwardPass(self.problem, batch, self.weighting, self.layout, self.group, by_layer, per_task)
        losses = self._finite_losses(found, number)
        weighted = found.weighted(range(self.batches.parts))
        ahead = self._learn_unrolled(found, weighted, unseen, following, number) if self._horizon > 1 else None
        others = self._auxiliary_steps(weighted, number)
        if self.weighting.learns == "meta" and self._horizon == 1:
            ahead = self._learn_ahead(found, others, unseen, number)
        raw = self.weighting(weighted.signals)
        weights = self._used(weighted, raw)
        self._move(weighted, weights, others, number)
        if self.weighting.learns == "joint":
            self._learn(weighted, (raw * weighted.signals.loss).sum() + self.weighting.penalty())
        cosines = self._padded(weighted.signals.cosines, math.nan)
        slopes, meta_loss = ahead or (torch.full_like(cosines, math.nan), cosines.new_tensor(math.nan))
        shown = torch.stack([self._by_task(weighted, weights * weighted.scale), cosines, slopes]).tolist()
        used, cosines, slopes = (tuple(row) for row in shown)
        return StepRecord(number, losses, used, cosines, slopes, float(meta_loss))

    def _padded(self, values: Tensor, fill: float) -> Tensor:
        """Return [K + 1]: ``values`` of the tasks that the step computes, and ``fill`` for the others."""
        return torch.cat([values, values.new_full((len(self.problem.names) - len(values),), fill)])

    def _auxiliary_steps(self, weighted: WeightedGradients, number: int) -> Tensor | None:
        """Return [K, P], steps of the auxiliary tasks' own Adam with learning rate 1; None with joint moments."""
        if self.moments is None or not isinstance(weighted, WeightedTaskGradients):
            return None
        gradients = weighted.auxiliary
        return self.moments.steps(self._clipped(gradients, number)) if len(gradients) else gradients

    def _learn_ahead(
        self, found: ForwardPass, others: Tensor | None, unseen: Any, number: int
    ) -> tuple[Tensor, Tensor]:
        """Stage 1 (lines 5-12): update the weighting method by look-ahead steps.

        Returns:
            dL_meta / dw by task and L_meta, averaged over the judges.
        """
        judges = (-1,) if unseen is not None else self.batches.judges
        parts = range(self.batches.parts)
        weighted_by_judge = [found.weighted([part for part in parts if part != judge]) for judge in judges]
        total, slopes, losses = torch.zeros(()), [], []
        for judge, weighted in zip(judges, weighted_by_judge, strict=True):
            raw = self.weighting(weighted.signals)
            used = self._used(weighted, raw)
            ahead = look_ahead(weighted, used, others, self.layout, self.optimiser, self.options)
            rows = (found.batch, judge) if unseen is None else (unseen, 0)
            with shifted_parameters(self.layout, ahead.step):
                direction, loss = meta_gradient(self.problem, *rows, self.layout, self.group)
            slope = ahead.slopes(direction) / len(judges)
            total = total + surrogate(weighted, raw, slope, self._relative)
            slopes.append(self._by_task(weighted, slope))
            losses.append(loss / len(judges))
        meta_loss = torch.stack(losses).sum()
        self._check_meta_loss(meta_loss, number)
        self._learn(weighted_by_judge[0], total)
        return torch.stack(slopes).sum(0), meta_loss

    @property
    def _horizon(self) -> int:
        return horizon_of(self.weighting, self.options) if isinstance(self.optimiser, torch.optim.Adam) else 1

    def _learn_unrolled(
        self, found: ForwardPass, weighted: WeightedGradients, unseen: Any, following: Sequence[Any], number: int
    ) -> tuple[Tensor, Tensor] | None:
        """Stage 1 with a horizon: update the weighting method once in ``horizon`` steps.

        Returns:
            dL_meta / dw by task and L_meta; None in the other steps.
        """
        if not self._unrolls_at(number) or not isinstance(self.optimiser, torch.optim.Adam):
            return None
        raw = self.weighting(weighted.signals)
        rate = self.options.alpha or self.optimiser.param_groups[0]["lr"]
        steps = Unrolling(
            self.problem, self.layout, self.optimiser, self.moments, self.weighting.plain_heads, rate, self.group
        )
        rest = following or [self.fetch(place) for place in range(number + 1, number + self._horizon)]
        slopes, loss = steps.slopes([found.batch, *rest], unseen, self._used(weighted, raw))
        self._check_meta_loss(loss, number)
        self._learn(weighted, surrogate(weighted, raw, slopes, self._relative))
        return slopes, loss

    def _check_meta_loss(self, loss: Tensor, number: int) -> None:
        if not math.isfinite(float(loss)):
            raise DivergedError(
                f"step {number}: the loss of {self.problem.names[0]!r} is {float(loss)} after the look-ahead;"
                " lower weighting.alpha or lr"
            )

    @property
    def _relative(self) -> bool:
        """Whether weights are relative to the target's."""
        return self.weighting.normalised or self.moments is not None

    def _used(self, weighted: WeightedGradients, raw: Tensor) -> Tensor:
        """Return the weights to apply to the losses, detached."""
        if not self._relative:
            return raw.detach()
        used = normalised(weighted, raw)
        if not bool(torch.isfinite(used).all()):
            raise DivergedError(
                "the weight of the target is 0, so that no task has a weight relative to it; set weighting.moments=joint"
            )
        return used

    def _by_task(self, weighted: WeightedGradients, values: Tensor) -> Tensor:
        """Return [K + 1]: sums of ``values`` [R] by task, over ranks."""
        sums = values.new_zeros(len(self.problem.names)).index_add(0, weighted.signals.task, values)
        return weighted.reduce(sums)

    def _learn(self, weighted: WeightedGradients, loss: Tensor) -> None:
        """One Adam step of the weighting method on ``loss``, reduced over ranks like the rows of ``weighted``."""
        if self._own_optimiser is None:
            return
        flat = weighted.reduce(flat_gradient(loss, self._own, keep=False))
        for parameter, part in zip(self._own, self.layout.pieces(flat, self._own), strict=True):
            parameter.grad = part
        self._own_optimiser.step()

    def _move(self, weighted: WeightedGradients, weights: Tensor, others: Tensor | None, number: int) -> None:
        """Stage 2 (line 19): one Adam step of the model, with joint moments or with moments per task."""
        if others is None:
            plain = torch.ones_like(weights) if self.weighting.plain_heads else weights
            gradient = self._clipped(weighted.gradient(weights, plain), number)
        else:
            gradient = weighted.gradient(only_first(weights), torch.ones_like(weights))
            size, absent = self.layout.target_size, self.layout.size - len(gradient)
            gradient = torch.cat([self._clipped(gradient[:size], number), gradient[size:], gradient.new_zeros(absent)])
        self._step(gradient)
        if others is not None:
            rate = self.optimiser.param_groups[0]["lr"]
            step = rate * (weights[1:] @ others)
            for parameter, part in zip(self.layout.shared, self.layout.pieces(step, self.layout.shared), strict=True):
                parameter.data.sub_(part)

    def _step(self, gradient: Tensor) -> None:
        """One step of the model's optimizer with a flat gradient."""
        for parameter, part in zip(
            self.layout.parameters, self.layout.pieces(gradient, self.layout.parameters), strict=True
        ):
            parameter.grad = part
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def _clipped(self, gradient: Tensor, number: int) -> Tensor:
        """Return a gradient [P], or one in each row [K, P], clipped according to the config."""
        norm, limit = gradient.norm(dim=-1, keepdim=True), self.options.clip_norm
        if not bool(torch.isfinite(norm).all()):
            raise DivergedError(f"step {number}: the joint gradient is not finite; lower lr or weighting.lr")
        return gradient * (limit / norm.clamp(min=limit)) if limit else gradient

    def _finite_losses(self, found: ForwardPass, number: int) -> tuple[float, ...]:
        totals = found.totals
        losses = totals.means(totals.shares(range(self.batches.parts)))[0]
        known = losses.tolist()
        for name, loss in zip(self.problem.names, known, strict=False):
            if not math.isfinite(loss):
                raise DivergedError(
                    f"step {number}: the loss of task {name!r} is {loss}; lower lr or leave the task out"
                )
        return tuple(self._padded(losses, math.nan).tolist())


def horizon_of(weighting: Weighting, options: WeightingConfig) -> int:
    """Return the steps until the look-ahead is evaluated; 1 for methods that do not learn weights per task by look-ahead steps."""
    return options.horizon if weighting.learns == "meta" and not weighting.per_sample else 1


def batches_of(problem: MultiTaskProblem, weighting: Weighting, config: StepOptions, seed: int) -> Batches:
    """Return the batches of a training: with folds or held-out rows for methods with look-ahead steps.

    Raises:
        RequestError: There are too few rows.
    """
    if weighting.learns == "meta":
        return Batches.of(problem.strata, config.batch, seed, config.weighting, problem.judges)
    return Batches(problem.strata, config.batch, seed)
