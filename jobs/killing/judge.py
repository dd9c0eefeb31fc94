"""What commands leave behind: contents without times, leftovers of killed ones, and whether what claims to be whole is whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import safetensors.numpy

from distgnn.checkpoint import format as checkpoints
from distgnn.corpus import manifest as corpora
from distgnn.corpus.inspect import verify
from distgnn.errors import RequestError, WorkError
from distgnn.finetuning import saved_model
from distgnn.pretraining.history import HISTORY, read_history, read_progress
from distgnn.search.records import SWEEP, read_sweep, read_trials
from distgnn.storage.arrays import read_arrays
from distgnn.storage.claim import CLAIM
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.lock import LOCK
from distgnn.storage.verified import CHECKSUMS, Kind, read_verified

CORPUS = "corpus"
"""The folder of a corpus among the outputs; checkpoints hold a copy of the manifest, too."""
STRANGER = "stranger.txt"
"""A file of others in each folder of outputs; it must stay."""
FOREIGN_TEMPORARY = "x.distgnn-tmp-ffffffff-1-12345678"
"""A temporary file of another machine; it must stay, too."""
_VOLATILE = {
    "started", "updated", "time", "seconds", "seconds_left", "first", "graphs_per_s", "data_wait", "peak_memory_mb",
    "episodes_per_s", "checkpoint_seconds", "stall_seconds", "wall", "ended", "tries",
}  # fmt: skip
_TIMES = ("results.parquet", "sweep.html", "sweep.md", "pictures/seconds.png", "pictures/progress.png")
_LEFTOVER = (".distgnn-tmp-", LOCK, CLAIM, "_build.json")


def without_times(value: Any) -> Any:
    """Return a JSON value without fields that depend on the clock or the machine."""
    if isinstance(value, dict):
        return {name: without_times(item) for name, item in value.items() if name not in _VOLATILE}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def contents(uri: str) -> dict[str, str]:
    """Return what the files below ``uri`` say, without times: a digest or a text by name."""
    folder = open_folder(uri)
    found = {name: _content(folder, name) for name in folder.files() if f"{HISTORY}/" not in name}
    for place in {name.partition(f"{HISTORY}/")[0] for name in folder.files() if f"{HISTORY}/" in name}:
        rows = read_history(folder.sub(place) if place else folder)
        curve = {(row["step"], kind): row.get(kind) for row in rows for kind in ("loss", "validation") if kind in row}
        found[f"{place}{HISTORY}"] = repr(sorted(curve.items()))
    return found


def _content(folder: Folder, name: str) -> str:
    """A digest or a text; "" for files that show times or are derived from them. What they are made of is compared."""
    if name.endswith((CHECKSUMS, "card.md", *_TIMES)):
        return ""
    data = folder.read(name)
    if name.endswith(".json"):
        return json.dumps(without_times(json.loads(data)), sort_keys=True)
    if "jobs/" in name:
        arrays = safetensors.numpy.load(data)
        told = without_times(json.loads(arrays.pop("outcome").tobytes())) if "outcome" in arrays else ""
        return f"{told} {[(key, array.tobytes()) for key, array in sorted(arrays.items())]}"
    return hashlib.sha256(data).hexdigest()


def difference(found: dict[str, str], expected: dict[str, str]) -> str:
    """Return the first file that differs, with what it says; "" if none does."""
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            sides = [str(side.get(name, "(absent)"))[:200] for side in (found, expected)]
            return f"{name}: {sides[0]} instead of {sides[1]}"
    return ""


def leftovers(uri: str) -> list[str]:
    """Return temporary files, locks, claims and states below ``uri``."""
    names = [name for name in open_folder(uri).files() if not name.endswith(FOREIGN_TEMPORARY)]
    return [f"left over: {name}" for name in names if any(mark in name for mark in _LEFTOVER)]


def plant(uri: str) -> None:
    """Write the files of others."""
    for name in (STRANGER, FOREIGN_TEMPORARY):
        open_folder(uri).write(name, b"not yours")


def missing_strangers(uri: str) -> list[str]:
    """Return which files of others were changed or deleted."""
    folder = open_folder(uri)
    return [
        f"{folder.at(name)} is gone"
        for name in (STRANGER, FOREIGN_TEMPORARY)
        if folder.read_if_there(name) != b"not yours"
    ]


def half_written(uri: str) -> list[str]:
    """Return what below ``uri`` claims to be whole and is not."""
    folder, problems = open_folder(uri), list[str]()
    for what, check in _claims(folder):
        try:
            check()
        except (RequestError, WorkError, ValueError) as error:
            problems.append(f"{what} is taken for whole: {error}")
    return problems


def _claims(folder: Folder) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield each thing that its name makes whole, and a check that raises if it is not."""
    for name in folder.files():
        place, _, file = name.rpartition("/")
        below = folder.sub(place) if place else folder
        if ".distgnn-tmp-" in name:
            continue
        if file == CHECKSUMS:
            yield name, lambda below=below: read_verified(below, _kind(below))
        elif name == f"{CORPUS}/{corpora.NAME}":
            yield name, lambda below=below: _no_problems(verify(below.uri).problems)
        elif file == "progress.json":
            yield name, lambda below=below: (read_progress(below), read_history(below))
        elif file == SWEEP:
            yield name, lambda below=below: (read_sweep(below), read_trials(below))
        elif file.endswith(".json") and file not in (LOCK, CLAIM):
            yield name, lambda name=name: json.loads(folder.read(name))
        elif place.endswith("jobs"):
            yield name, lambda below=below, file=file: _there(read_arrays(below, file, dict[str, Any]))


def _kind(folder: Folder) -> Kind:
    data = json.loads(folder.read(CHECKSUMS))
    return next(kind for kind in (checkpoints.KIND, saved_model.KIND) if kind.name == data["format"])


def _no_problems(found: Sequence[str]) -> None:
    if found:
        raise ValueError(found[0])


def _there(found: object) -> None:
    if found is None:
        raise ValueError("it does not read")
