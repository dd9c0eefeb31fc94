"""Options of ``distgnn submit``. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass

from distgnn.config.base import check
from distgnn.config.fields import runtime


@dataclass(frozen=True)
class SubmitConfig:
    """Run a command as a job on a Ray cluster: its options are checked first, secrets are not uploaded, the exit code is the job's.

    Options of submit come first. A command that is not one of distgnn follows "--". For jobs that already run, use Ray's own
    commands: ray job list, ray job logs --follow ID, ray job stop ID.

    Example: distgnn submit --address http://head:8265 pretrain --corpus s3://data/zinc --out s3://runs --workers 8
    """

    address: str = runtime("")
    """Dashboard of the cluster (http://HOST:8265), or its address (HOST:6379); empty = RAY_API_SERVER_ADDRESS, else
    RAY_ADDRESS, else the Ray cluster on this machine."""
    working_dir: str = runtime("")
    """Folder that is uploaded, without secrets and what its .gitignore and .rayignore name; empty = the checkout that distgnn
    runs from, or only the package where distgnn is installed."""
    env: tuple[str, ...] = runtime(())
    """Environment variables of the job: NAME=VALUE, or NAME for its value here. No others are passed on. Ray stores the values
    with the job; credentials belong on the nodes instead."""
    wait: bool = runtime(True)
    """Print the job's output until it ends, and exit with its exit code. Ctrl-C leaves the job running."""

    def __post_init__(self) -> None:
        for item in self.env:
            good = item.partition("=")[0].isidentifier()
            check(good, f"env: {item.partition('=')[0]!r} is not a name; give NAME=VALUE or NAME")
