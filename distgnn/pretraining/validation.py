"""Validation: the objective's loss on held-out graphs, independent of the number of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from distgnn.checkpoint.training_state import TrainState
from distgnn.config import TrainConfig
from distgnn.corpus.plan import Plan, UnitRef
from distgnn.distributed import ProcessGroup
from distgnn.graph.batch import GraphBatch, slice_graphs
from distgnn.graph.keyed import first_of_permutation, key
from distgnn.graph.purposes import PretrainDraw
from distgnn.models.norm import statistics
from distgnn.objectives.base import Objective
from distgnn.pretraining.precision import autocast
from distgnn.pretraining.step import loss_sums, named_sums

ReadUnits = Callable[[Iterable[UnitRef]], Iterator[GraphBatch]]


def validate(
    state: TrainState, objective: Objective, plan: Plan, config: TrainConfig, group: ProcessGroup, read: ReadUnits
) -> dict[str, float]:
    """Means over at most ``config.validation_graphs`` of the plan's held-out graphs. Collective; ranks share the units.

    Normalisation uses batch statistics, as in training, because the objective itself adapts the encoder on the batch. The
    model is not changed.

    Args:
        state: Training state.
        objective: The objective of ``state``.
        plan: The plan of the run.
        config: Training options.
        group: The training processes.
        read: Reads units in order.

    Returns:
        Means by metric name, including "loss"; empty if no graphs are held out.
    """
    held = validated_units(plan, config.validation_graphs)
    if not len(held):
        return {}
    total = loss_sums(None, objective.metric_names, group.device).double()
    for unit in read(UnitRef(0, 0, int(number)) for number in held[group.rank :: group.world_size]):
        for batch in batches_of(unit, plan):
            with autocast(config, group.device):
                losses = objective.losses(state.encoder, batch.to(group.device), config.seed, 0)
            total += loss_sums(losses, objective.metric_names, group.device)
    statistics(state.encoder)  # reading clears them: validation must not change the running statistics
    sums = named_sums(group.all_reduce(total).tolist(), objective.metric_names)
    return {name: value / weight for name, (value, weight) in sums.items() if weight > 0}


def validated_units(plan: Plan, graphs: int) -> npt.NDArray[np.int64]:
    """Held-out units of ``plan`` that hold ``graphs`` graphs (0 = all), chosen by its seed; ascending int64."""
    held = plan.split_units()[1]
    count = -(-graphs // plan.unit_rows)
    if not 0 < count < len(held):
        return held
    return np.sort(held[first_of_permutation(key(plan.seed, PretrainDraw.VALIDATED), len(held), count)])


def batches_of(unit: GraphBatch, plan: Plan) -> Iterator[GraphBatch]:
    """Split a unit into batches of a step's size, with streams of a stream's share."""
    size = plan.streams * plan.per_stream
    for low in range(0, unit.num_graphs, size):
        batch = slice_graphs(unit, low, min(low + size, unit.num_graphs))
        starts = torch.arange(0, batch.num_graphs, plan.per_stream)
        yield replace(batch, stream_ptr=torch.cat([starts, torch.tensor([batch.num_graphs])]))
