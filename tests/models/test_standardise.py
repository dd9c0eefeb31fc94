"""Standardisation against torch's batch norm, and its derivatives against finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from distgnn.models.ops.standardise import standardise

SIZES = [3, 1, 5]


def values(width: int = 4) -> Tensor:
    return torch.randn(9, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()


def composed(x: Tensor) -> Tensor:
    """torch's batch norm of each group; a single row gives 0."""
    a, b, c = x.split(SIZES)
    return torch.cat([F.batch_norm(a, None, None, training=True), b * 0, F.batch_norm(c, None, None, training=True)])


def test_values_and_statistics() -> None:
    x, sums = values(), torch.zeros(2, 4, dtype=torch.float64)
    torch.testing.assert_close(standardise(x, SIZES, 1e-5, sums), composed(x), rtol=0, atol=0)
    parts = [part.detach() for part in x.split(SIZES)]
    means = torch.stack([part.mean(0) for part in parts]).sum(0)
    torch.testing.assert_close(sums, torch.stack([means, parts[0].var(0) + parts[2].var(0)]))


@pytest.mark.parametrize("eps", [1e-5, 0.5])
def test_first_and_second_derivatives(eps: float) -> None:
    x = values()
    torch.autograd.gradcheck(lambda v: standardise(v, SIZES, eps), x, check_forward_ad=True)
    torch.autograd.gradgradcheck(lambda v: standardise(v, SIZES, eps), x, check_fwd_over_rev=True)


def test_gradient_of_a_gradient_step_equals_that_of_torch() -> None:
    """The use in L2P: a loss after a step along the gradient of another."""
    found = []
    for norm in (composed, lambda x: standardise(x, SIZES, 1e-5)):
        x = values()
        (step,) = torch.autograd.grad(norm(x).pow(3).sum(), x, create_graph=True)
        found.append(torch.autograd.grad(norm(x - 0.1 * step).cos().sum(), x)[0])
    torch.testing.assert_close(*found, rtol=1e-11, atol=1e-12)


def test_third_derivatives_are_refused() -> None:
    x = values()
    (first,) = torch.autograd.grad(standardise(x, SIZES, 1e-5).pow(3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.pow(2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        second.sum().backward()
