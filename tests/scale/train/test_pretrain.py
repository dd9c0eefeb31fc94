"""Training on Ray Train: the same losses as without Ray, stops, unchanged errors, and preflight checks."""

from __future__ import annotations

import math
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import pytest
from ray.train import WorkerGroupError

from distgnn.checkpoint.format import load_checkpoint
from distgnn.config import PretrainConfig, to_json
from distgnn.distributed import ProcessGroup
from distgnn.errors import RequestError, WorkError
from distgnn.monitor.sink import NULL_SINK
from distgnn.pretraining.history import read_progress
from distgnn.pretraining.run import new_run, new_start, open_corpus
from distgnn.scale import pool, private
from distgnn.scale.train import placement, preflight, pretrain, recovery, stream
from distgnn.scale.train.failures import cause_of, raise_noted
from distgnn.scale.train.preflight import Resources, share
from distgnn.scale.train.pretrain import pretrain_on_ray
from distgnn.scale.train.pretrain_rank import train_worker
from distgnn.scale.train.recovery import drop_reservation
from distgnn.storage.folder import Folder
from tests.helpers.training import CPU, continue_small, losses, small, train_small, validations

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside Ray itself


def two_workers(config: PretrainConfig) -> PretrainConfig:
    return replace(config, workers=2, max_failures=1)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("reading", ["ray", "rank"])
