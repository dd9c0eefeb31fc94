"""How often the host waits for the device in a training step, counted on the CPU by what would wait on a GPU."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from distgnn.checkpoint.training_state import make_state
from distgnn.config import EncoderConfig, PretrainConfig
from distgnn.distributed import ProcessGroup
from distgnn.graph.batch import copied, group_sizes, map_tensors, rows_where
from distgnn.models.batch_context import Context
from distgnn.models.ops import segments
from distgnn.pretraining.step import objective_of, outer_step
from tests.helpers.graphs import MOLECULE, random_graphs, with_tasks
from tests.helpers.training import CPU

SIZED = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "bincount", "is_nonzero", "equal")
"""Operations whose result, or its size, the host needs."""


class Host(Tensor):
    """Tensors of the host and what is computed from them; all others of the test stand for tensors of a device."""


def on_host() -> bool:
    """Whether something is at work that computes on the host with tensors of its own: the layout of padded graphs, Adam, which
    counts its steps, and ``one_hot``, which checks its values on CPUs only."""
    outside = [frame for frame in traceback.extract_stack() if frame.filename != __file__]
    padding = any(frame.name == "__init__" and frame.filename.endswith("ops/segments.py") for frame in outside)
    return padding or any(frame.name == "adam" or "F.one_hot(" in (frame.line or "") for frame in outside)


def device_copy(tensor: Tensor) -> Tensor:
    return tensor.clone().as_subclass(Tensor)


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
        if (name in SIZED or masks or counted) and not isinstance(args[0], Host) and not on_host():
            self.found[name] += 1
        return func(*args, **kwargs)


@pytest.mark.parametrize(
    ("objective", "kind", "waits"),
    [
        ("l2p", "gin", 2),
        ("l2p", "gcn", 2),
        ("l2p", "sage", 2),
        ("l2p", "gat", 2),
        ("edgepred", "gin", 1),
        ("graphcl", "gin", 2),
    ],
)
def test_waits_of_a_step(objective: str, kind: Any, waits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One read of the losses; in L2P one of the sizes of the tasks, before the first pass, and in GraphCL one of
    those of the views."""
    config = PretrainConfig("unused", objective=objective, encoder=EncoderConfig(kind=kind, layers=3, width=16))
    state = make_state(config, MOLECULE, CPU)
    sent = with_tasks(random_graphs([4, 5, 6, 7, 8, 9]), objective_of(state).prepare, streams=[0, 3, 6])
    batch = copied(map_tensors(sent, lambda tensor: tensor.as_subclass(Host)), device_copy)
    reads = Counter[str]()
    for name in ("cpu", "tolist"):
        read = getattr(Tensor, name)

        def counting(tensor: Tensor, name: str = name, read: Callable[[Tensor], Any] = read) -> Any:
            reads.update([name] if not isinstance(tensor, Host) else [])
            found = read(tensor)
            return found.as_subclass(Host) if name == "cpu" else found

        monkeypatch.setattr(Tensor, name, counting)
    monkeypatch.setattr(segments, "to_device", lambda tensor, _: device_copy(tensor))
    with Waits() as counted:
        outer_step(state, batch, config.train, ProcessGroup.single_process(CPU), epoch=0, lr=1e-3)
    assert not counted.found
    assert reads.total() == waits


@pytest.mark.parametrize("directed", [False, True])
def test_messages_of_groups_are_known_on_the_host(directed: bool) -> None:
    """The host counts those that the device groups: self-loops and edges stored twice, of graphs and of streams."""
    batch = random_graphs([3, 1, 6, 4])
    edges = torch.cat([batch.edges[:, :1].expand(2, 2), batch.edges[:1, -1:].expand(2, 1), batch.edges], dim=1)
    batch = replace(batch, edges=edges, directed=directed, stream_ptr=torch.tensor([0, 1, 4]))
    columns = {name: getattr(batch, name)[:1].expand(3, -1) for name in ("edge_cat", "edge_dense")}
    more = {name: torch.cat([rows, getattr(batch, name)]) for name, rows in columns.items()}
    batch = replace(batch, **more)
    context = Context(copied(batch, torch.clone), MOLECULE, torch.float32)
    for nodes in (context.nodes, context.streams, context.all_nodes):
        found = context.attention.grouped(nodes)
        assert found._host is not None
        assert torch.equal(found._host, found.ptr)
    assert Context(batch, MOLECULE, torch.float32).attention.grouped(context.nodes)._host is None  # no device


def test_rows_and_sizes_equal_those_of_torch() -> None:
    mask = torch.tensor([True, False, True, True, False])
    assert torch.equal(rows_where(mask, 3), torch.nonzero(mask).flatten())
    group = torch.tensor([3, 1, 3, 0])
    assert torch.equal(group_sizes(group, 6), torch.bincount(group, minlength=6))


def test_copies_know_their_tensors_of_the_host_until_they_are_replaced() -> None:
    batch = random_graphs([3, 4])
    assert batch.on_host("node_ptr") is batch.node_ptr
    assert batch.on_host("stream_ptr") is None
    moved = copied(batch, torch.clone)
    assert moved.on_host("edges") is batch.edges
    assert replace(moved, edges=moved.edges.flip(0)).on_host("edges") is None
