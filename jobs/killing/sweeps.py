"""Kills of ``tune``, whose driver and Ray run in processes of their own."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from distgnn.config import (
    CorpusTaskConfig,
    EncoderConfig,
    SplitConfig,
    TransferConfig,
    TuneConfig,
    WeightingConfig,
    to_json,
)
from distgnn.config.weighting import PUBLISHED
from distgnn.search.records import SWEEP
from jobs.killing import judge
from jobs.killing.drill import Tally
from jobs.killing.victim import ask

_MARK = "DISTGNN_KILL_DRILL"
"""Environment variable of the driver and of all that it starts."""
_POLL_SECONDS = 0.03


class SweepDrill:
    """A sweep that is killed and resumed.

    Args:
        work: Folder with the corpus; the sweep is in a folder below it.
        seed: First part of the key of each kill.
    """

    def __init__(self, work: Path, seed: int) -> None:
        self.work, self.rng = work, random.Random(f"{seed}-tune")
        self.place, self.log = work / "scenes" / "tune", work / "tune.log"
        self.tally, self.token = Tally("tune"), secrets.token_hex(8)
        self.config = work / "tune.json"

    def run(self, kills: int) -> Tally:
        """Run a sweep undisturbed; then run another, kill it ``kills`` times, and let it end."""
        self.config.write_text(json.dumps(to_json(_tuning(str(self.work / "corpus"), str(self.place / "out")))))
        judge.plant(str(self.place))
        start = time.monotonic()
        changes = self._watched(sys.maxsize, sys.float_info.max)
        seconds, expected = time.monotonic() - start, self._contents()
        ended = True
        for number in range(kills):
            if ended:  # nothing is left to kill: begin again
                self.place.rename(self.work / f"ended-{number}")
                judge.plant(str(self.place))
            ended = not self._kill(seconds, changes)
            self.tally.problems += [f"kill {number}: {problem}" for problem in self._look()]
        self._watched(sys.maxsize, sys.float_info.max)
        self.tally.reruns += 1
        differs = judge.difference(self._contents(), expected)
        self.tally.problems += [f"differs from an undisturbed sweep: {differs}"] if differs else []
        self.tally.problems += [*self._look(), *judge.leftovers(str(self.place))]
        return self.tally

    def _kill(self, seconds: float, changes: int) -> bool:
        """Kill the driver at one of its writes, or at any moment; returns whether it was still running."""
        writing = self.rng.random() < 2 / 3
        at, until = self.rng.randint(1, changes), time.monotonic() + self.rng.uniform(0.2, 1.0) * seconds
        made = self._watched(at if writing else sys.maxsize, sys.float_info.max if writing else until)
        killed = made >= 0
        self.tally.kills += killed
        self.tally.writing += killed and writing
        self.tally.finished += not killed
        return killed

    def _watched(self, at: int, until: float) -> int:
        """Run the sweep, and kill its driver at change ``at`` or time ``until``.

        Returns:
            Number of changes of its files before the kill; -1 minus that number if it ended by itself.
        """
        known, changes = self._files(), 0
        driver = self._start()
        while driver.poll() is None and changes < at and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
            found = self._files()
            changes, known = changes + (found != known), found
        ended = driver.poll()
        driver.kill()
        driver.wait()
        self._end_children()
        if ended is not None and ended != 0:
            self.tally.problems.append(f"ended with {ended}: {self.log.read_text(errors='replace')[-600:]}")
        if at == sys.maxsize and until == sys.float_info.max:
            return changes
        return changes if ended is None else -1 - changes

    def _start(self) -> subprocess.Popen[bytes]:
        out = self.place / "out"
        words = ["--resume", str(out)] if (out / SWEEP).exists() else ["--config", str(self.config)]
        self.token = secrets.token_hex(8)
        mine = {**os.environ, _MARK: self.token, "RAY_ADDRESS": ""}
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "distgnn.cli", "tune", *words]
            return subprocess.Popen(command, stdout=log, stderr=log, env=mine)

    def _end_children(self) -> None:
        """Kill what the driver has started, which its environment tells from all else on this machine."""
        mark = f"{_MARK}={self.token}".encode()
        for process in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    os.kill(int(process.name), signal.SIGKILL)

    def _files(self) -> frozenset[tuple[str, int]]:
        found: set[tuple[str, int]] = set()
        for path in self.place.rglob("*"):
            with suppress(OSError):
                found.add((str(path), path.stat().st_mtime_ns))
        return frozenset(found)

    def _contents(self) -> dict[str, str]:
        return ask(lambda: judge.contents(str(self.place)), self.work, self.work / "look.log")

    def _look(self) -> list[str]:
        place = str(self.place)
        return ask(
            lambda: judge.half_written(place) + judge.missing_strangers(place), self.work, self.work / "look.log"
        )


def _tuning(corpus: str, out: str) -> TuneConfig:
    transfer = TransferConfig(
        corpus,
        methods=("auxts_all",),
        schemes=("scratch",),
        seeds=1,
        epochs=4,
        batch=24,
        device="cpu",
        weighting=WeightingConfig(hidden=8, folds=2, **PUBLISHED),
        corpus=CorpusTaskConfig(
            auxiliary=("edgepred",), encoder=EncoderConfig(layers=1, width=8), split=SplitConfig(method="random")
        ),
    )
    space = ("weighting.lr=log(1e-4,1e-2)",)
    return TuneConfig(out=out, transfer=transfer, space=space, trials=2, final_seeds=1, searcher="random")
