"""Adam as in ``torch.optim.Adam``, bit for bit, without what its constructor and its step import."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

_BETAS, _EPSILON = (0.9, 0.999), 1e-8


class Adam:
    """Adam with torch's own update function (Kingma and Ba, ICLR 2015).

    ``torch.optim.Adam`` imports ``torch._dynamo`` (1.5 CPU seconds), which each worker would pay at each start.

    Args:
        parameters: The parameters.
        lr: Learning rate.
        weight_decay: Factor of the L2 penalty, which is added to the gradient.

    Attributes:
        param_groups: One group with "params", "lr" and "weight_decay"; what is set there applies to the next step.
        state: "step", "exp_avg" and "exp_avg_sq" of each parameter that had a gradient.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], lr: float, weight_decay: float = 0.0) -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": list(parameters), "lr": lr, "weight_decay": weight_decay}]
        self.state: dict[nn.Parameter, dict[str, Tensor]] = {}

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        (group,) = self.param_groups
        updated = [(parameter, parameter.grad) for parameter in group["params"] if parameter.grad is not None]
        for parameter, _ in updated:
            if parameter not in self.state:
                self.state[parameter] = _initial(parameter)
        states = [self.state[parameter] for parameter, _ in updated]
        adam(
            [parameter for parameter, _ in updated],
            [gradient for _, gradient in updated],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            amsgrad=False,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=_EPSILON,
            maximize=False,
        )

    def zero_grad(self) -> None:
        """Remove the gradients."""
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None


def _initial(parameter: nn.Parameter) -> dict[str, Tensor]:
    moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
    return {"step": torch.tensor(0.0, dtype=torch.float32), **moments}
