"""Bench tuner: what a sweep costs beside its trials, and how many trials TPE needs where random draws need more.

The sweep is ``distgnn tune`` as a user starts it, from its start to its end, one trial at a time, with trials of seconds; the
loop runs the same trials one after the other in a process that is already there. The search is on a planted optimum: a score of
four of the fields of the ready-made space ``adaptation``, the other four do nothing; the optimum is another one for every seed.
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

_MATTER = ("pretrain.l2p.node_lr", "pretrain.l2p.graph_lr", "pretrain.l2p.node_steps", "pretrain.l2p.support")
_NEAR = 0.97
"""Of the best score there is; a drawn point comes as near about once in 160."""
_MOST = 400
_WORDS = {
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
"""Trials that all take as long: only a rate is searched, where none of them diverges."""


def bench_tuner(options: Options) -> Iterator[dict[str, Any]]:
    """The sweep beside its trials, then trials to the optimum: tpe beside random."""
    with tempfile.TemporaryDirectory() as scratch:
        yield from sweep_lines(Path(scratch), *((4, 40) if options.quick else (12, 300)))
    yield from search_lines(range(5 if options.quick else 15))


def sweep_lines(scratch: Path, trials: int, steps: int) -> Iterator[dict[str, Any]]:
    """The wall time of a sweep beside that of the same trials in a loop, and its share that lies outside the trials."""
    corpus = str(scratch / "motifs")
    build_corpus(MotifsSource(MotifsConfig(out=corpus, graphs=2000)), corpus)
    words = [word for item in _WORDS.items() for word in item]
    words += ["--pretrain.corpus", corpus, "--finetune.corpus", corpus, "--out", str(scratch / "sweep")]
    start = time.perf_counter()
    with redirect_stdout(sys.stderr):
        if main(["tune", *words, "--trials", str(trials), "--max-steps", str(steps)]) != 0:
            raise SystemExit("the sweep failed")
    wall = time.perf_counter() - start
    folder = open_folder(str(scratch / "sweep"))
    sweep, records = read_sweep(folder), read_trials(folder)
    inside = sum(record.seconds for record in records)
    looped = looped_seconds(sweep, records, open_folder(str(scratch / "loop")))
    case = f"{trials} trials of {inside / trials:.1f} s, one at a time"
    yield line("tuner", case, "wall time of the sweep", "s", [wall], ("loop", [looped]))
    yield line("tuner", case, "share of the sweep's time outside trials", "%", [100 * (1 - inside / wall)])
    beside = 100 * (1 - inside / read_sweep(folder).wall)
    yield line("tuner", case, "the same without the start of Ray and of the command", "%", [beside])
    yield line("tuner", case, "from the end of a trial to the start of the next", "s", gaps(records))


def gaps(records: list[TrialRecord]) -> list[float]:
    """Seconds from the end of each trial to the start of the one after it, of trials that were made one at a time."""
    times = [(record.started or 0.0, record.ended or 0.0) for record in sorted(records, key=lambda r: r.started or 0.0)]
    return [start - end for (_, end), (start, _) in pairwise(times)]


def looped_seconds(sweep: Sweep, records: list[TrialRecord], folder: Folder) -> float:
    """Seconds to run the trials with the same parameters in this process, one after the other, into ``folder``.

    With one thread, as a trial that has one CPU reserved.
    """
    torch.set_num_threads(1)
    start = time.perf_counter()
    for record in records:
        for _ in Trial.of(sweep, folder, TrialRecord(record.number, record.params)).run():
            pass
    return time.perf_counter() - start


def search_lines(seeds: range) -> Iterator[dict[str, Any]]:
    """Trials until a score as near to the planted optimum, by seed, of tpe beside random."""
    space = adaptation()
    needed = {searcher: [trials_needed(space, searcher, seed) for seed in seeds] for searcher in ("tpe", "random")}
    case = f"planted optimum in {len(space)} fields, {len(seeds)} seeds"
    metric = f"trials to {100 * _NEAR:.0f} % of the optimum's score"
    yield line("tuner", case, metric, "trials", *_two(needed))
    won = statistics.mean(float(a < b) for a, b in zip(needed["tpe"], needed["random"], strict=True))
    yield line("tuner", case, "seeds in which tpe needs fewer trials than random", "%", [100 * won])


def _two(needed: dict[str, list[int]]) -> tuple[list[float], tuple[str, list[float]]]:
    return list(map(float, needed["tpe"])), ("random", list(map(float, needed["random"])))


def adaptation() -> Space:
    """The ready-made space, of corpora that nobody reads."""
    return read_space(
        TuneConfig(space=("adaptation",), pretrain=PretrainConfig(corpus="x"), finetune=FinetuneConfig(corpus="x"))
    )


def planted_score(space: Space, params: Params, seed: int) -> float:
    """1 at the optimum of ``seed``, falling with the squared distance from it in the fields that matter."""
    optimum = unit_interval(draw(key(seed), np.arange(len(_MATTER))))
    places = np.array([_place(space[name], params[name]) for name in _MATTER])
    grain = np.array([0.0 if len(space[name].points()) == 0 else 1 / len(space[name].points()) for name in _MATTER])
    optimum = np.where(grain > 0, (np.floor(optimum / np.maximum(grain, 1e-9)) + 0.5) * grain, optimum)
    return float(1 - ((places - optimum) ** 2).sum())


def _place(domain: Range | Choice, value: Value) -> float:
    """Place of a value in its domain, from 0 to 1: by its index among few points, else on the scale of the range."""
    points = domain.points()
    if isinstance(domain, Choice) or 0 < len(points) <= 12:
        return (points.index(value) + 0.5) / len(points)
    low, high, number = (math.log(x) if domain.log else float(x) for x in (domain.low, domain.high, float(value)))
    return (number - low) / (high - low)


def trials_needed(space: Space, searcher: str, seed: int) -> int:
    """How many trials ``searcher`` makes until one is near enough; no more than _MOST."""
    proposals, known = (
        register.searcher.get(searcher).make(None, SearchContext(space, seed, "max")),
        list[TrialRecord](),
    )
    for number in range(_MOST):
        params = proposals.propose(number, known)
        score = planted_score(space, params, seed)
        if score >= _NEAR:
            return number + 1
        known.append(TrialRecord(number, params, "finished", rungs=(Rung(1, score, 1.0),)))
    return _MOST
