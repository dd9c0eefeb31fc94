"""Hooks that adapt the submodules of a user's module per graph without changes to its code.

Linear maps and embedding tables respond to a gradient step through their inputs and output gradients (see
fast_weights.py). Small elementwise parameters are replaced, while their module runs, by one value per row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from distgnn.errors import RequestError
from distgnn.models.fast_weights import Change, LinearUpdate, Update
from distgnn.models.ops.segments import Segments
from distgnn.models.ops.sparse import SparseMap
from distgnn.models.user_encoder.norm import StreamNorm
from distgnn.models.user_encoder.tracking import FALLBACK, ForwardTracker

Names = tuple[str, ...]
_NODE_PARAMETERS: dict[type[nn.Module], Names] = {
    pyg.GCNConv: ("bias",),
    pyg.GATConv: ("att_src", "att_dst", "bias"),
    pyg.GATv2Conv: ("bias",),
    pyg.GINConv: ("eps",),
    pyg.GINEConv: ("eps",),
}
_EDGE_PARAMETERS: dict[type[nn.Module], Names] = {pyg.GATConv: ("att_edge",), pyg.GATv2Conv: ("att",)}
"""Parameters of convolutions that act elementwise on nodes, and on messages in ``edge_update``."""
_ROW_PARAMETERS: dict[type[nn.Module], Names] = {
    pyg.GraphNorm: ("weight", "bias", "mean_scale"),
    pyg.LayerNorm: ("weight", "bias"),
}
"""Parameters of other modules that act elementwise on their input rows."""


class _TableUpdate:
    """Change of an embedding table: one row per (group, index) that was looked up."""

    def __init__(self, rows: Segments, index: Tensor, delta: Tensor, size: int) -> None:
        self.size = size
        self.keys, place = torch.unique(rows.owner * size + index, return_inverse=True)
        every = torch.arange(index.numel(), device=index.device)
        self.change = SparseMap.from_pairs(place, every, (self.keys.numel(), index.numel()))(delta)

    def apply(self, rows: Segments, x: Tensor) -> Tensor:
        """Return the change of the output, int64 [rows] -> [rows, width]."""
        queries = rows.owner * self.size + x
        place = torch.searchsorted(self.keys, queries).clamp(max=self.keys.numel() - 1)
        found = torch.nonzero(self.keys[place] == queries).flatten()
        return SparseMap.from_pairs(found, place[found], (x.numel(), self.keys.numel()))(self.change)


def _linear_change(module: nn.Module) -> Change:
    bias = getattr(module, "bias", None) is not None
    return lambda rows, x, delta: LinearUpdate(x, delta, bias)  # noqa: ARG005 - a Change


def _table_change(module: nn.Embedding) -> Change:
    def change(rows: Segments, x: Tensor, delta: Tensor) -> Update:
        return _TableUpdate(rows, x, delta, module.num_embeddings)

    return change


_CHANGES: dict[type[nn.Module], tuple[Callable[[Any], Change], int]] = {
    nn.Linear: (_linear_change, 2),
    pyg.Linear: (_linear_change, 2),
    nn.Embedding: (_table_change, 1),
}
"""Update function and number of input dimensions of each adaptable layer type."""


def adaptable_parameters(module: nn.Module) -> set[str]:
    """Return the names of the module's own parameters that can be adapted per graph."""
    own = {name for name, _ in module.named_parameters(recurse=False)}
    if isinstance(module, (*_CHANGES, nn.LayerNorm, StreamNorm)):
        return own
    tables = (_NODE_PARAMETERS, _EDGE_PARAMETERS, _ROW_PARAMETERS)
    return {name for table in tables for name in _names(table, module)}


def _names(table: dict[type[nn.Module], Names], module: nn.Module) -> Names:
    return next((names for kind, names in table.items() if isinstance(module, kind)), ())


def trained(module: nn.Module) -> bool:
    """Return whether the module has trainable parameters of its own."""
    return any(parameter.requires_grad for parameter in module.parameters(recurse=False))


def watch(module: nn.Module, place: ForwardTracker) -> ExitStack:
    """Register hooks on all of ``module`` for one pass; closing the result removes them. Unsupported submodules are skipped."""
    stack = ExitStack()
    for path, part in module.named_modules():
        for handle in _hooks(path, part, place):
            stack.enter_context(handle)
    return stack


