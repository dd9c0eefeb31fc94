"""Process groups of one and of several ranks."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from distgnn.checkpoint.training_state import make_state
from distgnn.distributed import ProcessGroup, choose_device, joined
from distgnn.errors import RequestError, WorkError
from distgnn.graph.schema import Schema
from distgnn.pretraining.step import check_agreement
from tests.helpers.training import CPU, run_ranks, small


def facts(group: ProcessGroup) -> dict[str, object]:
    total = group.all_reduce(torch.tensor([1.0 + group.rank, 10.0]))
    same = group.agrees(torch.tensor([1.0, 2.0], dtype=torch.float64))
    other = group.agrees(torch.tensor([1.0, 2.0 + 1e-15 * group.rank], dtype=torch.float64))
    group.barrier()
    return {"rank": group.rank, "size": group.world_size, "total": total.tolist(), "same": same, "other": other}


def drift(group: ProcessGroup) -> str:
    state = make_state(small("unused", "unused"), Schema(), CPU)
    check_agreement(state, group)
    if group.rank == 1:
        with torch.no_grad():
            next(state.encoder.parameters()).view(-1)[0] += 1e-6
    try:
        check_agreement(state, group)
    except WorkError as error:
        return str(error)
    return ""


def test_single_process() -> None:
    group = ProcessGroup.detect(CPU)
    assert group == ProcessGroup.single_process(CPU)
    assert group.is_main_process
    assert group.all_reduce(torch.tensor([3.0])).item() == 3
    assert group.agrees(torch.tensor([1.5], dtype=torch.float64))


def test_two_ranks() -> None:
    found = run_ranks(2, facts)
    assert [one["rank"] for one in found] == [0, 1]
    assert all(one["size"] == 2 and one["total"] == [3.0, 20.0] for one in found)
    assert all(one["same"] and not one["other"] for one in found)


@pytest.mark.parametrize(
    ("device", "given", "backend"), [("cpu", None, "gloo"), ("cuda", None, "nccl"), ("cuda", "gloo", "gloo")]
)
def test_the_backend_follows_the_device_unless_it_is_given(
    monkeypatch: pytest.MonkeyPatch, device: str, given: str | None, backend: str
) -> None:
    asked = list[str]()
    monkeypatch.setattr(dist, "init_process_group", lambda chosen, **_: asked.append(chosen))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: asked.append("left"))
    with joined(0, 2, "file:///unused", torch.device(device), given) as group:
        assert group == ProcessGroup(0, 2, torch.device(device))
    assert asked == [backend, "left"]


def test_disagreement_of_ranks_is_detected_on_all_ranks() -> None:
    assert all("different weights" in message for message in run_ranks(2, drift))


def test_choose_device() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_no_gpu() -> None:
    with pytest.raises(RequestError, match=r"train\.device=cuda"):
        choose_device("cuda")
