"""The command ``distgnn submit``: run a command as a Ray job.

In addition to ``ray job submit``: options are validated before the upload, secrets are not uploaded, a lost connection
to the log is restored, and the exit code is that of the job.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import distgnn
from distgnn.api.arguments import load_function
from distgnn.commands.output import Output
from distgnn.config import SubmitConfig
from distgnn.config.fields import named
from distgnn.errors import INTERRUPTED, RequestError, printable
from distgnn.options import parse, split_globals

PACKAGE = Path(distgnn.__file__).parent
Understand = Callable[[list[str]], Any]
"""Parses a command line of distgnn: its options, None for other commands, RequestError for invalid options."""

SECRETS = (".env*", ".aws", ".ssh", ".ray", ".netrc", ".kube", ".docker", "*.pem", "id_*", "credentials*")
_BULK = (".git", ".venv", "venv", "__pycache__", "*.egg-info")
_STOP_SECONDS = "60"
"""Seconds to write a checkpoint after ``ray job stop``; Ray's default is 3."""
_SECRET_VARIABLES = ("SECRET", "TOKEN", "PASSWORD", "KEY")
_VALUED = ("--address", "--working-dir", "--working_dir", "--env", "--config")


def submit(words: list[str], understand: Understand) -> int:
    """Submit a command line and, by default, follow the job until it ends.

    Returns:
        The job's exit code: 0 succeeded, 1 failed, 2 invalid request, 130 stopped.

    Raises:
        RequestError: The options are invalid, or results would be lost; nothing has been uploaded.
    """
    own, job = split_words(words)
    options, rest = split_globals(own)
    config, output = parse(SubmitConfig, "distgnn submit", rest, options), Output(options.json)
    folder = working_dir(config)
    entrypoint = _entrypoint(job, folder, understand)
    variables = dict(_variables(config.env))
    client = load_function("distgnn.scale.submit:connect")(config.address)
    if skipped := secrets(folder):
        _note(f"left out of the upload: {', '.join(skipped[:10])}{', ...' if skipped[10:] else ''}")
    name = load_function("distgnn.scale.submit:start")(client, entrypoint, runtime_env(folder, variables))
    if not config.wait:
        output.emit({"job": name, "status": "submitted", "exit_code": None}, name)
        return 0
    _note(f"submitted {name}")
    try:
        code = load_function("distgnn.scale.submit:follow")(client, name)
    except KeyboardInterrupt:
        _note(f"the job continues; ray job logs --follow {name} shows it, ray job stop {name} ends it")
        return INTERRUPTED
    status = {0: "succeeded", INTERRUPTED: "stopped"}.get(code, "failed")
    output.emit({"job": name, "status": status, "exit_code": code}, f"job {name} {status}")
    return code


def split_words(words: list[str]) -> tuple[list[str], list[str]]:
    """Split into (options of submit, command).

    The command starts at the first word that is neither an option nor its value, or at "--".
    """
    own: list[str] = []
    env: list[str] = []
    queue = list(words)
    while queue and queue[0].startswith("-") and queue[0] != "--":
        name, equals, value = queue.pop(0).partition("=")
        if name in _VALUED and not equals:
            if not queue:
                raise RequestError(f"{name}: a value is missing; see distgnn submit --help")
            value = queue.pop(0)
        if name == "--env":
            env.append(value)
        else:
            own.append(f"{name}={value}" if name in _VALUED or equals else name)
    return [*own, *(["--env", *env] if env else [])], queue


def working_dir(config: SubmitConfig) -> Path | None:
    """Return the folder to upload; None if distgnn is installed and no folder is given."""
    if not config.working_dir:
        checkout = PACKAGE.parent
        return checkout if (checkout / "pyproject.toml").is_file() and (checkout / "jobs").is_dir() else None
    folder = Path(config.working_dir).expanduser().resolve()
    if not folder.is_dir():
        raise RequestError(f"working_dir={config.working_dir}: not a folder; give one that holds what the job imports")
    if folder in (Path.home(), *Path.home().parents):
        raise RequestError(f"working_dir={folder}: is or contains your home folder; give a folder of code")
    return folder


def _entrypoint(job: list[str], folder: Path | None, understand: Understand) -> str:
    """Return the job's shell command.

    Raises:
        RequestError: The options are invalid, or --config or the results would not be found.
    """
    if job in ([], ["--"]):
        raise RequestError("which command? for example: distgnn submit pretrain --corpus s3://... --out s3://...")
    other = job[0] == "--"
    job = job[1:] if other else job
    options = understand(job)
    if options is None:
        if not other:
            raise RequestError(f"{job[0]!r} is not a command of distgnn; put -- before any other command")
        return shlex.join(job)
    given = split_globals(job)[0].config
    if given and (os.path.isabs(given) or folder is None or not (folder / given).is_file()):
        raise RequestError(f"--config {given}: is not uploaded; put it into the working folder and name it from there")
    for name in sorted(name for name in named(type(options), "writes") if "." not in name):
        place = getattr(options, name)
        if place and "://" not in place and not os.path.isabs(place):
            raise RequestError(
                f"{name}={place}: the job runs in a copy of the working folder, which Ray deletes; give an s3:// URI or an"
                " absolute path that every node sees"
            )
    return shlex.join(["python", "-m", "distgnn.cli", *job])


def runtime_env(folder: Path | None, variables: dict[str, str]) -> dict[str, Any]:
    """Return Ray's runtime environment: ``folder`` without secrets, and the package unless ``folder`` contains it."""
    found: dict[str, Any] = {
        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": _STOP_SECONDS} | variables,
        "excludes": [*SECRETS, *_BULK],
    }
    if folder is not None:
        found["working_dir"] = str(folder)
    if folder is None or not (folder / PACKAGE.name / "__init__.py").is_file():
        found["py_modules"] = [str(PACKAGE)]
    return found


def secrets(folder: Path | None) -> list[str]:
    """Return the paths below ``folder`` that match SECRETS; excluded folders are not searched."""
    found: list[str] = []
    for place, folders, files in os.walk(folder) if folder is not None else ():
        names = [name for name in sorted(folders + files) if _matches(name, SECRETS)]
        found += [os.path.relpath(os.path.join(place, name), folder) for name in names]
        folders[:] = [name for name in folders if not _matches(name, SECRETS + _BULK)]
    return found


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _variables(items: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for item in items:
        name, given, value = item.partition("=")
        if not given and name not in os.environ:
            raise RequestError(f"env: {name} is not set here; give {name}=VALUE")
        if any(word in name.upper() for word in _SECRET_VARIABLES):
            _note(f"Ray stores {name} with the job and in its logs; set it on the nodes instead")
        yield name, value if given else os.environ[name]


def _note(text: str) -> None:
    sys.stderr.write(f"distgnn submit: {printable(text)}\n")
    sys.stderr.flush()