def _hooks(path: str, module: nn.Module, place: ForwardTracker) -> Iterator[RemovableHandle]:
    if isinstance(module, pyg.MessagePassing):
        yield from _message_hooks(module, place)
    if not trained(module) or not (place.fast or place.learning):
        return
    if isinstance(module, tuple(_CHANGES)) or _normalises_rows(module):
        yield module.register_forward_hook(partial(_adapt_output, path, place), with_kwargs=True)
    node_names = _names(_NODE_PARAMETERS, module)
    row_names = () if _normalises_rows(module) else _names(_ROW_PARAMETERS, module)
    if row_names:
        yield module.register_forward_pre_hook(partial(_shadow_rows, path, place, row_names), with_kwargs=True)
    if node_names and place.fast:
        yield module.register_forward_pre_hook(
            lambda part, _: place.shadow(part, node_names, place.running.by_graph.nodes)
        )
    if row_names or node_names:
        yield module.register_forward_hook(lambda part, *_: place.uncover(part, row_names + node_names))


def _message_hooks(module: pyg.MessagePassing, place: ForwardTracker) -> Iterator[RemovableHandle]:
    """Inform ``place`` when messages are computed, and of their target nodes."""
    names = _names(_EDGE_PARAMETERS, module)
    targets: list[Tensor] = []

    def record_target(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not isinstance(inputs[0], Tensor) or inputs[0].layout is not torch.strided:
            raise RequestError("encoder: edges must stay an edge_index tensor [2, M], not a sparse matrix")
        targets[:] = [inputs[0][1]]  # sources if flow is target_to_source; both are in the same graph

    def enter(*_: Any) -> None:
        place.target = targets[0]

    def leave(*_: Any) -> None:
        place.target = None

    def enter_update(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        record_target(_, inputs)
        enter()
        if place.fast:
            place.shadow(module, names, place.running.by_graph.of(targets[0]))

    def leave_update(*_: Any) -> None:
        leave()
        place.uncover(module, names)

    yield module.register_propagate_forward_pre_hook(record_target)
    yield module.register_message_forward_pre_hook(enter)
    yield module.register_message_forward_hook(leave)
    yield module.register_edge_update_forward_pre_hook(enter_update)
    yield module.register_edge_update_forward_hook(leave_update)


def _adapt_output(
    path: str, place: ForwardTracker, module: nn.Module, args: Any, kwargs: Any, output: Tensor
) -> Tensor | None:
    x: Tensor = args[0] if args else next(iter(kwargs.values()))
    where, fast = place.where(path, x.shape[0]), place.fast
    if where is None or fast is None or not x.shape[0]:
        return None
    rows = place.running.by_graph.of(where)
    if _normalises_rows(module):
        return _scaled(module, place, x, rows)
    make, dimensions = next(change for kind, change in _CHANGES.items() if isinstance(module, kind))
    if x.dim() != dimensions:
        raise RequestError(
            f"encoder: {path} has an input of {x.dim()} dimensions; only {dimensions} can be adapted per graph; {FALLBACK}"
        )
    y = fast.adapted(module, rows, x, output, make(module))
    return y.clone()  # later layers may modify it in place


def _normalises_rows(module: nn.Module) -> bool:
    """Return whether it is a per-row layer norm, whose gain and bias torch does not accept as one value per row."""
    return isinstance(module, nn.LayerNorm) or (isinstance(module, pyg.LayerNorm) and module.mode == "node")


def _scaled(module: nn.Module, place: ForwardTracker, x: Tensor, rows: Segments) -> Tensor:
    weight, bias = module.get_parameter("weight"), getattr(module, "bias", None)
    y = F.layer_norm(x, weight.shape, eps=float(module.eps)) * place.adapted(module, "weight", rows)  # pyright: ignore[reportArgumentType]
    return y if bias is None else y + place.adapted(module, "bias", rows)


def _shadow_rows(path: str, place: ForwardTracker, names: Names, module: nn.Module, args: Any, kwargs: Any) -> None:
    x: Tensor = args[0] if args else next(iter(kwargs.values()))
    where = place.where(path, x.shape[0])
    if where is not None and place.fast:
        place.shadow(module, names, place.running.by_graph.of(where))
