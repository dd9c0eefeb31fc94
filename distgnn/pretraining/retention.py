"""Retention of checkpoints: keep the newest and the best ones, delete the others."""

from __future__ import annotations

from dataclasses import dataclass

from distgnn.checkpoint.format import FOLDER, KIND, SavedState, step_name, step_names
from distgnn.errors import RequestError
from distgnn.storage.folder import Folder
from distgnn.storage.records import read_record
from distgnn.storage.verified import CHECKSUMS, remove_verified


def kept_steps(scores: dict[int, float | None], newest: int, best: int) -> set[int]:
    """Steps whose checkpoints are kept.

    Args:
        scores: Validation loss by step; None if the checkpoint was not written at a validation.
        newest: How many of the last checkpoints to keep.
        best: How many of the lowest scores to keep; ties are resolved in favour of earlier steps.
    """
    scored = sorted((score, step) for step, score in scores.items() if score is not None)
    return set(sorted(scores)[-newest:]) | {step for _, step in scored[:best]}


@dataclass
class CheckpointRetention:
    """Checkpoints of a run and the policy that keeps them; listed once at the start, then tracked in memory.

    Attributes:
        folder: Folder of the checkpoints.
        newest: How many of the last checkpoints to keep.
        best: How many of the lowest scores to keep.
        scores: Validation loss of each checkpoint by step, as in :func:`kept_steps`.
    """

    folder: Folder
    newest: int
    best: int
    scores: dict[int, float | None]

    def best_step(self) -> int | None:
        """Step of the checkpoint with the lowest validation loss; None if no checkpoint has one."""
        scored = [(score, step) for step, score in self.scores.items() if score is not None]
        return min(scored)[1] if scored else None

    def wants(self, score: float) -> bool:
        """Whether a checkpoint with validation loss ``score`` would be among the best that are kept."""
        if not self.best:
            return False
        known = sorted(other for other in self.scores.values() if other is not None)
        return len(known) < self.best or score < known[self.best - 1]

    def add(self, step: int, score: float | None) -> list[str]:
        """Register a checkpoint that is being written.

        Returns:
            Names of the checkpoints to delete once it is complete.
        """
        self.scores[step] = score
        obsolete = sorted(set(self.scores) - kept_steps(self.scores, self.newest, self.best))
        for old in obsolete:
            del self.scores[old]
        return [step_name(old) for old in obsolete]

    def remove(self, name: str) -> None:
        """Delete a checkpoint, but not what others put into its folder; see :func:`~distgnn.storage.verified.remove_verified`."""
        if self.folder.sub(name).size(CHECKSUMS) is not None:
            remove_verified(self.folder, name, KIND)


def open_retention(run: Folder, step: int, newest: int, best: int) -> CheckpointRetention:
    """List the checkpoints of a run that continues at ``step``, and delete those a crash left behind.

    Incomplete checkpoints are deleted, and those of later steps, which are damaged and will be written again. Folders of
    other names, such as copies that a user made, are left alone.

    Args:
        run: Folder of the run.
        step: The step at which training continues.
        newest: How many of the last checkpoints to keep.
        best: How many of the lowest scores to keep.

    Raises:
        RequestError: If the folder of an incomplete checkpoint also holds files of others.
    """
    folder = run.sub(FOLDER)
    names = step_names(folder)
    complete = [name for name in names if name <= step_name(step) and folder.sub(name).size(CHECKSUMS) is not None]
    for name in set(names) - set(complete):
        remove_verified(folder, name, KIND)
        if left := folder.sub(name).names():
            raise RequestError(f"{folder.at(name)}: holds other things ({left[0]}); move them away, then resume")
    scores = {int(name.removeprefix("step-")): _score(folder.sub(name)) for name in complete}
    return CheckpointRetention(folder, newest, best, scores)


def _score(checkpoint: Folder) -> float | None:
    try:
        return read_record(checkpoint, "state.json", SavedState, "the state of a checkpoint").score
    except RequestError:  # damaged: treated as a checkpoint without a score
        return None
