"""Benchmark recovery: seconds from a failure or a new node to the next step, and the effect on the losses.

Failures are SIGKILL of a worker, a raylet or the driver, in a cluster of several raylets with its run on S3 (see drill), with the
heartbeats of cluster/. The losses are compared with those of the same run in one process without failures.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import torch

from distgnn.cli import main
from distgnn.corpus.sources.motifs import MotifsConfig, MotifsSource
from distgnn.corpus.writer import build_corpus
from distgnn.pretraining.history import read_history
from distgnn.storage.folder import open_folder

from .drill import Drill, drill
from .measure import Options, line
from .server import s3_server

_STEPS_BETWEEN = 15
_SETTINGS = """
    --objective l2p --encoder.layers 3 --encoder.width 64 --train.device cpu --train.seed 1 --train.epochs 1000
    --train.schedule constant
    --train.exact --train.validate-every 0 --train.checkpoint-every 5 --train.checkpoint-minutes 0 --train.log-seconds 0
    --recovery.resize-seconds 5
"""
"""Small steps with a history row each, a checkpoint every 5 steps, and sums that do not depend on the number of ranks."""


def bench_recovery(options: Options) -> Iterator[dict[str, Any]]:
    """Measure failures, preemption, and changes of the number of workers by stop and resume."""
    rounds = 1 if options.quick else 3
    with s3_server() as bucket, tempfile.TemporaryDirectory() as scratch:
        build_corpus(
            MotifsSource(MotifsConfig(out=f"{bucket}/corpus", graphs=2000)),
            f"{bucket}/corpus",
        )
        log = Path(scratch) / "driver.log"
        seconds, losses = killed_run(bucket, log, rounds, options.quick)
        found = {"2 ranks, motifs on S3": losses}
        for event, samples in seconds.items():
            where = "recovery", next(iter(found))
            yield line(*where, f"{event} to the first new step", "s", [sample.seconds for sample in samples])
            yield line(*where, f"{event}: CPU seconds of all processes", "s", [sample.cpu for sample in samples])
            yield line(*where, f"{event}: steps made again", "steps", [float(sample.lost) for sample in samples])
        if not options.quick:
            after_notice, found["2 ranks, one of them on a node taken away with a notice"] = preempted_run(bucket, log)
            metric = "end of an announced node to the first new step"
            yield line("recovery", "2 ranks, motifs on S3", metric, "s", [after_notice])
            found["workers 1 -> 3 -> 2 by stop and resume"] = resized_run(bucket, log)
        expected = undisturbed(bucket, max(step for losses in found.values() for step in losses))
        for case, losses in found.items():
            yield line("recovery", case, _DIFFERENCE, "relative", [difference(losses, expected)])


_DIFFERENCE = "largest difference of a step's loss to an undisturbed run"


def difference(found: dict[int, float], expected: dict[int, float]) -> float:
    """Return the largest relative difference; raises SystemExit if a step is missing."""
    missing = set(range(1, max(found) + 1)) ^ set(found)
    if missing:
        raise SystemExit(f"the history has no step {min(missing)}")
    return max(abs(loss / expected[step] - 1) for step, loss in found.items())


def undisturbed(bucket: str, steps: int) -> dict[int, float]:
    """Return the losses of the same run in this process."""
    torch.set_num_threads(1)  # as in the ranks
    with redirect_stdout(sys.stderr):
        if main([*_arguments(bucket, "undisturbed", 1, 0), "--train.max-steps", str(steps)]) != 0:
            raise SystemExit("the undisturbed run failed")
    rows = read_history(open_folder(f"{bucket}/runs").sub("undisturbed"))
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


def _arguments(bucket: str, name: str, workers: int, least: int) -> list[str]:
    paths = ["--corpus", f"{bucket}/corpus", "--out", f"{bucket}/runs", "--name", name]
    return ["pretrain", *paths, *_SETTINGS.split(), f"--workers={workers}", f"--min-workers={least}"]


class Recovery(NamedTuple):
    """Cost of an event.

    Attributes:
        seconds: Seconds to the first step of new ranks.
        cpu: CPU seconds of all processes in that time.
        lost: Steps that the new ranks made again.
    """

    seconds: float
    cpu: float
    lost: int


def killed_run(bucket: str, log: Path, rounds: int, quick: bool) -> tuple[dict[str, list[Recovery]], dict[int, float]]:
    """Run with ``rounds`` times the loss of a worker and of a raylet, a new node, and the loss of the driver.

    Args:
        bucket: URI of the bucket.
        log: File of the driver's output.
        rounds: Number of repetitions.
        quick: Whether to stop soon after the last event.

    Returns:
        Costs by event, and losses by step.
    """
    events = ("SIGKILL of a worker", "SIGKILL of a raylet", "a new node", "SIGKILL of the driver")
    seconds: dict[str, list[Recovery]] = {event: [] for event in events}
    with drill(f"{bucket}/runs/killed", _arguments(bucket, "killed", 2, 1), nodes=2, log=log) as run:
        run.start()
        for _ in range(rounds):
            actions = (run.kill_worker, run.kill_raylet, run.add_node, lambda: _kill_and_resume(run))
            for event, action in zip(events, actions, strict=True):
                seconds[event].append(measure_recovery(run, action))
        run.wait_step(run.snapshot()["step"] + (5 if quick else _STEPS_BETWEEN))
        run.stop()
        return seconds, run.losses()


def _kill_and_resume(run: Drill) -> None:
    run.kill_driver()
    run.start()


def measure_recovery(run: Drill, action: Callable[[], object]) -> Recovery:
    """Train some steps, call ``action``, and return what it costs until new ranks have made a step."""
    run.wait_step(run.snapshot().get("step", 0) + _STEPS_BETWEEN)
    before, start, cpu = run.snapshot(), time.time(), run.cpu_seconds()
    action()
    seconds = run.recovered(start, before)
    return Recovery(seconds, run.cpu_seconds() - cpu, max(before["step"] - run.first_step(), 0))


def preempted_run(bucket: str, log: Path) -> tuple[float, dict[int, float]]:
    """Run that loses a node after a notice; the only checkpoint is that written on the notice.

    Returns:
        Seconds from the end of the node to the next step, and losses by step.
    """
    words = [*_arguments(bucket, "preempted", 2, 1), "--train.checkpoint-every=0"]
    with drill(f"{bucket}/runs/preempted", words, nodes=2, log=log) as run:
        run.start()
        before = run.wait_step(_STEPS_BETWEEN)
        node = run.busy_node()
        run.announce(node, seconds=20)
        run.wait_checkpoint(before)
        before, killed = run.snapshot(), time.time()
        run.kill_raylet(node)
        seconds = run.recovered(killed, before)
        if run.first_step() == 0:
            raise SystemExit("the preempted run restarted from step 0")
        run.wait_step(before["step"] + _STEPS_BETWEEN)
        run.stop()
        return seconds, run.losses()


def resized_run(bucket: str, log: Path) -> dict[int, float]:
    """Return the losses by step of a run that is stopped and resumed with 1, 3 and 2 workers."""
    with drill(f"{bucket}/runs/resized", _arguments(bucket, "resized", 1, 0), nodes=4, log=log) as run:
        run.start()
        for workers in (3, 2):
            run.wait_step(run.snapshot().get("step", 0) + _STEPS_BETWEEN)
            run.stop()
            run.start(f"--workers={workers}")
        before = run.snapshot()
        run.recovered(0.0, before)
        run.wait_step(before["step"] + _STEPS_BETWEEN)
        run.stop()
        return run.losses()
