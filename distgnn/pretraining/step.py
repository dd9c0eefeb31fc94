"""One outer step: local gradients, one flat all_reduce of everything ranks must agree on, one Adam update."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from distgnn.checkpoint.training_state import TrainState
from distgnn.config import TrainConfig
from distgnn.distributed import ProcessGroup
from distgnn.errors import DivergedError, WorkError
from distgnn.graph.batch import GraphBatch, slice_graphs
from distgnn.models.norm import apply_statistics, statistics
from distgnn.objectives.base import Losses, Objective
from distgnn.pretraining.precision import autocast

_MOST_SKIPPED = 20


@dataclass(frozen=True)
class StepResult:
    """Of the global batch, the same on every rank: sums and weights by name ("loss" among them), and what was agreed.

    graphs: how many it held. stop: some rank asked to stop. applied: whether the weights changed (where no graph contributed,
    or loss or gradient was not finite, they did not).
    """

    sums: dict[str, tuple[float, float]]
    graphs: int
    stop: bool
    applied: bool


def objective_of(state: TrainState) -> Objective:
    """What is trained; raises WorkError where there is nothing."""
    if state.objective is None:
        raise WorkError("there is no objective to train")
    return state.objective


def learning_rate(config: TrainConfig, step: int, total: int) -> float:
    """The rate of step ``step`` of ``total``: a linear rise over warmup_steps, then constant or a half cosine down to 0."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / (config.warmup_steps + 1)
    if config.schedule == "constant":
        return config.lr
    done = (step - config.warmup_steps) / max(total - config.warmup_steps, 1)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def loss_sums(losses: Losses | None, names: tuple[str, ...], device: torch.device) -> Tensor:
    """float32 [2 + 2 * len(names)]: total, count, then (sum, weight) per metric; zeros where this rank had no graphs."""
    if losses is None:
        return torch.zeros(2 + 2 * len(names), device=device)
    pairs = [losses.total, losses.count, *(value for name in names for value in losses.sums[name])]
    return torch.stack([value.detach().float().reshape(()) for value in pairs])


def named_sums(flat: list[float], names: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """The inverse of :func:`loss_sums`, with the loss itself under "loss"."""
    return {name: (flat[2 * i], flat[2 * i + 1]) for i, name in enumerate(("loss", *names))}


def outer_step(
    state: TrainState,
    batch: GraphBatch | None,
    config: TrainConfig,
    group: ProcessGroup,
    *,
    epoch: int,
    lr: float,
    stop: bool,
) -> StepResult:
    """Take one step with this rank's share of the global batch (None: no share; it still takes part in the sum).

    Raises DivergedError after 20 steps in a row whose loss or gradient is not finite.
    """
    objective = objective_of(state)
    parameters = [parameter for _, parameter in state.named_parameters()]
    pieces = (_sums(state, objective, piece, config, group, epoch) for piece in _pieces(batch, config))
    shared = next(pieces)
    for sums in pieces:
        shared = [total + more for total, more in zip(shared, sums, strict=True)]
    shared.append(shared[0].new_tensor([float(stop), 0.0 if batch is None else float(batch.num_graphs)]))
    flat = group.all_reduce(torch.cat(shared))
    gradient, running, sums, flags = flat.split([part.numel() for part in shared])
    norm, total, count, *metrics, stops, graphs = torch.cat([gradient.norm().reshape(1), sums, flags]).tolist()
    applied = count > 0 and _finite(state, math.isfinite(norm) and math.isfinite(total), lr)
    if applied:
        limit = config.clip_norm * count
        _set_gradients(parameters, gradient * (config.clip_norm / norm if 0 < limit < norm else 1.0 / count))
        state.optimiser.param_groups[0]["lr"] = lr
        state.optimiser.step()
        apply_statistics(state.encoder, running)
    state.optimiser.zero_grad(set_to_none=True)
    state.step += 1
    return StepResult(named_sums([total, count, *metrics], objective.metric_names), int(graphs), stops > 0, applied)


def check_agreement(state: TrainState, group: ProcessGroup) -> None:
    """Raise WorkError unless every rank holds the same weights, bit for bit; a collective."""
    sums = torch.stack([tensor.double().square().sum() for _, tensor in state.named_parameters()]).detach()
    if not group.agrees(sums):
        raise WorkError(
            f"step {state.step}: ranks hold different weights; resume from the last checkpoint and report this"
        )


def _pieces(batch: GraphBatch | None, config: TrainConfig) -> list[GraphBatch | None]:
    """What is computed at once: this rank's whole share or, for exact sums, each of its streams."""
    if not config.exact or batch is None or batch.stream_ptr is None:
        return [batch]
    pieces = []
    for low, high in pairwise(batch.stream_ptr.tolist()):
        pieces.append(replace(slice_graphs(batch, low, high), stream_ptr=batch.stream_ptr.new_tensor([0, high - low])))
    return pieces


def _sums(
    state: TrainState,
    objective: Objective,
    batch: GraphBatch | None,
    config: TrainConfig,
    group: ProcessGroup,
    epoch: int,
) -> list[Tensor]:
    """Flat gradient, statistics of norms and loss sums of some graphs; float32, or float64 where sums must be exact.

    Sums of a few float32 numbers are exact in float64 (unless they differ in size by 2^29), so their order does not matter.
    """
    losses = None
    if batch is not None:
        with autocast(config, group.device):
            losses = objective.losses(state.encoder, batch, config.seed, epoch)
        if losses.total.requires_grad:
            losses.total.backward()
    parameters = [parameter for _, parameter in state.named_parameters()]
    gradient = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten().float() for p in parameters])
    state.optimiser.zero_grad(set_to_none=True)
    running = statistics(state.encoder).to(group.device)
    dtype = torch.float64 if config.exact else torch.float32
    return [part.to(dtype) for part in (gradient, running, loss_sums(losses, objective.metric_names, group.device))]


def _finite(state: TrainState, finite: bool, lr: float) -> bool:
    state.skipped = 0 if finite else state.skipped + 1
    if state.skipped >= _MOST_SKIPPED:
        raise DivergedError(
            f"step {state.step}: loss or gradient was not finite {state.skipped} steps in a row; lower train.lr (now {lr:g})"
        )
    return finite


def _set_gradients(parameters: list[nn.Parameter], flat: Tensor) -> None:
    pieces = flat.split([parameter.numel() for parameter in parameters])
    for parameter, piece in zip(parameters, pieces, strict=True):
        parameter.grad = piece.view_as(parameter).to(parameter.dtype)
