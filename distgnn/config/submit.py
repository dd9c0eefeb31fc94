"""Knobs of submitting a job to a Ray cluster. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass

from distgnn.config.base import check
from distgnn.config.fields import runtime


@dataclass(frozen=True)
class SubmitConfig:
    """Run a command as a job on a Ray cluster. These options come first, then the command with its own, as usual.

    Example: distgnn submit --address http://head:8265 pretrain --corpus s3://data/zinc --out s3://runs --workers 8
    """

    address: str = runtime("")
    """Dashboard of the cluster (http://HOST:8265), or its address (HOST:6379); empty = RAY_API_SERVER_ADDRESS, else
    RAY_ADDRESS, else the Ray that runs on this machine."""
    working_dir: str = runtime("")
    """Folder that travels with the job (without what its .gitignore and .rayignore name); empty = the checkout that distgnn
    runs from, or nothing but distgnn itself where it is installed."""
    env: tuple[str, ...] = runtime(())
    """Environment of the job: NAME=VALUE, or NAME for its value here. Nothing else of this environment travels. Ray keeps the
    values in the job's record; credentials belong on the nodes instead."""
    wait: bool = runtime(True)
    """Show the job's output until it ends, and end with its exit code. Ctrl-C leaves the job running."""
    follow: str = runtime("")
    """Id of a job that was submitted before: show its output until it ends."""
    stop: str = runtime("")
    """Id of a job to end, as with Ctrl-C: a training writes a checkpoint first."""

    def __post_init__(self) -> None:
        check(not (self.follow and self.stop), "follow and stop are both given; do one after the other")
        for item in self.env:
            good = item.partition("=")[0].isidentifier()
            check(good, f"env: {item.partition('=')[0]!r} is not a name; give NAME=VALUE or NAME")
