"""Values recorded in metrics sinks, the table of metrics, and the Prometheus and Ray sinks."""

from __future__ import annotations

import math
import pickle
import re
import urllib.request
from dataclasses import fields
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest
import torch

from distgnn.auxiliary.epoch_metrics import record_epoch
from distgnn.auxiliary.step import StepRecord
from distgnn.cli import main
from distgnn.config import BuildConfig, FinetuneConfig, MetricsConfig, PretrainConfig, TransferConfig
from distgnn.config.fields import named
from distgnn.corpus.plan import Plan
from distgnn.distributed import ProcessGroup
from distgnn.errors import RequestError, WorkError
from distgnn.monitor.prometheus import PrometheusSink, serve_metrics
from distgnn.monitor.sink import METRICS, NULL_SINK
from distgnn.pretraining.metrics import SnapshotMetrics, StepMetrics, StorageMetrics, note_checkpoint
from distgnn.pretraining.step import StepResult
from distgnn.scale.metrics import RaySink
from distgnn.scale.train import stream
from distgnn.storage.retry import note_error
from tests.helpers.prometheus import free_port

CPU = torch.device("cpu")
UNITS = ("_total", "_seconds", "_bytes", "_ratio")
PLAIN = {"loss", "gain", "rate", "size", "weight", "cosine"}


