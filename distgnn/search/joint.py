"""A trial that trains on a target and auxiliary tasks: one training a seed, all taken to the same epoch at each rung."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch

from distgnn.auxiliary.comparison import Job, RunJob, global_seed
from distgnn.auxiliary.data_source import CorpusGround, Ground, NetworkGround, is_network
from distgnn.auxiliary.trainer import JointFit
from distgnn.auxiliary.trainer_state import freeze, thaw
from distgnn.config import TransferConfig
from distgnn.config.transfer import CONTROL
from distgnn.distributed import ProcessGroup, choose_device
from distgnn.search.scoring import method_of, seen
from distgnn.storage.arrays import read_kept, write_kept
from distgnn.storage.folder import Folder

_RANDOM = "random"


def ground_of(config: TransferConfig) -> Ground:
    """The data of ``config``, with the checkpoint it starts from; raises RequestError where they do not fit."""
    if is_network(config.data):
        return NetworkGround.read(config)
    return CorpusGround.read(config, [method_of(uri, "checkpoint") for uri in config.checkpoint])


def searched(config: TransferConfig) -> Ground:
    """The same, as a search may see it: without the test labels of a corpus (a network's are read, but never scored)."""
    ground = ground_of(config)
    return replace(ground, data=seen(ground.data)) if isinstance(ground, CorpusGround) else ground


def method_named(config: TransferConfig) -> str:
    """The one method that is no control."""
    return next(method for method in config.methods if method != CONTROL)


@dataclass
class _Seed:
    """A training, with the state of torch's own generator between its turns."""

    fit: JointFit
    random: torch.Tensor


class JointTrial:
    """The trainings of a trial. shared: where trials keep trainings on auxiliary tasks alone, which are the same for many of them.

    folder: the trial's own, where each training is kept as it was at the last rung.
    """

    def __init__(self, config: TransferConfig, shared: Folder, folder: Folder) -> None:
        device = choose_device(config.device)
        self.config, self.folder, self.group = config, folder, ProcessGroup.single_process(device)
        self.run = RunJob(config, searched(config), shared, device.type)
        self.seeds = [self._begun(seed) for seed in range(config.seeds)]

    def score(self, epochs: int) -> float:
        """Mean over seeds of the selecting metric on "val" at the best epoch up to ``epochs``. Raises WorkError on divergence."""
        for number, seed in enumerate(self.seeds):
            with _turn(seed):
                seed.fit.advance(epochs)
            told, arrays = freeze(seed.fit)
            write_kept(self.folder, _name(number), told, {**arrays, _RANDOM: seed.random.numpy()})
        return float(np.mean([seed.fit.best for seed in self.seeds]))

    def _begun(self, seed: int) -> _Seed:
        config = self.config
        job = Job(seed, config.schemes[0], 0, method_named(config))
        first = job._replace(method="")
        if job.scheme == "pretrained" and self.run.ground.start(0) is None and not self.run.done(first):
            self.run(first)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(global_seed(seed, 0))
            fit = self.run.begin(job, self.group)
            random = torch.get_rng_state()
        kept = read_kept(self.folder, _name(seed))
        if kept is not None:
            told, arrays = kept
            random = torch.from_numpy(arrays.pop(_RANDOM).copy())
            thaw(fit, told, arrays)
        return _Seed(fit, random)


def _name(seed: int) -> str:
    return f"joint-seed{seed}.safetensors"


@contextmanager
def _turn(seed: _Seed) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(seed.random)
        yield
        seed.random = torch.get_rng_state()


def metric_of(config: TransferConfig) -> tuple[str, bool]:
    """(name of the metric that selects, whether more of it is better); makes everything a training needs, once."""
    problem = searched(config).problem(0, 0, ProcessGroup.single_process(torch.device("cpu")))
    return problem.metrics[0], problem.metrics[0] not in problem.lower_is_better
