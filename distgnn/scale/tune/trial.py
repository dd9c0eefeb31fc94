"""Trainable of a sweep on Ray Tune: reads the trial record, resumes from the trial folder and reports each rung."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from ray import tune
from ray.train import TrainingFailedError

from distgnn.errors import RequestError, WorkError
from distgnn.pretraining.run import Run, Start, open_corpus
from distgnn.scale.train.failures import cause_of, forget_failure, note_failure, raise_noted
from distgnn.scale.train.preflight import Resources
from distgnn.scale.train.pretrain import fit
from distgnn.scale.train.recovery import train_settings
from distgnn.scale.tune.hooks import NUMBER, result_of
from distgnn.search.records import Sweep, TrialRecord, read_trial, trial_folder
from distgnn.search.trial import Pretrainer, Trial, pretrain_here
from distgnn.search.winner import FinalEvaluation, evaluate_final
from distgnn.storage.folder import open_folder


@dataclass(frozen=True)
class TrialFunction:
    """The trainable of a sweep.

    Args:
        folder: URI of the sweep's folder.
        sweep: The sweep.
    """

    folder: str
    sweep: Sweep

    def __call__(self, config: dict[str, Any]) -> None:
        """Run the trial whose number is in ``config``. Errors are recorded in its folder for the driver, and raised."""
        folder, number = open_folder(self.folder), int(config[NUMBER])
        own_folder = trial_folder(folder, number)
        forget_failure(own_folder)
        _set_threads(self.sweep)
        try:
            for rung in Trial.of(self.sweep, folder, read_trial(folder, number)).run(pretrainer_of(self.sweep)):
                tune.report(result_of(number, rung))  # returns if the trial continues; otherwise Tune ends this thread
        except (RequestError, WorkError) as error:
            note_failure(own_folder, error)
            raise
        except Exception as error:
            note_failure(own_folder, WorkError(f"{type(error).__name__}: {error}"))
            raise


def evaluate_final_task(folder: str, sweep: Sweep, best: TrialRecord, name: str) -> list[FinalEvaluation]:
    """Run :func:`distgnn.search.winner.evaluate_final` as a Ray task."""
    _set_threads(sweep)
    return evaluate_final(open_folder(folder), sweep, best, name, pretrainer_of(sweep))


def pretrainer_of(sweep: Sweep) -> Pretrainer:
    """Return the function that pre-trains a trial: in this process, or in several Ray Train workers."""
    config = sweep.config
    return partial(pretrain_nested, gpu=config.gpus_per_trial > 0) if config.workers_per_trial > 1 else pretrain_here


def pretrain_nested(run: Run, step: int, gpu: bool) -> None:
    """Pre-train ``run`` up to ``step`` in a nested Ray Train run; ``capacity_of`` has reserved resources for its workers.

    Args:
        run: The run; ``run.config`` has the number of workers and their CPUs.
        step: The step to stop at.
        gpu: Whether each worker gets a GPU.

    Raises:
        RequestError, WorkError: What the workers raised.
    """
    forget_failure(run.folder)
    failures: list[Exception] = []
    with train_settings(run.config.recovery):
        resources = Resources(run.config.cpus_per_worker, gpu, "rank")
        fit(Start(run, open_corpus(run.config)), resources, failures, step)
    raise_noted(run.folder)
    if failures:
        raise cause_of(failures[0]) if isinstance(failures[0], TrainingFailedError) else failures[0]


def _set_threads(sweep: Sweep) -> None:
    """Use as many threads as CPUs are reserved, so that trials do not slow each other down and sums have a fixed order."""
    torch.set_num_threads(max(1, int(sweep.config.cpus_per_trial)))
