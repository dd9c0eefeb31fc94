"""One step of multi-task training with any weighting method (AUX-TS, Algorithm 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from distgnn.auxiliary.batches import Batches
from distgnn.auxiliary.forward_pass import ForwardPass
from distgnn.auxiliary.hypergradient import WeightedGradients, meta_gradient, normalised, shifted_parameters, surrogate
from distgnn.auxiliary.problem import MultiTaskProblem
from distgnn.auxiliary.task_gradients import Layout, flat_gradient
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

    Attributes:
        losses: Mean losses at the parameters before the step.
        weights: Weights of the shared parameters' gradients (the mean over samples if samples are weighted).
        cosines: Cosine similarities with the target's gradient.
        hypergradients: dL_meta / dw, averaged over folds (summed over samples).
        meta_loss: Loss of the target after the look-ahead step, averaged over folds.
    """

    step: int
    losses: tuple[float, ...]
    weights: tuple[float, ...]
    cosines: tuple[float, ...]
    hypergradients: tuple[float, ...]
    meta_loss: float


class MultiTaskStep:
    """Trains a problem's shared network and heads, and the weighting method, each with its own Adam.

    All ranks must start with the same parameters; they remain identical.

    Attributes:
        weighting: The method, from ``build_weighting(config.weighting, problem.names, seed)``.
        optimiser: Optimizer of the model; its learning rate may be changed between steps.
    """

    def __init__(
        self, problem: MultiTaskProblem, weighting: Weighting, config: StepOptions, group: ProcessGroup, seed: int
    ) -> None:
        self.problem, self.options, self.group = problem, config.weighting, group
        self.layout = Layout(problem)
        self.weighting = weighting.to(self.layout.parameters[0])
        folds = config.weighting.folds if weighting.learns == "meta" else 0
        self.batches = Batches(problem.strata, config.batch, seed, folds)
        self.optimiser: torch.optim.Optimizer = torch.optim.Adam(
            self.layout.parameters, config.lr, weight_decay=config.weight_decay, fused=True
        )
        self._own = [parameter for parameter in weighting.parameters() if parameter.requires_grad]
        learns = weighting.learns != "nothing"
        self._own_optimiser = torch.optim.Adam(self._own, config.weighting.settled().lr) if learns else None

    @property
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Optimizers whose state is saved: that of the model, and that of the weighting method if it learns."""
        own = {"own_optimiser": self._own_optimiser} if self._own_optimiser else {}
        return {"optimiser": self.optimiser, **own}

    def fetch(self, number: int) -> Any:
        """Return the data of step ``number``; may be called ahead."""
        return self.problem.fetch(self.batches.rows(number), number)

    def step(self, number: int, batch: Any = None) -> StepRecord:
        """Run step ``number`` (counted from 0) on ``batch`` (None = fetch it now).

        Raises:
            WorkError: A loss or the weighted gradient is not finite. The parameters of the model are then unchanged.
        """
        batch = self.fetch(number) if batch is None else batch
        by_layer = self.options.similarity == "layer"
        found = ForwardPass(self.problem, batch, self.weighting, self.layout, self.group, by_layer)
        losses = self._finite_losses(found, number)
        ahead = self._learn_ahead(found, number) if self.weighting.learns == "meta" else None
        weighted = found.weighted(range(self.batches.parts))
        raw = self.weighting(weighted.signals)
        weights = self._used(weighted, raw)
        self._move(
            weighted.gradient(weights, torch.ones_like(weights) if self.weighting.plain_heads else weights), number
        )
        if self.weighting.learns == "joint":
            self._learn(weighted, (raw * weighted.signals.loss).sum() + self.weighting.penalty())
        none = torch.full_like(weighted.signals.cosines, math.nan)
        slopes, meta_loss = ahead or (none, none[0])
        shown = torch.stack(
            [self._by_task(weighted, weights * weighted.scale), weighted.signals.cosines, slopes]
        ).tolist()
        used, cosines, slopes = (tuple(row) for row in shown)
        return StepRecord(number, losses, used, cosines, slopes, float(meta_loss))

    def _learn_ahead(self, found: ForwardPass, number: int) -> tuple[Tensor, Tensor]:
        """Stage 1 (lines 5-12): update the weighting method by look-ahead steps.

        Returns:
            dL_meta / dw by task and L_meta, averaged over the validation folds.
        """
        alpha = self.options.alpha or self.optimiser.param_groups[0]["lr"]
        judges, total = self.batches.judges, torch.zeros(())
        weighted_by_judge = [
            found.weighted([part for part in range(self.batches.parts) if part != judge]) for judge in judges
        ]
        slopes, losses = [], []
        for judge, weighted in zip(judges, weighted_by_judge, strict=True):
            raw = self.weighting(weighted.signals)
            weights = self._used(weighted, raw)
            step = alpha * weighted.gradient(weights, weights)[: self.layout.target_size]
            with shifted_parameters(self.layout, step):
                direction, loss = meta_gradient(self.problem, found.batch, judge, self.layout, self.group)
            slope = weighted.directional_derivatives(direction) * (-alpha / len(judges))
            total = total + surrogate(weighted, raw, slope, self.weighting.normalised)
            slopes.append(self._by_task(weighted, slope))
            losses.append(loss / len(judges))
        meta_loss = torch.stack(losses).sum()
        if not math.isfinite(float(meta_loss)):
            raise DivergedError(
                f"step {number}: the loss of {self.problem.names[0]!r} is {float(meta_loss)} after the look-ahead;"
                " lower weighting.alpha or lr"
            )
        self._learn(weighted_by_judge[0], total)
        return torch.stack(slopes).sum(0), meta_loss

    def _used(self, weighted: WeightedGradients, raw: Tensor) -> Tensor:
        """Return the weights to apply to the losses, detached."""
        return normalised(weighted, raw) if self.weighting.normalised else raw.detach()

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

    def _move(self, gradient: Tensor, number: int) -> None:
        """Stage 2 (line 19): one Adam step of the model with the weighted gradient, clipped according to the config."""
        norm = float(gradient.norm())
        if not math.isfinite(norm):
            raise DivergedError(f"step {number}: the joint gradient is not finite; lower lr or weighting.lr")
        if 0 < self.options.clip_norm < norm:
            gradient = gradient * (self.options.clip_norm / norm)
        for parameter, part in zip(
            self.layout.parameters, self.layout.pieces(gradient, self.layout.parameters), strict=True
        ):
            parameter.grad = part
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def _finite_losses(self, found: ForwardPass, number: int) -> tuple[float, ...]:
        totals = found.totals
        losses = totals.means(totals.shares(range(self.batches.parts)))[0].tolist()
        for name, loss in zip(self.problem.names, losses, strict=True):
            if not math.isfinite(loss):
                raise DivergedError(
                    f"step {number}: the loss of task {name!r} is {loss}; lower lr or leave the task out"
                )
        return tuple(losses)
