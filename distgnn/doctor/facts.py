"""What one machine says about itself: gathered on it, by the same function here and on every node of a cluster."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch.cuda import nccl

import distgnn
from distgnn.doctor.storage_checks import Probed, probe_corpus, probe_out

PACKAGES = ("ray", "torch", "torch-geometric", "pyarrow", "numpy")
_SHM = Path("/dev/shm")


@dataclass(frozen=True)
class Questions:
    """What a node is to look at. out, corpus: URIs, empty = none. seen: a file below ``out`` that another node wrote."""

    out: str = ""
    corpus: str = ""
    seen: str = ""


@dataclass(frozen=True)
class Facts:
    """node: its name. shm: bytes of /dev/shm, None where there is none. disk: (all, free) bytes where Ray spills.

    gpus: that torch can use. nccl: its version, empty where torch has none. out, corpus: None = not asked.
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
    """The facts of this machine, called ``node``. spill: a folder on the disk that Ray spills to."""
    usage = shutil.disk_usage(spill)
    return Facts(
        node=node,
        versions=_versions(),
        shm=shutil.disk_usage(_SHM).total if _SHM.is_dir() else None,
        disk=(usage.total, usage.free),
        gpus=_gpus(),
        nccl=".".join(map(str, nccl.version())) if torch.version.cuda else "",
        out=probe_out(questions.out, questions.seen) if questions.out else None,
        corpus=probe_corpus(questions.corpus) if questions.corpus else None,
    )


def _gpus() -> int:
    """GPUs that torch can use; Ray hides all of them from a task that reserved none."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        del os.environ["CUDA_VISIBLE_DEVICES"]
    return torch.cuda.device_count()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "distgnn": distgnn.__version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found
