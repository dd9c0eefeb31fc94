"""A trial that several processes pre-train: a Ray Train run of ours, started inside the trial's own process."""

from __future__ import annotations

from ray.train import TrainingFailedError

from distgnn.pretraining.run import Run, Start, open_corpus
from distgnn.scale.train.failures import cause_of, forget_failure, raise_noted
from distgnn.scale.train.preflight import Resources
from distgnn.scale.train.pretrain import fit
from distgnn.scale.train.recovery import train_settings
from distgnn.scale.tune.capacity import READING_CPUS


def pretrain_nested(run: Run, step: int, gpu: bool) -> None:
    """Train ``run`` to ``step`` with its workers, on a ``gpu`` each or none.

    The sweep has counted what they need (see tune_room), so they can always be placed. Raises what the workers raised.
    """
    forget_failure(run.folder)
    failures: list[Exception] = []
    with train_settings(run.config.recovery):
        fit(
            Start(run, open_corpus(run.config)),
            Resources(run.config.cpus_per_worker, gpu, READING_CPUS),
            failures,
            step,
        )
    raise_noted(run.folder)
    if failures:
        raise cause_of(failures[0]) if isinstance(failures[0], TrainingFailedError) else failures[0]
