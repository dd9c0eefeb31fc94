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
from distgnn.auxiliary.problem import MultiTaskProblem
from distgnn.auxiliary.task_gradients import Layout
from distgnn.auxiliary.task_moments import TaskMoments
from distgnn.distributed import ProcessGroup


class Unrolling:
    """Differentiates steps of a training.

    A state is (theta [P], first and second moments of Adam [P]) and, with moments per task, those of the K auxiliary tasks
    [K, number of shared parameters].

    Args:
        problem: The tasks.
        layout: Layout of the parameters.
        optimiser: Adam of the model.
        moments: Adam's moments of the auxiliary tasks; None with joint moments.
        plain_heads: With joint moments, whether heads are trained by unweighted losses.
        rate: Learning rate.
        group: The training processes; all must make the same calls.
    """

    def __init__(
        self,
        problem: MultiTaskProblem,
        layout: Layout,
        optimiser: torch.optim.Adam,
        moments: TaskMoments | None,
        plain_heads: bool,
        rate: float,
        group: ProcessGroup,
    ) -> None:
        self.problem, self.layout, self.plain_heads, self.rate, self.group = problem, layout, plain_heads, rate, group
        self._adam_options, self.bound = optimiser.param_groups[0], Bound(problem)
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
        """Return dL_judge / dw [K + 1] and L_judge after the steps of ``batches`` with ``weights`` [K + 1]. A collective.

        Args:
            batches: Batches of the steps, from ``problem.fetch``.
            unseen: The judge's batch, from ``problem.fetch_unseen``.
            weights: Weights of the tasks; with moments per task, the target's is 1.
        """
        states = [self._state]
        for number, batch in enumerate(batches[:-1]):
            rows = self.group.all_reduce(self._rows(_leaf(states[-1][0]), batch, differentiable=False))
            states.append(self._move(weights.detach(), *states[-1], rows=rows, number=number))
        slopes, loss, adjoints = torch.zeros_like(weights), weights.new_zeros(()), ()
        for number in reversed(range(len(batches))):
            theta = _leaf(states[number][0])
            own = self._rows(theta, batches[number])
            leaves = [_leaf(value) for value in (self.group.all_reduce(own.detach().clone()), weights, *states[number])]
            after = self._move(*leaves[1:], rows=leaves[0], number=number)
            if not adjoints:
                first, loss = self._judge(_leaf(after[0]), unseen)
                adjoints = first, *(torch.zeros_like(value) for value in after[1:])
            along, slope, *adjoints = torch.autograd.grad(after, leaves, adjoints, materialize_grads=True)
            (through,) = torch.autograd.grad(own, theta, along, materialize_grads=True)
            adjoints[0] = adjoints[0] + self.group.all_reduce(through)
            slopes += slope
        return slopes, loss

    def _judge(self, theta: Tensor, unseen: Any) -> tuple[Tensor, Tensor]:
        """Return the gradient of the judge's mean loss at theta, and that loss."""
        samples = self._call(theta, self.problem.fold_losses, unseen, 0)
        total = samples.losses.sum()
        (gradient,) = torch.autograd.grad(total, theta, materialize_grads=True)
        flat = self.group.all_reduce(torch.cat([gradient, torch.stack([total.detach(), samples.count.to(total)])]))
        return flat[:-2] / flat[-1], flat[-2] / flat[-1]

    def _call(self, theta: Tensor, function: Any, *words: Any) -> Any:
        named = dict(zip(self.names, self.layout.pieces(theta, self.layout.parameters), strict=True))
        return functional_call(self.bound, named, (function, *words))

    def _rows(self, theta: Tensor, batch: Any, differentiable: bool = True) -> Tensor:
        """Return this rank's part [K + 1, P] of the gradients of the tasks' mean losses."""
        target, auxiliary = self._call(theta, self.problem.losses, batch)
        tasks = [target, *([samples] for samples in auxiliary)]
        sums = [torch.stack([part.losses.sum() for part in parts]).sum() for parts in tasks]
        counts = torch.stack([torch.stack([part.count for part in parts]).sum() for parts in tasks]).to(theta)
        counts = self.group.all_reduce(counts).clamp(min=1)
        nothing = 0 * theta.sum()  # a task without samples in this step has no gradient
        rows = [
            torch.autograd.grad(total / count + nothing, theta, retain_graph=True, create_graph=differentiable)[0]
            for total, count in zip(sums, counts, strict=True)
        ]
        return torch.stack(rows)

    def _move(
        self, weights: Tensor, theta: Tensor, first: Tensor, second: Tensor, *tasks: Tensor, rows: Tensor, number: int
    ) -> tuple[Tensor, ...]:
        """Return the state after a step.

        Args:
            weights: Weights of the tasks.
            theta, first, second, *tasks: The state before the step.
            rows: [K + 1, P], gradients of the tasks.
            number: Steps between the optimiser's state and this one.
        """
        size, count = self.layout.shared_size, self._taken + number + 1
        shared, heads = rows[:, :size], rows[:, size:]
        if tasks:
            gradient = torch.cat([shared[0], heads.sum(0)])
        else:
            gradient = torch.cat([weights @ shared, heads.sum(0) if self.plain_heads else weights @ heads])
        step, first, second = self._adam(gradient + self._adam_options["weight_decay"] * theta, first, second, count)
        theta = theta - self.rate * step
        if tasks:
            others, *others_moments = self._adam(shared[1:], tasks[0], tasks[1], count)
            moved = self.rate * (weights[1:] @ others)
            theta = torch.cat([theta[:size] - moved, theta[size:]])
            return theta, first, second, *others_moments
        return theta, first, second

    def _adam(self, gradient: Tensor, first: Tensor, second: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return step ``count`` of Adam with learning rate 1, and the moments after it; differentiable."""
        beta1, beta2 = self._adam_options["betas"]
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient.square()
        moves = second > 0
        root = torch.where(moves, second, 1).sqrt() / (1 - beta2**count) ** 0.5
        step = torch.where(moves, first / (root + self._adam_options["eps"]), 0) / (1 - beta1**count)
        return step, first, second


def _leaf(value: Tensor) -> Tensor:
    return value.detach().requires_grad_()
