"""What a user's module must prove on made-up graphs before it is trained: that graphs do not mix, and that each adapts by itself.

The proof of adaptation is the definition: every graph alone, with its own copy of the weights after one gradient step.
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
from distgnn.models.ops.segments import Rows
from distgnn.models.user_encoder.hooks import adaptable_parameters, trained
from distgnn.models.user_encoder.synthetic import made_graphs, made_numbers
from distgnn.models.user_encoder.tracking import FALLBACK

_STEP = 0.1
"""Length of a rehearsed step of all weights together, whatever their gradient."""
_TOLERANCE = 1e-6
_ERRORS = (RuntimeError, ValueError, IndexError)
"""What torch raises for shapes and types that do not fit, and for derivatives it does not have."""


def rehearse(psi: Psi, module: nn.Module, name: str, schema: Schema, width: int, order: int) -> None:
    """Raise RequestError, beginning with ``name``, unless ``psi`` (around the user's ``module``) can be trained; see Psi."""
    if order:
        _check_parameters(module, name)
    trial = _Trial(psi, schema, width)
    try:
        complaint = trial.complaint()
    except _ERRORS as error:
        raise RequestError(
            f"{name}: a rehearsal in float64 failed ({_line(error)}); new tensors must follow x.dtype"
        ) from error
    if not complaint and order and any(p.requires_grad for p in module.parameters()):
        complaint = _adaptation_complaint(trial, module, order)
    if complaint:
        raise RequestError(f"{name}: {complaint}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _check_parameters(module: nn.Module, name: str) -> None:
    """Every trained parameter must belong to a module that is known to adapt."""
    seen: dict[nn.Parameter, str] = {}
    for path, parameter in module.named_parameters(remove_duplicate=False):
        first = seen.setdefault(parameter, path)
        if parameter.requires_grad and module.get_submodule(first.rpartition(".")[0]) is not module.get_submodule(
            path.rpartition(".")[0]
        ):
            raise RequestError(
                f"{name}: {path} is the same parameter as {first}, which cannot adapt per graph; {FALLBACK}"
            )
    for path, part in module.named_modules():
        own = dict(part.named_parameters(recurse=False))
        stuck = [key for key, p in own.items() if p.requires_grad and key not in adaptable_parameters(part)]
        if stuck:
            where = f"{path}.{stuck[0]}".removeprefix(".")
            raise RequestError(
                f"{name}: {where} (of {type(part).__name__}) is not of a kind that can adapt per graph; {FALLBACK}"
            )
        if trained(part) and not all(p.requires_grad for p in own.values()):
            raise RequestError(f"{name}: {path} is frozen in part, which cannot adapt per graph; {FALLBACK}")


class _Trial:
    """A float64 copy of psi in training mode, graphs to try it on, and each of these graphs alone (``alone``: its nodes too)."""

    def __init__(self, psi: Psi, schema: Schema, width: int) -> None:
        graphs = made_graphs(schema)
        self.psi = copy.deepcopy(psi).double().train()
        self.context = Context(graphs, schema, torch.float64)
        self.x = made_numbers(graphs.num_nodes, width, 5).double()
        self.probes = [made_numbers(graphs.num_nodes, width, purpose).double() for purpose in (6, 7)]
        ptr = graphs.node_ptr.tolist()
        self.alone = [
            (Context(slice_graphs(graphs, g, g + 1), schema, torch.float64), slice(ptr[g], ptr[g + 1]))
            for g in range(graphs.num_graphs)
        ]

    def learning_rate(self) -> float:
        """The rate that makes a step of about the length wanted."""
        weights = [p for p in self.psi.parameters() if p.requires_grad]
        found = torch.autograd.grad((self.run() * self.probes[0]).sum(), weights, materialize_grads=True)
        return _STEP / (1 + float(torch.cat([gradient.flatten() for gradient in found]).norm()))

    def run(self, fast: FastWeights | None = None) -> Tensor:
        """All graphs at once, each a stream of its own."""
        return self.psi(self.x, self.context, fast, 0.0)

    def run_alone(self, graph: int, weights: Mapping[str, Tensor]) -> Tensor:
        """One graph with weights of its own."""
        context, nodes = self.alone[graph]
        return functional_call(self.psi, dict(weights), (self.x[nodes], context, None, 0.0))

    @torch.no_grad()
    def complaint(self) -> str:
        """What is wrong whatever the objective; empty where nothing is."""
        buffers = {key: value.clone() for key, value in self.psi.named_buffers()}
        first = self.run()
        if not torch.equal(first, self.run()):
            return (
                "its output is random in training mode; build it without dropout (fine-tuning adds its own, --dropout)"
            )
        moved = [key for key, value in self.psi.named_buffers() if not torch.equal(value, buffers[key])]
        if moved:
            key = moved[0].removeprefix("module.")
            return f"it changes its buffer {key} while it runs, which differs between ranks"
        apart = torch.cat([self.run_alone(graph, {}) for graph in range(len(self.alone))])
        return "" if _close(first, apart) else "graphs mix: its output for a graph depends on the graphs beside it"


def _close(found: Tensor, wanted: Tensor) -> bool:
    return bool((found - wanted).abs().max() <= _TOLERANCE * (1 + wanted.abs().max()))


def _adaptation_complaint(trial: _Trial, module: nn.Module, order: int) -> str:
    """What is wrong with the adaptation to each graph; the first part of the module that is wrong by itself is named."""
    if not _difference(trial, order, ""):
        return ""
    for path, part in module.named_modules():
        if trained(part) and (why := _difference(trial, order, path)):
            return f"{path} ({type(part).__name__}) is not used in a way that can adapt per graph ({why}); {FALLBACK}"
    return f"its parts do not adapt per graph together; {FALLBACK}"


def _difference(trial: _Trial, order: int, path: str) -> str:
    """How adaptation differs from that of copies; empty where it does not."""
    try:
        return "" if _adapts(trial, order, path) else "it differs from that of separate copies"
    except _ERRORS as error:
        return _line(error)


def _adapts(trial: _Trial, order: int, path: str) -> bool:
    """Whether one step per graph (of the submodule at ``path`` only, unless empty), and the gradients after it, are those of
    copies."""
    weights = {key: p for key, p in trial.psi.named_parameters() if p.requires_grad}
    mine = {key: p for key, p in weights.items() if not path or key.rpartition(".")[0] == f"module.{path}"}
    lr = trial.learning_rate()
    fast = _PartlyFast(trial.context.nodes, lr, order, set(mine.values()) if path else None)
    fast.step((trial.run(fast) * trial.probes[0]).sum())
    after = trial.run(fast)
    copies = []
    for graph, (_, nodes) in enumerate(trial.alone):
        loss = (trial.run_alone(graph, weights) * trial.probes[0][nodes]).sum()
        steps = torch.autograd.grad(loss, list(mine.values()), create_graph=order == 2, materialize_grads=True)
        stepped = {key: p - lr * step for (key, p), step in zip(mine.items(), steps, strict=True)}
        copies.append(trial.run_alone(graph, {**weights, **stepped}))
    found, wanted = (
        torch.autograd.grad((nodes * trial.probes[1]).sum(), list(weights.values()), materialize_grads=True)
        for nodes in (after, torch.cat(copies))
    )
    return _close(after, torch.cat(copies)) and all(map(_close, found, wanted))


class _PartlyFast(FastWeights):
    """Adapts only layers that hold some of ``parameters`` (None: all layers)."""

    def __init__(self, nodes: Rows, lr: float, order: int, parameters: set[nn.Parameter] | None) -> None:
        super().__init__(nodes, lr, order)
        self.parameters = parameters

    def adapted(self, layer: Hashable, rows: Rows, x: Tensor, y: Tensor, change: Change) -> Tensor:
        """See FastWeights."""
        module = layer[0] if isinstance(layer, tuple) else layer
        own = set(module.parameters(recurse=False)) if isinstance(module, nn.Module) else set()
        skip = self.parameters is not None and not own & self.parameters
        return y if skip else super().adapted(layer, rows, x, y, change)
