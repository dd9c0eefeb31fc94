"""What all tests share: a quiet process, a small corpus, ranks that start fast."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from distgnn.models.registry import REGISTERED
from tests.helpers.corpora import motifs
from tests.helpers.servers import moto, rclone, s3, server

__all__ = ["moto", "rclone", "s3", "server"]

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """300 motif graphs in 19 units of 16 (the last one shorter)."""
    folder = tmp_path_factory.mktemp("corpus") / "motifs"
    motifs(folder)
    return str(folder)


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests never use the user's cache of checkpoints."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTGNN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _free_names() -> Iterator[None]:
    """No test sees the encoders another one registered."""
    yield
    REGISTERED.clear()
