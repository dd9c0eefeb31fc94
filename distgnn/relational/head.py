"""Closed-form prediction from context rows: a Gaussian process whose kernel the encoder chooses."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_JITTER = 1e-4


class Solution(NamedTuple):
    """Solved context.

    Attributes:
        weights: [context], of the kernel values.
        left_out: [context], residual of each label when it is left out.
        variance: [context], its variance.
    """

    weights: Tensor
    left_out: Tensor
    variance: Tensor


def solve(kernel: Tensor, noise: Tensor, residual: Tensor) -> Solution:
    """Solve (kernel + noise I) w = residual, with all leave-one-out residuals in closed form.

    Args:
        kernel: [context, context], positive semi-definite.
        noise: Scalar variance of the labels' noise.
        residual: [context], labels less the prior mean.
    """
    inverse = torch.cholesky_inverse(_factor(kernel, noise))
    weights = inverse @ residual
    precision = inverse.diagonal()
    return Solution(weights, weights / precision, 1 / precision)


def solve_weights(kernel: Tensor, noise: Tensor, residual: Tensor) -> Tensor:
    """The weights of :func:`solve` alone, which is faster, above all for large contexts."""
    return torch.cholesky_solve(residual[:, None], _factor(kernel, noise))[:, 0]


def _factor(kernel: Tensor, noise: Tensor) -> Tensor:
    eye = torch.eye(kernel.shape[0], dtype=kernel.dtype, device=kernel.device)
    return torch.linalg.cholesky(kernel + (noise + _JITTER) * eye)


def left_out_residuals(kernel: Tensor, noise: Tensor, weights: Tensor) -> Tensor:
    """Residual of each context label when it is left out, [context], from the ``weights`` of a solved context."""
    return weights / torch.cholesky_inverse(_factor(kernel, noise)).diagonal()


def left_out_loss(solution: Solution) -> Tensor:
    """Mean negative log density of each context label given the others (Rasmussen and Williams, 2006, eq. 5.10-5.11)."""
    return 0.5 * (solution.variance.log() + solution.left_out.square() / solution.variance).mean()
