"""Pre-training on episodes of many databases: deterministic, resumable, with the same losses on any number of ranks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from distgnn.config.database_model import DatabaseModelConfig, DatabaseTrainConfig
from distgnn.distributed import ProcessGroup
from distgnn.errors import DivergedError
from distgnn.graph.keyed import draw, key, unit_interval
from distgnn.graph.purposes import RelationalDraw
from distgnn.relational.ensemble import DatabaseModel
from distgnn.relational.episodes import EpisodeLimits, TaskData, draw_episode

_WARM_UP = 0.05


@dataclass
class State:
    """Training state.

    Attributes:
        model: The model.
        optimiser: Adam over its parameters.
        step: Index of the next step.
        losses: Mean query loss of each step.
    """

    model: DatabaseModel
    optimiser: torch.optim.Adam
    step: int = 0
    losses: list[float] = field(default_factory=list)


def new_model(config: DatabaseModelConfig, seed: int) -> DatabaseModel:
    """An untrained model; a function of its config and ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, RelationalDraw.WEIGHTS) >> 1)
        return DatabaseModel(config)


def new_state(config: DatabaseModelConfig, train: DatabaseTrainConfig) -> State:
    """State before the first step."""
    model = new_model(config, train.seed)
    return State(model, torch.optim.Adam(model.parameters(), lr=train.lr))


def weights_of(pool: list[TaskData]) -> np.ndarray:
    """Probability of each task: the square root of its rows, so that large databases do not drown small ones."""
    sizes = np.sqrt([data.rows.entity.size for data in pool])
    return sizes / sizes.sum()


def train_steps(
    state: State,
    pool: list[TaskData],
    config: DatabaseTrainConfig,
    group: ProcessGroup,
    after: Callable[[State], bool],
) -> None:
    """Train until ``config.steps`` or until ``after`` a step returns True. Collective.

    Episode ``index`` of a step is a function of (seed, step, index); rank r computes those with index = r modulo the ranks.
    """
    weights = np.cumsum(weights_of(pool))
    while state.step < config.steps:
        found = [
            _gradient(state.model, _task(pool, weights, config.seed, state.step, index), config, state.step, index)
            for index in range(group.rank, config.episodes, group.world_size)
        ]
        size = sum(parameter.numel() for parameter in state.model.parameters()) + 1
        flat = group.all_reduce(torch.stack(found).sum(0) if found else torch.zeros(size, dtype=torch.float64))
        _update(state, flat / config.episodes, config)
        if after(state):
            return


def _task(pool: list[TaskData], weights: np.ndarray, seed: int, step: int, index: int) -> TaskData:
    chance = unit_interval(draw(key(seed, RelationalDraw.EPISODE, step), index))[0]
    return pool[min(int(np.searchsorted(weights, chance, "right")), len(pool) - 1)]


def _gradient(model: DatabaseModel, data: TaskData, config: DatabaseTrainConfig, step: int, index: int) -> Tensor:
    """Flat gradient of one episode, and its loss; float64, so that the order of additions hardly matters."""
    limits = EpisodeLimits(config.contexts, config.queries, config.columns, config.name_dropout)
    episode = draw_episode(data, limits, config.seed, step, index)
    adapted = unit_interval(draw(key(config.seed, RelationalDraw.ROWS, step), index))[0] < config.adapted
    loss = model.loss(episode, int(adapted))
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss * len(model.members), parameters, allow_unused=True)
    flat = [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, parameters, strict=True)]
    return torch.cat([*(part.flatten() for part in flat), loss.detach().reshape(1)]).double()


def _update(state: State, flat: Tensor, config: DatabaseTrainConfig) -> None:
    gradient, loss = flat[:-1], float(flat[-1])
    norms = gradient.reshape(len(state.model.members), -1).norm(dim=1, keepdim=True)
    if not (bool(norms.isfinite().all()) and math.isfinite(loss)):
        raise DivergedError(f"step {state.step}: loss or gradient is not finite; lower train.lr (now {config.lr:g})")
    if config.clip_norm:  # of each member, so that it is trained as if it were alone
        limited = gradient.reshape(len(norms), -1) * (config.clip_norm / norms.clamp_min(config.clip_norm))
        gradient = limited.flatten()
    parameters = list(state.model.parameters())
    for parameter, part in zip(parameters, gradient.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter).to(parameter.dtype)
    state.optimiser.param_groups[0]["lr"] = _rate(config, state.step)
    state.optimiser.step()
    state.step += 1
    state.losses.append(loss)


def _rate(config: DatabaseTrainConfig, step: int) -> float:
    warm = max(int(_WARM_UP * config.steps), 1)
    done = max(step - warm, 0) / max(config.steps - warm, 1)
    return config.lr * min((step + 1) / warm, 1.0) * 0.5 * (1 + math.cos(math.pi * done))
