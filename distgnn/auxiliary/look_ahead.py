"""Look-ahead steps of a weighted gradient, and their derivatives with respect to the weights.

A look-ahead moves the target's parameters from theta to theta - d(G(w)), with d the step of an optimiser and
G(w) = sum_r w_r g_r (g_r: gradient of row r's share of its task's mean loss). With v = grad L_judge at the new
parameters, dL_judge / dw_r = -<g_r, d'(G) v>. Adam computes its step element by element, so d'(G) is diagonal and the
derivative is exact without second derivatives of the encoder. The step is the one that Adam would take, moments and bias
correction included.

The loss after one step understates what a long step costs: a task whose step lowers it at all would gain weight until the loss
rises within that step. With moments per task (``weighting.proximal``) the judge's objective is therefore
J(w) = L_judge(theta - d_0 - a) + p c / 2 <a, D a>, with a = sum_i w_i d_i the auxiliary tasks' part of the step, D the denominator
of the target's Adam, p = 1 the option, and c = <v, d_0> / <d_0, D d_0>, at least 0: the cost at which the judge would give the
target the weight 1 that it has. Where the tasks' steps are orthogonal in D, the best w_i is thus the benefit of a task's step over
that of the target's, if both cost the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from distgnn.auxiliary.hypergradient import WeightedGradients
from distgnn.auxiliary.task_gradients import Layout
from distgnn.config import WeightingConfig


@dataclass(frozen=True)
class LookAhead:
    """A look-ahead step.

    Attributes:
        step: Flat, in the order of ``layout.target_parameters``; it is subtracted from the parameters.
        slopes: Maps v, flat like ``step``, to the derivatives [R] of the judge's objective by the weights.
    """

    step: Tensor
    slopes: Callable[[Tensor], Tensor]


def look_ahead(
    weighted: WeightedGradients,
    weights: Tensor,
    others: Tensor | None,
    layout: Layout,
    optimiser: torch.optim.Optimizer,
    options: WeightingConfig,
) -> LookAhead:
    """Return the look-ahead step that the options name.

    Args:
        weighted: The rows.
        weights: [R], the weights as used.
        others: [K, P], steps of the auxiliary tasks' own Adam with learning rate 1; None with joint moments.
        layout: Layout of the parameters.
        optimiser: Optimizer of the model.
        options: Options of the weighting.
    """
    rate = options.alpha or optimiser.param_groups[0]["lr"]
    if options.lookahead == "gradient" or not isinstance(optimiser, torch.optim.Adam):
        return gradient_step(weighted, weights, layout, rate)
    if others is None:
        return joint_adam_step(weighted, weights, layout, optimiser, rate)
    first = only_first(weights)
    own = adam_step(weighted.gradient(first, first)[: layout.target_size], layout, optimiser, rate)
    return task_adam_step(own, weights, others, rate, options.proximal)


def only_first(weights: Tensor) -> Tensor:
    """Return the weight 1 for the target and 0 for the other tasks."""
    first = torch.zeros_like(weights)
    first[0] = 1
    return first


def gradient_step(weighted: WeightedGradients, weights: Tensor, layout: Layout, rate: float) -> LookAhead:
    """Return the step of gradient descent (AUX-TS, Eq. 8); weights: [R]."""
    step = rate * weighted.gradient(weights, weights)[: layout.target_size]
    return LookAhead(step, lambda direction: -rate * weighted.directional_derivatives(direction))


def joint_adam_step(
    weighted: WeightedGradients, weights: Tensor, layout: Layout, optimiser: torch.optim.Adam, rate: float
) -> LookAhead:
    """Return the step of ``optimiser`` (Adam of the weighted gradient) with learning rate ``rate``; weights: [R]."""
    gradient = weighted.gradient(weights, weights)[: layout.target_size]
    own = adam_step(gradient, layout, optimiser, rate)
    return LookAhead(own.step, lambda direction: -weighted.directional_derivatives(own.derivative() * direction))


def task_adam_step(own: AdamStep, weights: Tensor, others: Tensor, rate: float, proximal: float) -> LookAhead:
    """Return the step d_0 + sum_i w_i d_i, in which every task's step has Adam moments of its own; linear in w.

    Args:
        own: The target's step d_0, with learning rate ``rate``.
        weights: [K + 1], the target's is 1.
        others: [K, P], steps of the auxiliary tasks' Adam with learning rate 1, for the first P parameters.
        rate: Learning rate.
        proximal: Factor of the cost of the step in the judge's objective.
    """
    size, step = others.shape[1], own.step.clone()
    step[:size] += rate * (weights[1:] @ others)

    def slopes(direction: Tensor) -> Tensor:
        shared = direction[:size]
        if proximal:
            cost = proximal * step_cost(own, shared)
            shared = shared - cost * own.denominator[:size] * (step - own.step)[:size]
        return -torch.cat([(own.step @ direction).reshape(1), rate * (others @ shared)])

    return LookAhead(step, slopes)


def step_cost(own: AdamStep, direction: Tensor) -> Tensor:
    """Return c, the cost of a step per <d, D d> / 2 at which the target's step has the best length for the judge; at least 0.

    Args:
        own: The target's step.
        direction: [P], gradient of the judge's loss by the first P parameters.
    """
    alone = own.step[: len(direction)]
    length = alone @ (own.denominator[: len(direction)] * alone)
    return (alone @ direction).clamp(min=0) / length.clamp(min=torch.finfo(length.dtype).tiny)


class AdamStep(NamedTuple):
    """A step of Adam; flat tensors.

    Attributes:
        step: It is subtracted from the parameters.
        derivative: Returns the derivative of ``step`` by each element of the gradient.
        denominator: Root of the second moment after bias correction, plus epsilon.
    """

    step: Tensor
    derivative: Callable[[], Tensor]
    denominator: Tensor


def adam_step(gradient: Tensor, layout: Layout, optimiser: torch.optim.Adam, rate: float) -> AdamStep:
    """Return Adam's next step for the target's parameters.

    The optimiser's state is not changed. Parameters whose second moment is zero do not move and have derivative 0, as in
    the limit of a vanishing gradient of rows without influence on them.
    """
    group = optimiser.param_groups[0]
    (beta1, beta2), eps = group["betas"], group["eps"]
    parameters = layout.target_parameters
    first, second, steps = stored_moments(optimiser, parameters)
    number = steps + 1
    if group["weight_decay"]:
        gradient = gradient + group["weight_decay"] * torch.cat([p.detach().flatten() for p in parameters])
    first = beta1 * first + (1 - beta1) * gradient
    second = beta2 * second + (1 - beta2) * gradient.square()
    root = second.sqrt()
    scale = (1 - beta2**number) ** 0.5
    bottom = root / scale + eps
    rate = rate / (1 - beta1**number)

    def derivative() -> Tensor:
        moved = root > 0
        by_bottom = torch.where(moved, (1 - beta2) * gradient / (root * scale), 0)
        return rate * torch.where(moved, (1 - beta1) / bottom - first * by_bottom / bottom.square(), 0)

    return AdamStep(rate * first / bottom, derivative, bottom)


def stored_moments(optimiser: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor, int]:
    """Return Adam's first and second moments of ``parameters``, flat, and the number of its steps."""
    states = [optimiser.state.get(parameter, {}) for parameter in parameters]
    first, second = (
        torch.cat([state.get(name, torch.zeros_like(p)).flatten() for state, p in zip(states, parameters, strict=True)])
        for name in ("exp_avg", "exp_avg_sq")
    )
    return first, second, int(max(float(state.get("step", 0)) for state in states))
