"""Tracking of a user's module during its forward pass, to know the graph of each row that it computes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from distgnn.errors import RequestError
from distgnn.models.batch_context import Context
from distgnn.models.fast_weights import FastWeights, ShiftUpdate
from distgnn.models.ops.scatter import ScatteredSegments
from distgnn.models.ops.segments import Segments

Kind = Literal["nodes", "edges", "graphs"]
Where = Kind | Tensor
"""What rows stand for: a kind, or messages, given by their target nodes int64 [M]."""
FALLBACK = "use --l2p.adaptation batch"


class Grouping:
    """Groups (graphs or streams) of all kinds of rows; ``nodes`` and ``graphs`` are grouped directly."""

    def __init__(self, context: Context, nodes: Segments, graphs: Segments) -> None:
        self.nodes, self.graphs = nodes, graphs
        self._targets, self._known = context.plain.target, list[tuple[Tensor, Segments]]()

    @cached_property
    def edges(self) -> Segments:
        """Messages along edges in the order of the module's input (by target)."""
        return Segments(torch.searchsorted(self._targets, self.nodes.ptr))

    def of(self, where: Where) -> Segments:
        """Return the groups of such rows (cached, so the same object each time)."""
        if isinstance(where, Tensor):
            return self._messages_to(where)
        return {"nodes": self.nodes, "graphs": self.graphs}.get(where) or self.edges

    def _messages_to(self, target: Tensor) -> Segments:
        for known, rows in self._known:
            if torch.equal(known, target):
                return rows
        rows = ScatteredSegments(self.nodes.owner[target], self.nodes.ptr.numel() - 1)
        self._known.append((target, rows))
        return rows


class Layout:
    """Groupings of one batch by graph and by stream."""

    def __init__(self, context: Context) -> None:
        batch, device = context.batch, context.nodes.ptr.device
        every, ptr = torch.arange(batch.num_graphs + 1, device=device), batch.stream_ptr
        self.by_graph = Grouping(context, context.nodes, Segments(every))
        self.by_stream = Grouping(context, context.streams, Segments(every[[0, -1]] if ptr is None else ptr))
        counts = {"nodes": batch.num_nodes, "edges": context.plain.target.numel(), "graphs": batch.num_graphs}
        self.counts: dict[Kind, int] = counts  # pyright: ignore[reportAttributeAccessIssue]


@dataclass
class ForwardTracker:
    """State of the running forward pass, shared by the hooks and norms of a module.

    Attributes:
        kinds: kind of rows read by the n-th call of the submodule at a path outside of messages, learned once from graphs
            with distinct numbers of nodes, edges and graphs; None = none of these.
        layout: layout of the running pass; None outside of a pass.
        fast: adapted parameters of the running pass; None = no adaptation.
        target: int64 [M], target nodes while messages are computed, else None.
        learning: whether ``kinds`` is being learned.
    """

    kinds: dict[tuple[str, int], Kind | None] = field(default_factory=dict)
    layout: Layout | None = None
    fast: FastWeights | None = None
    target: Tensor | None = None
    learning: bool = False
    _calls: Counter[str] = field(default_factory=Counter)
    _shadowed: list[tuple[nn.Module, str]] = field(default_factory=list)

    @contextmanager
    def during(self, layout: Layout, fast: FastWeights | None) -> Iterator[None]:
        """Context of one pass over ``layout``."""
        self.layout, self.fast = layout, fast
        try:
            yield
        finally:
            self.layout = self.fast = self.target = None
            self._calls.clear()
            for module, name in self._shadowed:
                vars(module).pop(name, None)
            self._shadowed.clear()

    def where(self, path: str, count: int) -> Where | None:
        """Return what the next call of the submodule at ``path`` reads; None only while learning.

        Args:
            path: path of the submodule.
            count: number of rows of its input.

        Raises:
            RequestError: the rows are of no known kind.
        """
        where = self._kind(path, count) if self.target is None else self.target
        if isinstance(where, Tensor) and where.numel() != count:
            where = None
        if where is None and not self.learning:
            raise RequestError(
                f"encoder: {path} reads {count} rows that are neither nodes, edges, graphs nor messages; {FALLBACK}"
            )
        return where

    def _kind(self, path: str, count: int) -> Kind | None:
        counts, call = self.running.counts, (path, self._calls[path])
        self._calls[path] += 1
        if self.learning:
            self.kinds[call] = next((kind for kind, size in counts.items() if size == count), None)
        kind = self.kinds.get(call)
        return kind if kind is not None and counts[kind] == count else None

    @property
    def running(self) -> Layout:
        """Layout of the running pass."""
        if self.layout is None:
            raise RequestError("encoder: the module was called directly; call its encoder instead")
        return self.layout

    def shadow(self, module: nn.Module, names: tuple[str, ...], rows: Segments) -> None:
        """Replace parameters ``names`` of ``module`` by one value per row, adapted to its graph, until :meth:`uncover`."""
        for name in names:
            parameter = getattr(module, name)
            if isinstance(parameter, nn.Parameter) and parameter.requires_grad and rows.owner.numel():
                vars(module)[name] = self.adapted(module, name, rows)
                self._shadowed.append((module, name))

    def uncover(self, module: nn.Module, names: tuple[str, ...]) -> None:
        """Undo :meth:`shadow`."""
        for name in names:
            vars(module).pop(name, None)

    def adapted(self, module: nn.Module, name: str, rows: Segments) -> Tensor:
        """Return a parameter with one value per row, adapted to the row's graph.

        Returns:
            [rows, *shape]; a leading dimension of size 1 of the parameter becomes the row dimension.
        """
        parameter: Tensor = module.get_parameter(name)
        shape = parameter.shape[1:] if parameter.dim() > 1 and parameter.shape[0] == 1 else parameter.shape
        values = parameter.reshape(1, -1).expand(rows.owner.numel(), -1)
        if self.fast is not None:
            values = self.fast.adapted((module, name), rows, values, values, ShiftUpdate)
        return values.unflatten(1, shape)
