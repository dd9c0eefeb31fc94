"""Job submission to a Ray cluster through ``ray.job_submission``."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from distgnn.errors import INTERRUPTED, RequestError, WorkError
from distgnn.scale.address import check_address

try:  # part of ray[default]; if it is missing, connect() fails with an explanation
    from aiohttp import ClientError
except ImportError:
    ClientError = OSError

_POLL_SECONDS = 0.5
_TIMEOUT_SECONDS = 120.0


def connect(address: str) -> JobSubmissionClient:
    """Connect to a cluster.

    Args:
        address: Address of its dashboard; by default that of the environment, or the one on this machine.

    Raises:
        RequestError: If ray[default] is not installed, the cluster is unreachable, or the token is rejected.
    """
    for name in ("ray", "ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if address:
        os.environ["RAY_API_SERVER_ADDRESS"] = address  # the environment variable takes precedence over Ray's argument
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        if found := os.environ.get(name):
            check_address(found, "address" if address else name)
            break
    with _one_line_errors():
        return JobSubmissionClient()


def start(
    client: JobSubmissionClient, entrypoint: str, environment: dict[str, Any], reserve: dict[str, float] | None = None
) -> str:
    """Submit the shell command ``entrypoint``.

    Args:
        client: The cluster.
        entrypoint: The command.
        environment: Ray's ``runtime_env``.
        reserve: Custom resources that its process reserves.

    Returns:
        The job id.
    """
    with _one_line_errors():
        return client.submit_job(entrypoint=entrypoint, runtime_env=environment, entrypoint_resources=reserve)


def follow(client: JobSubmissionClient, job: str) -> int:
    """Print a job's output until it ends.

    Returns:
        Its exit code; INTERRUPTED if it was stopped.

    Raises:
        WorkError: If the job could not be started, or the cluster did not answer for two minutes.
    """
    shown, seen = [0], time.monotonic()
    while True:
        try:
            asyncio.run(_print_new(client, job, shown))
            if client.get_job_status(job).is_terminal():
                return _exit_code(client, job)
            seen = time.monotonic()
        except (ClientError, OSError, RuntimeError) as error:
            if time.monotonic() - seen > _TIMEOUT_SECONDS:
                hint = f"it may still run; see ray job logs --follow {job}"
                raise WorkError(f"job {job}: the cluster does not answer ({_line(error)}); {hint}") from error
        time.sleep(_POLL_SECONDS)


async def _print_new(client: JobSubmissionClient, job: str, shown: list[int]) -> None:
    """Print the log from character ``shown[0]`` on; Ray sends it from the beginning on each connection."""
    passed = 0
    async for text in client.tail_job_logs(job):
        new = text[max(shown[0] - passed, 0) :]
        passed += len(text)
        shown[0] += len(new)
        sys.stdout.write(new)
        sys.stdout.flush()


def _exit_code(client: JobSubmissionClient, job: str) -> int:
    info = client.get_job_info(job)
    if info.status in (JobStatus.SUCCEEDED, JobStatus.STOPPED):
        return 0 if info.status == JobStatus.SUCCEEDED else INTERRUPTED
    code = info.driver_exit_code
    if code is None:
        raise WorkError(f"job {job} could not be run: {' '.join((info.message or 'no reason given').split())[:500]}")
    return code if code > 0 else 128 - code


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except AuthenticationError as error:
        what = "rejects the token" if "Authentication failed" in str(error) else "requires a token"
        hint = (
            "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to the cluster's own unless it is that in"
            " ~/.ray/auth_token"
        )
        raise RequestError(f"the cluster {what}; {hint}") from error
    except (ConnectionError, OSError, ClientError) as error:
        raise RequestError(f"no Ray dashboard answers ({_line(error)}); give --address http://HOST:8265") from error
    except (RuntimeError, ValueError) as error:
        if "ray[default]" in str(error):
            raise RequestError("submitting needs Ray's Jobs API: pip install 'ray[default]'") from error
        raise WorkError(f"the cluster refused the job: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
