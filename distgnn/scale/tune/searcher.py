"""Ray Tune's side of the driver: a searcher that hands out the ledger's trials, and a callback that hears how they end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.tune import Callback, Stopper
from ray.tune.search import Searcher

from distgnn.errors import DivergedError, RequestError
from distgnn.scale.train.failures import forget_failure, noted_failure
from distgnn.scale.tune.schedulers import NUMBER, number_of
from distgnn.search.records import trial_folder
from distgnn.search.trial_store import Ledger

_DIED = "its process was lost (out of memory, or its node went away)"
_LOST = ("ActorDied", "ActorUnavailable", "NodeDied", "WorkerCrashed", "OutOfMemory")


class LedgerSearcher(Searcher):
    """Hands out what the ledger says; Ray Tune keeps nothing of it."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger

    def suggest(self, trial_id: str) -> Any:  # noqa: ARG002
        """The number of the next trial; None for not now, FINISHED for no more."""
        record = self._ledger.next()
        if record is not None:
            return {NUMBER: record.number}
        return Searcher.FINISHED if self._ledger.over else None

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """The callback hears of it."""

    def save(self, checkpoint_path: str) -> None:
        """There is nothing to save; Ray Tune wants a file."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Never asked for: a sweep goes on from its own records."""


class LedgerCallback(Callback):
    """Tells the ledger how trials end."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:  # noqa: ARG002
        """It is whole, or was stopped."""
        self._ledger.ended(number_of(trial))

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:  # noqa: ARG002
        """It failed: with what its process noted, or without a word."""
        number = number_of(trial)
        own = trial_folder(self._ledger.folder, number)
        noted = noted_failure(own)
        forget_failure(own)
        self._ledger.failed(
            number, str(noted or _last_words(trial)), refused=isinstance(noted, RequestError | DivergedError)
        )


def _last_words(trial: Any) -> str:
    told = str(trial.get_error() or "")
    if not told.strip() or any(name in told for name in _LOST):
        return _DIED
    return told.strip().splitlines()[-1]


class StopWhen(Stopper):
    """Ends the whole experiment once the ledger is stopping."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002
        """No single trial is stopped here."""
        return False

    def stop_all(self) -> bool:
        """Whether to stop."""
        return self._ledger.stopping
