"""The ordered map: order, laziness, unchanged errors, and no Ray for one worker."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import ray.cloudpickle
import torch

from distgnn.config import EncoderConfig, FinetuneConfig, SplitConfig
from distgnn.errors import RequestError, WorkError
from distgnn.scale import pool
from distgnn.scale.pool import ordered_map, possible_nodes, possible_resources, start_ray
from tests.helpers.finetunings import finetuned
from tests.helpers.labelled import signal, write_labelled


def slow_for_even(number: int) -> int:
    time.sleep(0.2 * (number % 2 == 0))
    return number * 10


def fail(number: int) -> int:
    if number == 1:
        raise RequestError("row 1: bad; mend it")
    if number == 2:
        raise WorkError("disk full; make room")
    if number == 3:
        raise ZeroDivisionError("a bug")
    if number == 4:
        os._exit(1)
    return number


def counted_inputs(log: list[int], count: int) -> Iterator[int]:
    for number in range(count):
        log.append(number)
        yield number


ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's workers cannot import the tests


def test_one_worker_is_the_plain_map() -> None:
    assert ordered_map(1) is map


def test_no_workers_is_refused() -> None:
    with pytest.raises(RequestError, match="workers must be at least 1, found 0"):
        ordered_map(0)


def test_a_dead_address_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(RequestError, match=r"RAY_ADDRESS=127.0.0.1:1: no Ray answers"):
        start_ray(1)


def test_an_address_without_ray_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.\nPlease specify the one")

    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(
        RequestError, match=r"^RAY_ADDRESS=auto: no Ray answers there; .*\(Could not find any running Ray inst"
    ):
        start_ray(1)


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
class TestOnRay:
    def test_order_is_kept_and_inputs_are_not_drained(self) -> None:
        log: list[int] = []
        results = ordered_map(2)(slow_for_even, counted_inputs(log, 1000))
        assert not log, "nothing is drawn before a result is wanted"
        assert [next(results) for _ in range(5)] == [0, 10, 20, 30, 40]
        assert len(log) <= 5 + 2 * 2
        results.close()  # pyright: ignore[reportAttributeAccessIssue]

    def test_all_results_come(self) -> None:
        assert list(ordered_map(3)(slow_for_even, range(7))) == [0, 10, 20, 30, 40, 50, 60]
        assert list(ordered_map(2)(slow_for_even, [])) == []

    def test_workers_bound_what_runs_at_once(self, tmp_path: Path) -> None:
        busiest = max(ordered_map(2)(_Busy(tmp_path), range(6)))
        assert 1 <= busiest <= 2

    def test_each_task_has_one_torch_thread(self) -> None:
        assert list(ordered_map(2)(lambda _: torch.get_num_threads(), [0, 1])) == [1, 1]

    @pytest.mark.parametrize(("job", "kind"), [(1, RequestError), (2, WorkError)])
    def test_distgnn_errors_are_raised_unchanged(self, job: int, kind: type[Exception]) -> None:
        with pytest.raises(kind) as caught:
            list(ordered_map(2)(fail, [0, job, 0]))
        assert type(caught.value) is kind
        assert "\n" not in str(caught.value)

    def test_bugs_keep_their_traceback(self) -> None:
        with pytest.raises(ZeroDivisionError, match="a bug"):
            list(ordered_map(2)(fail, [3]))

    @pytest.mark.slow
    def test_a_lost_worker_is_a_work_error(self) -> None:
        with pytest.raises(WorkError, match="a Ray worker was lost"):
            list(ordered_map(2)(fail, [4]))

    @pytest.mark.slow
    def test_fine_tuning_gives_the_same_on_ray(self, tmp_path: Path) -> None:
        write_labelled(str(tmp_path), (signal(60) > 0)[:, None], ("easy",))
        encoder = EncoderConfig(layers=1, width=8)
        config = FinetuneConfig(str(tmp_path), split=SplitConfig("random"), seeds=2, epochs=2, encoder=encoder)
        here, there = (finetuned(config, mapper=ordered_map(workers)) for workers in (1, 2))
        assert there.seeds == (0, 1)
        for a, b in zip(here.results.values(), there.results.values(), strict=True):
            assert a.predictions["test"] == pytest.approx(b.predictions["test"], abs=1e-5)


class _Busy:
    """Counts running calls through files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, number: int) -> int:
        mark = self.folder / str(number)
        mark.touch()
        time.sleep(0.1)
        count = len(list(self.folder.iterdir()))
        mark.unlink()
        return count


def test_nodes_that_may_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of DISTGNN_CLUSTER_MAX are counted once, also if some of them are up."""
    up = [{"Alive": True, "Resources": {"CPU": 8.0}}, {"Alive": False, "Resources": {"CPU": 8.0, "GPU": 1.0}}]
    monkeypatch.setattr(pool.ray, "nodes", lambda: up)
    monkeypatch.setattr(pool.ray, "cluster_resources", lambda: {"CPU": 8.0, "memory": 1.0})
    assert possible_nodes() == [{"CPU": 8.0, "GPU": 0.0}]
    assert possible_resources() == {"CPU": 8.0, "GPU": 0.0}
    monkeypatch.setenv("DISTGNN_CLUSTER_MAX", "CPU=32,GPU=8")
    assert possible_resources() == {"CPU": 32.0, "GPU": 8.0}
    assert possible_nodes() == [{"CPU": 8.0, "GPU": 0.0}, {"CPU": 24.0, "GPU": 8.0}]
    monkeypatch.delenv("DISTGNN_CLUSTER_MAX")
    groups = [({"CPU": 8.0}, 3), ({"CPU": 4.0, "GPU": 1.0}, -1)]
    monkeypatch.setattr(pool, "node_groups", lambda: groups)
    assert possible_nodes() == [*[{"CPU": 8.0, "GPU": 0.0}] * 3, {"CPU": 4.0, "GPU": 1.0}]


@pytest.mark.parametrize(("up", "most", "expected"), [(0, "CPU=8", 1.0), (2, "", 0.5), (2, "CPU=3", 0.75)])
def test_workers_share_what_the_cluster_may_get(
    monkeypatch: pytest.MonkeyPatch, up: float, most: str, expected: float
) -> None:
    monkeypatch.setattr(pool.ray, "cluster_resources", lambda: {"CPU": up})
    monkeypatch.setattr(pool, "node_groups", list)
    monkeypatch.setenv("DISTGNN_CLUSTER_MAX", most)
    assert pool.shared_cpus(4, possible_resources()["CPU"], "workers") == expected


def test_a_cluster_without_cpus_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A share of 0 would start all workers on the head."""
    monkeypatch.setattr(pool.ray, "cluster_resources", dict)
    monkeypatch.setattr(pool, "node_groups", list)
    monkeypatch.delenv("DISTGNN_CLUSTER_MAX", raising=False)
    with pytest.raises(
        RequestError, match=r"^workers=4 need 0\.04 CPUs, .* has 0; lower workers, or set DISTGNN_CLUSTER_MAX"
    ):
        pool.shared_cpus(4, possible_resources()["CPU"], "workers")
