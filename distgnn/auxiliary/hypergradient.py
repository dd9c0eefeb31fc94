"""How the target's loss after a look-ahead step changes with the weights: exact, without second derivatives.

With theta_hat(w) = theta - alpha * sum_r w_r g_r (AUX-TS Eq. 8; g_r: gradient of row r's share of its task's mean loss) and
v = grad L_meta at theta_hat, the chain rule gives dL_meta / dw_r = -alpha <g_r, v>: a product where g_r is known, and else the
derivative of row r's loss along v, which forward mode finds for all rows in one pass.
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
    """Rows to be weighed and what can be done with them: :class:`WeightedTaskGradients`, :class:`WeightedSampleGradients`.

    scale: [R]; the sum over a task's rows (of all ranks) of value * scale is the task's mean value.
    """

    signals: Signals
    scale: Tensor

    def gradient(self, weights: Tensor, head_weights: Tensor) -> Tensor:
        """The joint gradient as a flat vector of all parameters."""
        ...

    def along(self, direction: Tensor) -> Tensor:
        """[R]: derivatives of the rows' shares of the tasks' mean losses along a direction of the target's parameters."""
        ...

    def reduce(self, tensor: Tensor) -> Tensor:
        """The sum over ranks of what each knows a part of."""
        ...


@contextmanager
def shifted_parameters(layout: Layout, step: Tensor) -> Iterator[None]:
    """Inside, the target's parameters are theta - step (flat, as ``layout.near``); then again theta, bit for bit.

    Written through ``data``: the graph of the pass at theta stays good, as theta is back before it is used.
    """
    before = [parameter.detach().clone() for parameter in layout.near]
    for parameter, change in zip(layout.near, layout.pieces(step, layout.near), strict=True):
        parameter.data.sub_(change)
    try:
        yield
    finally:
        for parameter, value in zip(layout.near, before, strict=True):
            parameter.data.copy_(value)


def meta_gradient(
    problem: MultiTaskProblem, batch: Any, part: int, layout: Layout, group: ProcessGroup
) -> tuple[Tensor, Tensor]:
    """(gradient of the target's mean loss on a part at the parameters as they are, flat as ``layout.near``; that loss)."""
    samples = problem.fold_losses(batch, part)
    total = samples.losses.sum()
    flat = layout.parameters[0].new_empty(layout.near_size + 2)
    write_gradient(total, layout.near, layout.cut(flat[:-2], layout.near), keep=False)
    flat[-2:] = torch.stack([total.detach(), samples.count.to(total)])
    group.all_reduce(flat)
    return flat[:-2] / flat[-1], flat[-2] / flat[-1]


class Bound(nn.Module):
    """Shared network and heads as one module, so that ``torch.func.functional_call`` can give a function of a problem other
    parameters: ``functional_call(bound, {name: value}, (problem.losses, batch))``."""

    def __init__(self, problem: MultiTaskProblem) -> None:
        super().__init__()
        self.shared, self.heads = problem.shared, problem.heads

    def forward(self, function: Callable[..., Any], *words: Any) -> Any:
        """function(*words)."""
        return function(*words)


def derivatives(problem: MultiTaskProblem, batch: Any, layout: Layout, direction: Tensor) -> list[Tensor]:
    """Derivatives of every loss of ``problem.losses(batch)`` along ``direction`` (flat, as ``layout.near``), by forward mode.

    One tensor for each part of the target and each auxiliary task, shaped as its losses. The other parameters move by zeros:
    torch spends longer on what has no tangent at all.
    """
    tangents = dict(zip(map(id, layout.near), layout.pieces(direction, layout.near), strict=True))
    bound = Bound(problem)
    with torch.enable_grad(), forward_ad.dual_level():  # some objectives take gradients inside their losses
        duals = {
            name: forward_ad.make_dual(value, tangents[id(value)] if id(value) in tangents else torch.zeros_like(value))
            for name, value in bound.named_parameters()
        }
        target, auxiliary = functional_call(bound, duals, (problem.losses, batch))
        found = [forward_ad.unpack_dual(samples.losses) for samples in (*target, *auxiliary)]
    return [torch.zeros_like(value.primal) if value.tangent is None else value.tangent.detach() for value in found]


def target_mean(weighted: WeightedGradients, values: Tensor) -> Tensor:
    """This rank's part of the mean of the target's ``values`` [R]; add over ranks by ``weighted.reduce``."""
    return (values * weighted.scale)[weighted.signals.task == 0].sum()


def normalised(weighted: WeightedGradients, raw: Tensor) -> Tensor:
    """Weights divided by the target's mean weight over all ranks; not differentiable."""
    raw = raw.detach()
    return raw / weighted.reduce(target_mean(weighted, raw))


def surrogate(weighted: WeightedGradients, raw: Tensor, slopes: Tensor, divide: bool) -> Tensor:
    """A scalar whose gradients, added over ranks, are those of L_meta with respect to the weighting's parameters.

    raw: [R], the model's output. slopes: [R], dL_meta / dw_r for the weights as used, which are ``raw``, or with ``divide``
    raw / m, m being the target's mean: then every row also acts through m, d(raw / m) = d raw / m - raw dm / m^2.
    """
    direct = (slopes * raw).sum()
    if not divide:
        return direct
    mean = weighted.reduce(target_mean(weighted, raw.detach()))
    through_mean = weighted.reduce(direct.detach()) / mean.square()
    return direct / mean - through_mean * target_mean(weighted, raw)
