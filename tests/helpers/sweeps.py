"""Synthetic sweeps whose scores are a known function of their parameters."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from distgnn.config import FinetuneConfig, PretrainConfig
from distgnn.config.tune import TuneConfig
from distgnn.report.sweep.data import Final, View
from distgnn.search.records import ENDED, Rung, State, Sweep, TrialRecord, write_results, write_sweep, write_trial
from distgnn.search.space import defaults, read_space, texts
from distgnn.search.winner import FinalEvaluation
from distgnn.storage.folder import open_folder

NODE_LR, NODE_STEPS, ORDER = "pretrain.l2p.node_lr", "pretrain.l2p.node_steps", "pretrain.l2p.order"
SPACE = ("l2p.node_lr=log(1e-4,1e-1)", "l2p.node_steps=0..3", "l2p.order={1,2}")
GRID = ("l2p.node_steps=0..3", "l2p.graph_steps=0..3")
RUNGS = (10, 30, 90)


def worth(params: dict[str, Any]) -> float:
    """A score whose optimum is node_lr = 1e-2, mostly by node_lr."""
    return float(0.8 - 0.05 * (np.log10(params[NODE_LR]) + 2) ** 2 + 0.004 * params[NODE_STEPS])


def sampled_params(rng: np.random.Generator) -> dict[str, Any]:
    """Sample SPACE once."""
    return {
        NODE_LR: float(10 ** rng.uniform(-4, -1)),
        NODE_STEPS: int(rng.integers(4)),
        ORDER: int(rng.integers(1, 3)),
    }


def trial(number: int, state: State = "finished", score: float = 0.7, **options: Any) -> TrialRecord:
    """A trial whose scores rise by 0.05 a rung to ``score`` at the last of all; each started a second after the one before."""
    count = {"finished": 3, "stopped": 1, "running": 2}.get(state, 0)
    rungs = tuple(Rung(RUNGS[place], score - 0.05 * (2 - place), RUNGS[place] / 10) for place in range(count))
    given: dict[str, Any] = {
        "params": sampled_params(np.random.default_rng(number)),
        "started": None if state == "queued" else 1000.0 + number,
        "ended": 1000.5 + number if state in ENDED else None,
        "seconds": sum(rung.seconds for rung in rungs),
        "rungs": rungs,
        "tries": int(state != "queued"),
    }
    return TrialRecord(number, state=state, **(given | options))


def planted(count: int = 24, seed: int = 0) -> list[TrialRecord]:
    """Trials of which the better two thirds finish, and the others are stopped at the first rung."""
    rng = np.random.default_rng(seed)
    params = [sampled_params(rng) for _ in range(count)]
    scores = [worth(each) for each in params]
    bar = np.quantile(scores, 1 / 3)
    states: list[State] = ["finished" if score >= bar else "stopped" for score in scores]
    return [trial(n, states[n], scores[n], params=params[n]) for n in range(count)]


def synthetic_sweep(fields: tuple[str, ...] = SPACE, trials: int = 0, mode: Any = "max", wall: float = 100.0) -> Sweep:
    """A sweep of pre-trainings over ``fields``."""
    config = TuneConfig(
        space=fields,
        scheduler="asha",
        pretrain=PretrainConfig(corpus="data/molecules"),
        finetune=FinetuneConfig(corpus="data/bbbp"),
    )
    space, metric = read_space(config), "roc_auc" if mode == "max" else "rmse"
    return Sweep(config, metric, mode, RUNGS, texts(space), defaults(config, space), trials, 1000.0, wall)


def view(
    trials: list[TrialRecord], final: Final | None = None, space: tuple[str, ...] = SPACE, mode: Any = "max"
) -> View:
    """Return the view of these trials."""
    sweep = synthetic_sweep(space, len(trials), mode)
    return View("adaptation", sweep, read_space(sweep.config), tuple(trials), final)


def final(number: int) -> Final:
    """The final evaluation of trial ``number``: better than the default on test by 0.02."""
    winner = FinalEvaluation("winner", (0.72, 0.75, 0.74), (0.70, 0.73, 0.71))
    return Final(number, (winner, FinalEvaluation("default", (0.70, 0.71, 0.72), (0.68, 0.70, 0.70))))


def write(folder: Path, seen: View) -> str:
    """The files of a sweep."""
    place = open_folder(str(folder))
    write_sweep(place, seen.sweep)
    for record in seen.trials:
        write_trial(place, record)
    write_results(place, seen.trials)
    if seen.final is not None:
        rows = [asdict(side) for side in seen.final.sides]
        value = {"kind": "pretrain", "metric": seen.sweep.metric, "number": seen.final.number, "rows": rows}
        place.sub("winner").write("result.json", json.dumps(value).encode())
    return place.uri
