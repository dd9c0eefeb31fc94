"""A trial as a generator of rungs. The caller may stop between two rungs without saving anything, and continue in another process.

The whole state of a trial is in its folder; of other trials it reads only a checkpoint that it clones.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from distgnn.checkpoint.format import FOLDER, KIND, newest, read_verified, step_name
from distgnn.config import PretrainConfig, TuneConfig
from distgnn.corpus.stream import local_units
from distgnn.distributed import ProcessGroup, choose_device
from distgnn.errors import DivergedError, WorkError
from distgnn.pretraining.history import Snapshot
from distgnn.pretraining.loop import Hooks, train
from distgnn.pretraining.run import CONFIG, Run, new_run, open_corpus, resumed_run
from distgnn.register import import_modules
from distgnn.search.joint import MultiTaskTrial
from distgnn.search.records import Clone, Rung, Sweep, TrialRecord, trial_folder
from distgnn.search.scoring import validation_score
from distgnn.search.space import Params, apply
from distgnn.storage.folder import Folder
from distgnn.storage.verified import CHECKSUMS, publish_safely

Pretrainer = Callable[[Run, int], None]
"""Trains a run from its newest checkpoint up to a step, and writes a checkpoint there."""


def pretrain_here(run: Run, step: int) -> None:
    """Pre-train in this process."""
    group = ProcessGroup.single_process(choose_device(run.config.train.device))
    train(run, open_corpus(run.config), group, Hooks(local_units, _never, _ignore, until=step))


@dataclass(frozen=True)
class Trial:
    """One trial of a sweep.

    Args:
        config: Config of the sweep.
        rungs: Fidelities at which to report.
        sweep: Folder of the sweep.
        folder: Folder of the trial.
        params: Parameters of the trial.
        segment: Number of clones so far.
        clone: The last clone.
        reached: Fidelity to continue from.
    """

    config: TuneConfig
    rungs: tuple[int, ...]
    sweep: Folder
    folder: Folder
    params: Params
    segment: int = 0
    clone: Clone | None = None
    reached: int = 0

    @classmethod
    def of(cls, sweep: Sweep, folder: Folder, record: TrialRecord) -> Trial:
        """Create the trial of a record; ``folder`` is that of the sweep."""
        clone = record.clones[-1] if record.clones else None
        own = trial_folder(folder, record.number)
        return cls(sweep.config, sweep.rungs, folder, own, record.params, len(record.clones), clone, record.reached)

    def run(self, pretrainer: Pretrainer = pretrain_here) -> Iterator[Rung]:
        """Yield the rungs not reached yet. A score is a function of the configs; interruptions do not change it.

        Raises:
            RequestError: The parameters do not fit each other or the data.
            WorkError: Training diverged, or the score is not finite.
        """
        start = time.perf_counter()
        import_modules(self.config.imports)  # trials may run in other processes
        score = self._scorer(pretrainer)
        for fidelity in self.rungs:
            if fidelity > self.reached:
                value = score(fidelity)
                if not math.isfinite(value):
                    raise DivergedError(f"the score at {fidelity} {self.config.axis} is {value}")
                yield Rung(fidelity, value, time.perf_counter() - start)
                start = time.perf_counter()  # do not count the time that the caller took

    def _scorer(self, pretrainer: Pretrainer) -> Callable[[int], float]:
        config = self.configured
        if config.kind == "transfer":
            return MultiTaskTrial(config.transfer, self.sweep.sub("jobs"), self.folder).score
        if config.kind == "finetune":
            checkpoint = config.finetune.checkpoint[0]
            return lambda seeds: validation_score(config.finetune, checkpoint, seeds, self.folder.sub("finetune"))
        run = self._prepared()

        def score(step: int) -> float:
            checkpoint = self._trained(run, step, pretrainer)
            return validation_score(config.finetune, checkpoint.uri, config.finetune.seeds, self.folder.sub("finetune"))

        return score

    @property
    def configured(self) -> TuneConfig:
        """The config of the sweep with the parameters of this trial."""
        return apply(self.config, self.params)

    @property
    def pretraining(self) -> PretrainConfig:
        """Config of the pre-training run that this trial continues."""
        config = planned(self.configured.pretrain, self.rungs[-1])
        keep = len(self.rungs) + 1 if self.config.scheduler == "pbt" else config.train.keep  # others may clone any
        return replace(
            config,
            out=self.folder.uri,
            name=f"pretrain-{self.segment}" if self.segment else "pretrain",
            init="" if self.clone else config.init,
            workers=self.config.workers_per_trial,
            cpus_per_worker=self.config.cpus_per_trial if self.config.workers_per_trial > 1 else 0.0,
            train=replace(config.train, keep=keep),
        )

    @property
    def finished(self) -> Folder:
        """Checkpoint of the last rung."""
        return checkpoint_at(self.folder, self.segment, self.rungs[-1])

    def pretrained(self, pretrainer: Pretrainer = pretrain_here) -> Folder:
        """Return :attr:`finished`, after training what is missing."""
        return self._trained(self._prepared(), self.rungs[-1], pretrainer)

    def _prepared(self) -> Run:
        config = self.pretraining
        folder = self.folder.sub(config.name)
        if folder.size(CONFIG) is not None:
            return resumed_run(folder.uri, config)
        if self.clone:
            clone = self.clone
            source = checkpoint_at(trial_folder(self.sweep, clone.of), clone.segment, clone.at)
            copy_checkpoint(source, checkpoint_at(self.folder, self.segment, clone.at))
        return new_run(config)

    def _trained(self, run: Run, step: int, pretrainer: Pretrainer) -> Folder:
        checkpoint = run.folder.sub(FOLDER).sub(step_name(step))
        if checkpoint.size(CHECKSUMS) is None:
            pretrainer(run, step)
        if newest(run.folder) != checkpoint:  # by name: it has just been written
            raise WorkError(
                f"{run.folder.uri}: its newest checkpoint is not that of step {step}; was the corpus changed?"
            )
        return checkpoint


def planned(config: PretrainConfig, steps: int) -> PretrainConfig:
    """Return ``config`` with a length of ``steps`` steps, regardless of its number of epochs."""
    return replace(config, train=replace(config.train, epochs=max(config.train.epochs, steps), max_steps=steps))


def checkpoint_at(trial: Folder, segment: int, step: int) -> Folder:
    """Return the checkpoint at ``step`` of pre-training number ``segment`` of a trial."""
    return trial.sub(f"pretrain-{segment}" if segment else "pretrain").sub(FOLDER).sub(step_name(step))


def copy_checkpoint(source: Folder, target: Folder) -> None:
    """Copy a checkpoint and verify it; a complete one at ``target`` is kept."""
    if target.size(CHECKSUMS) is None:
        publish_safely(target, *read_verified(source), KIND)


def _never() -> bool:
    return False


def _ignore(_: Snapshot) -> None:
    """Do nothing: the display of a sweep shows rungs, not steps."""
