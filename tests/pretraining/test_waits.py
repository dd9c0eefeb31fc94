"""How often the host waits for the device in a training step, counted on the CPU by what would wait on a GPU."""

from __future__ import annotations

import traceback
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from distgnn.checkpoint.training_state import make_state
from distgnn.config import EncoderConfig, PretrainConfig
from distgnn.distributed import ProcessGroup
from distgnn.graph.batch import group_sizes, rows_where
from distgnn.objectives.l2p import task_batch
from distgnn.pretraining.step import objective_of, outer_step
from tests.helpers.graphs import MOLECULE, random_graphs, with_tasks
from tests.helpers.training import CPU

SIZED = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "bincount", "is_nonzero", "equal")
"""Operations whose result, or its size, the host needs."""
ON_HOST = {"_size_classes", "adam"}
"""Functions that compute with tensors of the host. ``one_hot`` checks its values on CPUs only."""


def on_host() -> bool:
    return any(
        frame.name in ON_HOST
        or "F.one_hot(" in (frame.line or "")
        or (frame.name == "__init__" and frame.filename.endswith("ops/segments.py"))
        for frame in traceback.extract_stack()
    )


class Waits(TorchDispatchMode):
    """Counts the operations after which the host waits for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func._schema.name.removeprefix("aten::"), kwargs or {}
        indices = args[1] if name in ("index", "index_put", "index_put_") else ()
        masks = any(isinstance(part, Tensor) and part.dtype == torch.bool for part in indices)
        counted = name == "repeat_interleave" and kwargs.get("output_size") is None
        if (name in SIZED or masks or counted) and not on_host():
            self.found[name] += 1
        return func(*args, **kwargs)


@pytest.mark.parametrize(
    ("objective", "kind", "waits"), [("l2p", "gin", 6), ("l2p", "sage", 6), ("edgepred", "gin", 2)]
)
def test_waits_of_a_step(objective: str, kind: Any, waits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One read of the losses; besides, of sizes: those of the streams, and in L2P of the tasks and the padded graphs."""
    config = PretrainConfig("unused", objective=objective, encoder=EncoderConfig(kind=kind, layers=3, width=16))
    state = make_state(config, MOLECULE, CPU)
    batch = with_tasks(random_graphs([4, 5, 6, 7, 8, 9]), objective_of(state).prepare, streams=[0, 3, 6])
    copies = Counter[str]()
    for name in ("cpu", "tolist"):
        copy = getattr(Tensor, name)
        monkeypatch.setattr(Tensor, name, lambda tensor, copy=copy, name=name: (copies.update([name]), copy(tensor))[1])
    with Waits() as counted:
        outer_step(state, batch, config.train, ProcessGroup.single_process(CPU), epoch=0, lr=1e-3)
    assert not counted.found
    assert copies.total() == waits


def test_rows_and_sizes_equal_those_of_torch() -> None:
    mask = torch.tensor([True, False, True, True, False])
    assert torch.equal(rows_where(mask, 3), torch.nonzero(mask).flatten())
    group = torch.tensor([3, 1, 3, 0])
    assert torch.equal(group_sizes(group, 6), torch.bincount(group, minlength=6))
    keys = [torch.tensor([5, 2, 5, 9, 2]), torch.tensor([], dtype=torch.int64)]
    assert [found.tolist() for found in task_batch._unique(keys)] == [[2, 5, 9], []]
