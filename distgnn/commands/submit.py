"""The command ``distgnn submit``: run a command as a Ray job.

In addition to ``ray job submit``: options are validated before the upload, secrets are not uploaded, a lost connection
to the log is restored, and the exit code is that of the job.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import distgnn
from distgnn.commands.output import Output
from distgnn.commands.upload import Upload, upload_of
from distgnn.config import SubmitConfig
from distgnn.config.fields import named
from distgnn.errors import INTERRUPTED, RequestError, printable
from distgnn.loading import load_function
from distgnn.options import imports_of, parse, split_globals

PACKAGE = Path(distgnn.__file__).parent
Understand = Callable[[list[str]], Any]
"""Parses a command line of distgnn: its options, None for other commands, RequestError for invalid options."""

_STOP_SECONDS = "60"
"""Seconds to write a checkpoint after ``ray job stop``; Ray's default is 3."""
_SECRET_VARIABLES = ("SECRET", "TOKEN", "PASSWORD", "KEY")
_VALUED = ("--address", "--working-dir", "--working_dir", "--env", "--reserve", "--config")


def submit(argv: list[str], understand: Understand) -> int:
    """Submit a command line and, by default, follow the job until it ends.

    Returns:
        The job's exit code: 0 succeeded, 1 failed, 2 invalid request, 130 stopped.

    Raises:
        RequestError: The options are invalid, or results would be lost; nothing has been uploaded.
    """
    own, job = split_argv(argv)
    options, rest = split_globals(own)
    config, output = parse(SubmitConfig, "distgnn submit", rest, options), Output(options.json)
    folder = working_dir(config)
    entrypoint = _entrypoint(job, folder, understand)
    variables, upload = dict(_variables(config.env)), upload_of(folder)
    if config.dry_run:
        return _list(upload, folder, output)
    client = load_function("distgnn.scale.submit:connect")(config.address)
    if skipped := upload.secrets:
        _note(f"left out of the upload: {', '.join(skipped[:10])}{', ...' if skipped[10:] else ''}")
    reserve = {item.partition("=")[0]: float(item.partition("=")[2]) for item in config.reserve} or None
    environment = _runtime_env(folder, variables, upload)
    name = load_function("distgnn.scale.submit:start")(client, entrypoint, environment, reserve)
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


def split_argv(argv: list[str]) -> tuple[list[str], list[str]]:
    """Split into (options of submit, command).

    The command starts at the first word that is neither an option nor its value, or at "--".
    """
    own: list[str] = []
    several: dict[str, list[str]] = {"--env": [], "--reserve": []}
    queue = list(argv)
    while queue and queue[0].startswith("-") and queue[0] != "--":
        name, equals, value = queue.pop(0).partition("=")
        if name in _VALUED and not equals:
            if not queue:
                raise RequestError(f"{name}: a value is missing; see distgnn submit --help")
            value = queue.pop(0)
        if name in several:
            several[name].append(value)
        else:
            own.append(f"{name}={value}" if name in _VALUED or equals else name)
    own += [word for name, values in several.items() if values for word in (name, *values)]
    return own, queue


def working_dir(config: SubmitConfig) -> Path | None:
    """Return the folder to upload; None if distgnn is installed and no folder is given."""
    if not config.working_dir:
        checkout = PACKAGE.parent
        return checkout if (checkout / "pyproject.toml").is_file() and (checkout / "jobs").is_dir() else None
    folder = Path(os.path.expanduser(config.working_dir)).resolve()
    if not folder.is_dir():
        raise RequestError(f"working_dir={config.working_dir}: not a folder; give one that holds what the job imports")
    home = Path(os.path.expanduser("~")).resolve()
    if folder in (home, *home.parents):
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
    _check_uploaded(imports_of(job), folder)
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


def _check_uploaded(modules: tuple[str, ...], folder: Path | None) -> None:
    """Raise RequestError if a module of --imports is a file of the current folder that does not travel with ``folder``."""
    for name in modules:
        top = name.partition(".")[0]
        here = next((path for path in (Path.cwd() / f"{top}.py", Path.cwd() / top) if path.exists()), None)
        if here and (folder is None or not (folder / here.name).exists()):
            raise RequestError(
                f"--imports {name}: {here} is not uploaded; give submit --working-dir {shlex.quote(str(here.parent))}"
            )


def runtime_env(folder: Path | None, variables: dict[str, str]) -> dict[str, Any]:
    """Return Ray's runtime environment: ``folder`` without secrets, and the package unless ``folder`` contains it."""
    return _runtime_env(folder, variables, upload_of(folder))


def _runtime_env(folder: Path | None, variables: dict[str, str], upload: Upload) -> dict[str, Any]:
    found: dict[str, Any] = {
        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": _STOP_SECONDS} | variables,
        "excludes": upload.excludes,
    }
    if folder is not None:
        found["working_dir"] = str(folder)
    if _needs_package(folder):
        found["py_modules"] = [str(PACKAGE)]
    return found


def _needs_package(folder: Path | None) -> bool:
    return folder is None or not (folder / PACKAGE.name / "__init__.py").is_file()


def _list(upload: Upload, folder: Path | None, output: Output) -> int:
    """Print what would be uploaded, with sizes."""
    package = upload_of(PACKAGE).files if _needs_package(folder) else []
    files = [*upload.files, *((f"{PACKAGE.name}/{name}", size) for name, size in package)]
    total = sum(size for _, size in files)
    lines = [f"{size:>12,}  {name}" for name, size in upload.files]
    if package:
        lines.append(f"{sum(size for _, size in package):>12,}  the package {PACKAGE.name} ({len(package)} files)")
    left = [f"{'left out':>12}  {name}" for name in upload.secrets]
    value = {"files": dict(files), "bytes": total, "left_out": upload.secrets}
    output.emit(value, "\n".join([*lines, *left, f"{total:>12,}  bytes in {len(files)} files; nothing was uploaded"]))
    return 0


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
