"""Weighting by a class of an installed multi-task library such as TorchJD, from the gradient matrix or its Gramian."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from distgnn import register
from distgnn.auxiliary.weighting.signals import Signals, Weighting, WeightingContext
from distgnn.errors import RequestError
from distgnn.graph.keyed import key
from distgnn.graph.purposes import AuxiliaryDraw

_FAILURES = (ImportError, TypeError, ValueError, RuntimeError, AttributeError, IndexError, NotImplementedError)


@register.weighting("library")
class LibraryWeighting(Weighting):
    """Weights of a class from an installed library, such as TorchJD.

    The class ``config.library`` is instantiated without arguments and called with the input that
    ``config.library_reads`` selects. Heads are trained on their own losses. For an aggregator (a class with a base
    called Aggregator, which maps a matrix to the weighted gradient) its ``weighting`` is called with the matrix.

    Raises:
        RequestError: The class cannot be instantiated, does not return one weight per task, or is an aggregator whose
            result is not the weighted sum.
    """

    reads = "gradients"
    plain_heads = True
    own_options = frozenset({"library", "library_reads"})

    def __init__(self, config: None, context: WeightingContext) -> None:
        super().__init__(config, context)
        shared, tasks = context.options, context.tasks
        self.seed, self.calls, where = context.seed, 0, f"weighting.library={shared.library}"
        kind = load_class(shared.library)
        mixes = any(base.__name__ == "Aggregator" for base in kind.__mro__)
        self.gramian = shared.library_reads == "gramian" and not mixes
        probe = torch.arange(1.0, tasks * (tasks + 2) + 1).sin().view(tasks, tasks + 2)
        try:
            self.method = _weighting_of(kind, mixes)
            found = self._call(_weighting_of(kind, mixes), probe)
            mixed = self._call(kind(), probe) if mixes else None
        except _FAILURES as error:
            message = " ".join(str(error).split())[:200]
            raise RequestError(
                f"{where}: cannot be instantiated without arguments and called for {tasks} gradients with their"
                f" {'gramian' if self.gramian else 'matrix'} ({message})"
            ) from error
        if not isinstance(found, Tensor) or found.shape != (tasks,):
            shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise RequestError(
                f"{where}: returned {shape} for {tasks} gradients, not one weight each; name a weighting class"
            )
        if mixed is not None and not torch.allclose(mixed, found @ probe, rtol=1e-3, atol=1e-5):
            raise RequestError(f"{where}: its result is not a weighted sum of the gradients; name a weighting class")

    def forward(self, signals: Signals) -> Tensor:
        """Return weights [R]."""
        if signals.shared is None:
            raise ValueError("the matrix of gradients is missing")
        self.calls += 1
        return self._call(self.method, signals.shared).to(signals.loss)[signals.task]

    def _call(self, method: Callable[[Tensor], Any], matrix: Tensor) -> Any:
        """Call ``method``; its random numbers are a function of (seed, number of the call), identical on all ranks."""
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(key(self.seed, AuxiliaryDraw.WEIGHTING_DRAWS, self.calls))
            return method(matrix @ matrix.t() if self.gramian else matrix)


def _weighting_of(kind: type, mixes: bool) -> Callable[[Tensor], Any]:
    instance = kind()
    return instance.weighting if mixes else instance


def load_class(name: str) -> type:
    """Import the class "module:Class".

    Raises:
        RequestError: There is no such class.
    """
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise RequestError(f"weighting.library={name}: {error}; install the package or correct the name") from error
    if not isinstance(found, type):
        raise RequestError(
            f"weighting.library={name}: is not a class; name one such as torchjd.aggregation:MGDAWeighting"
        )
    return found
