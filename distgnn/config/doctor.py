"""Knobs of the examination of a cluster. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distgnn.config.base import check
from distgnn.config.fields import reads, runtime, writes


@dataclass(frozen=True)
class DoctorConfig:
    """Look at everything a run needs before it starts, here and on every node of the cluster of RAY_ADDRESS.

    From outside a cluster: distgnn submit --address http://head:8265 doctor ...
    Example: distgnn doctor --corpus s3://data/zinc --out s3://runs --workers 8
    """

    corpus: str = reads("")
    """URI of a corpus to read from; a few of its shards are checked byte for byte."""
    out: str = writes("")
    """URI of the folder that runs are to be written to; a small file is written, read, replaced and deleted there."""
    workers: int = runtime(1)
    """Training processes that are to fit, beside the reading."""
    min_workers: int = runtime(0)
    """The fewest that are to fit, as for an elastic distgnn pretrain; 0 = not elastic."""
    cpus_per_worker: float = runtime(0.0)
    """CPUs of each, as for distgnn pretrain."""
    device: Literal["auto", "cpu", "cuda"] = runtime("auto")
    """Where they are to compute."""
    shards: int = runtime(3)
    """How many shards of the corpus are checked, spread over it."""
    network: bool = runtime(False)
    """Also sum gradients in two processes, on two nodes where there are two, and measure how fast (15 s)."""

    def __post_init__(self) -> None:
        check(self.workers >= 1, f"workers must be at least 1, found {self.workers}")
        check(
            0 <= self.min_workers <= self.workers,
            f"min_workers={self.min_workers} must lie in 0..workers={self.workers}",
        )
        check(self.shards >= 0, f"shards must not be negative, found {self.shards}")
        check(self.cpus_per_worker >= 0, f"cpus_per_worker must not be negative, found {self.cpus_per_worker}")