class Notes:
    """A metrics sink that records its values."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float, dict[str, str]]] = []

    def note(self, name: str, value: float, **labels: str) -> None:
        assert set(labels) == set(METRICS[name].labels)
        self.seen.append((name.removeprefix("distgnn_"), value, labels))

    def of(self, name: str) -> list[float]:
        return [value for seen, value, _ in self.seen if seen == name]

    def sums(self) -> dict[str, float]:
        names = dict.fromkeys(name for name, _, _ in self.seen)
        return {name: sum(self.of(name)) for name in names}


def step(graphs: int = 24, applied: bool = True) -> StepResult:
    return StepResult({"loss": (1.0, 1.0)}, graphs, False, applied)


def test_names_end_in_kind_or_unit() -> None:
    for name, metric in METRICS.items():
        assert re.fullmatch(r"distgnn_[a-z_]+", name)
        assert (metric.kind == "counter") == name.endswith("_total"), name
        assert name.endswith(UNITS) or name.rpartition("_")[2] in PLAIN, name
        assert (metric.kind == "histogram") == bool(metric.buckets), name
        assert metric.help.endswith(".")
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert "run" not in metric.labels


def test_metrics_of_ranks_sum_to_those_of_the_run() -> None:
    """Counts of the global batch are recorded once; waiting time and memory by every rank."""
    leader, other = Notes(), Notes()
    for notes, rank in ((leader, 0), (other, 1)):
        sink = StepMetrics(notes, ProcessGroup(rank, 2, CPU))
        sink.step(step(), 0.5, 0.25)
        sink.step(step(applied=False), 0.75, 0.25 + 0.125)
    told = leader.sums()
    assert told["train_steps_total"] == 2
    assert told["train_graphs_total"] == 48
    assert told["train_skipped_steps_total"] == 1
    assert leader.of("train_step_seconds") == [0.5, 0.75]
    assert leader.of("world_size") == [2]
    for notes in (leader, other):
        assert notes.sums()["train_data_wait_seconds_total"] == 0.375
        assert notes.of("gpu_memory_bytes") == [0]  # not at every step
        assert notes.of("host_memory_bytes")[0] > 1e7
    assert {name for name, _, _ in other.seen} == {
        "train_data_wait_seconds_total",
        "train_reduce_seconds_total",
        "late_rounds_total",
        "storage_errors_total",
        "gpu_memory_bytes",
        "host_memory_bytes",
    }


def test_counters_start_at_zero() -> None:
    notes = Notes()
    StepMetrics(notes, ProcessGroup.single_process(CPU))
    SnapshotMetrics(notes)
    counters = {name.removeprefix("distgnn_") for name, metric in METRICS.items() if metric.kind == "counter"}
    others = {"restarts_total", "lost_steps_total", "late_rounds_total", "storage_errors_total"}
    expected = {name for name in counters if name.startswith("train_")} | others
    assert {name for name, value, _ in notes.seen if value == 0} == expected


def test_storage_errors_are_counted_once() -> None:
    note_error("server")
    notes = Notes()
    sink = StorageMetrics(notes)
    sink.note()
    note_error("timeout")
    note_error("server")
    sink.note()
    sink.note()
    assert notes.of("storage_errors_total") == [0, 2]


def test_reading_tasks_report_storage_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        note_error("timeout")
        raise WorkError("storage gone")

    monkeypatch.setattr(stream, "read_unit", fail)
    notes = Notes()
    monkeypatch.setattr(stream, "_reader", lambda *_: None)
    rounds = stream.Rounds(Plan(64, 16, 2, 8), 8, 1)
    task = stream.BlockReader(rounds, "", False, "", None, notes)  # pyright: ignore[reportArgumentType]
    block = task(pa.table({"round": [0], "rank": [0]}))
    assert block["error"].to_pylist() == ["storage gone"]
    assert notes.of("storage_errors_total") == [0, 1]


def snapshot(started: float = 1.0, **changes: Any) -> dict[str, Any]:
    metrics = {"loss": 2.0, "inner_loss": 3.0, "adaptation_gain": 0.5, "lr": 1e-3}
    return {"step": 5, "total": 20, "metrics": metrics, "validation": {}, "started": started, **changes}


def test_gauges_of_a_snapshot() -> None:
    notes = Notes()
    SnapshotMetrics(notes)(snapshot(validation={"loss": 4.0}))
    assert notes.seen[2:] == [
        ("train_adaptation_gain", 0.5, {}),
        ("train_learning_rate", 1e-3, {}),
        ("train_validation_loss", 4.0, {}),
        ("train_loss", 2.0, {"loop": "outer"}),
        ("train_loss", 3.0, {"loop": "inner"}),
        ("train_progress_ratio", 0.25, {}),
    ]


def test_missing_values_of_a_snapshot_are_skipped() -> None:
    notes = Notes()
    failed = {"step": 0, "total": 0, "metrics": {}, "validation": {}, "status": "failed"}
    SnapshotMetrics(notes)(failed)
    assert notes.seen == [("restarts_total", 0, {}), ("lost_steps_total", 0, {})]


def test_a_new_start_time_counts_as_a_restart() -> None:
    notes = Notes()
    sink = SnapshotMetrics(notes)
    for started in (1.0, 1.0, 2.0, 2.0, 3.0):
        sink(snapshot(started))
    sink({"step": 5, "total": 20, "metrics": {}, "validation": {}})  # an old snapshot without the time
    assert notes.of("restarts_total") == [0, 1, 1]


def test_metrics_of_checkpoints() -> None:
    notes = Notes()
    note_checkpoint(notes, stall_seconds=0.1, write_seconds=2.0, size=1000)
    assert notes.sums() == {"checkpoint_stall_seconds": 0.1, "checkpoint_seconds": 2.0, "checkpoint_bytes": 1000}


def test_metrics_of_multi_task_training() -> None:
    nan = math.nan
    records = [
        StepRecord(0, (1.0, 1.0), (1.0, 0.25), (1.0, -0.5), (nan, nan), nan),
        StepRecord(1, (1.0, 1.0), (1.0, 0.75), (1.0, nan), (nan, nan), 3.0),
    ]
    notes = Notes()
    record_epoch(notes, ("target", "links"), "auxts_one", records)
    method = {"method": "auxts_one"}
    assert notes.seen == [
        ("transfer_steps_total", 2, method),
        ("transfer_task_weight", 1.0, {**method, "task": "target"}),
        ("transfer_task_weight", 0.5, {**method, "task": "links"}),
        ("transfer_gradient_cosine", 1.0, {**method, "task": "target"}),
        ("transfer_gradient_cosine", -0.5, {**method, "task": "links"}),
        ("transfer_meta_loss", 3.0, method),
    ]


def value(sink: PrometheusSink, name: str, **labels: str) -> float | None:
    return sink.registry.get_sample_value(f"distgnn_{name}", {"run": "r", **labels})


def test_prometheus_sink_records_all_kinds() -> None:
    sink = PrometheusSink("r")
    for number in (0, 2, 3):
        sink.note("distgnn_train_graphs_total", number)
        sink.note("distgnn_train_loss", number, loop="outer")
        sink.note("distgnn_checkpoint_seconds", number)
    assert value(sink, "train_graphs_total") == 5
    assert value(sink, "train_loss", loop="outer") == 3
    assert value(sink, "checkpoint_seconds_sum") == 5
    assert value(sink, "checkpoint_seconds_bucket", le="2.5") == 2
    assert value(sink, "world_size") is None


def test_the_endpoint_listens_on_loopback_by_default() -> None:
    port = free_port()
    with serve_metrics(MetricsConfig(port=port), "r") as sink:
        sink.note("distgnn_world_size", 3)
        listening = [c.laddr for c in psutil.Process().net_connections() if c.status == psutil.CONN_LISTEN]
        assert [address[0] for address in listening if address[1] == port] == ["127.0.0.1"]
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
        assert 'distgnn_world_size{run="r"} 3.0' in text
        with (
            pytest.raises(RequestError, match=rf"metrics\.port={port}: cannot serve at 127\.0\.0\.1 \(.+\); choose"),
            serve_metrics(MetricsConfig(port=port), "other"),
        ):
            pass
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10)


def test_no_endpoint_by_default() -> None:
    other = Notes()
    with serve_metrics(MetricsConfig(), "r") as silent, serve_metrics(MetricsConfig(), "r", other) as given:
        assert silent is NULL_SINK
        assert given is other
    for config in (PretrainConfig, FinetuneConfig, TransferConfig, BuildConfig):
        assert {item.name: item.default_factory for item in fields(config)}["metrics"] is MetricsConfig


@pytest.mark.parametrize("port", [-1, 65_536])
def test_invalid_ports_are_refused(port: int) -> None:
    with pytest.raises(RequestError, match=r"metrics\.port must lie in"):
        MetricsConfig(port=port)


def test_an_empty_host_is_refused() -> None:
    with pytest.raises(RequestError, match=r"metrics\.host"):
        MetricsConfig(host="")


def test_an_unavailable_host_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An address reserved for documentation gives a one-line error and exit code 2, and nothing is built."""
    words = ["corpus", "build", "motifs", "--graphs", "4", "--out", str(tmp_path / "c")]
    assert main([*words, "--metrics.port", str(free_port()), "--metrics.host", "192.0.2.1"]) == 2
    assert "cannot serve at 192.0.2.1" in capfd.readouterr().err
    assert not (tmp_path / "c").exists()


def test_metrics_may_change_when_a_run_is_resumed() -> None:
    assert {"metrics.host", "metrics.port"} <= named(PretrainConfig, "resumable")


def test_ray_sinks_can_be_pickled() -> None:
    sink = RaySink("r")
    sink.note("distgnn_world_size", 1)
    again = pickle.loads(pickle.dumps(sink))
    assert again == sink
    again.note("distgnn_train_graphs_total", 0)
    again.note("distgnn_train_step_seconds", 0.5)
