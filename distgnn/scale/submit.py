"""Jobs on a Ray cluster, through its Jobs API: submit, follow, stop. What goes wrong is one line that says what to do."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from distgnn.errors import INTERRUPTED, RequestError, WorkError
from distgnn.scale.address import check_address

try:  # comes with ray[default]; without it the client cannot be made, which connect() tells
    from aiohttp import ClientError
except ImportError:
    ClientError = OSError

ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_POLL_SECONDS = 0.5
_PATIENCE_SECONDS = 120.0
_STOP_SECONDS = 60
_EXCLUDES = [".git", ".venv", "venv", "__pycache__", "*.egg-info"]


@dataclass
class Jobs:
    """The jobs of one cluster. where: its address in words."""

    client: JobSubmissionClient
    where: str

    def submit(self, entrypoint: str, environment: dict[str, Any]) -> str:
        """Start ``entrypoint`` (a shell command) in the runtime ``environment``; returns the job's id."""
        with _plain(self.where):
            return self.client.submit_job(entrypoint=entrypoint, runtime_env=environment)

    def stop(self, job: str) -> bool:
        """Ask a job to end; whether it was running."""
        with _plain(self.where):
            return self.client.stop_job(job)

    def follow(self, job: str) -> int:
        """Show a job's output until it ends; returns its exit code (INTERRUPTED where it was stopped).

        Raises RequestError where there is no such job, WorkError where it could not be started or is out of sight for two
        minutes.
        """
        with _plain(self.where):
            self.client.get_job_info(job)
        tail, seen = _Tail(self.client, job), time.monotonic()
        while True:
            try:
                asyncio.run(tail.show())
                if self.client.get_job_status(job).is_terminal():
                    return self._outcome(job)
                seen = time.monotonic()
            except (ClientError, OSError, RuntimeError) as error:
                if time.monotonic() - seen > _PATIENCE_SECONDS:
                    hint = f"it may go on; look again with: distgnn submit --follow {job}"
                    raise WorkError(f"job {job}: {self.where} does not answer ({_line(error)}); {hint}") from error
            time.sleep(_POLL_SECONDS)

    def _outcome(self, job: str) -> int:
        info = self.client.get_job_info(job)
        if info.status == JobStatus.SUCCEEDED:
            return 0
        if info.status == JobStatus.STOPPED:
            return INTERRUPTED
        if info.driver_exit_code is None:
            raise WorkError(
                f"job {job} could not be run: {' '.join((info.message or 'no reason given').split())[:500]}"
            )
        return info.driver_exit_code if info.driver_exit_code > 0 else 128 - info.driver_exit_code


@dataclass
class _Tail:
    """Shows what a job says, from where it was when the connection broke. shown: characters so far."""

    client: JobSubmissionClient
    job: str
    shown: int = field(default=0)

    async def show(self) -> None:
        """Until the job ends or the connection does. Ray sends everything from the beginning each time."""
        passed = 0
        async for text in self.client.tail_job_logs(self.job):
            new = text[max(self.shown - passed, 0) :]
            passed += len(text)
            self.shown += len(new)
            sys.stdout.write(new)
            sys.stdout.flush()


def connect(address: str) -> Jobs:
    """The cluster at ``address``, or that of the environment, or the one that runs here.

    Raises RequestError where ray[default], the cluster or the right token is missing.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    if address:
        os.environ[ADDRESSES[0]] = address  # Ray would take the environment's before the one it is asked for
    name, found = next(((name, os.environ[name]) for name in ADDRESSES if os.environ.get(name)), ("", ""))
    if found:
        check_address(found, "address" if address else name)
    where = found or "the Ray of this machine"
    with _plain(where):
        return Jobs(JobSubmissionClient(), where)


def environment(working_dir: Path | None, package: Path, variables: dict[str, str]) -> dict[str, Any]:
    """The runtime environment of a job: ``working_dir`` (None: nothing), and ``package`` beside it unless it is in there.

    Stopping gives the job a minute instead of Ray's three seconds, so that a training can write its checkpoint.
    """
    found: dict[str, Any] = {
        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_SECONDS)} | variables,
        "excludes": _EXCLUDES,
    }
    if working_dir is not None:
        found["working_dir"] = str(working_dir)
    if working_dir is None or not (working_dir / package.name / "__init__.py").is_file():
        found["py_modules"] = [str(package)]
    return found


@contextmanager
def _plain(where: str) -> Iterator[None]:
    """What Ray's client raises, as one line."""
    try:
        yield
    except AuthenticationError as error:
        refused = "Authentication failed" in str(error)
        what = "refuses the token" if refused else "asks for a token"
        raise RequestError(
            f"{where} {what}; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to the cluster's own"
        ) from error
    except (ConnectionError, OSError, ClientError) as error:
        raise RequestError(
            f"{where}: no Ray dashboard answers ({_line(error)}); give --address http://HOST:8265"
        ) from error
    except (RuntimeError, ValueError) as error:
        raise _told(where, error) from error


def _told(where: str, error: Exception) -> RequestError | WorkError:
    text = _line(error)
    if "ray[default]" in text:
        return RequestError("submitting needs Ray's Jobs API: pip install 'ray[default]'")
    if "404" in text or "does not exist" in text:
        return RequestError(f"{where}: {text}; give the id that distgnn submit printed")
    return WorkError(f"{where}: {text}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
