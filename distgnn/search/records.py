"""Files of a sweep: sweep.json, trials/NNNN/trial.json for each trial, results.parquet. Only one process writes them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from distgnn.config import TuneConfig, from_json, to_json
from distgnn.config.base import read_json
from distgnn.config.fields import present_name
from distgnn.errors import RequestError
from distgnn.search.space import Params, present_params
from distgnn.storage.folder import Folder

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
_HEADER = ("metric", "mode", "space", "default", "trials", "started", "wall")
PARAM = "param:"
"""Prefix of the columns of parameters."""


class Rung(NamedTuple):
    """A report of a trial.

    Attributes:
        fidelity: Steps, epochs or seeds so far.
        score: Score on validation data.
        seconds: Time since the last rung.
    """

    fidelity: int
    score: float
    seconds: float


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

    of: int
    segment: int
    at: int
    after: int
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

    number: int
    params: Params
    state: State = "queued"
    tries: int = 0
    reason: str = ""
    refused: bool = False
    started: float | None = None
    ended: float | None = None
    seconds: float = 0.0
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


def write_sweep(folder: Folder, sweep: Sweep) -> None:
    """Write sweep.json."""
    header = {name: getattr(sweep, name) for name in ("kind", "axis", "rungs", *_HEADER)}
    value = {"format": _FORMAT, "version": _VERSION, **header, "config": to_json(sweep.config)}
    folder.write(SWEEP, (json.dumps(value, indent=1) + "\n").encode())


def read_sweep(folder: Folder) -> Sweep:
    """Read the sweep in a folder; raises RequestError if there is none, or one of an unknown version."""
    if folder.size(SWEEP) is None:
        raise RequestError(f"{folder.uri}: no sweep here ({SWEEP} is missing); give the folder of a distgnn tune")
    where = folder.at(SWEEP)
    try:
        data = dict(read_json(folder.read(SWEEP)))
        if (data["format"], data["version"]) != (_FORMAT, _VERSION):
            raise RequestError(f"{where}: {data['format']} version {data['version']} is unknown to this distgnn")
        config = from_json(TuneConfig, data["config"], where)
        header = {name: data[name] for name in _HEADER}
        header["space"] = {present_name(TuneConfig, name): text for name, text in header["space"].items()}
        header["default"] = present_params(header["default"])
        return Sweep(config, rungs=tuple(map(int, data["rungs"])), **header)
    except RequestError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{where}: not readable ({type(error).__name__}: {error})") from error


def trial_folder(folder: Folder, number: int) -> Folder:
    """Return the folder of a trial; ``folder`` is that of the sweep."""
    return folder.sub(TRIALS).sub(f"{number:04d}")


def read_trial(folder: Folder, number: int) -> TrialRecord:
    """Read a trial of the sweep in ``folder``; raises RequestError if its file is damaged."""
    return _read_trial(trial_folder(folder, number))


def write_trial(folder: Folder, record: TrialRecord) -> None:
    """Write trial.json of a trial; ``folder`` is that of the sweep."""
    value = asdict(record) | {"rungs": [rung._asdict() for rung in record.rungs]}
    trial_folder(folder, record.number).write(TRIAL, (json.dumps(value, indent=1) + "\n").encode())


def read_trials(folder: Folder) -> list[TrialRecord]:
    """Read all trials of the sweep in ``folder``, by number; raises RequestError if a file is damaged."""
    below = folder.sub(TRIALS)
    numbers = [name for name in below.names() if _NUMBER.fullmatch(name) and below.sub(name).size(TRIAL) is not None]
    return [_read_trial(below.sub(name)) for name in numbers]


def _read_trial(folder: Folder) -> TrialRecord:
    try:
        data: dict[str, Any] = dict(read_json(folder.read(TRIAL)))
        rungs = tuple(Rung(int(r["fidelity"]), float(r["score"]), float(r["seconds"])) for r in data["rungs"])
        clones = tuple(Clone(**clone | {"params": present_params(clone["params"])}) for clone in data["clones"])
        return TrialRecord(**data | {"params": present_params(data["params"]), "rungs": rungs, "clones": clones})
    except RequestError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(
            f"{folder.at(TRIAL)}: not the record of a trial ({type(error).__name__}: {error})"
        ) from error


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
    whole = [record for record in records if record.state == "finished" and math.isfinite(_score(record))]
    return max(whole, key=lambda record: (sweep.sign * (record.score or 0.0), -record.number), default=None)
