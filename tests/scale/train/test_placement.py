"""CPUs that the workers leave for reading, node by node."""

from __future__ import annotations

import threading
from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from distgnn.distributed import ProcessGroup
from distgnn.scale.train import placement, pretrain_rank

A, B, C, D = (letter * 56 for letter in "abcd")


def patch_nodes(monkeypatch: pytest.MonkeyPatch, **cpus: float) -> None:
    """The head, node d, with 4 CPUs, these nodes, and a dead one."""
    nodes = [
        {"NodeID": name * 56, "Alive": name != "e", "Resources": {"CPU": found}}
        for name, found in (cpus | {"e": 9.0}).items()
    ]
    head = {"NodeID": D, "Alive": True, "Resources": {"CPU": 4.0, placement.HEAD: 1.0}}
    monkeypatch.setattr(placement.ray, "nodes", lambda: [head, *nodes])


def on(*nodes: str) -> Counter[int]:
    return Counter(placement.node_number(node) for node in nodes)


def test_rests_of_several_nodes_are_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_nodes(monkeypatch, a=1.5, b=1.5)
    assert placement.free_slots(on(A, B), 1.0, 1.0) == 0  # half a CPU on each
    assert placement.free_slots(on(A), 1.0, 1.0) == 1  # all of b
    assert placement.free_slots(on(A, A, A, B, B, B), 0.25, 0.5) == 2
    patch_nodes(monkeypatch, a=4.0, b=2.0, c=0.0)
    assert placement.free_slots(on(A, B), 1.0, 1.0) == 4
    assert placement.free_slots(on(A, A, A, A, B, B, B), 1.0, 1.0) == 0  # one too many is none, not less
    assert placement.free_slots(on(A, A, B), 0.1 + 0.2 + 0.7, 1.0) == 3  # 4.0 - 2 * 1.0 is 2 in spite of rounding
    patch_nodes(monkeypatch)
    assert placement.free_slots(on(D, D), 0.5, 1.0) == 3  # one machine: the head reads


def test_workers_are_counted_by_node(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = {1: A, 0: B, 2: A}
    monkeypatch.setattr(
        placement.ray,
        "get_runtime_context",
        lambda: SimpleNamespace(get_node_id=lambda: nodes[int(threading.current_thread().name)]),
    )
    total = torch.zeros(3, dtype=torch.float64)
    barrier, lock = threading.Barrier(3), threading.Lock()

    def all_reduce(_: ProcessGroup, values: torch.Tensor) -> torch.Tensor:
        with lock:
            total.add_(values)
        barrier.wait(10)
        return total

    monkeypatch.setattr(ProcessGroup, "all_reduce", all_reduce)
    found = dict[int, Counter[int]]()

    def count(rank: int) -> None:
        found[rank] = placement.workers_by_node(ProcessGroup(rank, 3, torch.device("cpu")))

    threads = [threading.Thread(target=count, args=(rank,), name=str(rank)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert list(found.values()) == [on(A, A, B)] * 3


@pytest.mark.parametrize(("cpus", "reads"), [(1.5, False), (2.0, True)])
def test_ray_data_reads_only_where_a_task_fits(monkeypatch: pytest.MonkeyPatch, cpus: float, reads: bool) -> None:
    patch_nodes(monkeypatch, a=cpus, b=1.5)
    monkeypatch.setattr(pretrain_rank, "workers_by_node", lambda _: on(A, B))
    alone = ProcessGroup.single_process(torch.device("cpu"))
    assert pretrain_rank._ray_reads({"reading": "ray", "cpus": 1.0}, alone) is reads
    assert not pretrain_rank._ray_reads({"reading": "rank"}, alone)
