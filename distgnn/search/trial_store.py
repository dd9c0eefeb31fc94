"""Store of the trial records of a sweep: writes the records and holds the queue of trials to start."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import count
from typing import Any

from distgnn.search.records import ENDED, Rung, Sweep, TrialRecord, write_results, write_trial
from distgnn.search.schedulers import decide
from distgnn.search.searchers.base import Searcher
from distgnn.storage.folder import Folder


class TrialStore:
    """Trial records by number. Each change is written before it takes effect, so a sweep can be killed at any time.

    Args:
        folder: Folder of the sweep.
        sweep: The sweep.
        proposals: Proposes the parameters of new trials.
        known: Records of earlier sessions. Unfinished trials, and failed trials with retries left, are started again first.
        concurrency: Maximum number of trials at a time.
        on_change: Called with all records after each change.
    """

    def __init__(
        self,
        folder: Folder,
        sweep: Sweep,
        proposals: Searcher,
        known: Iterable[TrialRecord],
        concurrency: int,
        on_change: Callable[[list[TrialRecord]], None],
    ) -> None:
        self.folder, self.sweep, self.stopping = folder, sweep, False
        self.records = {record.number: record for record in known}
        self._proposals, self._concurrency, self._on_change = proposals, concurrency, on_change
        self._live: set[int] = set()
        self._pausing: set[int] = set()
        self._paused: deque[int] = deque()
        self._waiting = deque(number for number, record in sorted(self.records.items()) if self._startable(record))

    def __getstate__(self) -> dict[str, Any]:
        """Pickle no state: Ray Tune saves this object, but a sweep resumes from its records only."""
        return {}

    def trials(self) -> list[TrialRecord]:
        """Return all records, by number."""
        return [self.records[number] for number in sorted(self.records)]

    @property
    def done(self) -> bool:
        """Whether no trial is running and none will be started."""
        return not self._live and (self.stopping or not self._has_more)

    @property
    def _has_more(self) -> bool:
        return bool(self._waiting or self._paused) or len(self.records) < self.sweep.trials

    def next_trial(self) -> TrialRecord | None:
        """Record the next trial as running and return it; None if none can start now (see :attr:`done`)."""
        if self.stopping or len(self._live) >= self._concurrency or not self._has_more:
            return None
        if self._waiting:
            record = self.records[self._waiting.popleft()]
        elif len(self.records) < self.sweep.trials:
            number = next(number for number in count() if number not in self.records)
            record = TrialRecord(number, self._proposals.propose(number, self.trials()))
        else:
            record = self.records[self._paused.popleft()]
        self._live.add(record.number)
        tries, started = record.tries + (record.state != "running"), record.started or time.time()
        return self._write(replace(record, state="running", tries=tries, started=started, ended=None, reason=""))

    def report(self, number: int, rung: Rung) -> bool:
        """Record a rung together with the scheduler's decision, in one write. A rung already recorded changes nothing.

        Returns:
            Whether the process of the trial continues. If not, the trial has ended, or :meth:`complete` queues it: with
            population-based training, to continue from a clone or to give way to trials that wait for resources.
        """
        record = self.records[number]
        if rung.fidelity > record.reached:
            others = [other for other in self.trials() if other.number != number]
            record = decide(self.sweep, record.with_rung(rung), others)
            if record.state in ENDED:
                record = replace(record, ended=time.time())
            elif record.cloning or (self.sweep.config.scheduler == "pbt" and self._has_more):
                self._pausing.add(number)
            self._write(record)
        return record.state == "running" and number not in self._pausing

    def complete(self, number: int) -> None:
        """Note that the process of a trial has returned; a trial paused by :meth:`report` is queued."""
        self._live.discard(number)
        if number in self._pausing:
            self._pausing.discard(number)
            self._paused.append(number)
        write_results(self.folder, self.trials())

    def fail(self, number: int, reason: str, *, permanent: bool) -> None:
        """Record a failure; the trial is queued again while it has retries left, unless the failure is ``permanent``."""
        self._live.discard(number)
        self._pausing.discard(number)
        if self.stopping or self.records[number].state != "running":
            return
        line = " ".join(reason.split())[:500]
        record = replace(self.records[number], state="failed", ended=time.time(), reason=line, refused=permanent)
        self._write(record)
        write_results(self.folder, self.trials())
        if self._startable(record):
            self._waiting.append(number)

    def _startable(self, record: TrialRecord) -> bool:
        if record.state == "failed":
            return not record.refused and record.tries <= self.sweep.config.retries
        return record.state in ("queued", "running")

    def _write(self, record: TrialRecord) -> TrialRecord:
        write_trial(self.folder, record)
        self.records[record.number] = record
        self._on_change(self.trials())
        return record
