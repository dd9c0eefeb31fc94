"""Kinds of folders that commands write, and the history of a run as rows."""

from __future__ import annotations

from typing import Any, NamedTuple

from distgnn.corpus import manifest as corpora
from distgnn.pretraining.history import NAME as PROGRESS
from distgnn.pretraining.history import read_history
from distgnn.relational.manifest import STORE
from distgnn.search.records import SWEEP
from distgnn.storage.folder import Folder
from distgnn.storage.verified import CHECKSUMS

CONFIG, RESULTS, STUDY = "config.json", "results.json", "study.json"
METRICS = {"loss": "Loss", "link_accuracy": "Link accuracy", "adaptation_gain": "Gain of adaptation"}
"""Metrics of a run that are drawn, where they occur."""
_JOBS = "jobs"


class Kind(NamedTuple):
    """A kind of folder.

    Attributes:
        word: What reports call it.
        file: The file by which it is known.
    """

    word: str
    file: str


KINDS = (
    Kind("corpus", corpora.NAME),
    Kind("database", STORE),
    Kind("sweep", SWEEP),
    Kind("study", STUDY),
    Kind("run", PROGRESS),
    Kind("results", RESULTS),
)


def kind_of(folder: Folder) -> Kind | None:
    """Return what kind of folder it is; None for others, and for checkpoints, which hold the manifest of their corpus."""
    if folder.size(CHECKSUMS) is not None:
        return None
    return next((kind for kind in KINDS if folder.size(kind.file) is not None), None)


def unfinished(folder: Folder) -> str:
    """Status of a comparison that has no results yet; empty for other folders."""
    if folder.size(CONFIG) is None or kind_of(folder) is not None:
        return ""
    done = sum(not name.startswith(".") for name in folder.sub(_JOBS).names())
    return f"unfinished, {done} trainings done" if done else ""


def rows_of(run: Folder) -> list[dict[str, Any]]:
    """Return the rows of a run's history; metrics of validations are named ``validation_METRIC``."""
    found = []
    for row in read_history(run):
        if "checkpoint" in row:
            continue
        told = row.get("validation")
        found.append(
            {"step": row["step"], **{f"validation_{name}": value for name, value in told.items()}} if told else row
        )
    return found
