"""What the driver of a sweep knows of its trials: the only writer of their records, and the one who says which comes next."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import count
from typing import Any

from distgnn.search.proposals import Proposals, explored
from distgnn.search.records import Clone, Rung, Sweep, TrialRecord, write_results, write_trial
from distgnn.search.space import read_space
from distgnn.storage.folder import Folder

_CLONED = 1


class Ledger:
    """Trials by number, each change written before anything follows from it; so a sweep can be killed between any two.

    known: of earlier sessions; those that did not end, and failed ones with tries left, are taken up again first. concurrency: how
    many may be under way (0 = no bound). show: called with all trials after each change.
    """

    def __init__(
        self,
        folder: Folder,
        sweep: Sweep,
        proposals: Proposals,
        known: Iterable[TrialRecord],
        concurrency: int,
        show: Callable[[list[TrialRecord]], None],
    ) -> None:
        self.folder, self.sweep, self.stopping = folder, sweep, False
        self.records = {record.number: record for record in known}
        self._proposals, self._concurrency, self._show = proposals, concurrency, show
        self._space = read_space(sweep.config)
        self._live: set[int] = set()
        self._waiting = deque(number for number, record in sorted(self.records.items()) if self._again(record))

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray Tune pickles what it was given, and we never let it restore that."""
        return {}

    def trials(self) -> list[TrialRecord]:
        """All so far, by number."""
        return [self.records[number] for number in sorted(self.records)]

    def next(self) -> TrialRecord | None:
        """The trial to begin or go on with now, recorded as running; None where there is none (see :meth:`over`)."""
        if self.stopping or (self._concurrency and len(self._live) >= self._concurrency):
            return None
        if self._waiting:
            record = self.records[self._waiting.popleft()]
        elif len(self.records) < self.sweep.trials:
            record = self._proposed(next(number for number in count() if number not in self.records))
        else:
            return None
        tries = record.tries + (record.state != "running")
        self._live.add(record.number)
        changes: dict[str, Any] = {
            "tries": tries,
            "started": record.started or time.time(),
            "ended": None,
            "reason": "",
        }
        return self._write(replace(record, state="running", **changes))

    @property
    def over(self) -> bool:
        """Whether nothing is under way and nothing will come."""
        return not self._live and (self.stopping or (not self._waiting and len(self.records) >= self.sweep.trials))

    def reached(self, number: int, rung: Rung, *, stop: bool = False) -> None:
        """Note a rung, and with it that the trial is whole, or that the scheduler says ``stop``; a known one is passed over."""
        record = self.records[number]
        if rung.fidelity <= record.reached:
            return
        record = record.with_rung(rung)
        if rung.fidelity >= self.sweep.budget:
            record = replace(record, state="finished", ended=time.time())
        elif stop:
            record = replace(record, state="stopped", ended=time.time())
        self._write(record)

    def ended(self, number: int) -> None:
        """Note that nothing of a trial is under way. One that was neither whole nor stopped at its last rung will go on later."""
        self._live.discard(number)
        write_results(self.folder, self.trials())

    def failed(self, number: int, reason: str, *, refused: bool) -> None:
        """Note a failure; the trial comes again while it has tries left, unless its parameters are ``refused``."""
        self._live.discard(number)
        if self.stopping or self.records[number].state != "running":
            return
        told = " ".join(reason.split())[:500]
        record = replace(self.records[number], state="failed", ended=time.time(), reason=told, refused=refused)
        self._write(record)
        write_results(self.folder, self.trials())
        if self._again(self.records[number]):
            self._waiting.append(number)

    def cloned(self, number: int, source: int, at: int) -> None:
        """Note that trial ``number`` goes on with what trial ``source`` had at fidelity ``at``, its parameters moved a little."""
        record, other = self.records[number], self.records[source]
        turn = len(record.clones)
        params = explored(self._space, other.params, self.sweep.config.seed, _CLONED, number, turn)
        clone = Clone(source, len(other.clones), at, len(record.rungs), params)
        self._write(replace(record, params=params, clones=(*record.clones, clone)))

    def _again(self, record: TrialRecord) -> bool:
        if record.state == "failed":
            return not record.refused and record.tries <= self.sweep.config.retries
        return record.state in ("queued", "running")

    def _proposed(self, number: int) -> TrialRecord:
        return TrialRecord(number, self._proposals.propose(number, self.trials()))

    def _write(self, record: TrialRecord) -> TrialRecord:
        write_trial(self.folder, record)
        self.records[record.number] = record
        self._show(self.trials())
        return record
