"""Block-diagonal products: every row interacts with the rows of its own graph, in a few padded batched products.

One autograd function instead of a chain of paddings and products: apart from the products, a training step spends most
of its time moving rows, and this moves each row once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from distgnn.models.ops.segments import Padding, Segments


def block_diagonal_product(x: Tensor, keys: Tensor, values: Tensor, rows: Segments, bias: bool) -> Tensor:
    """Compute y_i = sum_j (keys_j . x_i + bias) values_j over the rows j of i's graph.

    Differentiable any number of times and in forward mode. Under autocast the products run in the autocast dtype.

    Args:
        x: [N, in].
        keys: [N, in].
        values: [N, out].
        rows: graph of each row.
        bias: whether to add 1 to each score.

    Returns:
        [N, out].
    """
    return _BlockDiagonalProduct.apply(x, keys, values, rows.padding, bias)  # pyright: ignore[reportReturnType]


class _BlockDiagonalProduct(torch.autograd.Function):
    """Linear in each of its three tensor arguments (except for the bias), so its derivatives are products of the same kind.

    Padded slots of x and keys hold arbitrary rows; values and gradients are zero there, so they do not contribute.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, keys: Tensor, values: Tensor, padding: Padding, bias: bool) -> Tensor:
        ctx.save_for_backward(x, keys, values)
        ctx.save_for_forward(x, keys, values)
        device = x.device.type
        ctx.padding, ctx.bias = padding, bias
        ctx.dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        slots = [
            padding.slots(part.to(ctx.dtype), masked) for part, masked in ((x, False), (keys, False), (values, True))
        ]
        ctx.classes = [_SizeClass(a, b, c, bias) for a, b, c in zip(*map(padding.squares, slots), strict=True)]
        result = slots[2].new_empty(len(padding.index), values.shape[1])
        for each, place in zip(ctx.classes, padding.squares(result), strict=True):
            each.product(place)
        return result.index_select(0, padding.inverse)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, keys, values = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: the result must be differentiable
            found = _derivatives(x, keys, values, grads[0].to(values.dtype), ctx)
        else:
            found = _gradients(x, keys, values, grads[0], ctx)
        return *found, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, keys, values = ctx.saved_tensors
        dx, dkeys, dvalues = tangents[:3]
        parts = [
            None if dx is None else _BlockDiagonalProduct.apply(dx, keys, values, ctx.padding, False),
            None if dkeys is None else _BlockDiagonalProduct.apply(x, dkeys, values, ctx.padding, False),
            None if dvalues is None else _BlockDiagonalProduct.apply(x, keys, dvalues, ctx.padding, ctx.bias),
        ]
        return torch.stack([part for part in parts if part is not None]).sum(0)  # pyright: ignore[reportArgumentType]


def _derivatives(x: Tensor, keys: Tensor, values: Tensor, grad: Tensor, ctx: Any) -> list[Tensor | None]:
    """Differentiable gradients of the three arguments."""
    products = (grad, values, keys, False), (values, grad, x, False), (keys, x, grad, ctx.bias)
    return [
        _BlockDiagonalProduct.apply(*parts, ctx.padding, bias) if needed else None  # pyright: ignore[reportReturnType]
        for (*parts, bias), needed in zip(products, ctx.needs_input_grad[:3], strict=True)
    ]


def _gradients(x: Tensor, keys: Tensor, values: Tensor, grad: Tensor, ctx: Any) -> list[Tensor | None]:
    """Gradients of the arguments that need one, from the padded tensors kept by the forward pass."""
    padding, needed = ctx.padding, ctx.needs_input_grad[:3]
    slots = padding.slots(grad.to(ctx.dtype), True)
    results = [
        slots.new_empty(len(padding.index), part.shape[1]) if need else None
        for part, need in zip((x, keys, values), needed, strict=True)
    ]
    nothing = [None] * len(ctx.classes)
    places = zip(*(nothing if part is None else padding.squares(part) for part in results), strict=True)
    for each, g, place in zip(ctx.classes, padding.squares(slots), places, strict=True):
        each.gradients(g, *place)
    return [
        None if result is None else result.index_select(0, padding.inverse).to(part.dtype)
        for result, part in zip(results, (x, keys, values), strict=True)
    ]


class _SizeClass:
    """Graphs of similar size: x [B, L, in], keys [B, L, in], values [B, L, out], padded.

    The product is associated in the cheaper way: scores [B, L, L] between rows, or one matrix [B, in, out] per graph.
    """

    def __init__(self, x: Tensor, keys: Tensor, values: Tensor, bias: bool) -> None:
        self.x, self.keys, self.values, self.bias = x, keys, values, bias
        rows, width_in, width_out = x.shape[1], x.shape[2], values.shape[2]
        self.scored = rows * (width_in + width_out) <= 2 * width_in * width_out
        self.middle = torch.bmm(x, keys.mT) if self.scored else torch.bmm(keys.mT, values)
        if self.scored and bias:
            self.middle += 1

    def product(self, out: Tensor) -> None:
        """Write the result to ``out`` [B, L, out]."""
        if self.scored:
            torch.bmm(self.middle, self.values, out=out)
            return
        torch.bmm(self.x, self.middle, out=out)
        if self.bias:
            out += self.values.sum(1, keepdim=True)

    def gradients(self, g: Tensor, x: Tensor | None, keys: Tensor | None, values: Tensor | None) -> None:
        """Write gradients to those of x, keys and values that are given.

        Args:
            g: Gradient of the result, zero in padded slots.
            x: [B, L, in].
            keys: [B, L, in].
            values: [B, L, out].
        """
        if self.scored:
            if x is not None or keys is not None:
                scores = torch.bmm(g, self.values.mT)
                _write(x, scores, self.keys)
                _write(keys, scores.mT, self.x)
            _write(values, self.middle.mT, g)
            return
        _write(x, g, self.middle.mT)
        if keys is not None or values is not None:
            matrix = torch.bmm(self.x.mT, g)
            _write(keys, self.values, matrix.mT)
            _write(values, self.keys, matrix)
        if self.bias and values is not None:
            values += g.sum(1, keepdim=True)


def _write(out: Tensor | None, left: Tensor, right: Tensor) -> None:
    if out is not None:
        torch.bmm(left, right, out=out)
