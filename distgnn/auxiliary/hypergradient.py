"""Exact hypergradients of the target's loss after a look-ahead step, without second derivatives.

With theta_hat(w) = theta - alpha * sum_r w_r g_r (AUX-TS Eq. 8; g_r: gradient of row r's share of its task's mean loss)
and v = grad L_meta at theta_hat, the chain rule gives dL_meta / dw_r = -alpha <g_r, v>. This is a dot product if g_r is
known. Otherwise it is the directional derivative of row r's loss along v, computed for all rows in one pass by
forward-mode automatic differentiation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call

from distgnn.auxiliary.problem import MultiTaskProblem
from distgnn.auxiliary.task_gradients import Layout, write_gradient
from distgnn.auxiliary.weighting.signals import Signals
from distgnn.distributed import ProcessGroup


class WeightedGradients(Protocol):
    """Protocol of rows to be weighted: :class:`WeightedTaskGradients`, :class:`WeightedSampleGradients`.

    Attributes:
        scale: [R]; the sum over a task's rows (of all ranks) of value * scale is the task's mean value.
    """

    signals: Signals
    scale: Tensor

    def gradient(self, weights: Tensor, head_weights: Tensor) -> Tensor:
        """Return the weighted gradient as a flat vector of all parameters."""
        ...

    def directional_derivatives(self, direction: Tensor) -> Tensor:
        """Return [R]: directional derivatives of the rows' shares of the tasks' mean losses.

        ``direction`` is a flat vector of the target's parameters.
        """
        ...

    def reduce(self, tensor: Tensor) -> Tensor:
        """Return the sum over ranks of their partial values."""
        ...


@contextmanager
def shifted_parameters(layout: Layout, step: Tensor) -> Iterator[None]:
    """Context manager: inside, the target's parameters are theta - step; on exit they are restored bit for bit.

    The parameters are written through ``data``, so the autograd graph of the pass at theta remains valid.

    Args:
        layout: Layout of the parameters.
        step: Flat, in the order of ``layout.target_parameters``.
    """
    before = [parameter.detach().clone() for parameter in layout.target_parameters]
    for parameter, change in zip(layout.target_parameters, layout.pieces(step, layout.target_parameters), strict=True):
        parameter.data.sub_(change)
    try:
        yield
    finally:
        for parameter, value in zip(layout.target_parameters, before, strict=True):
            parameter.data.copy_(value)


def meta_gradient(
    problem: MultiTaskProblem, batch: Any, part: int, layout: Layout, group: ProcessGroup
) -> tuple[Tensor, Tensor]:
    """Return the gradient of the target's mean loss on a fold at the current parameters, and that loss.

    The gradient is flat, in the order of ``layout.target_parameters``.
    """
    samples = problem.fold_losses(batch, part)
    total = samples.losses.sum()
    flat = layout.parameters[0].new_empty(layout.target_size + 2)
    write_gradient(total, layout.target_parameters, layout.cut(flat[:-2], layout.target_parameters), keep=False)
    flat[-2:] = torch.stack([total.detach(), samples.count.to(total)])
    group.all_reduce(flat)
    return flat[:-2] / flat[-1], flat[-2] / flat[-1]


class Bound(nn.Module):
    """Shared network and heads as one module, to call a function of a problem with other parameters.

    Use it as ``functional_call(bound, {name: value}, (problem.losses, batch))`` with
    :func:`torch.func.functional_call`.
    """

    def __init__(self, problem: MultiTaskProblem) -> None:
        super().__init__()
        self.shared, self.heads = problem.shared, problem.heads

    def forward(self, function: Callable[..., Any], *words: Any) -> Any:
        """Return function(*words)."""
        return function(*words)


def derivatives(problem: MultiTaskProblem, batch: Any, layout: Layout, direction: Tensor) -> list[Tensor]:
    """Return directional derivatives of every loss of ``problem.losses(batch)``, by forward-mode differentiation.

    The tangents of parameters that are not in ``layout.target_parameters`` are explicit zeros, since torch is slower without a
    tangent.

    Args:
        problem: The tasks.
        batch: The batch of a step.
        layout: Layout of the parameters.
        direction: Flat, in the order of ``layout.target_parameters``.

    Returns:
        One tensor per fold of the target and per auxiliary task, with the shape of its losses.
    """
    tangents = dict(
        zip(map(id, layout.target_parameters), layout.pieces(direction, layout.target_parameters), strict=True)
    )
    bound = Bound(problem)
    with torch.enable_grad(), forward_ad.dual_level():  # some objectives compute gradients inside their losses
        duals = {
            name: forward_ad.make_dual(value, tangents[id(value)] if id(value) in tangents else torch.zeros_like(value))
            for name, value in bound.named_parameters()
        }
        target, auxiliary = functional_call(bound, duals, (problem.losses, batch))
        found = [forward_ad.unpack_dual(samples.losses) for samples in (*target, *auxiliary)]
    return [torch.zeros_like(value.primal) if value.tangent is None else value.tangent.detach() for value in found]


def target_mean(weighted: WeightedGradients, values: Tensor) -> Tensor:
    """Return this rank's part of the mean of the target's ``values`` [R]; sum it over ranks by ``weighted.reduce``."""
    return (values * weighted.scale)[weighted.signals.task == 0].sum()


def normalised(weighted: WeightedGradients, raw: Tensor) -> Tensor:
    """Return the weights divided by the target's mean weight over all ranks; not differentiable."""
    raw = raw.detach()
    return raw / weighted.reduce(target_mean(weighted, raw))


def surrogate(weighted: WeightedGradients, raw: Tensor, slopes: Tensor, divide: bool) -> Tensor:
    """Return a scalar whose gradients, summed over ranks, are those of L_meta w.r.t. the weighting model's parameters.

    Args:
        weighted: The rows.
        raw: [R], output of the weighting model.
        slopes: [R], dL_meta / dw_r for the weights as used.
        divide: Whether the weights used are raw / m, with m the target's mean, instead of ``raw``. Then every row also
            acts
            through m: d(raw / m) = d raw / m - raw dm / m^2.
    """
    direct = (slopes * raw).sum()
    if not divide:
        return direct
    mean = weighted.reduce(target_mean(weighted, raw.detach()))
    through_mean = weighted.reduce(direct.detach()) / mean.square()
    return direct / mean - through_mean * target_mean(weighted, raw)
