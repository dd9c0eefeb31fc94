"""Normalisation of node rows. The default takes batch statistics within each stream ("ghost" batch norm, Hoffer et al. 2017).

Running statistics are not updated by the forward pass: a training step reads the sums of its first forward with
:func:`statistics`, may add those of other ranks, and applies them with :func:`apply_statistics`. So the buffers are the same
for every number of ranks, and inner passes of a meta-step leave them alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distgnn.models.batch_context import Context
from distgnn.models.fast_weights import AdaptiveScale, FastWeights


class StreamStatistics(nn.Module):
    """A norm's statistics of groups of rows, and running ones that only :func:`apply_statistics` moves.

    running_mean, running_var: what these start from, or None to keep none. pending: sums over the groups of the first forward
    since the last step, not yet in them.
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
        """[rows, width] -> same, standardised by the running statistics."""
        return (x - self.running_mean) * torch.rsqrt(self.running_var + self.eps)

    def by_group(self, x: Tensor, sizes: list[int]) -> Tensor:
        """Batch norm of each group of rows (torch's fused one, which also has exact second derivatives)."""
        groups = [part for part in x.split(sizes) if part.shape[0]]
        sums = x.new_zeros(2, x.shape[1])
        parts = [self._batch_norm(part, *sums) for part in groups]
        if self.pending is None:
            self.pending = torch.cat([sums.flatten(), sums.new_full((1,), float(len(groups)))]).float()
        return torch.cat([x[:0], *parts])

    def _batch_norm(self, x: Tensor, mean_sum: Tensor, var_sum: Tensor) -> Tensor:
        if x.shape[0] == 1:  # nothing to divide by: a row alone is its own mean
            mean_sum += x.detach()[0]
            return x * 0
        mean, var = torch.zeros_like(mean_sum), torch.zeros_like(var_sum)
        y = F.batch_norm(x, mean, var, training=True, momentum=1.0, eps=self.eps)
        mean_sum += mean
        var_sum += var
        return y

    @torch.no_grad()
    def update(self, sums: Tensor) -> None:
        """Move the running statistics towards the mean over groups; sums: [2 * width + 1] as made by the forward pass."""
        if float(sums[-1]) > 0:
            mean, var = (sums[:-1] / sums[-1]).chunk(2)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(var.to(self.running_var.dtype), self.momentum)


class Norm(StreamStatistics):
    """kind: ghost | batch | graph | layer | none (see EncoderConfig.norm). The affine part can adapt per graph.

    Training: statistics of the rows at hand. Evaluation: ghost and batch use running statistics, the others the rows at hand.
    """

    def __init__(self, width: int, kind: str, momentum: float = 0.1, eps: float = 1e-5) -> None:
        running = (torch.zeros(width), torch.ones(width)) if kind in ("ghost", "batch") else (None, None)
        super().__init__(*running, momentum, eps)
        self.kind = kind
        self.scale = AdaptiveScale(width) if kind != "none" else None

    def forward(self, x: Tensor, context: Context, fast: FastWeights | None = None) -> Tensor:
        """[N, width] -> [N, width]."""
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
        return self.by_group(x, (context.streams if self.kind == "ghost" else context.whole).sizes)


def bias_before(kind: str) -> bool:
    """Whether a bias added before such a norm has any effect (statistics over rows take it away again)."""
    return kind in ("layer", "none")


def _tracking(module: nn.Module) -> Iterator[StreamStatistics]:
    return (part for part in module.modules() if isinstance(part, StreamStatistics) and part.tracks)


def statistics(module: nn.Module) -> Tensor:
    """Flat float32: per tracking norm the sums over streams of its first forward since the last call; zeros where none was.

    Clears what it reads. Sums of several ranks may be added. Length 0 where nothing tracks.
    """
    parts = [torch.zeros(0)]
    for norm in _tracking(module):
        empty = torch.zeros(2 * norm.running_mean.numel() + 1, device=norm.running_mean.device)
        parts.append(empty if norm.pending is None else norm.pending)
        norm.pending = None
    return torch.cat([part.to(parts[-1].device) for part in parts])


def apply_statistics(module: nn.Module, total: Tensor) -> None:
    """Update running statistics from what :func:`statistics` gave (summed over ranks)."""
    norms = list(_tracking(module))
    lengths = [2 * norm.running_mean.numel() + 1 for norm in norms]
    for norm, sums in zip(norms, total.split(lengths), strict=True):
        norm.update(sums)
