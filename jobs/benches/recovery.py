"""Bench recovery: seconds from SIGKILL of a worker, a raylet or the driver, or a new node, to the first new step; and the losses.

On a real cluster of several raylets with its run on S3 (see drill). Heartbeats as cluster/ sets them. The losses are compared with
those of the same run in one process that nobody disturbed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch

from distgnn.cli import main
from distgnn.corpus.sources.motifs import MotifsConfig, MotifsSource
from distgnn.corpus.writer import build_corpus
from distgnn.pretraining.history import read_history
from distgnn.storage.folder import open_folder

from .drill import Drill, drill
from .measure import Options, line
from .server import s3_server

_APART = 15
_SETTINGS = """
    --objective l2p --encoder.layers 3 --encoder.width 64 --train.device cpu --train.seed 1 --train.epochs 1000
    --train.schedule constant
    --train.exact --train.validate-every 0 --train.checkpoint-every 5 --train.checkpoint-minutes 0 --train.log-seconds 0
    --recovery.resize-seconds 5
"""
"""Small steps, each with a row of history, and a checkpoint every fifth; sums that do not depend on the number of ranks."""


def bench_recovery(options: Options) -> Iterator[dict[str, Any]]:
    """One line a fault and one for the losses; the same for a world that changes by stop and resume."""
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
            yield line("recovery", next(iter(found)), f"{event} to the first new step", "s", samples)
        if not options.quick:
            took, found["2 ranks, one of them on a node taken away with a notice"] = preempted_run(bucket, log)
            yield line(
                "recovery", "2 ranks, motifs on S3", "end of an announced node to the first new step", "s", [took]
            )
            found["workers 1 -> 3 -> 2 by stop and resume"] = resized_run(bucket, log)
        expected = undisturbed(bucket, max(step for losses in found.values() for step in losses))
        for case, losses in found.items():
            yield line("recovery", case, _DIFFERENCE, "relative", [difference(losses, expected)])


_DIFFERENCE = "largest difference of a step's loss to an undisturbed run"


def difference(found: dict[int, float], expected: dict[int, float]) -> float:
    """The largest relative difference; raises SystemExit where a step is missing, or was never made."""
    missing = set(range(1, max(found) + 1)) ^ set(found)
    if missing:
        raise SystemExit(f"the history has no step {min(missing)}")
    return max(abs(loss / expected[step] - 1) for step, loss in found.items())


def undisturbed(bucket: str, steps: int) -> dict[int, float]:
    """Losses of the same run in this process."""
    torch.set_num_threads(1)  # as the ranks have
    with redirect_stdout(sys.stderr):
        if main([*_words(bucket, "undisturbed", 1, 0), "--train.max-steps", str(steps)]) != 0:
            raise SystemExit("the undisturbed run failed")
    rows = read_history(open_folder(f"{bucket}/runs").sub("undisturbed"))
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


def _words(bucket: str, name: str, workers: int, least: int) -> list[str]:
    where = ["--corpus", f"{bucket}/corpus", "--out", f"{bucket}/runs", "--name", name]
    return ["pretrain", *where, *_SETTINGS.split(), f"--workers={workers}", f"--min-workers={least}"]


def killed_run(bucket: str, log: Path, rounds: int, quick: bool) -> tuple[dict[str, list[float]], dict[int, float]]:
    """(seconds to the first new step by event, losses by step) of a run that loses a worker and a raylet, gets a node, and loses
    its driver, ``rounds`` times."""
    events = ("SIGKILL of a worker", "SIGKILL of a raylet", "a new node", "SIGKILL of the driver")
    seconds: dict[str, list[float]] = {event: [] for event in events}
    with drill(f"{bucket}/runs/killed", _words(bucket, "killed", 2, 1), nodes=2, log=log) as field:
        field.start()
        for _ in range(rounds):
            what = (field.kill_worker, field.kill_raylet, field.add_node, lambda: _kill_and_resume(field))
            for event, happens in zip(events, what, strict=True):
                seconds[event].append(survive(field, happens))
        field.wait_step(field.snapshot()["step"] + (5 if quick else _APART))
        field.stop()
        return seconds, field.losses()


def _kill_and_resume(field: Drill) -> None:
    field.kill_driver()
    field.start()


def survive(field: Drill, happens: Callable[[], object]) -> float:
    """Let the run go on for some steps, call ``happens``, and wait until new ranks have gone on from there; returns seconds."""
    field.wait_step(field.snapshot().get("step", 0) + _APART)
    before, start = field.snapshot(), time.time()
    happens()
    return field.recovered(start, before)


def preempted_run(bucket: str, log: Path) -> tuple[float, dict[int, float]]:
    """(seconds from a node's end to the first new step, losses by step) of a run that writes a checkpoint only because it is told
    that a node will go."""
    words = [*_words(bucket, "preempted", 2, 1), "--train.checkpoint-every=0"]
    with drill(f"{bucket}/runs/preempted", words, nodes=2, log=log) as field:
        field.start()
        before = field.wait_step(_APART)
        node = field.busy_node()
        field.announce(node, seconds=20)
        field.wait_checkpoint(before)
        before, killed = field.snapshot(), time.time()
        field.kill_raylet(node)
        seconds = field.recovered(killed, before)
        if field.first_step() == 0:
            raise SystemExit("the preempted run began again from the start")
        field.wait_step(before["step"] + _APART)
        field.stop()
        return seconds, field.losses()


def resized_run(bucket: str, log: Path) -> dict[int, float]:
    """Losses by step of a run with one worker that is stopped, goes on with three, is stopped, and goes on with two."""
    with drill(f"{bucket}/runs/resized", _words(bucket, "resized", 1, 0), nodes=4, log=log) as field:
        field.start()
        for workers in (3, 2):
            field.wait_step(field.snapshot().get("step", 0) + _APART)
            field.stop()
            field.start(f"--workers={workers}")
        before = field.snapshot()
        field.recovered(0.0, before)
        field.wait_step(before["step"] + _APART)
        field.stop()
        return field.losses()
