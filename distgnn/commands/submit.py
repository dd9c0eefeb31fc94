"""distgnn submit: any command as a job on a Ray cluster; the same options, checked here before anything travels."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from distgnn.commands.job import PACKAGE, Understand, entrypoint, is_here, split_words, variables, working_dir
from distgnn.commands.output import Output, load_function
from distgnn.config import SubmitConfig
from distgnn.errors import INTERRUPTED, RequestError
from distgnn.options import parse, split_globals


def submit(words: list[str], understand: Understand) -> int:
    """Submit a command line, and show the job until it ends; or follow or stop one that was submitted before.

    Ends with the job's exit code: 0 done, 1 the work failed, 2 the request was wrong, 130 stopped.
    """
    _use_token()
    own, job = split_words(words)
    options, rest = split_globals(own)
    config = parse(SubmitConfig, "distgnn submit", rest, options)
    output = Output(options.json)
    if job and (config.stop or config.follow):
        raise RequestError(f"--follow and --stop take no command, found {job[0]!r}; leave it out")
    if config.stop or config.follow:
        jobs = _connect(config.address)
        return _stop(jobs, config.stop, output) if config.stop else _watch(jobs, config.follow, output)
    return _start(config, job, understand, output)


def _start(config: SubmitConfig, job: list[str], understand: Understand, output: Output) -> int:
    folder = working_dir(config)
    command = entrypoint(job, folder, understand, is_here(config.address), _note)
    environment = load_function("distgnn.scale.submit:environment")
    travelling = environment(folder, PACKAGE, variables(config.env, _note))
    jobs = _connect(config.address)
    name = jobs.submit(command, travelling)
    if not config.wait:
        output.emit({"job": name, "status": "submitted", "exit_code": None}, name)
        return 0
    _say(f"job {name} at {jobs.where}")
    return _watch(jobs, name, output)


def _use_token() -> None:
    """Ray's client sends a token only in token mode, which must be on before Ray is imported; where there is one, it is meant."""
    here = Path.home() / ".ray" / "auth_token"
    if {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ) or here.is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _connect(address: str) -> Any:
    return load_function("distgnn.scale.submit:connect")(address)


def _watch(jobs: Any, name: str, output: Output) -> int:
    try:
        code = jobs.follow(name)
    except KeyboardInterrupt:
        _say(
            f"left; the job goes on. Look again: distgnn submit --follow {name}   End it: distgnn submit --stop {name}"
        )
        return INTERRUPTED
    status = "succeeded" if code == 0 else "stopped" if code == INTERRUPTED else "failed"
    output.emit({"job": name, "status": status, "exit_code": code}, f"job {name} {status}")
    return code


def _stop(jobs: Any, name: str, output: Output) -> int:
    text = "stopping" if jobs.stop(name) else "ended before"
    output.emit({"job": name, "status": text, "exit_code": None}, f"job {name} {text}")
    return 0


def _note(text: str) -> None:
    _say(f"note: {text}")


def _say(text: str) -> None:
    sys.stderr.write(f"distgnn submit: {text}\n")
    sys.stderr.flush()
