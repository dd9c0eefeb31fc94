"""A trial inside Ray Tune: the process that runs it reads its record, goes on from its folder, and reports rung by rung."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from ray import tune

from distgnn.errors import RequestError, WorkError
from distgnn.scale.train.failures import forget_failure, note_failure
from distgnn.scale.tune.nested import pretrain_nested
from distgnn.scale.tune.schedulers import NUMBER, told
from distgnn.search.records import Sweep, read_trial, trial_folder
from distgnn.search.trial import Pretrainer, Trial, pretrain_here
from distgnn.search.winner import Look, look
from distgnn.storage.folder import open_folder


@dataclass(frozen=True)
class TrialProcess:
    """What Ray Tune calls with a trial's number. folder: of the sweep."""

    folder: str
    sweep: Sweep

    def __call__(self, config: dict[str, Any]) -> None:
        """Run the trial; what goes wrong is noted in its folder for the driver, and raised."""
        folder, number = open_folder(self.folder), int(config[NUMBER])
        own = trial_folder(folder, number)
        forget_failure(own)
        _set_threads(self.sweep)
        try:
            for rung in Trial.of(self.sweep, folder, read_trial(folder, number)).run(pretrainer_of(self.sweep)):
                tune.report(told(rung))  # Ray Tune answers by going on, or by ending this thread here
        except (RequestError, WorkError) as error:
            note_failure(own, error)
            raise
        except Exception as error:
            note_failure(own, WorkError(f"{type(error).__name__}: {error}"))
            raise


def look_task(folder: str, sweep: Sweep, best: Any, name: str) -> list[Look]:
    """:func:`distgnn.search.winner.look` as a Ray task."""
    _set_threads(sweep)
    return look(open_folder(folder), sweep, best, name, pretrainer_of(sweep))


def pretrainer_of(sweep: Sweep) -> Pretrainer:
    """Who pre-trains: this process, or several workers."""
    config = sweep.config
    return partial(pretrain_nested, gpu=config.gpus_per_trial > 0) if config.workers_per_trial > 1 else pretrain_here


def _set_threads(sweep: Sweep) -> None:
    """As many threads as CPUs reserved: trials do not disturb each other, and their sums always have the same order."""
    torch.set_num_threads(max(1, int(sweep.config.cpus_per_trial)))
