"""Where the forward pass of a user's module is, and so to which graph each row of what it computes belongs."""

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
from distgnn.models.ops.scatter import ScatteredRows
from distgnn.models.ops.segments import Rows

Kind = Literal["nodes", "edges", "graphs"]
Where = Kind | Tensor
"""What rows are: a kind, or messages to the nodes of an int64 [M]."""
FALLBACK = "use --l2p.adaptation batch"


class Grouping:
    """How rows of every kind fall into groups of graphs. nodes, graphs: nodes and graphs by group."""

    def __init__(self, context: Context, nodes: Rows, graphs: Rows) -> None:
        self.nodes, self.graphs = nodes, graphs
        self._targets, self._known = context.plain.target, list[tuple[Tensor, Rows]]()

    @cached_property
    def edges(self) -> Rows:
        """Messages along edges, in the order a module is given them (by target)."""
        return Rows(torch.searchsorted(self._targets, self.nodes.ptr))

    def of(self, where: Where) -> Rows:
        """The rows there, the same object each time."""
        if isinstance(where, Tensor):
            return self._messages_to(where)
        return {"nodes": self.nodes, "graphs": self.graphs}.get(where) or self.edges

    def _messages_to(self, target: Tensor) -> Rows:
        for known, rows in self._known:
            if torch.equal(known, target):
                return rows
        rows = ScatteredRows(self.nodes.owner[target], self.nodes.ptr.numel() - 1)
        self._known.append((target, rows))
        return rows


class Layout:
    """One batch for a user's module: its groupings by graph and by stream."""

    def __init__(self, context: Context) -> None:
        batch, device = context.batch, context.nodes.ptr.device
        every, ptr = torch.arange(batch.num_graphs + 1, device=device), batch.stream_ptr
        self.by_graph = Grouping(context, context.nodes, Rows(every))
        self.by_stream = Grouping(context, context.streams, Rows(every[[0, -1]] if ptr is None else ptr))
        counts = {"nodes": batch.num_nodes, "edges": context.plain.target.numel(), "graphs": batch.num_graphs}
        self.counts: dict[Kind, int] = counts  # pyright: ignore[reportAttributeAccessIssue]


@dataclass
class Place:
    """The running pass, shared by a module's hooks and norms.

    kinds: which rows the n-th call of the submodule at a path gets outside messages, learned once from graphs with different
    numbers of nodes, edges and graphs (None: neither of these). layout, fast: of the running pass; fast None = nothing adapts.
    target: int64 [M] while messages are made, their target nodes.
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
        """A pass over ``layout``."""
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
        """What the next call of the submodule at ``path`` reads, given the ``count`` of its input's rows.

        Raises RequestError where that is not known (None while learning).
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
        """The layout of the running pass."""
        if self.layout is None:
            raise RequestError("encoder: its module was called by itself; call the encoder that it is part of")
        return self.layout

    def shadow(self, module: nn.Module, names: tuple[str, ...], rows: Rows) -> None:
        """Until :meth:`uncover`, let ``module`` see its parameters ``names`` as one value a row, adapted to the row's graph."""
        for name in names:
            parameter = getattr(module, name)
            if isinstance(parameter, nn.Parameter) and parameter.requires_grad and rows.owner.numel():
                vars(module)[name] = self.adapted(module, name, rows)
                self._shadowed.append((module, name))

    def uncover(self, module: nn.Module, names: tuple[str, ...]) -> None:
        """The inverse of :meth:`shadow`."""
        for name in names:
            vars(module).pop(name, None)

    def adapted(self, module: nn.Module, name: str, rows: Rows) -> Tensor:
        """[rows, *shape] of a parameter, each row with its graph's value; a first dimension of 1 is taken for the rows'."""
        parameter: Tensor = module.get_parameter(name)
        shape = parameter.shape[1:] if parameter.dim() > 1 and parameter.shape[0] == 1 else parameter.shape
        same = parameter.reshape(1, -1).expand(rows.owner.numel(), -1)
        if self.fast is not None:
            same = self.fast.adapted((module, name), rows, same, same, ShiftUpdate)
        return same.unflatten(1, shape)
