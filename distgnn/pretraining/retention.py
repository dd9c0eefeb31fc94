"""Which checkpoints of a run there are and which are kept: listed once when ranks begin, known from then on."""

from __future__ import annotations

import json
from dataclasses import dataclass

from distgnn.checkpoint.format import FILES, FOLDER, step_name, step_names
from distgnn.errors import RequestError
from distgnn.storage.folder import Folder
from distgnn.storage.verified import CHECKSUMS


def kept_steps(scores: dict[int, float | None], newest: int, best: int) -> set[int]:
    """The steps whose checkpoints stay: the ``newest`` last ones and the ``best`` ones of lowest score (the earlier of equals).

    scores: validation loss by step; None where the checkpoint was not written at a validation.
    """
    scored = sorted((score, step) for step, score in scores.items() if score is not None)
    return set(sorted(scores)[-newest:]) | {step for _, step in scored[:best]}


@dataclass
class CheckpointRetention:
    """The checkpoints of a run. folder: where they lie. scores: as :func:`kept_steps` has them."""

    folder: Folder
    newest: int
    best: int
    scores: dict[int, float | None]

    def best_step(self) -> int | None:
        """The step of lowest validation loss among the checkpoints there are."""
        scored = [(score, step) for step, score in self.scores.items() if score is not None]
        return min(scored)[1] if scored else None

    def wants(self, score: float) -> bool:
        """Whether a checkpoint of this validation loss would be among the best that are kept."""
        if not self.best:
            return False
        known = sorted(other for other in self.scores.values() if other is not None)
        return len(known) < self.best or score < known[self.best - 1]

    def add(self, step: int, score: float | None) -> list[str]:
        """Note a checkpoint that is being written; returns the names of those to delete once it is whole."""
        self.scores[step] = score
        gone = sorted(set(self.scores) - kept_steps(self.scores, self.newest, self.best))
        for old in gone:
            del self.scores[old]
        return [step_name(old) for old in gone]

    def remove(self, name: str) -> None:
        """Delete a checkpoint without listing it, so that half of one is never taken for whole: a local one goes at once, of
        others checksums.json goes first."""
        here = self.folder.sub(name)
        if here.size(CHECKSUMS) is None:
            return
        if self.folder.local:
            self.folder.delete_folder(name)
            return
        here.delete(CHECKSUMS)
        for file in FILES:
            here.delete(file)


def open_retention(run: Folder, step: int, newest: int, best: int) -> CheckpointRetention:
    """The shelf of a run that goes on at ``step``.

    Deletes what crashes left behind: checkpoints that are not whole, and those of later steps, which were found damaged and
    will be written again. Lists the folder.
    """
    folder = run.sub(FOLDER)
    names = set(folder.names())
    whole = [name for name in step_names(folder) if folder.sub(name).size(CHECKSUMS) is not None]
    whole = [name for name in whole if name <= step_name(step)]
    for name in {name for name in names if name.startswith("step-")} - set(whole):  # what is not ours stays
        folder.delete_folder(name)
    scores = {int(name.removeprefix("step-")): _score(folder.sub(name)) for name in whole}
    return CheckpointRetention(folder, newest, best, scores)


def _score(checkpoint: Folder) -> float | None:
    try:
        score = json.loads(checkpoint.read("state.json")).get("score")
    except (
        RequestError,
        ValueError,
        AttributeError,
    ):  # an old one that got damaged: it stays until newer ones push it out
        return None
    return score if isinstance(score, float) else None
