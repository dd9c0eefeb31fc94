"""Training state: copies for checkpoints, and checks of weights and optimizer state."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from distgnn.checkpoint.compatibility import check_compatible
from distgnn.checkpoint.training_state import (
    TrainState,
    check_weights,
    load_weights,
    make_state,
    not_finite,
    strip,
)
from distgnn.config import EncoderConfig, PretrainConfig
from distgnn.errors import RequestError
from distgnn.graph.schema import Feature, Schema
from distgnn.models.layer import Psi
from distgnn.objectives.l2p.objective import L2PConfig
from tests.helpers.training import CPU

SCHEMA = Schema(node=(Feature("color", "categorical", 8), Feature("size", "dense", 2)))


def config(objective: Any = "edgepred", **l2p: Any) -> PretrainConfig:
    options: dict[str, Any] = {"options": {"l2p": L2PConfig(**l2p)}} if l2p else {}
    return PretrainConfig(corpus="c", objective=objective, encoder=EncoderConfig(layers=1, width=4), **options)


def state() -> TrainState:
    made = make_state(config(), SCHEMA, CPU)
    made.step, made.skipped = 7, 2
    return made


def test_a_frozen_state_is_a_copy() -> None:
    made = state()
    frozen = made.freeze()
    assert (frozen.step, frozen.skipped, frozen.schema, frozen.damaged) == (7, 2, SCHEMA, "")
    assert frozen.weights == sum(parameter.numel() for parameter in made.encoder.parameters())
    name, parameter = next(iter(made.encoder.named_parameters()))
    before = frozen.model[f"encoder.{name}"].clone()
    with torch.no_grad():
        parameter.fill_(float("nan"))
    assert torch.equal(frozen.model[f"encoder.{name}"], before)
    assert made.freeze().damaged == f"encoder.{name}"
    names = [name for name, _ in made.named_parameters()]
    assert sorted(frozen.optimiser) == sorted(
        f"{kind}.{n}" for n in names for kind in ("exp_avg", "exp_avg_sq", "step")
    )
    assert not any(bool(tensor.any()) for tensor in frozen.optimiser.values())
    assert all(tensor.dtype == torch.float32 for tensor in frozen.optimiser.values())


def test_first_non_finite_tensor_is_named() -> None:
    whole, counts = torch.zeros(2), torch.tensor([1 << 62])
    assert not_finite({"a": whole, "b": counts}) == ""
    for value in (float("nan"), float("inf"), -float("inf")):
        assert not_finite({"a": whole, "b": counts, "c": torch.tensor([0, value]), "d": torch.tensor(value)}) == "c"


@pytest.mark.parametrize(("settings", "order"), [
    (config("edgepred"), 0),
    (config("l2p", order=2), 2),
    (config("l2p", order=1), 1),
    (config("l2p", adaptation="batch"), 0),
    (config("l2p", levels="graph"), 0),
    (config("l2p", node_steps=0), 0),
    (config("none"), None),
])  # fmt: skip
def test_rehearsal_uses_adaptation_order(
    settings: PretrainConfig, order: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(Psi, "rehearse", lambda _, order: asked.append(order))
    make_state(settings, SCHEMA, CPU)
    assert asked == ([] if order is None else [order])


def test_wrong_weights_are_refused() -> None:
    module, weights = nn.Linear(2, 1), {"weight": torch.ones(1, 2), "bias": torch.zeros(1)}
    load_weights(module, weights, "here")
    assert module.weight.tolist() == [[1, 1]]
    with pytest.raises(
        RequestError, match=r"^here: weights do not fit the model \(missing \['bias'\], unknown \['b'\]\)"
    ):
        check_weights(module, {"weight": torch.ones(1, 2), "b": torch.zeros(1)}, "here")
    with pytest.raises(RequestError, match=r"^here: weight weight has shape \(2, 1\) where \(1, 2\) belongs"):
        check_weights(module, weights | {"weight": torch.ones(2, 1)}, "here")
    assert strip({"a.b.c": weights["bias"], "ab.c": weights["bias"]}, "a").keys() == {"b.c"}


def test_wrong_optimizer_state_is_refused() -> None:
    made, frozen = state(), state().freeze()
    name = max(frozen.optimiser)
    for optimiser, odd in (
        ({key: value for key, value in frozen.optimiser.items() if key != name}, name),
        (frozen.optimiser | {"step.x": torch.zeros(())}, "step.x"),
    ):
        with pytest.raises(
            RequestError, match=rf"^here: the optimiser state does not fit the model \({odd}\); resume with"
        ):
            made.restore(3, frozen.model, optimiser, "here")
    made.restore(3, frozen.model, frozen.optimiser, "here")
    assert made.step == 3


@pytest.mark.parametrize(
    ("settings", "said"), [({"layers": 500, "width": 4}, 500), ({"layers": 1, "width": 8000}, 8000)]
)
def test_claimed_sizes_beyond_weights_are_refused(settings: dict[str, int], said: int) -> None:
    weights = strip(state().freeze().model, "encoder")
    check_compatible(SCHEMA, EncoderConfig(layers=1, width=4), weights, "here")
    with pytest.raises(
        RequestError, match=rf"^here: weights do not fit the model .its config claims sizes up to {said}\)"
    ):
        check_compatible(SCHEMA, EncoderConfig(**settings), weights, "here")
