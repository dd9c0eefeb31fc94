"""Training loop of one rank, in the current process or in a Ray Train worker."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from distgnn.checkpoint.training_state import TrainState, make_state
from distgnn.config import TrainConfig
from distgnn.corpus.plan import Plan, RankReads
from distgnn.corpus.prefetch import Prefetch
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.stream import assemble, threaded_units
from distgnn.distributed import ProcessGroup
from distgnn.graph.batch import GraphBatch
from distgnn.monitor.sink import NULL_SINK, MetricsSink
from distgnn.objectives.base import Objective
from distgnn.pretraining.checkpointing import CheckpointSaver, restore_newest
from distgnn.pretraining.history import Recorder, Snapshot, steps_since
from distgnn.pretraining.host_to_device import send
from distgnn.pretraining.memory import peak_memory_mb
from distgnn.pretraining.metrics import StepMetrics
from distgnn.pretraining.precision import matrix_products
from distgnn.pretraining.retention import open_retention
from distgnn.pretraining.run import Run, Units, make_plan, planned_steps
from distgnn.pretraining.start_check import StartCheck
from distgnn.pretraining.step import StepResult, Wishes, check_agreement, check_last_steps, learning_rate, outer_step
from distgnn.pretraining.validation import validate

Status = Literal["finished", "stopped"]
_AGREEMENT_STEPS = 500
_REPORT_SECONDS = 60.0


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Hooks:
    """Callbacks of the training loop.

    Attributes:
        units: Reads the plan's units ahead of the loop, locally or with Ray Data.
        should_stop: Called before each step; True stops all ranks after the step, with a checkpoint.
        show: Called with every snapshot, in the main process.
        sink: Receives the metrics of this rank.
        warned: Called after each step, in the main process: whether a node is about to be terminated, so that a checkpoint
            is due soon.
        report: Called with the last snapshot about once a minute, in all processes after the same step.
        until: Stop after this many steps of the run (0: train to the end). The learning rate schedule is that of the whole run.
    """

    units: Units
    should_stop: Callable[[], bool]
    show: Callable[[Snapshot], None]
    sink: MetricsSink = NULL_SINK
    warned: Callable[[], bool] = _never
    report: Callable[[Snapshot], None] | None = None
    until: int = 0


@dataclass(frozen=True)
class _MainProcess:
    """Recorder and checkpoint saver of the main process."""

    recorder: Recorder
    saver: CheckpointSaver

    def after_step(self, state: TrainState, *, warned: bool) -> None:
        self.saver.notice(state.step)
        if self.saver.due(state, node_loss=warned):
            self.saver.save(state)


def train(run: Run, reader: CorpusReader, group: ProcessGroup, hooks: Hooks, state: TrainState | None = None) -> Status:
    """Train from the run's newest checkpoint, or from scratch, until the end or until a rank stops.

    Collective: every rank calls it with the same run. The main process writes checkpoints, progress and history.

    Args:
        run: The run.
        reader: The reader of its corpus.
        group: The training processes.
        hooks: Callbacks.
        state: The new state on ``group.device`` that :func:`~distgnn.pretraining.run.new_run` was given, if any; it is
            trained in place.

    Returns:
        "finished", or "stopped" if a rank stopped training.

    Raises:
        DivergedError: A weight or the last steps are not finite.
    """
    plan = make_plan(run.config, reader)
    total = planned_steps(run.config, plan)
    state, metrics = _first_state(run, reader, group, state)
    group.barrier()  # no rank may write or delete checkpoints before all have read the same one
    main = None
    if group.is_main_process:
        config, peak = run.config.train, partial(peak_memory_mb, group.device)
        recorder = Recorder(
            run.folder, run.name, total, state.step, config.log_seconds, hooks.show, peak,
            cost=state.cost, budget=config.max_cpu_seconds, lost=steps_since(run.folder, state.step),
        )  # fmt: skip
        recorder.metrics, recorder.validation = metrics.get("train", {}), metrics.get("validation", {})
        retention = open_retention(run.folder, state.step, config.keep, config.keep_best)
        main = _MainProcess(
            recorder, CheckpointSaver(run, reader.manifest, plan.steps_per_epoch, retention, recorder, hooks.sink)
        )
    status: Status = "finished"
    try:
        if (
            state.objective is not None
            and state.step < (hooks.until or total)
            and not _is_spent(run.config.train, state)
        ):
            if main:
                _check_held_out(plan)
            step_metrics, check = StepMetrics(hooks.sink, group), StartCheck(state.objective)
            status = _Loop(
                run, reader, group, hooks, plan, total, state, state.objective, main, step_metrics, check
            ).steps()
    except Exception:
        if main:
            main.saver.wait()
        raise
    if main:
        main.saver.finish(state)
    if status == "finished":
        check_last_steps(state, run.config.train.lr)
    if main:
        main.recorder.finish(state.step, status)
    return status


def _check_held_out(plan: Plan) -> None:
    """Warn if validation has no graphs or more than training, as whole units are held out."""
    held = sum(plan.rows_of(int(unit)) for unit in plan.split_units()[1])
    none = held == 0 and plan.validation_fraction > 0
    if none or held > max(plan.graphs / 2, 2 * plan.validation_fraction * plan.graphs):
        found = "no graphs are" if none else f"{held:,} of {plan.graphs:,} graphs are"
        why = "the corpus has one unit" if none else f"whole units of {plan.unit_rows:,} are"
        advice = "build the corpus again without --unit-rows, or set train.validation_fraction=0"
        warnings.warn(f"{found} held out for validation, since {why}; {advice}", RuntimeWarning, stacklevel=2)


def _is_spent(config: TrainConfig, state: TrainState) -> bool:
    """Whether the budget of CPU seconds is spent; the same on all ranks."""
    return bool(config.max_cpu_seconds) and state.cpu_seconds >= config.max_cpu_seconds


def _first_state(
    run: Run, reader: CorpusReader, group: ProcessGroup, state: TrainState | None
) -> tuple[TrainState, dict[str, Any]]:
    """The state that training starts from, and the metrics of its checkpoint."""
    if state is not None and run.config.init:
        return state, {}  # new_run has written its first checkpoint from this state
    state = state or make_state(run.config, reader.manifest.schema, group.device)
    return state, restore_newest(run, state, reader.manifest)


class _CpuClock:
    """CPU seconds of this process, threads included, between laps; pauses are left out."""

    def __init__(self) -> None:
        self._last, self._paused = time.process_time(), 0.0

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        now = time.process_time()
        seconds, self._last = now - self._last, now
        return seconds

    def pause(self) -> None:
        """Stop counting."""
        self._paused = time.process_time()

    def resume(self) -> None:
        """Count again."""
        self._last += time.process_time() - self._paused


class _Minute:
    """Tells once a minute that it is over."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _REPORT_SECONDS

    def over(self) -> bool:
        """Whether a minute has passed since the last one was over."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + _REPORT_SECONDS
        return True


@dataclass(frozen=True)
class _Loop:
    run: Run
    reader: CorpusReader
    group: ProcessGroup
    hooks: Hooks
    plan: Plan
    total: int
    state: TrainState
    objective: Objective
    main: _MainProcess | None
    step_metrics: StepMetrics
    check: StartCheck
    clock: _CpuClock = field(default_factory=_CpuClock)
    minute: _Minute = field(default_factory=_Minute)

    def steps(self) -> Status:
        state, first = self.state, self.state.step
        state.encoder.train()
        products = matrix_products(self.run.config.train, self.group.device)
        with products, Prefetch(send(self._batches(first), self.group.device)) as batches:
            for step, arriving in batches:
                if (step - first) % _AGREEMENT_STEPS == 0:
                    check_agreement(state, self.group)
                result = self._step(step, arriving and arriving.arrived(), batches.waited)
                if result.stop:
                    return "stopped"
                last = state.step == self.total or _is_spent(self.run.config.train, state)
                self._validate_if_due(last)
                if result.report and self.hooks.report:
                    self.hooks.report(self.main.recorder.last if self.main else {})
                if self.main:
                    self.main.after_step(state, warned=self.hooks.warned())
                if last:
                    break
        return "finished"

    def _batches(self, first: int) -> Iterator[tuple[int, GraphBatch | None]]:
        rank, size = self.group.rank, self.group.world_size
        reads = RankReads(self.plan, first, self.total, rank, size)
        units = self.hooks.units(self.reader, self.plan, self.objective.prepare, reads)
        return assemble(self.plan, first, self.total, rank, size, units)

    def _step(self, step: int, batch: GraphBatch | None, waited: float) -> StepResult:
        config = self.run.config.train
        budget = config.max_cpu_seconds
        spent = self.state.cpu_seconds / budget if budget else 0.0
        epoch, lr = step // self.plan.steps_per_epoch, learning_rate(config, step, self.total, spent)
        stop = self.hooks.should_stop() or step + 1 == self.hooks.until
        start = time.perf_counter()
        wishes = Wishes(stop, self.main is not None and self.minute.over(), self.clock.lap())
        result = outer_step(self.state, batch, config, self.group, epoch=epoch, lr=lr, wishes=wishes)
        self.step_metrics.step(result, time.perf_counter() - start, waited)
        if self.main:
            self.main.recorder.add(self.state.step, result, lr, waited)
            self.check.add(result)
        return result

    def _validate_if_due(self, last: bool) -> None:
        step, every = self.state.step, self.run.config.train.validate_every
        if not last and not (every and step % every == 0):
            return
        self.clock.pause()
        read = partial(threaded_units, self.reader, self.plan, self.objective.prepare)
        means = validate(self.state, self.objective, self.plan, self.run.config.train, self.group, read)
        if self.main:
            self.main.recorder.add_validation(step, means)
        self.clock.resume()
