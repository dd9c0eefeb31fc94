"""Adapter that runs a user's PyG module as an encoder: its inputs, per-graph adaptation, and registration checks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch_geometric.data import Data

from distgnn.config import EncoderConfig
from distgnn.errors import RequestError
from distgnn.graph.batch import slice_graphs
from distgnn.graph.pyg import joined_pyg
from distgnn.graph.schema import Schema
from distgnn.models.batch_context import Context
from distgnn.models.dropout import Masks
from distgnn.models.fast_weights import FastWeights
from distgnn.models.layer import Psi
from distgnn.models.ops.segments import Segments
from distgnn.models.user_encoder.hooks import watch
from distgnn.models.user_encoder.norm import summed_statistics, with_stream_norms
from distgnn.models.user_encoder.synthetic import synthetic_graphs, synthetic_values
from distgnn.models.user_encoder.tracking import ForwardTracker, Layout
from distgnn.models.user_encoder.validation import rehearse

ARGUMENTS = ("x", "edge_index", "edge_attr", "batch", "data")


class UserEncoder(Psi):
    """psi (the message-passing part of an encoder) implemented by a user's module."""

    def __init__(self, schema: Schema, config: EncoderConfig, module: nn.Module) -> None:
        super().__init__()
        self.kind, self.width, self.schema = config.kind, config.width, schema
        self.takes = _arguments(module, config.kind)
        self.place = ForwardTracker()
        _refuse_caches(module)
        self.reads_input = "data" not in self.takes
        self.module = with_stream_norms(module, self.place)
        self._last: tuple[Context, _ModuleInputs] | None = None
        self._learn_row_kinds()

    def forward(self, x: Tensor, context: Context, fast: FastWeights | None, masks: Masks | None) -> Tensor:
        """Compute node embeddings, [N, width] -> [N, width]."""
        if fast is None or fast.nodes is context.nodes:
            nodes = self._pass(x, self._inputs(context), fast)
        else:
            nodes = self._pass_by_group(x, context, fast)
        return nodes if masks is None else masks.drop(nodes, 1)

    def _pass(
        self, x: Tensor, given: _ModuleInputs, fast: FastWeights | None, weights: dict[str, Tensor] | None = None
    ) -> Tensor:
        """Run the module once, with hooks that adapt it per graph (``fast``) or with replaced weights."""
        arguments = {name: x if name == "x" else given.arguments[name] for name in self.takes}
        with self.place.during(given.layout, fast), watch(self.module, self.place):
            return (
                functional_call(self.module, weights or {}, kwargs=arguments) if weights else self.module(**arguments)
            )

    def _pass_by_group(self, x: Tensor, context: Context, fast: FastWeights) -> Tensor:
        """Run each group of graphs (a stream) separately with its own weights, which works for any module."""
        parts, trained = [x[:0]], {name: p for name, p in self.module.named_parameters() if p.requires_grad}
        with summed_statistics(self.module) as add:
            for group, (given, nodes) in enumerate(self._inputs(context).by_stream(self.takes)):
                weights = {
                    name: fast.adapted((self, name, group), fast.nodes, p, p.view_as(p), _ParameterUpdate)
                    for name, p in trained.items()
                }
                parts.append(self._pass(x[nodes], given, None, weights))
                add()
        return torch.cat(parts)

    def rehearse(self, order: int) -> None:
        """Check that the module can be trained; see :class:`Psi`."""
        rehearse(self, self.module, f"encoder {self.kind!r}", self.schema, self.width, order)

    def _inputs(self, context: Context) -> _ModuleInputs:
        if self._last is None or self._last[0] is not context:
            self._last = context, _ModuleInputs(context, self.takes)
        return self._last[1]

    @torch.no_grad()
    def _learn_row_kinds(self) -> None:
        """Run once on synthetic graphs to learn which kind of rows each submodule reads."""
        graphs = synthetic_graphs(self.schema)
        given = _ModuleInputs(Context(graphs, self.schema, torch.get_default_dtype()), self.takes)
        self.place.learning = True
        nodes = self.eval()._pass(synthetic_values(graphs.num_nodes, self.width, 4), given, None)
        self.place.learning = False
        self.train()
        if not isinstance(nodes, Tensor) or nodes.shape != (graphs.num_nodes, self.width):
            found = tuple(nodes.shape) if isinstance(nodes, Tensor) else type(nodes).__name__
            raise RequestError(
                f"encoder {self.kind!r}: must return node embeddings ({graphs.num_nodes}, {self.width}), returned {found}"
                " (one row per node, config.width columns)"
            )


