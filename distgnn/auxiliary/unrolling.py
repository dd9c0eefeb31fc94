"""Hypergradients over several steps: the steps of the optimiser are unrolled and differentiated (truncated unrolling).

The weights w are constant over H steps of Adam, theta_(t+1) = theta_t - d_t(theta_t, w), with Adam's moments and the batches of
those steps. dL_judge(theta_H) / dw is taken by reverse-mode differentiation of all steps, with second derivatives of the
encoder (Shaban et al., "Truncated back-propagation for bilevel optimization", AISTATS 2019). The model and the optimisers are
not changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from distgnn.auxiliary.hypergradient import Bound
from distgnn.auxiliary.look_ahead import stored_moments
from distgnn.auxiliary.problem import MultiTaskProblem, Samples
from distgnn.auxiliary.task_gradients import Layout
from distgnn.auxiliary.task_moments import TaskMoments


@dataclass(frozen=True)
class _Moments:
    """Adam's moments of a vector or of the rows of a matrix; ``number`` counts the steps taken."""

    first: Tensor
    second: Tensor
    number: int

    @classmethod
    def of(cls, optimiser: torch.optim.Optimizer, parameters: Sequence[Tensor], shape: tuple[int, ...]) -> _Moments:
        """Return the moments in the state of an optimiser; zeros before its first step."""
        first, second, number = stored_moments(optimiser, parameters)
        return cls(first.view(shape), second.view(shape), number)

    def step(self, gradient: Tensor, group: dict[str, Any]) -> tuple[Tensor, _Moments]:
        """Return Adam's step with learning rate 1, and the moments after it; differentiable."""
        (beta1, beta2), number = group["betas"], self.number + 1
        first = beta1 * self.first + (1 - beta1) * gradient
        second = beta2 * self.second + (1 - beta2) * gradient.square()
        moves = second > 0
        root = torch.where(moves, second, 1).sqrt() / (1 - beta2**number) ** 0.5
        step = torch.where(moves, first / (root + group["eps"]), 0) / (1 - beta1**number)
        return step, _Moments(first, second, number)


class Unrolling:
    """Differentiates steps of a training on one process.

    Args:
        problem: The tasks.
        layout: Layout of the parameters.
        optimiser: Adam of the model.
        moments: Adam's moments of the auxiliary tasks; None with joint moments.
        plain_heads: With joint moments, whether heads are trained by unweighted losses.
        rate: Learning rate.
    """

    def __init__(
        self,
        problem: MultiTaskProblem,
        layout: Layout,
        optimiser: torch.optim.Adam,
        moments: TaskMoments | None,
        plain_heads: bool,
        rate: float,
    ) -> None:
        self.problem, self.layout, self.plain_heads, self.rate = problem, layout, plain_heads, rate
        self.group, self.bound, size = optimiser.param_groups[0], Bound(problem), layout.size
        places = {id(parameter): name for name, parameter in self.bound.named_parameters()}
        self.names = [places[id(parameter)] for parameter in layout.parameters]
        self._start = torch.cat([parameter.detach().flatten() for parameter in layout.parameters])
        self._model, self._tasks = _Moments.of(optimiser, layout.parameters, (size,)), None
        if moments:
            place = moments.optimiser.param_groups[0]["params"]
            self._tasks = _Moments.of(moments.optimiser, place, tuple(place[0].shape))

    def slopes(self, batches: Sequence[Any], unseen: Any, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return dL_judge / dw [K + 1] and L_judge after the steps of ``batches`` with ``weights`` [K + 1].

        Args:
            batches: Batches of the steps, from ``problem.fetch``.
            unseen: The judge's batch, from ``problem.fetch_unseen``.
            weights: Weights of the tasks; with moments per task, the target's is 1.
        """
        weights, theta = weights.detach().clone().requires_grad_(), self._start.clone().requires_grad_()
        model, tasks = self._model, self._tasks
        for batch in batches:
            theta, model, tasks = self._advance(theta, model, tasks, batch, weights)
        loss = _mean([self._call(theta, self.problem.fold_losses, unseen, 0)])
        (found,) = torch.autograd.grad(loss, weights)
        return found, loss.detach()

    def _call(self, theta: Tensor, function: Any, *words: Any) -> Any:
        named = dict(zip(self.names, self.layout.pieces(theta, self.layout.parameters), strict=True))
        return functional_call(self.bound, named, (function, *words))

    def _advance(
        self, theta: Tensor, model: _Moments, tasks: _Moments | None, batch: Any, weights: Tensor
    ) -> tuple[Tensor, _Moments, _Moments | None]:
        """Take one step of the training."""
        target, auxiliary = self._call(theta, self.problem.losses, batch)
        means = [_mean(target), *(_mean([samples]) for samples in auxiliary)]
        nothing = 0 * theta.sum()  # a task without samples in this step has no gradient
        rows = [torch.autograd.grad(mean + nothing, theta, create_graph=True)[0] for mean in means]
        shared, size = torch.stack([row[: self.layout.shared_size] for row in rows]), self.layout.shared_size
        heads = torch.stack([row[size:] for row in rows])
        if tasks is None:
            heads = heads.sum(0) if self.plain_heads else weights @ heads
            gradient = torch.cat([weights @ shared, heads])
        else:
            gradient = torch.cat([shared[0], heads.sum(0)])
        step, model = model.step(gradient + self.group["weight_decay"] * theta, self.group)
        theta = theta - self.rate * step
        if tasks is not None:
            others, tasks = tasks.step(shared[1:], self.group)
            moved = self.rate * (weights[1:] @ others)
            theta = torch.cat([theta[:size] - moved, theta[size:]])
        return theta, model, tasks


def _mean(parts: Sequence[Samples]) -> Tensor:
    """Return the mean loss of a task."""
    count = torch.stack([part.count for part in parts]).sum().clamp(min=1)
    return torch.stack([part.losses.sum() for part in parts]).sum() / count
