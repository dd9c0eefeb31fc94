"""Per-graph adaptation without per-graph weights: gradient steps on a layer's parameters, applied as terms of its output.

A linear layer y = W x + b acts on rows that belong to graphs. One gradient step of rate a on graph g's loss turns W into
W_g = W - a * sum_j delta_j x_j^T over g's rows j, with delta_j = dL/dy_j. So the adapted output is

    y'_i = W x'_i + b - a * sum_{j in g(i)} (x_j . x'_i + 1) delta_j,

a product of short matrices within each graph, associated whichever way is cheaper for its size. Only gradients with respect
to layer outputs are taken; steps append terms. Small parameters (gains, biases, attention vectors) take explicit differences.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distgnn.models.rows import Rows


class Update(Protocol):
    """What one inner step did to a layer's parameters."""

    def apply(self, rows: Rows, x: Tensor) -> Tensor:
        """The change of the layer's output at input ``x``, without the learning rate."""
        ...


Change = Callable[[Rows, Tensor, Tensor], Update]
"""(rows, input x, gradient of the output) -> the update; how a kind of layer answers a gradient step."""


class FastWeights:
    """The adapted parameters theta' of every group of a batch (a graph, say), as updates to the shared ones.

    nodes: which node belongs to which group (layers that act on other rows derive their grouping from it). lr: inner
    learning rate. order: 2 keeps the updates differentiable, 1 treats them as constants.
    """

    def __init__(self, nodes: Rows, lr: float, order: int) -> None:
        self.nodes, self.lr, self.order = nodes, lr, order
        self._updates: dict[Hashable, list[Update]] = defaultdict(list)
        self._tape: list[tuple[Hashable, Rows, Tensor, Tensor, Change]] = []

    def adapted(self, layer: Hashable, rows: Rows, x: Tensor, y: Tensor, change: Change) -> Tensor:
        """Output of ``layer`` at ``x`` with the updates so far, given its unadapted output ``y``; noted for the next step.

        rows: which rows of x and y belong to which group.
        """
        for update in self._updates[layer]:
            y = y - self.lr * update.apply(rows, x)
        self._tape.append((layer, rows, x, y, change))
        return y

    def step(self, loss: Tensor) -> None:
        """One inner gradient step on ``loss`` (a sum over groups), through the outputs noted since the last step."""
        outputs = [y for *_, y, _ in self._tape]
        if not outputs:
            return
        second = self.order == 2
        deltas = torch.autograd.grad(loss, outputs, create_graph=second, retain_graph=True, materialize_grads=True)
        for (layer, rows, x, _, change), delta in zip(self._tape, deltas, strict=True):
            delta = delta.to(x.dtype) if x.is_floating_point() else delta  # x may be indices into a table
            self._updates[layer].append(change(rows, x if second else x.detach(), delta))
        self._tape = []


class LinearUpdate:
    """One step's change of a weight matrix (and bias): padded inputs and output gradients of each size class."""

    def __init__(self, rows: Rows, x: Tensor, delta: Tensor, bias: bool) -> None:
        self.bias = bias
        self.memory = list(zip(rows.padding.pad(x), rows.padding.pad(delta), strict=True))

    def apply(self, rows: Rows, x: Tensor) -> Tensor:
        """[rows, in] -> [rows, out]."""
        padded = rows.padding.pad(x)
        parts = [_within_graph(part, *memory, self.bias) for part, memory in zip(padded, self.memory, strict=True)]
        return rows.padding.unpad(parts)


def _within_graph(x: Tensor, keys: Tensor, deltas: Tensor, bias: bool) -> Tensor:
    """sum_j (keys_j . x_i + bias) deltas_j for x [B, L, in], keys [B, J, in], deltas [B, J, out]: [B, L, out]."""
    rows, width_in, width_out = keys.shape[1], keys.shape[2], deltas.shape[2]
    if rows * (width_in + width_out) <= 2 * width_in * width_out:
        scores = torch.bmm(x, keys.transpose(1, 2))
        return torch.bmm(scores + 1 if bias else scores, deltas)
    change = torch.bmm(x, torch.bmm(keys.transpose(1, 2), deltas))
    return change + deltas.sum(1, keepdim=True) if bias else change


class ScaleUpdate:
    """One step's change of an elementwise gain and bias, per group."""

    def __init__(self, rows: Rows, x: Tensor, delta: Tensor) -> None:
        self.gain, self.shift = rows.sum(x * delta), rows.sum(delta)

    def apply(self, rows: Rows, x: Tensor) -> Tensor:
        """[rows, width] -> same."""
        return torch.addcmul(rows.expand(self.shift), x, rows.expand(self.gain))


class ShiftUpdate:
    """One step's change of an added vector, per group."""

    def __init__(self, rows: Rows, x: Tensor, delta: Tensor) -> None:  # noqa: ARG002 - a Change
        self.shift = rows.sum(delta)

    def apply(self, rows: Rows, x: Tensor) -> Tensor:  # noqa: ARG002 - an Update
        """[rows, width]."""
        return rows.expand(self.shift)


class AdaptiveLinear(nn.Linear):
    """torch.nn.Linear whose weight and bias can adapt per graph."""

    def forward(self, input: Tensor, fast: FastWeights | None = None, rows: Rows | None = None) -> Tensor:  # noqa: A002
        """[rows, in] -> [rows, out]; with ``fast``, each graph's rows see that graph's adapted weights.

        rows: which graph each row belongs to; None = rows are nodes.
        """
        y = F.linear(input, self.weight, self.bias).to(self.weight.dtype)  # bfloat16 would round small updates away
        return y if fast is None else fast.adapted(self, rows or fast.nodes, input, y, self._change)

    def _change(self, rows: Rows, x: Tensor, delta: Tensor) -> Update:
        return LinearUpdate(rows, x, delta, self.bias is not None)


class AdaptiveScale(nn.Module):
    """Elementwise gain and bias of node rows (the affine part of a norm) that can adapt per graph."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, fast: FastWeights | None = None) -> Tensor:
        """[N, width] -> same; see :class:`AdaptiveLinear`."""
        y = torch.addcmul(self.bias, x, self.weight)
        return y if fast is None else fast.adapted(self, fast.nodes, x, y, ScaleUpdate)


class AdaptiveShift(nn.Module):
    """A vector added to node rows that can adapt per graph."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, fast: FastWeights | None = None) -> Tensor:
        """[N, width] -> same; see :class:`AdaptiveLinear`."""
        y = x + self.bias
        return y if fast is None else fast.adapted(self, fast.nodes, x, y, ShiftUpdate)
