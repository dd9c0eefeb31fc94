"""Validation of a user's module on synthetic graphs before training: graphs are independent, and each adapts on its own.

The reference for adaptation is its definition: each graph alone, with its own copy of the weights after a gradient step.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from distgnn.errors import RequestError
from distgnn.graph.batch import slice_graphs
from distgnn.graph.schema import Schema
from distgnn.models.batch_context import Context
from distgnn.models.fast_weights import Change, FastWeights
from distgnn.models.layer import Psi
from distgnn.models.ops.segments import Segments
from distgnn.models.user_encoder.hooks import adaptable_parameters, trained
from distgnn.models.user_encoder.synthetic import synthetic_graphs, synthetic_values
from distgnn.models.user_encoder.tracking import FALLBACK

_STEP = 0.1
"""Euclidean length of the trial step over all weights."""
_TOLERANCE = 1e-6
_ERRORS = (RuntimeError, ValueError, IndexError)
"""Exceptions of torch for mismatched shapes and dtypes, and for missing derivatives."""


def rehearse(psi: Psi, module: nn.Module, name: str, schema: Schema, width: int, order: int) -> None:
    """Check that ``psi`` can be trained.

    Args:
        psi: the wrapped module.
        module: the user's module.
        name: start of the error message.
        schema: features of the graphs.
        width: embedding width.
        order: order of per-graph adaptation; 0 = none.

    Raises:
        RequestError: a check failed.
    """
    if order:
        _check_parameters(module, name)
    trial = _Trial(psi, schema, width)
    try:
        complaint = trial.complaint()
    except _ERRORS as error:
        raise RequestError(
            f"{name}: a trial run in float64 failed ({_line(error)}); create tensors with x.dtype"
        ) from error
    if not complaint and order and any(p.requires_grad for p in module.parameters()):
        complaint = _adaptation_complaint(trial, module, order)
    if complaint:
        raise RequestError(f"{name}: {complaint}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _check_parameters(module: nn.Module, name: str) -> None:
    """Require that every trainable parameter belongs to a module type that can be adapted."""
    seen: dict[nn.Parameter, str] = {}
    for path, parameter in module.named_parameters(remove_duplicate=False):
        first = seen.setdefault(parameter, path)
        if parameter.requires_grad and module.get_submodule(first.rpartition(".")[0]) is not module.get_submodule(
            path.rpartition(".")[0]
        ):
            raise RequestError(
                f"{name}: {path} shares its parameter with {first}; shared parameters cannot be adapted per graph; {FALLBACK}"
            )
    for path, part in module.named_modules():
        own = dict(part.named_parameters(recurse=False))
        unsupported = [key for key, p in own.items() if p.requires_grad and key not in adaptable_parameters(part)]
        if unsupported:
            where = f"{path}.{unsupported[0]}".removeprefix(".")
            raise RequestError(f"{name}: {where} (of {type(part).__name__}) cannot be adapted per graph; {FALLBACK}")
        if trained(part) and not all(p.requires_grad for p in own.values()):
            raise RequestError(f"{name}: {path} is partly frozen, which cannot be adapted per graph; {FALLBACK}")


class _Trial:
    """A float64 copy of psi in training mode, synthetic graphs, and each of them alone (``alone``: with its nodes)."""

    def __init__(self, psi: Psi, schema: Schema, width: int) -> None:
        graphs = synthetic_graphs(schema)
        self.psi = copy.deepcopy(psi).double().train()
        self.context = Context(graphs, schema, torch.float64)
        self.x = synthetic_values(graphs.num_nodes, width, 5).double()
        self.probes = [synthetic_values(graphs.num_nodes, width, purpose).double() for purpose in (6, 7)]
        ptr = graphs.node_ptr.tolist()
        self.alone = [
            (Context(slice_graphs(graphs, g, g + 1), schema, torch.float64), slice(ptr[g], ptr[g + 1]))
            for g in range(graphs.num_graphs)
        ]

    def learning_rate(self) -> float:
        """Return the learning rate for a step of about length ``_STEP``."""
        weights = [p for p in self.psi.parameters() if p.requires_grad]
        found = torch.autograd.grad((self.run() * self.probes[0]).sum(), weights, materialize_grads=True)
        return _STEP / (1 + float(torch.cat([gradient.flatten() for gradient in found]).norm()))

    def run(self, fast: FastWeights | None = None) -> Tensor:
        """Run all graphs at once, each in its own stream."""
        return self.psi(self.x, self.context, fast, None)

    def run_alone(self, graph: int, weights: Mapping[str, Tensor]) -> Tensor:
        """Run one graph with its own weights."""
        context, nodes = self.alone[graph]
        return functional_call(self.psi, dict(weights), (self.x[nodes], context, None, None))

    @torch.no_grad()
    def complaint(self) -> str:
        """Return what prevents training with any objective; empty if nothing does."""
        buffers = {key: value.clone() for key, value in self.psi.named_buffers()}
        first = self.run()
        if not torch.equal(first, self.run()):
            return (
                "its output is random in training mode; build it without dropout (fine-tuning adds its own, --dropout)"
            )
        changed = [key for key, value in self.psi.named_buffers() if not torch.equal(value, buffers[key])]
        if changed:
            key = changed[0].removeprefix("module.")
            return f"it changes its buffer {key} in the forward pass, so ranks would diverge; remove the buffer"
        separate = torch.cat([self.run_alone(graph, {}) for graph in range(len(self.alone))])
        return (
            ""
            if _close(first, separate)
            else "graphs are not independent: its output for a graph depends on other graphs of the batch"
        )


def _close(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() <= _TOLERANCE * (1 + expected.abs().max()))


def _adaptation_complaint(trial: _Trial, module: nn.Module, order: int) -> str:
    """Return what is wrong with per-graph adaptation, naming the first submodule that is wrong on its own."""
    if not _difference(trial, order, ""):
        return ""
    for path, part in module.named_modules():
        if trained(part) and (reason := _difference(trial, order, path)):
            return f"{path} ({type(part).__name__}) is used in a way that cannot be adapted per graph ({reason}); {FALLBACK}"
    return f"its submodules cannot be adapted per graph together; {FALLBACK}"


def _difference(trial: _Trial, order: int, path: str) -> str:
    """Return how adaptation differs from that of separate copies; empty if it does not."""
    try:
        return "" if _adapts(trial, order, path) else "it differs from that of separate copies"
    except _ERRORS as error:
        return _line(error)


def _adapts(trial: _Trial, order: int, path: str) -> bool:
    """Compare one step per graph, and the gradients after it, with those of separate copies.

    Only the submodule at ``path`` is adapted, unless it is empty.
    """
    weights = {key: p for key, p in trial.psi.named_parameters() if p.requires_grad}
    adapted = {key: p for key, p in weights.items() if not path or key.rpartition(".")[0] == f"module.{path}"}
    lr = trial.learning_rate()
    fast = _SelectiveFastWeights(trial.context.nodes, lr, order, set(adapted.values()) if path else None)
    fast.step((trial.run(fast) * trial.probes[0]).sum())
    after = trial.run(fast)
    copies = []
    for graph, (_, nodes) in enumerate(trial.alone):
        loss = (trial.run_alone(graph, weights) * trial.probes[0][nodes]).sum()
        steps = torch.autograd.grad(loss, list(adapted.values()), create_graph=order == 2, materialize_grads=True)
        stepped = {key: p - lr * step for (key, p), step in zip(adapted.items(), steps, strict=True)}
        copies.append(trial.run_alone(graph, {**weights, **stepped}))
    found, expected = (
        torch.autograd.grad((nodes * trial.probes[1]).sum(), list(weights.values()), materialize_grads=True)
        for nodes in (after, torch.cat(copies))
    )
    return _close(after, torch.cat(copies)) and all(map(_close, found, expected))


class _SelectiveFastWeights(FastWeights):
    """FastWeights that adapts only layers with some of ``parameters`` (None: all layers)."""

    def __init__(self, nodes: Segments, lr: float, order: int, parameters: set[nn.Parameter] | None) -> None:
        super().__init__(nodes, lr, order)
        self.parameters = parameters

    def adapted(self, layer: Hashable, rows: Segments, x: Tensor, y: Tensor, change: Change) -> Tensor:
        """See FastWeights."""
        module = layer[0] if isinstance(layer, tuple) else layer
        own = set(module.parameters(recurse=False)) if isinstance(module, nn.Module) else set()
        skip = self.parameters is not None and not own & self.parameters
        return y if skip else super().adapted(layer, rows, x, y, change)
