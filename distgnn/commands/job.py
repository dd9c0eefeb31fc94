"""What a submitted job is made of: its words, the folder that travels with it, its command and its environment."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import distgnn
from distgnn.config import SubmitConfig
from distgnn.config.fields import named
from distgnn.errors import RequestError
from distgnn.options import split_globals

PACKAGE = Path(distgnn.__file__).parent
Understand = Callable[[list[str]], Any]
"""The options that the words of a command mean; None for words that are no command of distgnn, RequestError for wrong ones."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SECRET = ("SECRET", "TOKEN", "PASSWORD", "KEY")
_VALUED = {f"--{item.name}" for item in dataclasses.fields(SubmitConfig) if item.type != "bool"} | {"--set", "--config"}


def split_words(words: list[str]) -> tuple[list[str], list[str]]:
    """(options of submit, the command and its options): the command is the first word that no option takes as its value."""
    own: list[str] = []
    env: list[str] = []
    queue = list(words)
    while queue and queue[0].startswith("-"):
        name, equals, value = queue.pop(0).partition("=")
        if name.replace("-", "_").replace("__", "--", 1) not in _VALUED:
            own.append(f"{name}{equals}{value}")
            continue
        if not equals:
            if not queue:
                raise RequestError(f"{name}: a value is missing; see distgnn submit --help")
            value = queue.pop(0)
        if name == "--env":
            env.append(value)
        else:
            own.append(f"{name}={value}")
    return [*own, *(["--env", *env] if env else [])], queue


def working_dir(config: SubmitConfig) -> Path | None:
    """The folder that travels; None where distgnn is installed and no folder is given."""
    if not config.working_dir:
        checkout = PACKAGE.parent
        return checkout if (checkout / "pyproject.toml").is_file() and (checkout / "jobs").is_dir() else None
    folder = Path(config.working_dir).expanduser().resolve()
    if not folder.is_dir():
        raise RequestError(f"working_dir={config.working_dir}: not a folder; give one that holds what the job imports")
    return folder


def entrypoint(
    job: list[str], folder: Path | None, understand: Understand, here: bool, note: Callable[[str], None]
) -> str:
    """The job's shell command: distgnn's own, or that of a script jobs/NAME.py in the folder that travels.

    here: whether the cluster sees this machine's files. note: told what is odd but may be meant. Raises RequestError for
    wrong options, and for results that would be lost.
    """
    if not job:
        raise RequestError("which command? for example: distgnn submit pretrain --corpus s3://... --out s3://...")
    _check_config(job, folder, here)
    options, script = understand(job), Path("jobs") / f"{job[0]}.py"
    if options is None:
        if folder is None or not (folder / script).is_file():
            raise RequestError(
                f"{job[0]!r} is neither a command of distgnn nor a script {script} in the working folder"
            )
        return shlex.join(["python", str(script), *job[1:]])
    for text in _notes(options, here):
        note(text)
    return shlex.join(["python", "-m", "distgnn.cli", *job])


def _check_config(job: list[str], folder: Path | None, here: bool) -> None:
    """Raise RequestError where the job would not find the file of its --config."""
    given = split_globals(job)[0].config
    travels = folder is not None and (folder / given).is_file() and (here or not os.path.isabs(given))
    if given and not travels:
        raise RequestError(
            f"--config {given}: does not travel with the job; put it into the working folder and name it from there"
        )


def _notes(options: Any, here: bool) -> Iterator[str]:
    for name, place in _places(options, "writes"):
        if not os.path.isabs(place):
            raise RequestError(
                f"{name}={place}: the job runs in a copy of the working folder, which Ray deletes; give an s3:// URI or an"
                " absolute path that every node sees"
            )
    for name, place in _places(options, "reads", "writes"):
        if not os.path.isabs(place):
            yield f"{name}={place} is looked for in the copy of the working folder that travels"
        elif not here:
            yield f"{name}={place} is a path on the nodes of the cluster, not on this machine"


def _places(options: Any, *facts: str) -> Iterator[tuple[str, str]]:
    """(field, path) of the fields with one of ``facts`` ("reads", "writes") that hold paths, not URIs."""
    for name in sorted(frozenset().union(*(named(type(options), fact) for fact in facts))):
        value = attrgetter(name)(options)
        for place in (value,) if isinstance(value, str) else value:
            if place and "://" not in place:
                yield name, place


def is_here(address: str) -> bool:
    """Whether the cluster at ``address`` (or of the environment) runs on this machine."""
    found = address or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS") or "auto"
    return found in ("auto", "local") or urlsplit(found if "://" in found else f"//{found}").hostname in _LOOPBACK


def variables(items: tuple[str, ...], note: Callable[[str], None]) -> dict[str, str]:
    """The variables of ``env`` options, those without a value as they are set here; RequestError where one is not."""
    found = {}
    for item in items:
        name, given, value = item.partition("=")
        if not given and name not in os.environ:
            raise RequestError(f"env: {name} is not set here; give {name}=VALUE")
        if any(word in name.upper() for word in _SECRET):
            note(f"Ray keeps {name} in the job's record and in its logs; better give it to the nodes themselves")
        found[name] = value if given else os.environ[name]
    return found
