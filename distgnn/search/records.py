"""Files of a sweep: sweep.json, trials/NNNN/trial.json for each trial, results.parquet. Only one process writes them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Meta

from distgnn.config import TuneConfig, from_json, to_json
from distgnn.config.fields import present_name
from distgnn.errors import RequestError
from distgnn.search.space import Params, present_params
from distgnn.storage.folder import Folder
from distgnn.storage.records import (
    MAX_BYTES,
    Count,
    Name,
    Positive,
    Seconds,
    Small,
    Text,
    check_version,
    convert,
    parse_object,
    read_record,
)

SWEEP, RESULTS, TRIALS, TRIAL = "sweep.json", "results.parquet", "trials", "trial.json"
_FORMAT, _VERSION = "distgnn-sweep", 1
_NUMBER = re.compile("[0-9]{4,9}")
State = Literal["queued", "running", "stopped", "finished", "failed"]
ENDED = ("stopped", "finished", "failed")
_COLUMNS = [
    ("number", pa.int32()),
    ("state", pa.string()),
    ("score", pa.float64()),
    ("fidelity", pa.int64()),
    ("seconds", pa.float64()),
    ("tries", pa.int32()),
    ("reason", pa.string()),
    ("started", pa.float64()),
    ("ended", pa.float64()),
    ("clone_of", pa.int32()),
]
_HEADER = ("metric", "mode", "rungs", "space", "default", "trials", "started", "wall")
_READABLE = "readable"
_MAX_GAP = 10
"""Trials are numbered without gaps; where folders were removed, a number may be this many times the number of trials."""
PARAM = "param:"
"""Prefix of the columns of parameters."""


@dataclass(frozen=True)
class Rung:
    """A report of a trial.

    Attributes:
        fidelity: Steps, epochs or seeds so far.
        score: Score on validation data.
        seconds: Time since the last rung.
    """

    fidelity: Count
    score: float
    seconds: Seconds


@dataclass(frozen=True)
class Clone:
    """A copy of another trial's checkpoint, from which a trial continues.

    Args:
        of: Number of the other trial.
        segment: Number of its pre-training (0 = its first).
        at: Its fidelity.
        after: Number of rungs that the cloning trial had.
        params: Parameters to continue with.
    """

    of: Small
    segment: Small
    at: Count
    after: Small
    params: Params


@dataclass(frozen=True)
class TrialRecord:
    """A trial, as in its trial.json.

    Args:
        number: Number of the trial.
        params: Its present parameters.
        state: queued, running, stopped, finished or failed.
        tries: Number of starts; resuming after the sweep was stopped does not count.
        reason: Reason of the last failure.
        refused: Whether a retry cannot succeed (training diverged, or parameters do not fit each other).
        started: Unix time of the first start.
        ended: Unix time of the end.
        seconds: Computing time over all rungs.
        rungs: Reports, in order.
        clones: Clones of population-based training, in order.
    """

    number: Small
    params: Params
    state: State = "queued"
    tries: Small = 0
    reason: Text = ""
    refused: bool = False
    started: Seconds | None = None
    ended: Seconds | None = None
    seconds: Seconds = 0.0
    rungs: tuple[Rung, ...] = ()
    clones: tuple[Clone, ...] = ()

    @property
    def score(self) -> float | None:
        """Score of the last rung."""
        return self.rungs[-1].score if self.rungs else None

    @property
    def fidelity(self) -> int:
        """Fidelity of the last rung; 0 before the first."""
        return self.rungs[-1].fidelity if self.rungs else 0

    @property
    def reached(self) -> int:
        """Fidelity to continue from: that of the last rung, or of a later clone."""
        return self.clones[-1].at if self.cloning else self.fidelity

    @property
    def cloning(self) -> bool:
        """Whether it has reported no rung since its last clone."""
        return bool(self.clones) and len(self.rungs) == self.clones[-1].after

    def with_rung(self, rung: Rung) -> TrialRecord:
        """Return the record with one more rung."""
        return replace(self, rungs=(*self.rungs, rung), seconds=self.seconds + rung.seconds)


@dataclass(frozen=True)
class Sweep:
    """A sweep, as in its sweep.json.

    Args:
        config: Its config.
        metric: Name of the score.
        mode: "max" if a higher score is better, otherwise "min".
        rungs: Fidelities at which trials report.
        space: Search space, as texts by field.
        default: Values of these fields in the config.
        trials: Number of trials.
        started: Unix time of the start.
        wall: Duration of the search in seconds, over all sessions, without the final evaluation.
    """

    config: TuneConfig
    metric: str
    mode: Literal["max", "min"]
    rungs: tuple[int, ...]
    space: dict[str, str]
    default: Params
    trials: int
    started: float
    wall: float = 0.0

    @property
    def kind(self) -> str:
        """Kind of trial: pretrain, finetune or transfer."""
        return self.config.kind

    @property
    def axis(self) -> str:
        """Unit of fidelity: steps, seeds or epochs."""
        return self.config.axis

    @property
    def budget(self) -> int:
        """Fidelity of a finished trial."""
        return self.rungs[-1]

    @property
    def sign(self) -> int:
        """1 if a higher score is better, otherwise -1."""
        return 1 if self.mode == "max" else -1


@dataclass(frozen=True)
class _Header:
    """sweep.json without its config; see :class:`Sweep`."""

    metric: Name
    mode: Literal["max", "min"]
    rungs: Annotated[tuple[Positive, ...], Meta(min_length=1)]
    space: dict[Name, Text]
    default: Params
    trials: Small
    started: Seconds
    wall: Seconds = 0.0


def write_sweep(folder: Folder, sweep: Sweep) -> None:
    """Write sweep.json."""
    header = {name: getattr(sweep, name) for name in ("kind", "axis", *_HEADER)}
    value = {"format": _FORMAT, "version": _VERSION, **header, "config": to_json(sweep.config)}
    folder.write(SWEEP, (json.dumps(value, indent=1) + "\n").encode())


def read_sweep(folder: Folder) -> Sweep:
    """Read the sweep in a folder; raises RequestError if there is none, or one of an unknown version."""
    if folder.size(SWEEP) is None:
        raise RequestError(f"{folder.uri}: no sweep here ({SWEEP} is missing); give the folder of a distgnn tune")
    where = folder.at(SWEEP)
    data = parse_object(folder.read(SWEEP, MAX_BYTES), where, _READABLE)
    if data.get("format") != _FORMAT:
        raise RequestError(f"{where}: {str(data.get('format'))[:80]!r} is not the format of a sweep ({_FORMAT})")
    check_version(data, _VERSION, where, _READABLE)
    config = from_json(TuneConfig, data.get("config", {}), where)
    header = convert({name: data[name] for name in _HEADER if name in data}, _Header, where, _READABLE)
    space = {present_name(TuneConfig, name): text for name, text in header.space.items()}
    return Sweep(config, **vars(header) | {"space": space, "default": present_params(header.default)})


def trial_folder(folder: Folder, number: int) -> Folder:
    """Return the folder of a trial; ``folder`` is that of the sweep."""
    return folder.sub(TRIALS).sub(f"{number:04d}")


def read_trial(folder: Folder, number: int) -> TrialRecord:
    """Read a trial of the sweep in ``folder``; raises RequestError if its file is damaged."""
    return _read_trial(trial_folder(folder, number), f"{number:04d}")


def write_trial(folder: Folder, record: TrialRecord) -> None:
    """Write trial.json of a trial; ``folder`` is that of the sweep."""
    trial_folder(folder, record.number).write(TRIAL, (json.dumps(asdict(record), indent=1) + "\n").encode())


def read_trials(folder: Folder) -> list[TrialRecord]:
    """Read all trials of the sweep in ``folder``, by number; raises RequestError if a file is damaged."""
    below = folder.sub(TRIALS)
    names = [name for name in below.names() if _NUMBER.fullmatch(name) and below.sub(name).size(TRIAL) is not None]
    records = sorted((_read_trial(below.sub(name), name) for name in names), key=lambda record: record.number)
    if records and records[-1].number > _MAX_GAP * (len(records) + 100):
        raise RequestError(f"{below.uri}: trial {records[-1].number} among {len(records)} trials; remove its folder")
    return records


def _read_trial(folder: Folder, name: str) -> TrialRecord:
    found = read_record(folder, TRIAL, TrialRecord, "the record of a trial")
    if f"{found.number:04d}" != name:
        raise RequestError(
            f"{folder.at(TRIAL)}: is the record of trial {found.number}, not of {name}; restore the file"
        )
    clones = tuple(replace(clone, params=present_params(clone.params)) for clone in found.clones)
    return replace(found, params=present_params(found.params), clones=clones)


def write_results(folder: Folder, records: Iterable[TrialRecord]) -> None:
    """Write results.parquet, with a row for each trial."""
    sink = pa.BufferOutputStream()
    pq.write_table(results_table(list(records)), sink, compression="zstd")
    folder.write(RESULTS, sink.getvalue())


def results_table(records: list[TrialRecord]) -> pa.Table:
    """Build a table with a row for each trial; score and fidelity are null before the first rung, parameters are "param:FIELD"."""
    columns = {name: pa.array([_cell(record, name) for record in records], kind) for name, kind in _COLUMNS}
    fields = dict.fromkeys(name for record in records for name in record.params)
    for name in fields:
        columns[PARAM + name] = pa.array([record.params.get(name) for record in records])
    return pa.table(columns)


def _cell(record: TrialRecord, name: str) -> Any:
    if name == "clone_of":
        return record.clones[-1].of if record.clones else None
    if name == "fidelity":
        return record.fidelity if record.rungs else None
    return getattr(record, name)


def _score(record: TrialRecord) -> float:
    return math.nan if record.score is None else record.score


def best_of(sweep: Sweep, records: Iterable[TrialRecord]) -> TrialRecord | None:
    """Return the finished trial with the best finite score (the first of equals); None if there is none."""
    finished = [record for record in records if record.state == "finished" and math.isfinite(_score(record))]
    return max(finished, key=lambda record: (sweep.sign * (record.score or 0.0), -record.number), default=None)
