"""One training step: local gradients, one flat all-reduce, one Adam update."""

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
    """Result of a step for the global batch, equal on all ranks.

    Attributes:
        sums: (sum, weight) of each metric by name, including "loss".
        graphs: Number of graphs in the global batch.
        cpu_seconds: CPU seconds that all ranks reported with the step.
        stop: Whether a rank requested to stop.
        report: Whether the main process wishes to report.
        waited: Seconds that this rank waited for the all-reduce.
        applied: Whether the weights changed. They do not if no graph contributed, or if the loss or gradient is not finite.
    """

    sums: dict[str, tuple[float, float]]
    graphs: int
    stop: bool
    applied: bool
    cpu_seconds: float = 0.0
    report: bool = False
    waited: float = 0.0


@dataclass(frozen=True)
class Wishes:
    """What a rank tells the others with a step.

    Attributes:
        stop: Whether it requests to stop.
        report: Whether it wishes to report; only the main process does.
        cpu_seconds: CPU seconds that it has spent since it last told them.
    """

    stop: bool = False
    report: bool = False
    cpu_seconds: float = 0.0


_NOTHING = Wishes()


def objective_of(state: TrainState) -> Objective:
    """The objective of ``state``; raises WorkError if there is none."""
    if state.objective is None:
        raise WorkError("there is no objective to train")
    return state.objective


def learning_rate(config: TrainConfig, step: int, total: int, spent: float = 0.0) -> float:
    """Learning rate of step ``step`` of ``total``: linear warm-up over warmup_steps, then constant or cosine decay to 0.

    Args:
        config: Training options.
        step: Index of the step.
        total: Planned steps.
        spent: Share of the budget of CPU seconds that is spent; the decay follows whichever share is larger.
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / (config.warmup_steps + 1)
    if config.schedule == "constant":
        return config.lr
    done = (step - config.warmup_steps) / max(total - config.warmup_steps, 1)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min(max(done, spent), 1.0)))


def loss_sums(losses: Losses | None, names: tuple[str, ...], device: torch.device) -> Tensor:
    """Flatten losses for the all-reduce.

    Args:
        losses: Losses of this rank; None if it has no graphs (zeros are returned).
        names: Metric names, in order.
        device: Device of the result.

    Returns:
        float32 [2 + 2 * len(names)]: total, count, then (sum, weight) of each metric.
    """
    if losses is None:
        return torch.zeros(2 + 2 * len(names), device=device)
    pairs = [losses.total, losses.count, *(value for name in names for value in losses.sums[name])]
    return torch.stack([value.detach().float().reshape(()) for value in pairs])


def named_sums(flat: list[float], names: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """Inverse of :func:`loss_sums`; the loss is named "loss"."""
    return {name: (flat[2 * i], flat[2 * i + 1]) for i, name in enumerate(("loss", *names))}


def outer_step(
    state: TrainState,
    batch: GraphBatch | None,
    config: TrainConfig,
    group: ProcessGroup,
    *,
    epoch: int,
    lr: float,
    wishes: Wishes = _NOTHING,
) -> StepResult:
    """Take one step with this rank's share of the global batch. Collective.

    Args:
        state: Training state, updated in place.
        batch: This rank's graphs; None if it has none, in which case it only joins the all-reduce.
        config: Training options.
        group: The training processes.
        epoch: Index of the epoch, a key of the random draws.
        lr: Learning rate.
        wishes: What this rank tells the others.

    Raises:
        DivergedError: If the loss or gradient was not finite in 20 consecutive steps.
    """
    objective = objective_of(state)
    parameters = [parameter for _, parameter in state.named_parameters()]
    pieces = (_sums(state, objective, piece, config, group, epoch) for piece in _pieces(batch, config))
    shared = next(pieces)
    for sums in pieces:
        shared = [total + more for total, more in zip(shared, sums, strict=True)]
    told = [float(wishes.stop), float(wishes.report), 0.0 if batch is None else batch.num_graphs, wishes.cpu_seconds]
    shared.append(torch.stack([shared[0].new_full((), value) for value in told]))
    flat, waited = group.timed_all_reduce(torch.cat(shared))
    gradient, running, sums, flags = flat.split([part.numel() for part in shared])
    norm, total, count, *metrics, stops, reports, graphs, seconds = torch.cat(
        [gradient.norm().reshape(1), sums, flags]
    ).tolist()
    applied = count > 0 and _finite(state, math.isfinite(norm) and math.isfinite(total), lr)
    if applied:
        limit = config.clip_norm * count
        _set_gradients(parameters, gradient * (config.clip_norm / norm if 0 < limit < norm else 1.0 / count))
        state.optimiser.param_groups[0]["lr"] = lr
        state.optimiser.step()
        apply_statistics(state.encoder, running)
    state.optimiser.zero_grad()
    state.step += 1
    state.graphs += int(graphs)
    state.cpu_seconds += seconds
    named = named_sums([total, count, *metrics], objective.metric_names)
    return StepResult(named, int(graphs), stops > 0, applied, seconds, reports > 0, waited())


def check_agreement(state: TrainState, group: ProcessGroup) -> None:
    """Check that all ranks hold bitwise equal weights. Collective.

    Raises:
        DivergedError: If they are not finite.
        WorkError: If they differ.
    """
    sums = torch.stack([tensor.double().square().sum() for _, tensor in state.named_parameters()]).detach()
    if not bool(torch.isfinite(sums).all()):
        raise DivergedError(
            f"step {state.step}: a weight is not finite; lower train.lr and go back to an earlier checkpoint"
        )
    if not group.agrees(sums):
        raise WorkError(
            f"step {state.step}: ranks hold different weights; resume from the last checkpoint and report this"
        )


def _pieces(batch: GraphBatch | None, config: TrainConfig) -> list[GraphBatch | None]:
    """Batches computed at once: this rank's whole share or, for exact sums, each of its streams."""
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
    """Flat gradient, normalisation statistics and loss sums of one batch; float32, or float64 for exact sums.

    Sums of a few float32 numbers are exact in float64 (unless their magnitudes differ by 2^29), so the order of ranks does
    not matter.
    """
    losses = None
    if batch is not None:
        with autocast(config, group.device):
            losses = objective.losses(state.encoder, batch, config.seed, epoch)
        if losses.total.requires_grad:
            losses.total.backward()
    parameters = [parameter for _, parameter in state.named_parameters()]
    gradient = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten().float() for p in parameters])
    state.optimiser.zero_grad()
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


def check_last_steps(state: TrainState, lr: float) -> None:
    """Raise DivergedError if the last steps of a run were skipped, because its loss or gradient was not finite."""
    if state.skipped:
        raise DivergedError(
            f"step {state.step}: loss or gradient was not finite in the last {state.skipped} steps; lower train.lr (now {lr:g})"
        )


def _set_gradients(parameters: list[nn.Parameter], flat: Tensor) -> None:
    pieces = flat.split([parameter.numel() for parameter in parameters])
    for parameter, piece in zip(parameters, pieces, strict=True):
        parameter.grad = piece.view_as(parameter).to(parameter.dtype)
