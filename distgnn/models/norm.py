"""Normalisation of node rows, by default with batch statistics per stream ("ghost" batch norm, Hoffer et al. 2017).

The forward pass does not update running statistics. A training step reads the sums of its first forward pass with
:func:`statistics`, may add those of other ranks, and applies them with :func:`apply_statistics`. The buffers are
therefore the same for every number of ranks, and inner passes of a meta-learning step do not change them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distgnn.models.batch_context import Context
from distgnn.models.fast_weights import AdaptiveScale, FastWeights
from distgnn.models.ops.standardise import standardise


class StreamStatistics(nn.Module):
    """Statistics of groups of rows, and running statistics that only :func:`apply_statistics` updates.

    Args:
        running_mean: initial running mean [width]; None keeps no running statistics.
        running_var: initial running variance [width].
        momentum: weight of the new statistics.
        eps: added to the variance.

    Attributes:
        pending: sums over the groups of the first forward pass since the last update; None if there was none.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, running_mean: Tensor | None, running_var: Tensor | None, momentum: float, eps: float) -> None:
        super().__init__()
        self.momentum, self.eps, self.tracks = momentum, eps, running_mean is not None
        self.pending: Tensor | None = None
        self.register_buffer("running_mean", running_mean)
        self.register_buffer("running_var", running_var)

    def by_running(self, x: Tensor) -> Tensor:
        """Standardise by the running statistics, [rows, width] -> [rows, width]."""
        return (x - self.running_mean) * torch.rsqrt(self.running_var + self.eps)

    def by_group(self, x: Tensor, sizes: list[int]) -> Tensor:
        """Apply batch norm to each group of rows."""
        groups = [size for size in sizes if size]
        if self.pending is not None:
            return standardise(x, groups, self.eps)
        sums = x.new_zeros(2, x.shape[1])
        y = standardise(x, groups, self.eps, sums)
        self.pending = torch.cat([sums.flatten(), sums.new_full((1,), float(len(groups)))]).float()
        return y

    @torch.no_grad()
    def update(self, sums: Tensor) -> None:
        """Move the running statistics towards the mean over groups; ``sums`` is [2 * width + 1] as in ``pending``."""
        for running, found in zip((self.running_mean, self.running_var), (sums[:-1] / sums[-1]).chunk(2), strict=True):
            moved = running.lerp(found.to(running.dtype), self.momentum)
            running.copy_(torch.where(sums[-1] > 0, moved, running))


class Norm(StreamStatistics):
    """Norm with an affine part that can be adapted per graph.

    In training, statistics are those of the current rows. In evaluation, ghost and batch use running statistics, the others
    the current rows.

    Args:
        width: number of columns.
        kind: ghost, batch, graph, layer or none; see EncoderConfig.norm.
        momentum: weight of the new statistics.
        eps: added to the variance.
    """

    def __init__(self, width: int, kind: str, momentum: float = 0.1, eps: float = 1e-5) -> None:
        running = (torch.zeros(width), torch.ones(width)) if kind in ("ghost", "batch") else (None, None)
        super().__init__(*running, momentum, eps)
        self.kind = kind
        self.scale = AdaptiveScale(width) if kind != "none" else None

    def forward(self, x: Tensor, context: Context, fast: FastWeights | None = None) -> Tensor:
        """Normalise, [N, width] -> [N, width]."""
        return x if self.scale is None else self.scale(self._standardise(x, context), fast)

    def _standardise(self, x: Tensor, context: Context) -> Tensor:
        if self.kind == "layer":
            return F.layer_norm(x, x.shape[1:], eps=self.eps)
        if self.kind == "graph":
            centred = x - context.nodes.expand(context.nodes.mean(x))
            var = context.nodes.mean(centred * centred)
            return centred * context.nodes.expand(torch.rsqrt(var + self.eps))
        if not self.training:
            return self.by_running(x)
        return self.by_group(x, (context.streams if self.kind == "ghost" else context.all_nodes).sizes)


def bias_before(kind: str) -> bool:
    """Return whether a bias before such a norm has an effect (statistics over rows cancel it)."""
    return kind in ("layer", "none")


def _tracking(module: nn.Module) -> Iterator[StreamStatistics]:
    return (part for part in module.modules() if isinstance(part, StreamStatistics) and part.tracks)


def statistics(module: nn.Module) -> Tensor:
    """Return and clear the statistics of the first forward pass since the last call.

    Returns:
        Flat float32: for each norm with running statistics its sums over streams (zeros if there was no forward pass).
        Sums of several ranks may be added. Length 0 if there is no such norm.
    """
    parts = [torch.zeros(0)]
    for norm in _tracking(module):
        empty = torch.zeros(2 * norm.running_mean.numel() + 1, device=norm.running_mean.device)
        parts.append(empty if norm.pending is None else norm.pending)
        norm.pending = None
    return torch.cat([part.to(parts[-1].device) for part in parts])


def replace_statistics(module: nn.Module, total: Tensor) -> None:
    """Set running statistics to those of the output of :func:`statistics`, whatever they were before."""
    norms = list(_tracking(module))
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    apply_statistics(module, total)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def apply_statistics(module: nn.Module, total: Tensor) -> None:
    """Update running statistics from the output of :func:`statistics` (summed over ranks)."""
    norms = list(_tracking(module))
    lengths = [2 * norm.running_mean.numel() + 1 for norm in norms]
    for norm, sums in zip(norms, total.split(lengths), strict=True):
        norm.update(sums)
