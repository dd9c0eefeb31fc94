"""What all tests share: a quiet process, a small corpus, ranks that start fast."""

from __future__ import annotations

import os

import pytest
import torch

from tests.corpora import motifs

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """300 motif graphs in 19 units of 16 (the last one shorter)."""
    folder = tmp_path_factory.mktemp("corpus") / "motifs"
    motifs(folder)
    return str(folder)
