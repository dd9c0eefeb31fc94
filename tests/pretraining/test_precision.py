"""Lower precision keeps the direction of the outer gradient, and settings of the process are restored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from distgnn.checkpoint.training_state import make_state
from distgnn.config import EncoderConfig, PretrainConfig, TrainConfig
from distgnn.pretraining.precision import autocast, matrix_products
from distgnn.pretraining.step import objective_of
from tests.helpers.graphs import MOLECULE, random_graphs, with_tasks
from tests.helpers.training import CPU

SIZES = [5, 1, 9, 2, 6, 14, 20, 8]


def gradient(
    objective: Any, kind: Any, precision: Any, seed: int = 0, rounded: bool = False
) -> tuple[float, torch.Tensor]:
    """(loss, gradient) of a small batch; with ``rounded``, at weights that a bfloat16 holds."""
    encoder, train = EncoderConfig(kind=kind, layers=2, width=16), TrainConfig(precision=precision, seed=seed)
    state = make_state(PretrainConfig("unused", objective=objective, encoder=encoder, train=train), MOLECULE, CPU)
    made, parameters = objective_of(state), [parameter for _, parameter in state.named_parameters()]
    if rounded:
        for parameter in parameters:
            parameter.data = parameter.data.bfloat16().float()
    batch = with_tasks(random_graphs(SIZES), made.prepare, streams=[0, 3])
    with autocast(train, CPU):
        total = made.losses(state.encoder, batch, 0, 0).total
    total.backward()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in parameters)
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    return float(total.detach()), torch.cat([grad.flatten() for grad in grads])


def turned(one: torch.Tensor, other: torch.Tensor) -> float:
    return 1 - float(torch.cosine_similarity(one, other, dim=0))


@pytest.mark.parametrize(
    ("objective", "kind"), [("edgepred", "gin"), *[(o, k) for o in ("l2p", "edgepred") for k in ("gcn", "sage", "gat")]]
)
def test_bf16_keeps_the_direction_of_the_gradient(objective: str, kind: str) -> None:
    (exact, wanted), (loss, found) = (gradient(objective, kind, precision) for precision in ("fp32", "bf16"))
    assert loss != exact
    assert loss == pytest.approx(exact, rel=0.02)
    assert turned(found, wanted) < 0.02


def test_bf16_changes_the_direction_of_the_l2p_gradient_as_little_as_rounded_weights() -> None:
    """Before training, GIN's L2P gradient is sensitive to rounding; second order must not increase that."""
    turns = {"bf16": 0.0, "rounded": 0.0}
    for seed in range(4):
        exact = gradient("l2p", "gin", "fp32", seed)[1]
        turns["bf16"] += turned(gradient("l2p", "gin", "bf16", seed)[1], exact)
        turns["rounded"] += turned(gradient("l2p", "gin", "fp32", seed, rounded=True)[1], exact)
    assert turns["bf16"] < 3 * turns["rounded"]
    assert turns["bf16"] < 4 * 0.05


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_tf32_on_a_gpu_changes_products_and_is_restored(precision: Any, device: str) -> None:
    before, config = torch.get_float32_matmul_precision(), replace(TrainConfig(), precision=precision)
    with matrix_products(config, torch.device(device)):
        inside = torch.get_float32_matmul_precision()
    assert inside == ("high" if (precision, device) == ("tf32", "cuda") else before)
    assert torch.get_float32_matmul_precision() == before


def test_tf32_is_fp32_on_a_cpu() -> None:
    assert gradient("edgepred", "gin", "tf32")[0] == gradient("edgepred", "gin", "fp32")[0]
