"""Facts about one machine for the doctor command, gathered by the same function locally and on every node."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.cuda import nccl

from distgnn.doctor.storage_checks import Probed, probe_corpus, probe_out
from distgnn.storage.environment import versions

_SHM = Path("/dev/shm")


@dataclass(frozen=True)
class Questions:
    """What to examine on a node.

    Attributes:
        out: URI of the output folder; empty = skip.
        corpus: URI of the corpus; empty = skip.
        seen: name of a folder below ``out`` that another node wrote; empty = skip.
    """

    out: str = ""
    corpus: str = ""
    seen: str = ""


@dataclass(frozen=True)
class Facts:
    """Facts about one machine.

    Attributes:
        node: name of the machine.
        versions: version by package; "missing" if not installed.
        shm: bytes of /dev/shm; None if there is none.
        disk: (total, free) bytes of the disk to which Ray spills.
        gpus: number of GPUs that torch can use.
        nccl: version of NCCL; empty if torch has none.
        out: result of the output folder's probe; None if skipped.
        corpus: result of the corpus probe; None if skipped.
    """

    node: str
    versions: dict[str, str]
    shm: int | None
    disk: tuple[int, int]
    gpus: int
    nccl: str
    out: Probed | None = None
    corpus: Probed | None = None


def gather(questions: Questions, node: str, spill: str) -> Facts:
    """Gather the facts of this machine; ``spill`` is a folder on the disk to which Ray spills."""
    usage = shutil.disk_usage(spill)
    return Facts(
        node=node,
        versions=versions(),
        shm=shutil.disk_usage(_SHM).total if _SHM.is_dir() else None,
        disk=(usage.total, usage.free),
        gpus=_gpus(),
        nccl=".".join(map(str, nccl.version())) if torch.version.cuda else "",
        out=probe_out(questions.out, questions.seen) if questions.out else None,
        corpus=probe_corpus(questions.corpus) if questions.corpus else None,
    )


def _gpus() -> int:
    """Count the GPUs that torch can use; Ray hides all of them from a task that reserved none."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        del os.environ["CUDA_VISIBLE_DEVICES"]
    return torch.cuda.device_count()
