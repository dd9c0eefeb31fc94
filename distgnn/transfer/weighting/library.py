"""A weighting class of an installed multi-task library, such as TorchJD's, which knows gradients as a matrix or its Gramian."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from distgnn.config import WeightingConfig
from distgnn.errors import RequestError
from distgnn.graph.keyed import key
from distgnn.transfer.weighting.signals import Signals, Weighting

_DRAWS = 42
_FAILURES = (ImportError, TypeError, ValueError, RuntimeError, AttributeError, IndexError, NotImplementedError)


class LibraryWeighting(Weighting):
    """Calls an object made from ``config.library`` with what ``config.library_reads`` says; heads learn by their own losses.

    An aggregator of TorchJD's kind hands over its ``gramian_weighting`` or ``weighting``. Raises RequestError unless the class
    can be made without arguments and answers with one weight a task.
    """

    reads = "gradients"
    plain_heads = True

    def __init__(self, config: WeightingConfig, tasks: int, seed: int) -> None:
        super().__init__()
        self.gramian, self.tasks, self.seed, self.calls = config.library_reads == "gramian", tasks, seed, 0
        self.where = f"weighting.library={config.library}"
        try:
            made = load_class(config.library)()
        except _FAILURES as error:
            raise RequestError(f"{self.where}: cannot be made without arguments ({_one_line(error)})") from error
        self.method: Callable[[Tensor], Any] = getattr(made, "gramian_weighting", made) if self.gramian else made
        probe = torch.eye(tasks, tasks + 2)
        try:
            found = self._ask(probe)
            if not self.gramian and _shape(found) == [tasks + 2] and hasattr(made, "weighting"):
                self.method = made.weighting  # ``made`` mixes the gradients itself
                found = self._ask(probe)
        except _FAILURES as error:
            raise RequestError(
                f"{self.where}: cannot weigh {tasks} gradients as a {config.library_reads} ({_one_line(error)})"
            ) from error
        if _shape(found) != [tasks]:
            raise RequestError(
                f"{self.where}: gave {_shape(found)} for {tasks} gradients, not one weight each; name a weighting class"
            )

    def forward(self, signals: Signals) -> Tensor:
        """Weights [R]."""
        if signals.shared is None:
            raise ValueError("the matrix of gradients is missing")
        return self._ask(signals.shared).to(signals.loss)[signals.task]

    def _ask(self, matrix: Tensor) -> Any:
        """Its answer; what it draws at random is the same on every rank."""
        self.calls += 1
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(key(self.seed, _DRAWS, self.calls))
            return self.method(matrix @ matrix.t() if self.gramian else matrix)


def load_class(name: str) -> Callable[[], Any]:
    """What "module:Class" names; raises RequestError where there is no such thing."""
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise RequestError(
            f"weighting.library={name}: {_one_line(error)}; install the package or mend the name"
        ) from error
    if not isinstance(found, type):
        raise RequestError(
            f"weighting.library={name}: is not a class; name one such as torchjd.aggregation:UPGradWeighting"
        )
    return found


def _shape(found: Any) -> list[int] | str:
    return list(found.shape) if isinstance(found, Tensor) else type(found).__name__


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
