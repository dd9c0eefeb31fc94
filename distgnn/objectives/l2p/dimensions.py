"""Negative graph embeddings of L2P-GNN, made by "shifting some dimensions of h_G" (Eq. 8), on the device of the batch."""

from __future__ import annotations

import torch
from torch import Tensor

from distgnn.graph.batch import to_device


def shifted_dimensions(keys: list[int], graph_ids: Tensor, width: int) -> Tensor:
    """Return a permutation of the dimensions per key and graph: a keyed random half of them, shifted cyclically.

    Args:
        keys: K keys of 64 bits.
        graph_ids: int64 [U].
        width: Number of dimensions.

    Returns:
        int64 [K, U, width], the dimension of h_G for each dimension of h_G'.
    """
    device = graph_ids.device
    sides = to_device(torch.tensor([_signed(key) for key in keys]), device)
    words = _draw(_draw(sides[:, None], graph_ids)[..., None], torch.arange(width, device=device))
    order = (words ^ torch.iinfo(torch.int64).min).argsort(-1)[..., : max(width // 2, 2)]  # ascending as unsigned words
    index = torch.arange(width, device=device).repeat(*words.shape[:-1], 1)
    return index.scatter_(-1, order, order.roll(1, -1))


def _draw(keys: Tensor, counters: Tensor) -> Tensor:
    """The words of :func:`distgnn.graph.keyed.draw` as int64, whose products wrap like those of unsigned words."""
    z = keys + (counters + 1) * _signed(0x9E3779B97F4A7C15)
    z = (z ^ _right(z, 30)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ _right(z, 27)) * _signed(0x94D049BB133111EB)
    return z ^ _right(z, 31)


def _right(words: Tensor, bits: int) -> Tensor:
    """Shift unsigned words to the right."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
