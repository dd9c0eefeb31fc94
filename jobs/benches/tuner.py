"""Benchmark tuner: overhead of a sweep, and number of trials that TPE and random search need.

The overhead is that of a complete ``distgnn tune`` with short trials, one at a time, against a loop over the same trials in one
process. The search is on a synthetic score with a known optimum: it depends on four of the eight fields of the predefined space
``adaptation``, and the optimum depends on the seed.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distgnn import register
from distgnn.cli import main
from distgnn.config import FinetuneConfig, PretrainConfig, TuneConfig
from distgnn.corpus.sources.motifs import MotifsConfig, MotifsSource
from distgnn.corpus.writer import build_corpus
from distgnn.graph.keyed import draw, key, unit_interval
from distgnn.search.domains import Choice, Range, Value
from distgnn.search.records import Rung, Sweep, TrialRecord, read_sweep, read_trials
from distgnn.search.searchers.base import SearchContext
from distgnn.search.space import Params, Space, read_space
from distgnn.search.trial import Trial
from distgnn.storage.folder import Folder, open_folder

from .measure import Options, line

_RELEVANT = ("pretrain.l2p.node_lr", "pretrain.l2p.graph_lr", "pretrain.l2p.node_steps", "pretrain.l2p.support")
_GOAL = 0.97
"""Score to reach, as a share of the optimum; about one random point in 160 reaches it."""
_MAX_TRIALS = 400
_OPTIONS = {
    "--space": "l2p.node_lr=log(1e-4,1e-3)",
    "--searcher": "random",
    "--concurrency": "1",
    "--final-seeds": "0",
    "--pretrain.encoder.layers": "2",
    "--pretrain.encoder.width": "32",
    "--pretrain.train.device": "cpu",
    "--pretrain.train.validate-every": "0",
    "--finetune.device": "cpu",
    "--finetune.seeds": "1",
    "--finetune.epochs": "2",
    "--finetune.split.method": "random",
}
"""Trials of the same duration: only the learning rate is searched, in a range without divergence."""


def bench_tuner(options: Options) -> Iterator[dict[str, Any]]:
    """Measure the overhead, then the trials to the optimum."""
    with tempfile.TemporaryDirectory() as scratch:
        yield from sweep_lines(Path(scratch), *((4, 40) if options.quick else (12, 300)))
    yield from search_lines(range(5 if options.quick else 15))


def sweep_lines(scratch: Path, trials: int, steps: int) -> Iterator[dict[str, Any]]:
    """Measure the wall time of a sweep against a loop over the same trials, and the share of time outside trials.

    Args:
        scratch: Folder for the corpus and the sweep.
        trials: Number of trials.
        steps: Pre-training steps of a trial.
    """
    corpus = str(scratch / "motifs")
    build_corpus(MotifsSource(MotifsConfig(out=corpus, graphs=2000)), corpus, unit_rows=512)
    arguments = [text for option in _OPTIONS.items() for text in option]
    arguments += ["--pretrain.corpus", corpus, "--finetune.corpus", corpus, "--out", str(scratch / "sweep")]
    start = time.perf_counter()
    with redirect_stdout(sys.stderr):
        if main(["tune", *arguments, "--trials", str(trials), "--max-steps", str(steps)]) != 0:
            raise SystemExit("the sweep failed")
    wall = time.perf_counter() - start
    folder = open_folder(str(scratch / "sweep"))
    sweep, records = read_sweep(folder), read_trials(folder)
    inside = sum(record.seconds for record in records)
    looped = looped_seconds(sweep, records, open_folder(str(scratch / "loop")))
    case = f"{trials} trials of {inside / trials:.1f} s, one at a time"
    yield line("tuner", case, "wall time of the sweep", "s", [wall], ("loop", [looped]))
    yield line("tuner", case, "share of the sweep's time outside trials", "%", [100 * (1 - inside / wall)])
    overhead = 100 * (1 - inside / read_sweep(folder).wall)
    yield line("tuner", case, "the same without the start of Ray and of the command", "%", [overhead])
    yield line("tuner", case, "from the end of a trial to the start of the next", "s", gaps(records))


def gaps(records: list[TrialRecord]) -> list[float]:
    """Return the seconds from the end of each trial to the start of the next, for trials that ran one at a time."""
    times = [(record.started or 0.0, record.ended or 0.0) for record in sorted(records, key=lambda r: r.started or 0.0)]
    return [start - end for (_, end), (start, _) in pairwise(times)]


def looped_seconds(sweep: Sweep, records: list[TrialRecord], folder: Folder) -> float:
    """Run the trials in sequence in this process, with one thread, as trials have one CPU reserved.

    Args:
        sweep: The sweep.
        records: Its trials.
        folder: Folder to write to.

    Returns:
        Seconds.
    """
    torch.set_num_threads(1)
    start = time.perf_counter()
    for record in records:
        for _ in Trial.of(sweep, folder, TrialRecord(record.number, record.params)).run():
            pass
    return time.perf_counter() - start


def search_lines(seeds: range) -> Iterator[dict[str, Any]]:
    """Measure the number of trials until the score is reached, for tpe against random."""
    space = adaptation()
    needed = {searcher: [trials_needed(space, searcher, seed) for seed in seeds] for searcher in ("tpe", "random")}
    case = f"planted optimum in {len(space)} fields, {len(seeds)} seeds"
    metric = f"trials to {100 * _GOAL:.0f} % of the optimum's score"
    yield line("tuner", case, metric, "trials", *_samples(needed))
    wins = statistics.mean(float(a < b) for a, b in zip(needed["tpe"], needed["random"], strict=True))
    yield line("tuner", case, "seeds in which tpe needs fewer trials than random", "%", [100 * wins])


def _samples(needed: dict[str, list[int]]) -> tuple[list[float], tuple[str, list[float]]]:
    return list(map(float, needed["tpe"])), ("random", list(map(float, needed["random"])))


def adaptation() -> Space:
    """Return the predefined space ``adaptation``."""
    return read_space(
        TuneConfig(space=("adaptation",), pretrain=PretrainConfig(corpus="x"), finetune=FinetuneConfig(corpus="x"))
    )


def planted_score(space: Space, params: Params, seed: int) -> float:
    """Return 1 minus the squared distance to the optimum of ``seed`` in the relevant fields."""
    optimum = unit_interval(draw(key(seed), np.arange(len(_RELEVANT))))
    places = np.array([_place(space[name], params[name]) for name in _RELEVANT])
    grain = np.array([0.0 if len(space[name].points()) == 0 else 1 / len(space[name].points()) for name in _RELEVANT])
    optimum = np.where(grain > 0, (np.floor(optimum / np.maximum(grain, 1e-9)) + 0.5) * grain, optimum)
    return float(1 - ((places - optimum) ** 2).sum())


def _place(domain: Range | Choice, value: Value) -> float:
    """Return the position of a value in its domain, from 0 to 1: by index among few points, else on the scale of the range."""
    points = domain.points()
    if isinstance(domain, Choice) or 0 < len(points) <= 12:
        return (points.index(value) + 0.5) / len(points)
    low, high, number = (math.log(x) if domain.log else float(x) for x in (domain.low, domain.high, float(value)))
    return (number - low) / (high - low)


def trials_needed(space: Space, searcher: str, seed: int) -> int:
    """Return the number of trials until ``searcher`` reaches the score, at most ``_MAX_TRIALS``."""
    proposals, known = (
        register.searcher.get(searcher).make(None, SearchContext(space, seed, "max")),
        list[TrialRecord](),
    )
    for number in range(_MAX_TRIALS):
        params = proposals.propose(number, known)
        score = planted_score(space, params, seed)
        if score >= _GOAL:
            return number + 1
        known.append(TrialRecord(number, params, "finished", rungs=(Rung(1, score, 1.0),)))
    return _MAX_TRIALS
