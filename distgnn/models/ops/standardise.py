"""Standardisation of groups of rows (batch norm without its affine part), with second derivatives in closed form.

The composite second derivative of torch's batch norm takes some 25 passes over the rows, the one here 11.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def standardise(x: Tensor, sizes: list[int], eps: float, sums: Tensor | None = None) -> Tensor:
    """Subtract the mean of each group and divide by its standard deviation; differentiable twice, and in forward mode.

    Args:
        x: [rows, width].
        sizes: Number of rows of each group, in order; none is 0.
        eps: Added to the variance.
        sums: [2, width]; if given, the means and the unbiased variances of all groups are added to it.

    Returns:
        [rows, width]; 0 in groups of one row.
    """
    return _Standardise.apply(x, _Groups(sizes, eps, sums)) if sizes else x  # pyright: ignore[reportReturnType]


@dataclass
class _Groups:
    sizes: list[int]
    eps: float
    sums: Tensor | None
    moments: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # mean and 1 / standard deviation of each group
    result: Tensor = field(init=False)

    def standardise(self, x: Tensor) -> Tensor:
        self.result = torch.cat([self._group(part) for part in x.split(self.sizes)])
        return self.result.detach()  # another object: the graph of the result owns this one

    def _group(self, x: Tensor) -> Tensor:
        if x.shape[0] == 1:  # a single row equals its mean
            self.moments.append((x[0], torch.zeros_like(x[0])))
            if self.sums is not None:
                self.sums[0] += x[0]
            return torch.zeros_like(x)
        running = (None, None) if self.sums is None else (torch.zeros_like(x[0]), torch.zeros_like(x[0]))
        y, mean, scale = torch.native_batch_norm(x, None, None, *running, True, 1.0, self.eps)
        self.moments.append((mean, scale))
        if self.sums is not None:
            self.sums += torch.stack(running)  # pyright: ignore[reportArgumentType]
        return y

    def jacobian(self, v: Tensor, x: Tensor) -> Tensor:
        """Apply the Jacobian at x, which is symmetric: s (v - mean v - y mean(v y)) in each group."""
        parts = [
            torch.ops.aten.native_batch_norm_backward(
                g, rows, None, None, None, mean, scale, True, self.eps, [True, False, False]
            )[0]
            for g, rows, (mean, scale) in zip(v.split(self.sizes), x.split(self.sizes), self.moments, strict=True)
        ]
        return torch.cat(parts)

    def curvature(self, v: Tensor, g: Tensor) -> Tensor:
        """Return the gradient of <v, jacobian(g, x)> with respect to x, which is symmetric in v and g."""
        parts = zip(*(part.split(self.sizes) for part in (v, g, self.result)), self.moments, strict=True)
        return torch.cat([_curvature(a, b, y, scale) for a, b, y, (_, scale) in parts])


def _curvature(v: Tensor, g: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    mean_v, mean_g, v_y, g_y, v_g = v.mean(0), g.mean(0), (v * y).mean(0), (g * y).mean(0), (v * g).mean(0)
    factor = -scale.square()
    constant = -factor * (g_y * mean_v + v_y * mean_g)
    result = torch.addcmul(constant, v, factor * g_y)
    return result.addcmul_(g, factor * v_y).addcmul_(y, factor * (v_g - mean_v * mean_g - 3 * v_y * g_y))


class _Standardise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, groups: _Groups) -> Tensor:
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)
        ctx.groups = groups
        return groups.standardise(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _Jacobian.apply(grads[0], *ctx.saved_tensors, ctx.groups), None  # pyright: ignore[reportReturnType]

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _Jacobian.apply(tangents[0], *ctx.saved_tensors, ctx.groups)  # pyright: ignore[reportReturnType]


class _Jacobian(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor, x: Tensor, groups: _Groups) -> Tensor:
        ctx.save_for_backward(v, x)
        ctx.save_for_forward(v, x)
        ctx.groups = groups
        return groups.jacobian(v, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        v, x = ctx.saved_tensors
        return ctx.groups.jacobian(grads[0], x), ctx.groups.curvature(grads[0], v), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        v, x = ctx.saved_tensors
        dv, dx = tangents[:2]
        parts = [
            None if dv is None else ctx.groups.jacobian(dv, x),
            None if dx is None else ctx.groups.curvature(dx, v),
        ]
        return torch.stack([part for part in parts if part is not None]).sum(0)
