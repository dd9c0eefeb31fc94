"""What a sweep leaves in its folder: sweep.json, one trials/NNNN/trial.json a trial, results.parquet. One process writes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from distgnn.config import TuneConfig, from_json, to_json
from distgnn.config.base import read_json
from distgnn.errors import RequestError
from distgnn.search.space import Params
from distgnn.storage.folder import Folder

SWEEP, RESULTS, TRIALS, TRIAL = "sweep.json", "results.parquet", "trials", "trial.json"
_FORMAT, _VERSION = "distgnn-sweep", 1
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
_TOLD = ("metric", "mode", "space", "default", "trials", "started", "wall")
PARAM = "param:"
"""Begins the names of the columns of parameters."""


class Rung(NamedTuple):
    """What a trial reached. fidelity: steps, epochs or seeds so far. score: on validation data. seconds: since the last rung."""

    fidelity: int
    score: float
    seconds: float


@dataclass(frozen=True)
class Clone:
    """A trial's going on with what another one had reached.

    of: the other's number. segment: which of its pre-trainings (0 = its own first one). at: its steps. after: how many rungs the
    cloning trial had then. params: what it goes on with.
    """

    of: int
    segment: int
    at: int
    after: int
    params: Params


@dataclass(frozen=True)
class TrialRecord:
    """A trial as its trial.json has it.

    params: the present ones. tries: how often it was begun (going on after the sweep was stopped does not count). reason: why it
    failed (the last time). refused: whether trying again cannot mend that (it diverged, parameters do not fit). started, ended:
    unix times. seconds: of computing, over all rungs. clones: of population-based training, in order.
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
        """Of the last rung."""
        return self.rungs[-1].score if self.rungs else None

    @property
    def fidelity(self) -> int:
        """Of the last rung; 0 before the first."""
        return self.rungs[-1].fidelity if self.rungs else 0

    @property
    def reached(self) -> int:
        """The fidelity it goes on from: of the last rung, or of what it has cloned since."""
        if self.clones and len(self.rungs) == self.clones[-1].after:
            return self.clones[-1].at
        return self.fidelity

    def with_rung(self, rung: Rung) -> TrialRecord:
        """The same after one more rung."""
        return replace(self, rungs=(*self.rungs, rung), seconds=self.seconds + rung.seconds)


@dataclass(frozen=True)
class Sweep:
    """sweep.json. metric: name of the score. mode: "max" or "min". axis: what fidelity counts. rungs: where trials are scored.

    space: texts by field. default: what the fields are where nobody searches. trials: how many there will be. started: unix time.
    wall: seconds of the search, over all sessions, without the last look.
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
        """What a trial is: pretrain, finetune or transfer."""
        return self.config.kind

    @property
    def axis(self) -> str:
        """What fidelity counts: steps, seeds or epochs."""
        return self.config.axis

    @property
    def budget(self) -> int:
        """Fidelity of a whole trial."""
        return self.rungs[-1]


def write_sweep(folder: Folder, sweep: Sweep) -> None:
    """Write sweep.json."""
    told = {name: getattr(sweep, name) for name in ("kind", "axis", "rungs", *_TOLD)}
    value = {"format": _FORMAT, "version": _VERSION, **told, "config": to_json(sweep.config)}
    folder.write(SWEEP, (json.dumps(value, indent=1) + "\n").encode())


def read_sweep(folder: Folder) -> Sweep:
    """The sweep in ``folder``; raises RequestError where there is none that this version reads."""
    if folder.size(SWEEP) is None:
        raise RequestError(f"{folder.uri}: no sweep here ({SWEEP} is missing); give the folder of a distgnn tune")
    where = folder.at(SWEEP)
    try:
        data = dict(read_json(folder.read(SWEEP)))
        if (data["format"], data["version"]) != (_FORMAT, _VERSION):
            raise RequestError(f"{where}: {data['format']} version {data['version']} is unknown to this distgnn")
        config = from_json(TuneConfig, data["config"], where)
        told = {name: data[name] for name in _TOLD}
        return Sweep(config, rungs=tuple(map(int, data["rungs"])), **told)
    except RequestError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{where}: not readable ({type(error).__name__}: {error})") from error


def trial_folder(folder: Folder, number: int) -> Folder:
    """Where trial ``number`` of the sweep in ``folder`` lies."""
    return folder.sub(TRIALS).sub(f"{number:04d}")


def read_trial(folder: Folder, number: int) -> TrialRecord:
    """Trial ``number`` of the sweep in ``folder``; raises RequestError where its file is not a trial's."""
    return _read_trial(trial_folder(folder, number))


def write_trial(folder: Folder, record: TrialRecord) -> None:
    """Write the trial.json of ``record`` into the sweep's ``folder``."""
    value = asdict(record) | {"rungs": [rung._asdict() for rung in record.rungs]}
    trial_folder(folder, record.number).write(TRIAL, (json.dumps(value, indent=1) + "\n").encode())


def read_trials(folder: Folder) -> list[TrialRecord]:
    """Every trial of the sweep in ``folder``, by number; raises RequestError for a file that is not a trial's."""
    below = folder.sub(TRIALS)
    numbers = [name for name in below.names() if name.isdigit() and below.sub(name).size(TRIAL) is not None]
    return [_read_trial(below.sub(name)) for name in numbers]


def _read_trial(folder: Folder) -> TrialRecord:
    try:
        data: dict[str, Any] = dict(read_json(folder.read(TRIAL)))
        rungs = tuple(Rung(int(r["fidelity"]), float(r["score"]), float(r["seconds"])) for r in data["rungs"])
        return TrialRecord(**data | {"rungs": rungs, "clones": tuple(Clone(**clone) for clone in data["clones"])})
    except RequestError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(
            f"{folder.at(TRIAL)}: not the record of a trial ({type(error).__name__}: {error})"
        ) from error


def write_results(folder: Folder, records: Iterable[TrialRecord]) -> None:
    """Write results.parquet, a row for each trial."""
    sink = pa.BufferOutputStream()
    pq.write_table(results_table(list(records)), sink, compression="zstd")
    folder.write(RESULTS, sink.getvalue())


def results_table(records: list[TrialRecord]) -> pa.Table:
    """A row for each trial: what happened (score and fidelity are null before the first rung), then "param:FIELD" columns."""
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


def best_of(sweep: Sweep, records: Iterable[TrialRecord]) -> TrialRecord | None:
    """The whole trial with the best score (the earlier of equals); None where no trial went to the end."""
    sign = 1 if sweep.mode == "max" else -1
    whole = [record for record in records if record.state == "finished" and record.score is not None]
    return max(whole, key=lambda record: (sign * (record.score or 0.0), -record.number), default=None)
