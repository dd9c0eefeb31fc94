"""Per-graph adaptation without per-graph weights: gradient steps on a layer, applied as terms of its output.

A linear layer y = W x + b acts on rows that belong to graphs. One gradient step with learning rate a on the loss of graph
g turns W into W_g = W - a * sum_j delta_j x_j^T over g's rows j, with delta_j = dL/dy_j. The adapted output is therefore

    y'_i = W x'_i + b - a * sum_{j in g(i)} (x_j . x'_i + 1) delta_j,

a product of short matrices within each graph, associated in the cheaper way for its size. Only gradients with respect to
layer outputs are computed; further steps append terms. Small parameters (gains, biases, attention vectors) store explicit
differences.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distgnn.models.ops.block_product import block_diagonal_product
from distgnn.models.ops.segments import Segments


class Update(Protocol):
    """Change of a layer's parameters by one inner step."""

    def apply(self, rows: Segments, x: Tensor) -> Tensor:
        """Return the change of the layer's output at input ``x``."""
        ...


Change = Callable[[Segments, Tensor, Tensor], Update]
"""Function of (rows, input x, -learning rate * gradient of the output) that returns the update of a kind of layer."""


class FastWeights:
    """Adapted parameters theta' of every group (such as a graph) of a batch, stored as updates to the shared parameters.

    Args:
        nodes: group of each node; layers on other rows derive their grouping from it.
        lr: inner learning rate.
        order: 2 keeps the updates differentiable, 1 treats them as constants.
        frozen: number of the first layers of psi that do not adapt.

    Attributes:
        below: outputs of the frozen layers, computed once per batch; None before the first forward pass.
    """

    def __init__(self, nodes: Segments, lr: float, order: int, frozen: int = 0) -> None:
        self.nodes, self.lr, self.order, self.frozen = nodes, lr, order, frozen
        self.below: list[Tensor] | None = None
        self._updates: dict[Hashable, list[Update]] = defaultdict(list)
        self._tape: list[tuple[Hashable, Segments, Tensor, Tensor, Change]] = []

    def adapted(self, layer: Hashable, rows: Segments, x: Tensor, y: Tensor, change: Change) -> Tensor:
        """Return the output of ``layer`` with the updates so far, and record it for the next step.

        Args:
            layer: key of the layer.
            rows: group of each row of x and y.
            x: input of the layer.
            y: unadapted output at ``x``.
            change: computes the layer's update in the next step.
        """
        for update in self._updates[layer]:
            y = y + update.apply(rows, x)
        return self.record(layer, rows, x, y, change)

    def updates(self, layer: Hashable) -> list[Update]:
        """Return the updates of ``layer`` so far."""
        return self._updates[layer]

    def record(self, layer: Hashable, rows: Segments, x: Tensor, y: Tensor, change: Change) -> Tensor:
        """Record an output that contains the updates so far, and return it; see :meth:`adapted`."""
        self._tape.append((layer, rows, x, y, change))
        return y

    def step(self, loss: Tensor) -> None:
        """Take one inner gradient step on ``loss`` (a sum over groups) through the outputs recorded since the last step."""
        outputs = [y for *_, y, _ in self._tape]
        if not outputs:
            return
        second = self.order == 2
        descent = loss * -self.lr  # with grad_outputs instead, torch imports sympy: 0.5 CPU seconds at each start
        deltas = torch.autograd.grad(descent, outputs, create_graph=second, retain_graph=True, materialize_grads=True)
        for (layer, rows, x, _, change), delta in zip(self._tape, deltas, strict=True):
            delta = delta.to(x.dtype) if x.is_floating_point() else delta  # x may be embedding indices
            self._updates[layer].append(change(rows, x if second else x.detach(), delta))
        self._tape = []


class LinearUpdate:
    """Change of a weight matrix (and bias), stored as the inputs and output gradients of the step."""

    def __init__(self, x: Tensor, delta: Tensor, bias: bool) -> None:
        self.x, self.delta, self.bias = x, delta, bias

    def apply(self, rows: Segments, x: Tensor) -> Tensor:
        """Return the change of the output, [rows, in] -> [rows, out]."""
        return block_diagonal_product(x, self.x, self.delta, rows, self.bias)


class ScaleUpdate:
    """Change of an elementwise gain and bias, per group.

    Attributes:
        gain: [groups, width].
        shift: [groups, width].
    """

    def __init__(self, rows: Segments, x: Tensor, delta: Tensor) -> None:
        self.gain, self.shift = rows.sum(x * delta), rows.sum(delta)

    def apply(self, rows: Segments, x: Tensor) -> Tensor:
        """Return the change of the output, [rows, width] -> [rows, width]."""
        return torch.addcmul(rows.expand(self.shift), x, rows.expand(self.gain))


class ShiftUpdate:
    """Change of an added vector, per group."""

    def __init__(self, rows: Segments, x: Tensor, delta: Tensor) -> None:  # noqa: ARG002 - a Change
        self.shift = rows.sum(delta)

    def apply(self, rows: Segments, x: Tensor) -> Tensor:  # noqa: ARG002 - an Update
        """Return the change of the output, [rows, width]."""
        return rows.expand(self.shift)


class AdaptiveLinear(nn.Linear):
    """torch.nn.Linear whose weight and bias can be adapted per graph."""

    def forward(self, input: Tensor, fast: FastWeights | None = None, rows: Segments | None = None) -> Tensor:  # noqa: A002
        """Apply the layer, with the adapted weights of each graph if ``fast`` is given.

        Args:
            input: [rows, in].
            fast: adapted parameters; None = shared parameters.
            rows: graph of each row; None = the rows are nodes.

        Returns:
            [rows, out].
        """
        y = F.linear(input, self.weight, self.bias).to(self.weight.dtype)  # bfloat16 would round small updates away
        return y if fast is None else fast.adapted(self, rows or fast.nodes, input, y, self._change)

    def _change(self, rows: Segments, x: Tensor, delta: Tensor) -> Update:  # noqa: ARG002 - a Change
        return LinearUpdate(x, delta, self.bias is not None)


class AdaptiveScale(nn.Module):
    """Elementwise gain and bias of node rows (the affine part of a norm) that can be adapted per graph."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, fast: FastWeights | None = None) -> Tensor:
        """Apply the layer, [N, width] -> [N, width]. See :class:`AdaptiveLinear`."""
        weight, bias = self.weight, self.bias
        updates: Any = [] if fast is None else fast.updates(self)
        if fast is not None and updates:
            weight = fast.nodes.expand(torch.stack([update.gain for update in updates]).sum(0) + weight)
            bias = fast.nodes.expand(torch.stack([update.shift for update in updates]).sum(0) + bias)
        y = torch.addcmul(bias, x, weight)
        return y if fast is None else fast.record(self, fast.nodes, x, y, ScaleUpdate)


class AdaptiveShift(nn.Module):
    """Vector added to node rows that can be adapted per graph."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, fast: FastWeights | None = None) -> Tensor:
        """Apply the layer, [N, width] -> [N, width]. See :class:`AdaptiveLinear`."""
        y = x + self.bias
        return y if fast is None else fast.adapted(self, fast.nodes, x, y, ShiftUpdate)
