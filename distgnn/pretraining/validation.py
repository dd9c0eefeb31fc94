"""The objective's own loss on held-out graphs: equal for any number of processes; the model is not changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from distgnn.checkpoint.training_state import TrainState
from distgnn.config import TrainConfig
from distgnn.corpus.plan import Plan, UnitRef
from distgnn.distributed import ProcessGroup
from distgnn.graph.batch import GraphBatch, slice_graphs
from distgnn.models.norm import statistics
from distgnn.objectives.base import Objective
from distgnn.pretraining.precision import autocast
from distgnn.pretraining.step import loss_sums, named_sums

ReadUnit = Callable[[UnitRef], GraphBatch]


def validate(
    state: TrainState, objective: Objective, plan: Plan, config: TrainConfig, group: ProcessGroup, read: ReadUnit
) -> dict[str, float]:
    """Means over the plan's held-out graphs by metric name ("loss" among them); empty where nothing is held out. A collective.

    Ranks share the units. Normalisation uses statistics of the graphs at hand, as in training, because the loss itself
    adapts the encoder on them.
    """
    held = plan.split_units()[1]
    if not len(held):
        return {}
    total = loss_sums(None, objective.metric_names, group.device).double()
    for unit in held[group.rank :: group.world_size]:
        for batch in _batches(read(UnitRef(0, 0, int(unit))), plan):
            with autocast(config, group.device):
                losses = objective.losses(state.encoder, batch.to(group.device), config.seed, 0)
            total += loss_sums(losses, objective.metric_names, group.device)
    statistics(state.encoder)  # reading forgets them: validation must not move the running statistics
    sums = named_sums(group.all_reduce(total).tolist(), objective.metric_names)
    return {name: value / weight for name, (value, weight) in sums.items() if weight > 0}


def _batches(unit: GraphBatch, plan: Plan) -> Iterator[GraphBatch]:
    """A unit cut into batches of the size of a step, each of streams of the size of a stream's share."""
    size = plan.streams * plan.per_stream
    for low in range(0, unit.num_graphs, size):
        batch = slice_graphs(unit, low, min(low + size, unit.num_graphs))
        starts = torch.arange(0, batch.num_graphs, plan.per_stream)
        yield replace(batch, stream_ptr=torch.cat([starts, torch.tensor([batch.num_graphs])]))