def test_same_curve_as_in_process(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reading: Literal["ray", "rank"]
) -> None:
    reservations = list[bytes]()

    def drop(folder: Folder) -> None:
        if folder.size("reservation.txt") is not None:
            reservations.append(folder.read("reservation.txt"))
        drop_reservation(folder)

    monkeypatch.setattr("distgnn.scale.train.pretrain.drop_reservation", drop)
    start = new_start(replace(two_workers(small(corpus, tmp_path, "ray")), reading=reading))
    run = start.run
    assert pretrain_on_ray(start) == "finished"
    assert [name[:6] for name in reservations] == [
        b"train-"
    ]  # recorded while it ran, for a process that resumes it after a kill
    alone = train_small(small(corpus, tmp_path, "alone"))
    assert losses(run) == pytest.approx(losses(alone), rel=1e-5)
    for step, expected in validations(alone).items():
        assert validations(run)[step] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert load_checkpoint(run.folder.uri).step == 12
    assert run.folder.names() == ["checkpoints", "config.json", "environment.json", "history", "progress.json"]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_stop_and_resume(corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopping = threading.Event()

    class Signals:
        """Simulates Ctrl-C after the first steps."""

        def __init__(self, _: object) -> None: ...

        def __enter__(self) -> threading.Event:
            threading.Thread(target=self.wait, daemon=True).start()
            return stopping

        def __exit__(self, *_: object) -> None: ...

        def wait(self) -> None:
            while not (tmp_path / "run" / "progress.json").exists():
                time.sleep(0.05)
            stopping.set()

    monkeypatch.setattr(pretrain, "stop_signals", Signals)
    config = two_workers(small(corpus, tmp_path, max_steps=0, epochs=10_000, validate_every=0, schedule="constant"))
    start = new_start(config)
    run = start.run
    assert pretrain_on_ray(start) == "stopped"
    assert read_progress(run.folder)["status"] == "stopped"
    step = load_checkpoint(run.folder.uri).step
    assert step >= 1
    alone = train_small(replace(config, name="alone", workers=1), stop_after=min(step, 8))
    expected = losses(alone)
    assert {number: losses(run)[number] for number in expected} == pytest.approx(expected, rel=1e-5)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_a_damaged_corpus_is_one_line(corpus: str, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(corpus, tmp_path / "copy"))
    (copy / "shard-00001.parquet").write_bytes(b"PAR1")
    start = new_start(replace(two_workers(small(str(copy), tmp_path)), max_failures=0))
    run = start.run
    with pytest.raises(RequestError, match=r"shard-00001\.parquet: truncated or changed"):
        pretrain_on_ray(start)
    snapshot = read_progress(run.folder)
    assert snapshot["status"] == "failed"
    assert "truncated" in snapshot["error"]
    assert "failed.json" not in run.folder.names()


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_too_many_workers_are_refused_at_once(corpus: str, tmp_path: Path) -> None:
    config = replace(two_workers(small(corpus, tmp_path)), workers=3, cpus_per_worker=1.0)
    with pytest.raises(RequestError, match=r"3 x cpus_per_worker=1 = 3 CPUs, but the Ray cluster has 2"):
        pretrain_on_ray(new_start(config))
    config = replace(config, name="reading", workers=2, min_workers=1, reading="ray")
    with pytest.raises(
        RequestError, match=r"^reading=ray: 2 workers x 1 CPUs leave 0 of the 2 CPUs .* a reader needs 1"
    ):
        pretrain_on_ray(new_start(replace(config, min_workers=2)))


@pytest.mark.parametrize(
    ("workers", "asked", "cpus", "expected"),
    [(2, 0, 2, 1.0), (3, 0, 2, 0.66), (2, 0, 64, 1.0), (2, 2.0, 5, 2.0), (4, 0.25, 2, 0.25)],
)
def test_share_of_cpus(workers: int, asked: float, cpus: float, expected: float) -> None:
    config = PretrainConfig("c", workers=workers, cpus_per_worker=asked)
    assert share(config, cpus, 0) == Resources(expected, gpu=False)


def test_a_reader_has_a_cpu_of_its_own() -> None:
    config = PretrainConfig("c", workers=2, reading="ray")
    assert share(config, 2, 0) == Resources(0.5, gpu=False, reading="ray")
    with pytest.raises(
        RequestError, match=r"2 x cpus_per_worker=1 \+ 1 CPU for reading=ray = 3 CPUs.* use reading=rank"
    ):
        share(replace(config, cpus_per_worker=1.0), 2, 0)


@pytest.mark.parametrize(("workers", "asked", "cpus"), [(2, 1.0, 1), (2, 2.0, 3), (4, 1.0, 3)])
def test_too_few_cpus(workers: int, asked: float, cpus: float) -> None:
    with pytest.raises(RequestError, match=f"cluster has {cpus}"):
        share(PretrainConfig("c", workers=workers, cpus_per_worker=asked), cpus, 0)


def test_gpus() -> None:
    config = PretrainConfig("c", workers=2)
    assert share(config, 8, 2) == Resources(1.0, gpu=True)
    assert share(config, 8, 0) == Resources(1.0, gpu=False)
    with pytest.raises(RequestError, match=r"device=auto: workers=2 need 2 GPUs, .* has 1, .* choose train.device=cpu"):
        share(config, 8, 1)
    on_cpu, on_gpu = (replace(config, train=replace(config.train, device=name)) for name in ("cpu", "cuda"))
    assert not share(on_cpu, 8, 2).gpu
    with pytest.raises(RequestError, match="need 2 GPUs, but the Ray cluster has 1"):
        share(on_gpu, 8, 1)


@pytest.mark.parametrize(
    ("nodes", "used", "most", "never"),
    [
        ((1.0, 1.0), 2.0, 0.0, True),
        ((1.0, 2.0), 2.0, 0.0, False),  # a CPU is left
        ((1.0,), 2.0, 0.0, False),  # nodes may come
        ((1.0, 1.0), 2.0, 8.0, False),  # the autoscaler may add some
    ],
)
def test_nothing_is_started_for_ray_data_where_no_cpu_can_be_left(
    monkeypatch: pytest.MonkeyPatch, nodes: tuple[float, ...], used: float, most: float, never: bool
) -> None:
    head = {"Alive": True, "Resources": {"CPU": 4.0, placement.HEAD: 1.0}}
    found = [head, *({"Alive": True, "Resources": {"CPU": cpus}} for cpus in nodes)]
    monkeypatch.setattr(stream.ray, "nodes", lambda: found)
    assert preflight._never_spare(used, most) is never


def test_silent_nodes_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that does not answer takes a second; the controller waits for all of them together."""
    monkeypatch.setattr(recovery.ray, "nodes", lambda: [{"Alive": True, "wait": 0.2}] * 8)
    monkeypatch.setattr(recovery, "_answers", lambda node: time.sleep(node["wait"]) is None)
    start = time.monotonic()
    assert recovery._all_answer()
    assert time.monotonic() - start < 0.8


def test_nodes_that_the_autoscaler_may_add_count(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [
        SimpleNamespace(resources={"CPU": 8, "GPU": 1}, max_count=8),
        SimpleNamespace(resources={"CPU": 2, "GPU": 0}, max_count=-1),
    ]
    monkeypatch.setattr(
        private, "state", SimpleNamespace(get_cluster_config=lambda: SimpleNamespace(node_group_configs=groups))
    )
    assert pool.configured_resources() == {"CPU": math.inf, "GPU": 8}
    monkeypatch.setattr(private, "state", SimpleNamespace())  # another version of Ray
    assert pool.configured_resources() == {}
    monkeypatch.setenv("DISTGNN_CLUSTER_MAX", "CPU=32, GPU=8")  # which Ray's own autoscalers do not tell
    assert pool.configured_resources() == {"CPU": 32.0, "GPU": 8.0}
    monkeypatch.setenv("DISTGNN_CLUSTER_MAX", "8 GPUs")
    with pytest.raises(RequestError, match="DISTGNN_CLUSTER_MAX='8 GPUs': give the most CPUs and GPUs"):
        pool.configured_resources()


def test_the_driver_says_what_a_resize_without_a_checkpoint_costs(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The controller cannot: its stderr goes to a file of Ray."""
    start = new_start(small(corpus, tmp_path, checkpoint_every=4))
    run = start.run

    def fit(*_: object) -> None:
        continue_small(run, stop_after=7)
        newest = run.folder.sub("checkpoints").names()[-1]
        run.folder.delete_folder(f"checkpoints/{newest}")  # that of the stop, which a lost node does not write
        monkeypatch.setattr(recovery, "_CHECKPOINT_SECONDS", 0.2)
        monkeypatch.setattr(recovery.ray, "nodes", list)
        recovery.request_checkpoint(run.folder)
        time.sleep(1.0)

    monkeypatch.setattr(pretrain, "fit", fit)
    monkeypatch.setattr(pretrain, "_POLL_SECONDS", 0.1)
    pretrain._watch(start, Resources(1.0, gpu=False), NULL_SINK)
    said = capsys.readouterr().err
    assert "no checkpoint within 0.2 s before the number of workers changes (a lost node?)" in said
    assert "the new workers begin at step 4: 3 steps are made again" in said
    assert "resize.txt" not in run.folder.names()


def test_an_error_that_a_restart_cannot_fix_is_recorded(corpus: str, tmp_path: Path) -> None:
    run, message = new_run(small(corpus, tmp_path)), "the checkpoint it started from is gone"
    config = to_json(replace(run.config, init="gone"))
    settings = {"folder": run.folder.uri, "config": config, "reader": open_corpus(run.config)}
    with pytest.raises(RequestError, match=message):
        train_worker(settings, ProcessGroup.single_process(CPU))
    train_worker(settings, ProcessGroup.single_process(CPU))  # the next worker group ends at once
    with pytest.raises(RequestError, match=message):
        raise_noted(run.folder)


def test_causes() -> None:
    cause = WorkError("disk full")
    assert cause_of(WorkerGroupError("x", {0: RuntimeError("gloo"), 1: cause})) is cause
    other = cause_of(WorkerGroupError("x", {0: RuntimeError("a\nb: lost a rank")}))
    assert isinstance(other, WorkError)
    assert "b: lost a rank" in str(other)
    assert "--resume" in str(other)
