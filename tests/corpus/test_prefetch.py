"""The prefetching thread does not use the cores of training."""

from __future__ import annotations

import torch

from distgnn.corpus.prefetch import Prefetch


def test_the_reader_uses_one_thread_and_the_consumer_keeps_its_own() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with Prefetch(torch.ones(2).add(1).numel() + torch.get_num_threads() for _ in range(2)) as items:
            assert list(items) == [2 + 1, 2 + 1]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