class _ParameterUpdate:
    """Change of a group's own copy of a parameter by one step."""

    def __init__(self, rows: Segments, x: Tensor, delta: Tensor) -> None:  # noqa: ARG002 - a Change
        self.delta = delta

    def apply(self, rows: Segments, x: Tensor) -> Tensor:  # noqa: ARG002 - an Update
        """Return the change, of the parameter's shape."""
        return self.delta


class _ModuleInputs:
    """Inputs of the module for one batch (except x), and the batch's row layout."""

    def __init__(self, context: Context, takes: tuple[str, ...]) -> None:
        self.layout = Layout(context)
        self.arguments = {name: _INPUT_FACTORIES[name](context) for name in takes if name != "x"}
        self._context, self._parts = context, list[tuple[_ModuleInputs, slice]]()

    def by_stream(self, takes: tuple[str, ...]) -> list[tuple[_ModuleInputs, slice]]:
        """Return the inputs of each stream alone, and its nodes."""
        if not self._parts:
            graphs = self.layout.by_stream.graphs.ptr.tolist()
            self._parts = [self._part(low, high, takes) for low, high in pairwise(graphs) if low < high]
        return self._parts

    def _part(self, low: int, high: int, takes: tuple[str, ...]) -> tuple[_ModuleInputs, slice]:
        parent, batch = self._context, self._context.batch
        edges = slice(int(batch.edge_ptr[low]), int(batch.edge_ptr[high]))
        hidden = None if parent.hidden_edges is None else parent.hidden_edges[edges]
        context = Context(slice_graphs(batch, low, high), parent.schema, parent.dtype, hidden)
        return _ModuleInputs(context, takes), slice(int(batch.node_ptr[low]), int(batch.node_ptr[high]))


def _edge_index(context: Context) -> Tensor:
    return torch.stack([context.plain.source, context.plain.target])


def _edge_attr(context: Context) -> Tensor | None:
    return context.attributes(context.plain)[:, :-1] if context.schema.edge else None


def _data(context: Context) -> Data:
    if context.hidden_edges is not None:
        raise RequestError(
            "encoder: the objective hides edge features, but the module reads data; use edge_attr instead"
        )
    return joined_pyg(context.batch, _edge_index(context), context.plain.edge, context.dtype)


_INPUT_FACTORIES: dict[str, Callable[[Context], object]] = {
    "edge_index": _edge_index,
    "edge_attr": _edge_attr,
    "batch": lambda context: context.nodes.owner,
    "data": _data,
}


def _refuse_caches(module: nn.Module) -> None:
    for path, part in module.named_modules():
        if getattr(part, "cached", False) is True:
            kind = type(part).__name__
            raise RequestError(f"encoder: {path} ({kind}) caches the first batch's edges; build it with cached=False")


def _arguments(module: nn.Module, kind: str) -> tuple[str, ...]:
    """Return the names of the inputs of the module's forward, in order."""
    if not isinstance(module, nn.Module):
        raise RequestError(
            f"encoder {kind!r}: its factory must return a torch.nn.Module, found {type(module).__name__}"
        )
    parameters = inspect.signature(module.forward).parameters.values()
    unknown = [item.name for item in parameters if item.name not in ARGUMENTS and item.default is item.empty]
    if unknown:
        known = ", ".join(ARGUMENTS)
        raise RequestError(
            f"encoder {kind!r}: forward has an unknown parameter {unknown[0]!r}; available inputs are {known}"
        )
    return tuple(item.name for item in parameters if item.name in ARGUMENTS)
