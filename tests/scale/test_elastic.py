"""Elastic runs: resources, lost nodes, and losses that do not depend on the sequence of worker counts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch
from ray.train.v2._internal.execution.controller.state import ResizingState
from ray.train.v2._internal.execution.scaling_policy import ResizeDecision

from distgnn.checkpoint.format import load_checkpoint
from distgnn.config import EncoderConfig, PretrainConfig, RecoveryConfig, TrainConfig
from distgnn.errors import RequestError, WorkError
from distgnn.pretraining.run import resumed_run
from distgnn.scale.pool import start_ray
from distgnn.scale.train import recovery
from distgnn.scale.train.preflight import Resources, share
from distgnn.scale.train.recovery import (
    RecoveryCallback,
    ResizeCallback,
    answer_resize,
    drop_reservation,
    missed_checkpoint,
    request_checkpoint,
    train_settings,
)
from distgnn.scale.train.stop_watcher import STOP, StopWatcher, draining_nodes
from distgnn.storage.folder import open_folder
from tests.helpers.training import continue_small, losses, small, train_small

RESIZING = ResizingState(ResizeDecision(2, {"CPU": 1.0}))


@pytest.mark.parametrize(
    ("least", "asked", "cpus", "expected"),
    [(1, 0, 8, 1.0), (2, 0, 2, 1.0), (3, 0, 2, 0.5), (4, 0, 1, 0.25), (2, 2.0, 4, 2.0), (2, 0.375, 4, 0.375)],
)
def test_elastic_share_of_cpus(least: int, asked: float, cpus: float, expected: float) -> None:
    config = PretrainConfig("c", workers=4, min_workers=least, cpus_per_worker=asked)
    assert share(config, cpus, 0) == Resources(expected, gpu=False)


def test_impossible_elastic_requests_are_refused() -> None:
    elastic = PretrainConfig("c", workers=4, min_workers=2)
    with pytest.raises(RequestError, match="min_workers=2 x cpus_per_worker=2 = 4 CPUs, but the Ray cluster has 3"):
        share(replace(elastic, cpus_per_worker=2.0), 3, 0)
    with pytest.raises(RequestError, match=r"cpus_per_worker=0\.3 with min_workers=2: .* half, quarter"):
        share(replace(elastic, cpus_per_worker=0.3), 8, 0)
    on_gpu = replace(elastic, train=replace(elastic.train, device="cuda"))
    assert share(on_gpu, 8, 2).gpu
    with pytest.raises(RequestError, match="min_workers=2 need 2 GPUs, but the Ray cluster has 1"):
        share(on_gpu, 8, 1)


@pytest.mark.parametrize("least", [-1, 5])
def test_min_workers_must_be_below_workers(least: int) -> None:
    with pytest.raises(RequestError, match=r"min_workers must lie in 0\.\.workers=4"):
        PretrainConfig("c", workers=4, min_workers=least)


@pytest.mark.parametrize("field", ["poll_seconds", "start_seconds", "resize_seconds", "settle_seconds"])
def test_recovery_settings_are_checked(field: str) -> None:
    with pytest.raises(RequestError, match=rf"recovery\.{field}"):
        RecoveryConfig(**{field: -1.0})


@pytest.mark.parametrize("exact", [False, True])
def test_losses_do_not_depend_on_the_sequence_of_worker_counts(corpus: str, tmp_path: Path, exact: bool) -> None:
    config = small(corpus, tmp_path, checkpoint_every=2, exact=exact)
    alone = train_small(replace(config, name="alone"))
    run = train_small(config, ranks=1, stop_after=4)
    more = replace(run.config, workers=3, min_workers=1, recovery=RecoveryConfig(1.0, 2.0, 3.0, 4.0))
    run = resumed_run(run.folder.uri, more)  # all of these may change
    assert continue_small(run, ranks=3, stop_after=5) == "stopped"
    assert continue_small(run, ranks=2) == "finished"
    assert losses(run).keys() == losses(alone).keys()
    assert losses(run) == (losses(alone) if exact else pytest.approx(losses(alone), rel=1e-6))
    if exact:
        here, there = (load_checkpoint(each.folder.uri).model for each in (run, alone))
        assert all(torch.equal(tensor, there[name]) for name, tensor in here.items())


def test_exact_sums_require_norms_within_streams() -> None:
    with pytest.raises(RequestError, match=r"train\.exact: .*use ghost"):
        PretrainConfig("c", encoder=EncoderConfig(norm="batch"), train=TrainConfig(exact=True))


@pytest.mark.parametrize(
    ("before", "config", "expected"),
    [
        ((None, None), RecoveryConfig(), ("0.5", "10.0")),
        ((None, "7"), RecoveryConfig(), ("0.5", "7")),  # the cluster's own
        ((None, "7"), RecoveryConfig(poll_seconds=0.25), ("0.25", "7")),
        (("1", "7"), RecoveryConfig(poll_seconds=0.25, start_seconds=3.0), ("0.25", "3.0")),
    ],
)
def test_settings_of_ray_train_are_set_and_restored(
    monkeypatch: pytest.MonkeyPatch,
    before: tuple[str | None, str | None],
    config: RecoveryConfig,
    expected: tuple[str, str],
) -> None:
    names = ("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S")
    for name, value in zip(names, before, strict=True):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    with train_settings(config):
        assert tuple(map(os.environ.get, names)) == expected
    assert tuple(map(os.environ.get, names)) == before


def test_recovery_waits_until_lost_nodes_are_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as alive, socket.socket() as gone:
        for one in (alive, gone):
            one.bind(("127.0.0.1", 0))
        alive.listen()
        nodes = [
            {"Alive": True, "NodeManagerAddress": "127.0.0.1", "NodeManagerPort": one.getsockname()[1]}
            for one in (alive, gone)
        ]
        looks, counted = list[float](), list[float]()

        def told() -> list[dict[str, Any]]:
            looks.append(time.monotonic())
            return nodes if len(looks) < 4 else nodes[:1]

        monkeypatch.setattr(recovery.ray, "nodes", told)
        monkeypatch.setattr(recovery, "_refresh_resources", lambda: counted.append(time.monotonic()))
        RecoveryCallback("", 20.0).after_exception(None, {})
        assert len(looks) == 4
        assert counted[0] >= looks[3]
        monkeypatch.setattr(recovery.ray, "nodes", lambda: nodes)
        start = time.monotonic()
        RecoveryCallback("", 0.5).after_exception(None, {})  # Ray never notices: not for ever
        assert 0.5 <= time.monotonic() - start < 5


def test_draining_nodes_does_not_start_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: pytest.fail("Ray was asked for its context"))
    assert draining_nodes() == []


def test_stop_watcher_sees_the_stop_file_and_draining_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distgnn.scale.train.stop_watcher._SECONDS", 0.01)
    folder, draining = open_folder(str(tmp_path)), list[str]()
    with StopWatcher(folder, lambda: draining) as watcher:
        wait_until(lambda: not watcher.warned())
        assert not watcher.stop()
        draining.append("node")
        wait_until(watcher.warned)
        draining.clear()
        wait_until(lambda: not watcher.warned())
        folder.write(STOP, b"")
        wait_until(watcher.stop)


def test_stop_watcher_survives_storage_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distgnn.scale.train.stop_watcher._SECONDS", 0.01)
    answers = iter([WorkError("gone"), RequestError("refused")])

    def read(*_: object) -> bytes:
        answer = next(answers, None)
        if answer is not None:
            raise answer
        return b""

    folder = open_folder(str(tmp_path))
    monkeypatch.setattr(type(folder), "read_if_there", read)
    with StopWatcher(folder, list) as watcher:
        wait_until(watcher.stop)


def test_a_resize_waits_for_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distgnn.scale.train.stop_watcher._SECONDS", 0.01)
    monkeypatch.setattr(recovery, "_CHECKPOINT_SECONDS", 0.5)
    monkeypatch.setattr(recovery.ray, "nodes", list)
    folder = open_folder(str(tmp_path))
    asked = threading.Thread(target=ResizeCallback(folder.uri).after_controller_state_update, args=(None, RESIZING))
    with StopWatcher(folder, list) as watcher:
        asked.start()
        wait_until(watcher.stop)
        assert watcher.resizing
        answer_resize(folder)
        asked.join(5)
    assert not asked.is_alive()
    assert folder.names() == []
    request_checkpoint(folder)  # the workers are gone: not for ever
    assert folder.names() == ["resize.txt"]
    assert missed_checkpoint(folder) == "0.5"
    assert missed_checkpoint(folder) is None
    assert folder.names() == []
    folder.write(STOP, b"")
    request_checkpoint(folder)  # the user stops the run
    answer_resize(folder)
    assert folder.read(STOP) == b""
    ResizeCallback("s3://nowhere/run").after_controller_state_update(RESIZING, None)


@pytest.mark.parametrize("dead", [False, True])
def test_a_resize_does_not_wait_for_lost_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dead: bool) -> None:
    """A node that does not answer in two looks, or that Ray has declared dead, ends the wait; one silent look does not."""
    monkeypatch.setattr(recovery, "_POLL_SECONDS", 0.01)
    looks = list[bool]()

    def told() -> list[dict[str, Any]]:
        gone = dead and len(looks) >= 4
        return [{"NodeID": "a", "Alive": True}, {"NodeID": "b", "Alive": not gone}]

    def answers(node: dict[str, Any]) -> bool:
        if node["NodeID"] == "a":
            return True
        looks.append(len(looks) != 1 and (dead or len(looks) < 4))
        return looks[-1]

    monkeypatch.setattr(recovery.ray, "nodes", told)
    monkeypatch.setattr(recovery, "_answers", answers)
    folder, start = open_folder(str(tmp_path)), time.monotonic()
    request_checkpoint(folder)
    assert time.monotonic() - start < 5  # of 30
    assert looks == [True, False, True, True, False, False][: 4 if dead else 6]
    assert missed_checkpoint(folder) is not None
    assert folder.names() == []


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(scope="class")
def _busy_ray() -> Iterator[None]:
    """A Ray instance whose only CPU is reserved."""
    start_ray(1)
    holder = ray.remote(num_cpus=1)(_Holder).remote()
    ray.get(holder.hold.remote())
    yield
    ray.shutdown()


class _Holder:
    def hold(self) -> None: ...


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("_busy_ray")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestBusyRay:
    def test_a_draining_node_is_detected(self) -> None:
        """Drains the only node, so this test runs last."""
        assert draining_nodes() == []
        node = ray.get_runtime_context().get_node_id()
        words = [str(Path(sys.executable).parent / "ray"), "drain-node", "--address"]
        words += [ray.get_runtime_context().gcs_address, "--node-id", node, "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
        words += ["--reason-message", "a test", "--deadline-remaining-seconds", "60"]
        subprocess.run(words, check=True, capture_output=True)
        wait_until(lambda: draining_nodes() == [node])


def test_the_reservation_of_a_lost_driver_is_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cancelled = open_folder(str(tmp_path)), list[str]()
    cancel = SimpleNamespace(remote=cancelled.append)
    monkeypatch.setattr(recovery.ray, "get_actor", lambda *_, **__: SimpleNamespace(cancel_request=cancel))
    monkeypatch.setattr(recovery.ray, "get", lambda answer, **_: answer)
    drop_reservation(folder)  # nothing was noted
    assert cancelled == []
    RecoveryCallback(folder.uri, 1.0).after_report(SimpleNamespace(run_id="7"), [{}], None)
    drop_reservation(folder)
    drop_reservation(folder)
    assert cancelled == ["train-7"]
