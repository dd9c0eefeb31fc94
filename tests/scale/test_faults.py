"""Killed processes: lost work is restarted, no step is repeated, and the losses equal those of an uninterrupted run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, cast
from unittest.mock import MagicMock

import pytest
import ray
from ray.cluster_utils import Cluster

from distgnn.config import PretrainConfig
from distgnn.corpus.plan import RankReads
from distgnn.corpus.stream import local_units
from distgnn.pretraining.history import read_history, read_progress
from distgnn.pretraining.run import Run, new_start
from distgnn.scale.pool import start_ray
from distgnn.scale.train.datasets import UnitConfig
from distgnn.scale.train.pretrain import pretrain_on_ray
from distgnn.scale.train.stream import UnitSource, ray_units
from distgnn.storage.folder import open_folder
from jobs.benches.drill import HEARTBEATS, drill, train_workers
from jobs.benches.server import environment
from tests.helpers.corpora import motifs
from tests.helpers.training import losses, small, train_small
from tests.helpers.units import assert_same, parts

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside Ray itself


@pytest.fixture
def raylet() -> Iterator[int]:
    """Process id of the raylet of a local Ray."""
    start_ray(2)
    yield ray._private.worker._global_node.all_processes["raylet"][0].process.pid  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]
    ray.shutdown()


class Killer(threading.Thread):
    """Kills a process once the run has reached ``step``. before: its progress at that time. failed: error of the kill."""

    def __init__(self, run: Run, step: int, kill: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self.run_, self.step, self.kill = run, step, kill
        self.before: dict[str, Any] = {}

    def run(self) -> None:
        while self.before.get("step", -1) < self.step:
            time.sleep(0.05)
            if self.run_.folder.size("progress.json") is not None:
                self.before = read_progress(self.run_.folder)
        self.kill()


def assert_undisturbed(run: Run, config: PretrainConfig, tolerance: float = 1e-5) -> None:
    """Assert that every step occurs once, in order, with the losses of an uninterrupted run in one process."""
    steps = [row["step"] for row in read_history(run.folder) if "loss" in row]
    assert steps == list(range(1, len(steps) + 1))
    alone = train_small(replace(config, name="alone", workers=1, min_workers=0))
    assert losses(run) == pytest.approx(losses(alone), rel=tolerance)


@pytest.mark.ray
@pytest.mark.slow
def test_a_worker_killed(corpus: str, tmp_path: Path, raylet: int) -> None:
    config = small(corpus, tmp_path, max_steps=60, epochs=99, checkpoint_every=5, validate_every=0)
    start = new_start(replace(config, workers=2, max_failures=1))
    run = start.run
    killer = Killer(run, 12, lambda: os.kill(max(train_workers({raylet})), signal.SIGKILL))
    killer.start()
    assert pretrain_on_ray(start) == "finished"
    assert killer.before["step"] >= 12
    assert read_progress(run.folder)["started"] > killer.before["started"]  # a second group of ranks
    assert_undisturbed(run, config)


@pytest.fixture(scope="module")
def drilled() -> dict[str, Any]:
    """Lines of the recovery bench: kills of a worker, a raylet and the driver on S3, by metric."""
    words = [sys.executable, "jobs/bench.py", "recovery", "--quick", "--json"]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    bench = subprocess.Popen(words, cwd=ROOT, env=quiet, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, said = bench.communicate(timeout=540)
    except subprocess.TimeoutExpired:
        bench.send_signal(signal.SIGINT)  # so that it ends its servers
        out, said = bench.communicate(timeout=60)
    assert bench.returncode == 0, said[-3000:]
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return {line["metric"]: line["value"] for line in lines}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("what", ["a worker", "a raylet", "the driver"])
def test_kills_in_a_cluster_on_s3(drilled: dict[str, Any], what: str) -> None:
    assert drilled[f"SIGKILL of {what} to the first new step"] > 0


@pytest.mark.ray
@pytest.mark.slow
def test_kills_do_not_change_the_losses(drilled: dict[str, Any]) -> None:
    assert drilled["largest difference of a step's loss to an undisturbed run"] == 0


@pytest.mark.ray
@pytest.mark.slow
def test_a_new_node_costs_few_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No checkpoint but the one before the resize."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    motifs(tmp_path / "corpus", graphs=2000)
    words = f"--corpus {tmp_path}/corpus --out {tmp_path} --name run --train.device cpu --workers 2 --min-workers 1"
    words += " --encoder.layers 3 --encoder.width 64 --train.epochs 1000 --train.validate-every 0 --train.log-seconds 0"
    words += " --recovery.resize-seconds 5"
    with drill(f"{tmp_path}/run", ["pretrain", *words.split()], nodes=1, log=tmp_path / "driver.log") as run:
        run.start()
        before = run.wait_step(30)
        assert before["checkpoint"] == ""
        run.add_node()
        run.recovered(0.0, before)
        after = run.snapshot()
        assert after["first"] >= 30
        assert after["lost"] < 10
        run.wait_step(after["first"] + 5)
        run.stop()
    assert [row["step"] for row in read_history(open_folder(f"{tmp_path}/run"))][:30] == list(range(1, 31))


@pytest.fixture
def readers() -> Iterator[Cluster]:
    """A cluster of a head, where this process is, without CPUs and one node, where all reading tasks are."""
    with environment(RAY_AUTH_MODE="disabled", **HEARTBEATS):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            cluster.add_node(num_cpus=2)
            ray.init(address=cluster.address, log_to_driver=False)
            yield cluster
        finally:
            ray.shutdown()
            with suppress(AssertionError):  # a killed raylet counts as a zombie
                cluster.shutdown()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Ray Data is late")
def test_the_node_of_the_readers_is_lost(corpus: str, tmp_path: Path, readers: Cluster) -> None:
    """A rank that reads by Ray Data goes on by itself, and takes the blocks of Ray Data again once there is a new node."""
    reader, plan, prepare = parts(corpus)
    source = UnitSource(str(tmp_path), reader, plan, prepare, 1000 * plan.steps_per_epoch)
    (part,) = UnitConfig(ray.put(source)).configure({name: make() for name, make in source.datasets().items()}, 1)
    reads, sink = RankReads(plan, 0, source.total, 0, 1), MagicMock()
    found, units = [], cast(Any, ray_units(reader, plan, prepare, reads, part.__getitem__, sink))

    def take_until(late: Callable[[int], bool]) -> float:
        """Take units until ``late`` (rounds that the rank read itself) holds for the last 60; returns the longest wait."""
        longest, deadline = 0.0, time.monotonic() + 120
        while True:
            assert time.monotonic() < deadline
            before = sink.note.call_count
            for _ in range(60):
                start = time.monotonic()
                found.append(next(units))
                longest = max(longest, time.monotonic() - start)
                time.sleep(0.05)
            if late(sink.note.call_count - before):
                return longest

    try:
        take_until(lambda late: late == 0)
        (node,) = set(readers.list_all_nodes()) - {readers.head_node}
        readers.remove_node(node, allow_graceful=False)
        assert take_until(lambda late: late >= 9) < 60
        readers.add_node(num_cpus=2)
        take_until(lambda late: late == 0)
    finally:
        units.close()
        for thread in threading.enumerate():
            if thread.name == "distgnn-arrivals":
                thread.join(60)  # if it asked Ray for a block after the end of Ray, it would end this process
    for one, other in zip(found, islice(local_units(reader, plan, prepare, reads), len(found)), strict=True):
        assert_same(one, other)
