"""Estimate of a pre-training run from a few measured steps on its corpus. Nothing is written."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice

import torch

from distgnn.checkpoint.training_state import TrainState, make_state
from distgnn.config import PretrainConfig
from distgnn.corpus.plan import Plan, RankReads, UnitRef
from distgnn.corpus.prefetch import Prefetch
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.stream import assemble, read_unit, threaded_units
from distgnn.distributed import ProcessGroup, choose_device
from distgnn.models.norm import statistics
from distgnn.objectives.base import Objective
from distgnn.pretraining.host_to_device import send
from distgnn.pretraining.memory import peak_memory_mb
from distgnn.pretraining.precision import autocast, matrix_products
from distgnn.pretraining.run import make_plan, open_corpus, planned_steps, resolved
from distgnn.pretraining.step import learning_rate, outer_step
from distgnn.pretraining.validation import batches_of, validated_units

_STEPS = 5
_SECONDS = 20.0
_READERS = 2


@dataclass(frozen=True)
class StepCost:
    """Cost of the steps of one rank.

    Attributes:
        steps: Number of measured steps, after a first one that is not counted if the run has more.
        seconds: Seconds of a step.
        cpu_seconds: CPU seconds of a step, reading included.
        read_seconds: Seconds to read the graphs of a step with one thread.
        peak_memory_mb: Peak memory of the process, or of the GPU.
    """

    steps: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    read_seconds: float = 0.0
    peak_memory_mb: float = 0.0


@dataclass(frozen=True)
class PretrainEstimate:
    """What a pre-training run would do, and its cost.

    Attributes:
        run: Folder that the run would write.
        objective: Name of the objective.
        encoder: Kind, layers and width.
        parameters: Number of trained parameters, those of the objective included.
        graphs: Training graphs of an epoch.
        units: Units of the corpus.
        held_out_graphs: Graphs of a validation.
        epochs: Passes over the corpus.
        steps: Planned steps; fewer than ``steps_per_epoch * epochs`` if train.max_steps or train.max_cpu_seconds ends the run.
        steps_per_epoch: Steps of an epoch.
        graphs_per_step: Size of the global batch.
        workers: Number of training processes.
        cpus: CPUs that Ray reserves for each; 0 = one, or an equal share. Of no meaning with one worker.
        device: Device that was measured.
        threads: Threads of torch in the measurement.
        step: Measured cost of a step, of the first rank's share if there are several workers, without communication.
        graphs_per_second: Rate of training that follows.
        validations: Number of validations.
        validation_seconds: Seconds of one.
        seconds: Seconds of the whole run, without its checkpoints, which are written beside training.
        checkpoint_bytes: Approximate size of one checkpoint.
        checkpoints: Largest number of checkpoints kept.
    """

    run: str
    objective: str
    encoder: str
    parameters: int
    graphs: int
    units: int
    held_out_graphs: int
    epochs: int
    steps: int
    steps_per_epoch: int
    graphs_per_step: int
    workers: int
    cpus: float
    device: str
    threads: int
    step: StepCost
    graphs_per_second: float
    validations: int
    validation_seconds: float
    seconds: float
    checkpoint_bytes: int
    checkpoints: int


def estimate(config: PretrainConfig) -> PretrainEstimate:
    """Check a new run as :func:`~distgnn.pretraining.run.new_start` does, and measure a few of its steps in this process.

    Raises:
        RequestError: The run could not be started.
    """
    reader = open_corpus(config)
    device = choose_device(config.train.device)
    state = make_state(config, reader.manifest.schema, device)
    config, _ = resolved(config, reader)
    plan = make_plan(config, reader)
    held = sum(plan.rows_of(int(unit)) for unit in validated_units(plan, config.train.validation_graphs))
    step, check = StepCost(), 0.0
    if state.objective is not None:
        step = _measured(config, reader, plan, state, state.objective, device)
        check = held / config.workers * _validation_seconds_per_graph(config, reader, plan, state, state.objective)
    return _summed(config, reader, plan, state, step, held, check)


def _summed(
    config: PretrainConfig,
    reader: CorpusReader,
    plan: Plan,
    state: TrainState,
    step: StepCost,
    held: int,
    validation_seconds: float,
) -> PretrainEstimate:
    train = config.train
    steps, budget = planned_steps(config, plan), train.max_cpu_seconds
    if budget and step.cpu_seconds:
        steps = min(steps, int(budget / (step.cpu_seconds * config.workers)) + 1)
    each = max(step.seconds, step.read_seconds / _READERS)
    batch = train.streams * train.graphs_per_stream
    every = train.validate_every
    validations = (steps // every if every else 0) + bool(steps and not (every and steps % every == 0)) if held else 0
    parameters = sum(parameter.numel() for _, parameter in state.named_parameters())
    encoder = config.encoder
    return PretrainEstimate(
        run=f"{config.out}/{config.name}",
        objective=config.objective,
        encoder=f"{encoder.kind}, {encoder.layers} layers of {encoder.width}",
        parameters=parameters,
        graphs=plan.graphs_per_epoch,
        units=reader.manifest.units,
        held_out_graphs=held,
        epochs=train.epochs,
        steps=steps,
        steps_per_epoch=plan.steps_per_epoch,
        graphs_per_step=batch,
        workers=config.workers,
        cpus=config.cpus_per_worker,
        device=str(choose_device(train.device)),
        threads=torch.get_num_threads(),
        step=step,
        graphs_per_second=plan.graphs_per_epoch / plan.steps_per_epoch / each if each else 0.0,
        validations=validations,
        validation_seconds=validation_seconds,
        seconds=steps * each + validations * validation_seconds,
        checkpoint_bytes=3 * 4 * parameters,
        checkpoints=train.keep + train.keep_best + 1,
    )


def _measured(
    config: PretrainConfig,
    reader: CorpusReader,
    plan: Plan,
    state: TrainState,
    objective: Objective,
    device: torch.device,
) -> StepCost:
    """Measure steps of the first rank as the training loop takes them."""
    total = planned_steps(config, plan)
    read = _read_seconds_per_graph(reader, plan, objective)
    reads = RankReads(plan, 0, total, 0, config.workers)
    units = threaded_units(reader, plan, objective.prepare, reads)
    batches = send(assemble(plan, 0, total, 0, config.workers, units), device)
    group, taken, graphs, began = ProcessGroup.single_process(device), list[tuple[float, float]](), 0, time.monotonic()
    state.encoder.train()
    with matrix_products(config.train, device), Prefetch(batches) as arriving:
        for number, batch in arriving:
            start, cpu = time.perf_counter(), time.process_time()
            lr = learning_rate(config.train, number, total)
            graphs = outer_step(state, batch and batch.arrived(), config.train, group, epoch=0, lr=lr).graphs or graphs
            taken.append((time.perf_counter() - start, time.process_time() - cpu))
            if len(taken) > _STEPS or (len(taken) > 1 and time.monotonic() - began > _SECONDS):
                break
    counted = taken[1:] or taken
    seconds, cpu_seconds = (sum(part) / len(counted) for part in zip(*counted, strict=True))
    return StepCost(len(counted), seconds, cpu_seconds, read * graphs, peak_memory_mb(device))


def _read_seconds_per_graph(reader: CorpusReader, plan: Plan, objective: Objective) -> float:
    """Measure the reading of one unit."""
    start = time.perf_counter()
    unit = read_unit(reader, plan, objective.prepare, UnitRef(0, 0, int(plan.epoch_order(0)[0])))
    return (time.perf_counter() - start) / unit.num_graphs


def _validation_seconds_per_graph(
    config: PretrainConfig, reader: CorpusReader, plan: Plan, state: TrainState, objective: Objective
) -> float:
    """Measure the validation of a few batches of a held-out unit; 0 if nothing is held out."""
    held = plan.split_units()[1]
    if not len(held):
        return 0.0
    device = next(state.encoder.parameters()).device
    unit = read_unit(reader, plan, objective.prepare, UnitRef(0, 0, int(held[0])))
    batches = list(islice(batches_of(unit, plan), _STEPS))
    start = time.perf_counter()
    for batch in batches:
        with autocast(config.train, device):
            losses = objective.losses(state.encoder, batch.to(device), config.train.seed, 0)
        losses.total.item()  # waits for a GPU
    statistics(state.encoder)  # reading clears them
    return (time.perf_counter() - start) / sum(batch.num_graphs for batch in batches)
