"""State of a trainer between two epochs as arrays, to continue with identical numbers in another process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distgnn.auxiliary.trainer import Trainer
from distgnn.storage.arrays import Arrays
from distgnn.storage.records import Name, Small

Tensors = dict[str, Tensor]


def freeze(fit: Trainer) -> tuple[dict[str, Any], Arrays]:
    """Return (JSON values, arrays by name) of a trainer, without the curves of its past steps."""
    groups: dict[str, Tensors] = {"now": fit.trained.state_dict(), "best": fit.best_weights}
    groups["weighting"] = fit.step.weighting.state_dict()
    groups |= {name: _flat(optimiser) for name, optimiser in fit.step.optimisers.items()}
    arrays = {f"{group}/{name}": _array(tensor) for group, found in groups.items() for name, tensor in found.items()}
    return {"validation": fit.validation, "best_epoch": fit.best_epoch}, arrays


@dataclass(frozen=True)
class FrozenState:
    """JSON values of a frozen trainer.

    Attributes:
        validation: Metrics on the validation part after each epoch.
        best_epoch: The first epoch with the best validation score, counted from 1.
    """

    validation: tuple[dict[Name, float], ...]
    best_epoch: Small


def thaw(fit: Trainer, state: FrozenState, arrays: Arrays) -> None:
    """Restore a new trainer of the same config from its frozen state; its curves start there."""
    device = fit.group.device
    groups: dict[str, Tensors] = {}
    for name, array in arrays.items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest] = torch.from_numpy(np.array(array)).to(device)
    fit.trained.load_state_dict(groups["now"])
    fit.best_weights = groups["best"]
    fit.step.weighting.load_state_dict(groups.get("weighting", {}))
    for name, optimiser in fit.step.optimisers.items():
        optimiser.load_state_dict(_nested(optimiser, groups.get(name, {})))
    fit.validation, fit.best_epoch = list(state.validation), state.best_epoch


def _array(tensor: Tensor) -> Any:
    return tensor.detach().cpu().numpy().copy()


def _flat(optimiser: torch.optim.Optimizer) -> Tensors:
    state = optimiser.state_dict()["state"]
    return {
        f"{place}/{name}": torch.as_tensor(value) for place, found in state.items() for name, value in found.items()
    }


def _nested(optimiser: torch.optim.Optimizer, flat: Tensors) -> dict[str, Any]:
    state: dict[int, Tensors] = {}
    for name, tensor in flat.items():
        place, _, kind = name.partition("/")
        state.setdefault(int(place), {})[kind] = tensor
    return {"state": state, "param_groups": optimiser.state_dict()["param_groups"]}
