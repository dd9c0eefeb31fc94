"""Interface of experiment loggers, and the group of loggers that a command writes to."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from distgnn import register
from distgnn.config import to_json
from distgnn.config.base import OpenConfig
from distgnn.errors import RequestError


class RunFolder(Protocol):
    """The methods of :class:`distgnn.storage.folder.Folder` that loggers use."""

    @property
    def uri(self) -> str:
        """Path or URI."""
        ...

    @property
    def local(self) -> bool:
        """Whether the folder is on this machine's file system."""
        ...

    def size(self, name: str) -> int | None:
        """Bytes of a file; None if there is none."""
        ...

    def read(self, name: str) -> bytes:
        """Contents of a file."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a file."""
        ...


@dataclass(frozen=True)
class LoggedRun:
    """The run that a logger records.

    Args:
        name: The name of the run.
        folder: The folder of the run.
        config: The config, flat, by dotted names. Configs never hold credentials.
        resumed_at: The step of the checkpoint that a resumed run continues from; None for a new run.
    """

    name: str
    folder: RunFolder
    config: Mapping[str, Any]
    resumed_at: int | None = None


class Logger(Protocol):
    """An experiment logger: ``Class(config, run: LoggedRun)``, in the main process only."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log finite scalars of a step."""
        ...

    def finish(self, status: str, summary: Mapping[str, float]) -> None:
        """Log final scores and close. status: finished, stopped or failed."""
        ...


class LibraryLogger:
    """Base of the built-in loggers.

    Attributes:
        library: The Python package that the logger needs; empty if none.
        local_only: Whether the run folder must be local, since the library appends to files in it.
    """

    library = ""
    local_only = False


def flat(config: Any) -> dict[str, Any]:
    """A config dataclass as dotted names and JSON scalars; lists become text."""
    return dict(_flat(to_json(config), ""))


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        yield name, " ".join(map(str, value))
    else:
        yield name, value


def check_loggers(names: tuple[str, ...], folder: RunFolder) -> None:
    """Refuse loggers that cannot work, before anything starts.

    Raises:
        RequestError: A name is unknown or repeated, a library is not installed, or the folder is not local and must be.
    """
    for name in names:
        make = register.logger.get(name, "loggers").make
        if names.count(name) > 1:
            raise RequestError(f"loggers: {name} is given twice; give it once")
        library = getattr(make, "library", "")
        if library and importlib.util.find_spec(library) is None:
            raise RequestError(f"loggers: {name} is not installed; pip install 'distgnn[{name}]'")
        if getattr(make, "local_only", False) and not folder.local:
            raise RequestError(
                f"loggers: {name} needs a local folder, found {folder.uri}; use wandb or mlflow, or a local out"
            )


@dataclass
class LoggerGroup:
    """The loggers of a command. Non-finite values are dropped."""

    loggers: list[Logger]
    status: str = "finished"
    summary: dict[str, float] = field(default_factory=dict)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log scalars of a step with every logger."""
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        for one in self.loggers if finite else ():
            one.log(step, finite)

    def finish(self) -> None:
        """Close every logger with ``status`` and ``summary``."""
        finite = {name: float(value) for name, value in self.summary.items() if math.isfinite(value)}
        for one in self.loggers:
            one.finish(self.status, finite)


@contextmanager
def open_loggers(names: tuple[str, ...], run: LoggedRun, options: OpenConfig) -> Iterator[LoggerGroup]:
    """The loggers called ``names`` with their ``options``, closed at the end; ``status`` is "failed" where the block raises.

    Raises:
        RequestError: See :func:`check_loggers`.
    """
    check_loggers(names, run.folder)
    group = LoggerGroup([])
    try:
        for name in names:
            entry = register.logger.get(name, "loggers")
            group.loggers.append(entry.make(getattr(options, name) if entry.config else None, run))
        yield group
    except BaseException as error:
        group.status = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
        raise
    finally:
        group.finish()
