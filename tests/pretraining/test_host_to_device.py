"""Host-to-device copies of batches. Calls of torch.cuda are recorded instead of executed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import pytest
import torch

from distgnn.graph.batch import GraphBatch, map_tensors, pin
from distgnn.objectives.edgepred import EdgePred
from distgnn.pretraining.host_to_device import Arriving, send
from distgnn.pretraining.memory import peak_memory_mb
from tests.helpers.graphs import MOLECULE, random_graphs, with_tasks
from tests.helpers.training import CPU

TENSORS = 12  # of a batch with centres, streams and one extra


def batch() -> GraphBatch:
    return with_tasks(random_graphs([4, 6], replace(MOLECULE, center=True)), EdgePred().prepare, streams=[0, 1])


def tensors(graphs: GraphBatch) -> list[torch.Tensor]:
    plain = [getattr(graphs, item.name) for item in fields(graphs)]
    return [t for t in plain if isinstance(t, torch.Tensor)] + [
        t for r in graphs.extras.values() for t in (r.values, r.ptr)
    ]


def test_map_tensors_changes_every_tensor_and_nothing_else() -> None:
    before = batch()
    after = map_tensors(before, lambda tensor: tensor + 1)
    assert len(tensors(before)) == TENSORS
    assert all(torch.equal(a, b + 1) for a, b in zip(tensors(after), tensors(before), strict=True))
    assert after.directed is before.directed
    assert after.y is None


def test_pin_locks_every_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    locked: list[torch.Tensor] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: locked.append(tensor) or tensor)
    pin(batch())
    assert len(locked) == TENSORS


def test_on_a_cpu_batches_are_passed_through() -> None:
    given = batch()
    (first, arriving), (second, nothing) = send(iter([(3, given), (4, None)]), CPU)
    assert (first, second, nothing) == (3, 4, None)
    assert arriving is not None
    assert all(torch.equal(a, b) for a, b in zip(tensors(arriving.arrived()), tensors(given), strict=True))


class Cuda:
    """Records calls of torch.cuda in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.notes: list[str] = []
        self.stream = self
        monkeypatch.setattr(torch.cuda, "Stream", lambda _: self)
        monkeypatch.setattr(torch.cuda, "stream", self.inside)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _: self)
        monkeypatch.setattr(torch.Tensor, "pin_memory", self.note("pin"))
        monkeypatch.setattr(torch.Tensor, "to", self.note("copy"))
        monkeypatch.setattr(torch.Tensor, "record_stream", self.note("keep"))

    def note(self, word: str) -> Any:
        return lambda tensor, *_, **__: self.notes.append(word) or tensor

    @contextmanager
    def inside(self, stream: Any) -> Iterator[None]:
        assert stream is self
        self.notes.append("in")
        yield
        self.notes.append("out")

    def record_event(self) -> str:
        self.notes.append("event")
        return "copied"

    def wait_event(self, event: str) -> None:
        self.notes.append(f"wait {event}")


def test_on_a_gpu_copies_run_on_a_side_stream_that_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    given = batch()
    cuda = Cuda(monkeypatch)
    ((_, arriving),) = send(iter([(0, given)]), torch.device("cuda"))
    assert cuda.notes == ["in", *["pin"] * TENSORS, *["copy"] * TENSORS, "event", "out"]
    assert isinstance(arriving, Arriving)
    cuda.notes.clear()
    arriving.arrived()
    assert cuda.notes == ["wait copied", *["keep"] * TENSORS]


def test_peak_memory_does_not_decrease(monkeypatch: pytest.MonkeyPatch) -> None:
    before = peak_memory_mb(CPU)
    assert before > 50
    block = torch.ones(int((before + 50) * 1e6 / 4))
    assert peak_memory_mb(CPU) > before + 40
    del block
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 3_000_000)
    assert peak_memory_mb(torch.device("cuda")) == 3.0
