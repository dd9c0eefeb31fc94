"""A trial of training with auxiliary tasks: one training per seed, all advanced to the same epoch at each rung."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch

from distgnn.auxiliary.data_source import CorpusDataSource, DataSource, InitialEncoder, NetworkDataSource, is_network
from distgnn.auxiliary.jobs import Job, RunJob, global_seed
from distgnn.auxiliary.trainer import Trainer
from distgnn.auxiliary.trainer_state import FrozenState, freeze, thaw
from distgnn.config import TransferConfig
from distgnn.config.transfer import CONTROL
from distgnn.distributed import ProcessGroup, choose_device
from distgnn.errors import RequestError
from distgnn.search.scoring import seen
from distgnn.storage.arrays import read_arrays, write_arrays
from distgnn.storage.folder import Folder

_RANDOM = "random"


def source_of(config: TransferConfig) -> DataSource:
    """Read the data of ``config`` and the checkpoint to start from; raises RequestError if they do not fit each other."""
    if is_network(config.data):
        return NetworkDataSource.read(config)
    return CorpusDataSource.read(config, [InitialEncoder.load(uri, "checkpoint") for uri in config.checkpoint])


def search_source(config: TransferConfig) -> DataSource:
    """Read the data without the test labels of a corpus (those of a network are read, but never scored)."""
    source = source_of(config)
    return replace(source, data=seen(source.data)) if isinstance(source, CorpusDataSource) else source


def method_of(config: TransferConfig) -> str:
    """Return the one method that is not the control."""
    return next(method for method in config.methods if method != CONTROL)


@dataclass
class _Seed:
    """A training, with its own state of torch's global generator."""

    fit: Trainer
    random: torch.Tensor


class MultiTaskTrial:
    """The trainings of a trial.

    Args:
        config: Config of the trainings.
        shared: Folder in which trials share trainings on auxiliary tasks alone.
        folder: Folder of the trial, for the state of each training at the last rung.
    """

    def __init__(self, config: TransferConfig, shared: Folder, folder: Folder) -> None:
        device = choose_device(config.device)
        self.config, self.folder, self.group = config, folder, ProcessGroup.single_process(device)
        self.run = RunJob(search_source(config), shared, device.type)
        self.seeds = [self._begin(seed) for seed in range(config.seeds)]

    def score(self, epochs: int) -> float:
        """Train up to ``epochs`` and return the mean validation metric at the best epoch; WorkError on divergence."""
        for number, seed in enumerate(self.seeds):
            with _random_state(seed):
                seed.fit.train_until(epochs)
            state, arrays = freeze(seed.fit)
            write_arrays(self.folder, _name(number), state, {**arrays, _RANDOM: seed.random.numpy()})
        return float(np.mean([seed.fit.best for seed in self.seeds]))

    def _begin(self, seed: int) -> _Seed:
        config = self.config
        job = Job(seed, config.schemes[0], 0, method_of(config))
        first = job._replace(method="")
        if job.scheme == "pretrained" and self.run.source.start(0) is None and not self.run.done(first):
            self.run(first)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(global_seed(seed, 0))
            fit = self.run.begin(job, self.group)
            random = torch.get_rng_state()
        saved = read_arrays(self.folder, _name(seed), FrozenState)
        if saved is not None:
            state, arrays = saved
            try:
                random = torch.from_numpy(arrays.pop(_RANDOM).copy())
                thaw(fit, state, arrays)
            except (RuntimeError, KeyError, ValueError, TypeError) as error:
                reason = " ".join(str(error).split())[:200]
                raise RequestError(
                    f"{self.folder.at(_name(seed))}: not the state of this trial ({reason}); remove it"
                ) from error
        return _Seed(fit, random)


def _name(seed: int) -> str:
    return f"joint-seed{seed}.safetensors"


@contextmanager
def _random_state(seed: _Seed) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(seed.random)
        yield
        seed.random = torch.get_rng_state()


def metric_of(config: TransferConfig) -> tuple[str, bool]:
    """Return the name of the selecting metric and whether higher is better. Fails if a training cannot start."""
    problem = search_source(config).problem(0, 0, ProcessGroup.single_process(torch.device("cpu")))
    return problem.metrics[0], problem.metrics[0] not in problem.lower_is_better
