"""Replacement of torch.nn.BatchNorm1d whose statistics do not depend on the number of ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from distgnn.errors import RequestError
from distgnn.models.norm import StreamStatistics
from distgnn.models.ops.scatter import ScatteredSegments
from distgnn.models.ops.segments import Segments
from distgnn.models.user_encoder.tracking import ForwardTracker


class StreamNorm(StreamStatistics):
    """BatchNorm1d with statistics per stream; its weight and bias can be adapted per graph.

    Args:
        norm: the module to replace, whose weights and running statistics are used.
        place: tracker of the forward pass.
        path: path of ``norm`` in the user's module.

    Raises:
        RequestError: ``norm`` has no running statistics or no momentum.
    """

    def __init__(self, norm: nn.BatchNorm1d, place: ForwardTracker, path: str) -> None:
        if norm.running_mean is None or norm.running_var is None or norm.momentum is None:
            raise RequestError(f"encoder: {path} (BatchNorm1d) needs track_running_stats=True and a momentum")
        super().__init__(norm.running_mean, norm.running_var, norm.momentum, norm.eps)
        self.place, self.path = place, path
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, [rows, width] -> [rows, width]."""
        where = self.place.where(self.path, x.shape[0])
        if where is None:
            raise RequestError(
                f"encoder: {self.path} normalises rows that are neither nodes, edges, graphs nor messages"
            )
        layout = self.place.running
        y = self._by_stream(x, layout.by_stream.of(where)) if self.training else self.by_running(x)
        if self.weight is None:  # affine=False
            return y
        if self.place.fast is None or not x.shape[0]:
            return torch.addcmul(self.bias, y, self.weight)
        rows = layout.by_graph.of(where)
        gain, shift = (self.place.adapted(self, name, rows) for name in ("weight", "bias"))
        return torch.addcmul(shift, y, gain)

    def _by_stream(self, x: Tensor, rows: Segments) -> Tensor:
        if not isinstance(rows, ScatteredSegments):
            return self.by_group(x, rows.sizes)
        return self.by_group(x[rows.order], rows.sizes)[rows.inverse]


def with_stream_norms(module: nn.Module, place: ForwardTracker) -> nn.Module:
    """Replace each BatchNorm1d of ``module`` in place.

    Raises:
        RequestError: another norm keeps running statistics.
    """
    replacements: dict[nn.Module, StreamNorm] = {}
    for path, part in list(module.named_modules(remove_duplicate=False)):
        if type(part) is nn.BatchNorm1d:
            parent, _, name = path.rpartition(".")
            replacements.setdefault(part, StreamNorm(part, place, path))
            setattr(module.get_submodule(parent), name, replacements[part])
        elif getattr(part, "running_mean", None) is not None:
            kind = type(part).__name__
            raise RequestError(
                f"encoder: {path} ({kind}) keeps running statistics of its own; use torch.nn.BatchNorm1d"
            )
    return module


@contextmanager
def summed_statistics(module: nn.Module) -> Iterator[Callable[[], None]]:
    """Combine the statistics of several passes to those of one forward pass.

    Call the yielded function after each pass.
    """
    norms = [part for part in module.modules() if isinstance(part, StreamNorm)]
    before, sums = [norm.pending for norm in norms], [torch.zeros(()) for _ in norms]
    for norm in norms:
        norm.pending = None

    def add() -> None:
        for number, norm in enumerate(norms):
            if norm.pending is not None:
                sums[number] = norm.pending + sums[number].to(norm.pending)
                norm.pending = None

    yield add
    for norm, earlier, total in zip(norms, before, sums, strict=True):
        norm.pending = earlier if earlier is not None or not total.dim() else total
