"""Connects Ray Tune to the trial store: a searcher starts trials, a stopper reports rungs, a callback reports ends of trials."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ray.tune import Callback, Stopper
from ray.tune.search import Searcher

from distgnn.errors import DivergedError, RequestError
from distgnn.scale.train.failures import forget_failure, noted_failure
from distgnn.search.records import Rung, trial_folder
from distgnn.search.trial_store import TrialStore

NUMBER = "number"
"""Key of the trial number, in the config of a Tune trial and in its reports."""
_PROCESS_LOST = "its process was lost (out of memory, or its node went away)"
_LOST_ERRORS = ("ActorDied", "ActorUnavailable", "NodeDied", "WorkerCrashed", "OutOfMemory")


def result_of(number: int, rung: Rung) -> dict[str, Any]:
    """Return the report of trial ``number`` to Tune at ``rung``."""
    return {NUMBER: number, **asdict(rung)}


class StoreSearcher(Searcher):
    """Starts the trials of a store. A Tune trial gets only its number."""

    def __init__(self, store: TrialStore) -> None:
        super().__init__()
        self.store = store

    def suggest(self, trial_id: str) -> Any:  # noqa: ARG002
        """Return the number of the next trial; None if none can start now, FINISHED if there will be no more."""
        record = self.store.next_trial()
        if record is not None:
            return {NUMBER: record.number}
        return Searcher.FINISHED if self.store.done else None

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Do nothing; :class:`StoreCallback` reports the end of a trial with its error."""

    def save(self, checkpoint_path: str) -> None:
        """Write an empty file, since Tune expects one; a sweep resumes from its own records."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing; see :meth:`save`."""


class StoreStopper(Stopper):
    """Passes each reported rung to the store, whose scheduler decides whether the trial continues."""

    def __init__(self, store: TrialStore) -> None:
        self.store = store

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002
        """Return whether to stop a trial. Tune repeats the last result when a trial returns."""
        if NUMBER not in result:  # the trial returned without a report
            return False
        return not self.store.report(result[NUMBER], Rung(**{item.name: result[item.name] for item in fields(Rung)}))

    def stop_all(self) -> bool:
        """Return whether to stop the experiment."""
        return self.store.stopping


class StoreCallback(Callback):
    """Reports the end of each trial to the store."""

    def __init__(self, store: TrialStore) -> None:
        self.store = store

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:  # noqa: ARG002
        """Report that a trial returned or was stopped."""
        self.store.complete(trial.config[NUMBER])

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:  # noqa: ARG002
        """Report a failure with the error recorded by the process, otherwise with the last line of Tune's."""
        number = trial.config[NUMBER]
        folder = trial_folder(self.store.folder, number)
        noted = noted_failure(folder)
        forget_failure(folder)
        permanent = isinstance(noted, RequestError | DivergedError)
        self.store.fail(number, str(noted or _last_line(trial.get_error())), permanent=permanent)


def _last_line(error: object) -> str:
    text = str(error or "").strip()
    if not text or any(name in text for name in _LOST_ERRORS):
        return _PROCESS_LOST
    return text.splitlines()[-1]
