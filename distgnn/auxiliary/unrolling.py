"""Hypergradients over several steps: the steps of the optimiser are unrolled and differentiated (truncated unrolling).

The weights w are constant over H steps of Adam, theta_(t+1) = theta_t - d_t(theta_t, w), with Adam's moments and the batches of
those steps. dL_judge(theta_H) / dw is taken by reverse-mode differentiation of all steps, with second derivatives of the
encoder (Shaban et al., "Truncated back-propagation for bilevel optimization", AISTATS 2019). Only the state before every step is
kept. The steps are computed again on the way back, one at a time, so that the memory is that of one step for any H. The model and
the optimisers are not changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from distgnn.auxiliary.hypergradient import Bound
from distgnn.auxiliary.look_ahead import stored_moments
from distgnn.auxiliary.problem import MultiTaskProblem, Samples
from distgnn.auxiliary.task_gradients import Layout
from distgnn.auxiliary.task_moments import TaskMoments


class Unrolling:
    """Differentiates steps of a training on one process.

    A state is (theta [P], first and second moments of Adam [P]) and, with moments per task, those of the K auxiliary tasks
    [K, number of shared parameters].

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
        self.group, self.bound = optimiser.param_groups[0], Bound(problem)
        places = {id(parameter): name for name, parameter in self.bound.named_parameters()}
        self.names = [places[id(parameter)] for parameter in layout.parameters]
        theta = torch.cat([parameter.detach().flatten() for parameter in layout.parameters])
        *model, self._taken = stored_moments(optimiser, layout.parameters)
        tasks: list[Tensor] = []
        if moments:
            place = moments.optimiser.param_groups[0]["params"]
            *tasks, _ = stored_moments(moments.optimiser, place)
            tasks = [moment.view_as(place[0]) for moment in tasks]
        self._state: tuple[Tensor, ...] = (theta, *model, *tasks)

    def slopes(self, batches: Sequence[Any], unseen: Any, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return dL_judge / dw [K + 1] and L_judge after the steps of ``batches`` with ``weights`` [K + 1].

        Args:
            batches: Batches of the steps, from ``problem.fetch``.
            unseen: The judge's batch, from ``problem.fetch_unseen``.
            weights: Weights of the tasks; with moments per task, the target's is 1.
        """
        states = [self._state]
        for number, batch in enumerate(batches[:-1]):
            after = self._advance(_leaves(weights, states[-1]), batch, number, differentiable=False)
            states.append(tuple(value.detach() for value in after))
        leaves = _leaves(weights, states[-1])
        theta, *_ = self._advance(leaves, batches[-1], len(batches) - 1)
        loss = _mean([self._call(theta, self.problem.fold_losses, unseen, 0)])
        total, *adjoints = torch.autograd.grad(loss, leaves, materialize_grads=True)
        for number in reversed(range(len(batches) - 1)):
            leaves = _leaves(weights, states[number])
            after = self._advance(leaves, batches[number], number)
            found, *adjoints = torch.autograd.grad(after, leaves, adjoints, materialize_grads=True)
            total = total + found
        return total, loss.detach()

    def _call(self, theta: Tensor, function: Any, *words: Any) -> Any:
        named = dict(zip(self.names, self.layout.pieces(theta, self.layout.parameters), strict=True))
        return functional_call(self.bound, named, (function, *words))

    def _advance(
        self, leaves: Sequence[Tensor], batch: Any, number: int, differentiable: bool = True
    ) -> tuple[Tensor, ...]:
        """Return the state after one step of the training.

        Args:
            leaves: The weights, then the state before the step.
            batch: Batch of the step.
            number: Steps between the optimiser's state and this one.
            differentiable: Whether the result can be differentiated by ``leaves``.
        """
        weights, theta, first, second, *tasks = leaves
        target, auxiliary = self._call(theta, self.problem.losses, batch)
        means = [_mean(target), *(_mean([samples]) for samples in auxiliary)]
        nothing = 0 * theta.sum()  # a task without samples in this step has no gradient
        rows = [
            torch.autograd.grad(mean + nothing, theta, retain_graph=True, create_graph=differentiable)[0]
            for mean in means
        ]
        shared, size = torch.stack([row[: self.layout.shared_size] for row in rows]), self.layout.shared_size
        heads = torch.stack([row[size:] for row in rows])
        if tasks:
            gradient = torch.cat([shared[0], heads.sum(0)])
        else:
            gradient = torch.cat([weights @ shared, heads.sum(0) if self.plain_heads else weights @ heads])
        count = self._taken + number + 1
        step, first, second = self._adam(gradient + self.group["weight_decay"] * theta, first, second, count)
        theta = theta - self.rate * step
        if tasks:
            others, *tasks = self._adam(shared[1:], tasks[0], tasks[1], count)
            moved = self.rate * (weights[1:] @ others)
            theta = torch.cat([theta[:size] - moved, theta[size:]])
        return theta, first, second, *tasks

    def _adam(self, gradient: Tensor, first: Tensor, second: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return step ``count`` of Adam with learning rate 1, and the moments after it; differentiable."""
        beta1, beta2 = self.group["betas"]
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient.square()
        moves = second > 0
        root = torch.where(moves, second, 1).sqrt() / (1 - beta2**count) ** 0.5
        step = torch.where(moves, first / (root + self.group["eps"]), 0) / (1 - beta1**count)
        return step, first, second


def _leaves(weights: Tensor, state: Sequence[Tensor]) -> list[Tensor]:
    return [value.detach().requires_grad_() for value in (weights, *state)]


def _mean(parts: Sequence[Samples]) -> Tensor:
    """Return the mean loss of a task."""
    count = torch.stack([part.count for part in parts]).sum().clamp(min=1)
    return torch.stack([part.losses.sum() for part in parts]).sum() / count
