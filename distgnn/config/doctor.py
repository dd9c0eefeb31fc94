"""Config of ``distgnn doctor``. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distgnn.config.base import check
from distgnn.config.fields import reads, runtime, writes


@dataclass(frozen=True)
class DoctorConfig:
    """Check the prerequisites of a run, on this machine and on every node of the cluster at RAY_ADDRESS.

    From outside a cluster: distgnn submit --address http://head:8265 doctor ...
    Example: distgnn doctor --corpus s3://data/zinc --out s3://runs --workers 8
    """

    corpus: str = reads("")
    """URI of a corpus to read from; a few of its shards are verified byte by byte."""
    out: str = writes("")
    """URI of the folder for runs; a small file is written, read, replaced and deleted there."""
    workers: int = runtime(1)
    """Number of training processes that must fit on the cluster besides the data readers."""
    min_workers: int = runtime(0)
    """Minimum number of training processes that must fit, as for elastic training with distgnn pretrain; 0 = not
    elastic.
    """
    cpus_per_worker: float = runtime(0.0)
    """CPUs per training process, as for distgnn pretrain."""
    device: Literal["auto", "cpu", "cuda"] = runtime("auto")
    """Device of the training processes."""
    shards: int = runtime(3)
    """Number of shards of the corpus to verify, evenly spaced."""
    network: bool = runtime(False)
    """Also run an all-reduce between two processes, on two nodes if there are two, and measure its bandwidth (15 s)."""

    def __post_init__(self) -> None:
        check(self.workers >= 1, f"workers must be at least 1, found {self.workers}")
        check(
            0 <= self.min_workers <= self.workers,
            f"min_workers={self.min_workers} must lie in 0..workers={self.workers}",
        )
        check(self.shards >= 0, f"shards must not be negative, found {self.shards}")
        check(self.cpus_per_worker >= 0, f"cpus_per_worker must not be negative, found {self.cpus_per_worker}")
