"""The doctor command: every injected fault is reported with a remedy, and a healthy machine and cluster pass."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.exceptions import GetTimeoutError

from distgnn.cli import main
from distgnn.config import DoctorConfig, PretrainConfig
from distgnn.doctor import storage_checks
from distgnn.doctor.checks import (
    Check,
    check_clock,
    check_disk,
    check_gpus,
    check_object_store,
    check_shm,
    check_storage,
    check_token,
    check_versions,
)
from distgnn.doctor.facts import Facts, Questions, gather
from distgnn.doctor.storage_checks import Probed, probe_corpus, probe_out
from distgnn.errors import RequestError, WorkError
from distgnn.pretraining.run import Run
from distgnn.scale.doctor import examine, nodes
from distgnn.scale.doctor.examine import check_cpus
from distgnn.scale.doctor.nodes import Node
from distgnn.scale.train.preflight import preflight
from distgnn.storage.folder import Folder, open_folder

MB, GB = 1 << 20, 1 << 30
HEALTHY = Facts("n1", {"python": "3.11.2", "ray": "2.60", "torch": "2.13", "distgnn": "0.1"}, 4 * GB, (100, 50), 0, "")


def text_of(check: Check) -> str:
    return f"{check.status}: {check.message}"


def newer(**versions: str) -> Facts:
    return replace(HEALTHY, node="n2", versions=HEALTHY.versions | versions)


class TestFaults:
    """Facts with one fault each."""

    def test_cpus(self) -> None:
        assert text_of(check_cpus(DoctorConfig(workers=2), 4, 0)).startswith("ok: workers=2 x 1 CPU fit 4 CPUs")
        too_many = check_cpus(DoctorConfig(workers=8, cpus_per_worker=1), 4, 0)
        assert text_of(too_many).startswith("fail: workers=8 x cpus_per_worker=1 = 8 CPUs")
        assert check_cpus(DoctorConfig(workers=8, min_workers=2, cpus_per_worker=1), 4, 0).status == "ok"
        assert "need 2 GPUs" in check_cpus(DoctorConfig(workers=2, device="cuda"), 4, 1).message

    @pytest.mark.parametrize(
        ("versions", "status", "words"),
        [
            ({}, "ok", "torch 2.13"),
            ({"python": "3.11.9"}, "ok", "python 3.11.2"),
            ({"python": "3.12.2"}, "fail", "python 3.12.2 on n2, 3.11.2 on this machine"),
            ({"ray": "2.59"}, "fail", "ray 2.59 on n2, 2.60 on this machine"),
            ({"distgnn": "0.2"}, "fail", "distgnn 0.2 on n2"),
            ({"torch": "2.12"}, "warn", "torch 2.12 on n2, 2.13 on this machine; use one image"),
            ({"torch": "missing"}, "fail", "torch missing on n2"),
        ],
    )
    def test_versions(self, versions: dict[str, str], status: str, words: str) -> None:
        found = check_versions(HEALTHY, [HEALTHY, newer(**versions)])
        assert found.status == status
        assert words in found.message

    def test_object_store(self) -> None:
        assert check_object_store({"a": GB, "b": GB}).status == "ok"
        small = check_object_store({"a": GB, "b": 100 * MB})
        assert text_of(small).startswith("warn: 100 MB on b")

    @pytest.mark.parametrize("shm", [64 * MB, None])
    def test_shm(self, shm: int | None) -> None:
        assert check_shm([HEALTHY], {"n1": GB}).status == "ok"
        found = check_shm([HEALTHY, replace(HEALTHY, node="n2", shm=shm)], {"n1": GB, "n2": GB})
        assert found.status == "warn"
        assert "/dev/shm of n2" in found.message
        assert "--shm-size" in found.message

    @pytest.mark.parametrize(("free", "status"), [(50, "ok"), (8, "warn"), (4, "fail")])
    def test_disk(self, free: int, status: str) -> None:
        found = check_disk([HEALTHY, replace(HEALTHY, node="n2", disk=(100, free))])
        assert found.status == status
        assert f"{'n2' if free < 50 else 'n1'} is {100 - free} % full" in found.message

    def test_gpus(self) -> None:
        assert text_of(check_gpus({"n1": 0}, [HEALTHY], "auto")).startswith("ok: none")
        assert text_of(check_gpus({"n1": 0}, [HEALTHY], "cuda")).startswith("fail: device=cuda, but there is no GPU")
        assert text_of(check_gpus({"n1": 2}, [replace(HEALTHY, gpus=1)], "auto")).startswith(
            "fail: Ray counts 2 GPUs on n1"
        )
        assert text_of(check_gpus({"n1": 2}, [replace(HEALTHY, gpus=2)], "auto")).startswith(
            "fail: torch on n1 has no NCCL"
        )
        assert (
            text_of(check_gpus({"n1": 2}, [replace(HEALTHY, gpus=2, nccl="2.27")], "auto")) == "ok: 2 GPUs, NCCL 2.27"
        )

    @pytest.mark.parametrize(("seconds", "status"), [(0.1, "ok"), (-7.0, "warn"), (700.0, "fail")])
    def test_clock(self, seconds: float, status: str) -> None:
        found = check_clock({"n1": 0.0, "n2": seconds})
        assert found.status == status
        assert status == "ok" or ("n2 is 7.0 s behind" in found.message) == (seconds < 0)
        assert check_clock({}).status == "ok"

    def test_storage(self) -> None:
        assert text_of(check_storage("out", "written", {"n1": Probed(seconds=0.5), "n2": Probed()})).endswith(
            "0.50 s at most"
        )
        found = check_storage("out", "written", {"n1": Probed(), "n2": Probed("denied")})
        assert text_of(found) == "fail: on n2: denied"
        found = check_storage("corpus", "read", {"n1": Probed(found="a"), "n2": Probed(found="b")})
        assert "different content" in found.message

    def test_token(self, tmp_path: Path) -> None:
        def status(environ: dict[str, str], remote: bool = True) -> str:
            return check_token(environ, tmp_path, remote).status

        assert status({}) == "warn"
        assert status({}, remote=False) == "ok"
        assert status({"RAY_AUTH_MODE": "token"}) == "fail"
        assert status({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "x"}) == "ok"
        assert status({"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "x"}) == "warn"
        (tmp_path / ".ray").mkdir()
        token = tmp_path / ".ray" / "auth_token"
        token.write_text("x")
        token.chmod(0o644)
        assert "chmod 600" in check_token({"RAY_AUTH_MODE": "token"}, tmp_path, remote=True).message
        token.chmod(0o600)
        assert status({"RAY_AUTH_MODE": "token"}) == "ok"
        assert status({}) == "ok"
        other = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "absent")}
        assert status(other) == "fail"


class TestProbes:
    def test_a_probe_leaves_no_files(self, tmp_path: Path) -> None:
        found = probe_out(str(tmp_path))
        assert (found.problem, list(tmp_path.iterdir())) == ("", [])
        assert abs(found.ahead) < 2

    def test_a_file_where_the_folder_should_be(self, tmp_path: Path) -> None:
        (tmp_path / "f").write_text("")
        assert "f" in probe_out(str(tmp_path / "f")).problem

    def test_a_probe_of_another_node_must_be_visible(self, tmp_path: Path) -> None:
        seen = storage_checks.publish_probe(str(tmp_path))
        assert probe_out(str(tmp_path), seen).problem == ""
        storage_checks.delete_probe(str(tmp_path), seen)
        assert "not a complete probe" in probe_out(str(tmp_path), seen).problem

    def test_storage_that_serves_old_content(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write = Folder.write

        def stale(self: Folder, name: str, data: bytes) -> None:
            if data != b"other":
                write(self, name, data)

        monkeypatch.setattr(Folder, "write", stale)
        assert "old content" in probe_out(str(tmp_path)).problem

    def test_corpus(self, corpus: str, tmp_path: Path) -> None:
        assert len(probe_corpus(corpus).found) == 64
        assert "no corpus here" in probe_corpus(str(tmp_path)).problem

    def test_s3(self, s3: str) -> None:
        assert probe_out(s3).problem == ""
        assert probe_out("s3://elsewhere/x").problem


def lines(config: DoctorConfig) -> dict[str, str]:
    return {check.name: text_of(check) for check in examine.examine(config)}


@pytest.fixture
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # Ray may have left a token in the real one


@pytest.mark.usefixtures("_alone")
class TestWithoutACluster:
    def test_a_healthy_machine_passes(self, corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = ["doctor", "--corpus", corpus, "--out", str(tmp_path)]
        assert main([*words, "--json"]) == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        names = ["token", "versions", "disk", "gpus", "out", "corpus", "shards", "clock"]
        assert [row["check"] for row in rows] == names
        assert list(tmp_path.iterdir()) == []
        assert not ray.is_initialized(), "the doctor starts no cluster"
        assert main(words) == 0
        assert "written, read, replaced and deleted" in capsys.readouterr().out

    def test_injected_faults(self, corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        damaged = tmp_path / "corpus"
        damaged.mkdir()
        for path in Path(corpus).iterdir():
            (damaged / path.name).write_bytes(path.read_bytes())
        shard = damaged / "shard-00000.parquet"
        shard.write_bytes(shard.read_bytes()[:-1] + b"x")
        (tmp_path / "out").write_text("a file")
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=100, free=3))
        monkeypatch.setattr("os.cpu_count", lambda: 2)
        config = DoctorConfig(
            corpus=str(damaged), out=str(tmp_path / "out"), workers=3, cpus_per_worker=1, network=True
        )
        found = lines(config)
        assert found["shards"].startswith("fail: ")
        assert "shard-00000" in found["shards"]
        assert found["out"].startswith("fail: on this machine")
        assert "97 % full" in found["disk"]
        assert "cluster has 2" in found["cpus"]
        assert found["network"].startswith("warn: no cluster")
        assert {name for name, text in found.items() if text.startswith("fail")} == {"shards", "out", "disk", "cpus"}

    def test_faults_are_exit_code_1(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["doctor", "--corpus", str(tmp_path)]) == 1
        out, err = capsys.readouterr()
        assert "fail corpus" in out
        assert err == ""

    def test_no_shards_are_read_where_none_are_asked_for(self, corpus: str) -> None:
        assert "shards" not in lines(DoctorConfig(corpus=corpus, shards=0))

    def test_a_cluster_that_does_not_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
        found = lines(DoctorConfig())
        assert found["cluster"].startswith("fail: RAY_ADDRESS=127.0.0.1:1: no Ray answers")
        assert "disk" in found, "this machine is checked nevertheless"

    def test_storage_ahead_of_the_clock(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        past = storage_checks.time.time() - 3600
        monkeypatch.setattr(storage_checks.time, "time", lambda: past)
        assert "the storage of out, seen from this machine is 3600" in lines(DoctorConfig(out=str(tmp_path)))["clock"]


@pytest.fixture
def _two_nodes() -> Iterator[None]:
    """A head and a second raylet, joined through RAY_ADDRESS as a user would."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    os.environ["RAY_ADDRESS"] = cluster.address
    yield
    ray.shutdown()
    del os.environ["RAY_ADDRESS"]
    cluster.shutdown()
    Path("/tmp/ray/ray_current_cluster").unlink(missing_ok=True)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("_two_nodes")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_cluster_of_two_nodes(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    examine.start_ray(0)
    found = lines(DoctorConfig(corpus=corpus, out=str(tmp_path), workers=2, network=True))
    assert not {name: text for name, text in found.items() if text.startswith("fail")}
    assert found["nodes"] == "ok: 2 answer"
    assert "3 CPUs" in found["cpus"]
    assert "from 3 process(es)" in found["out"], "probed from this process and from both nodes"
    assert "MB/s in an all-reduce" in found["network"]
    assert {"object store", "shared memory"} <= set(found)
    assert list(tmp_path.iterdir()) == []
    assert ray.is_initialized(), "a Ray that was already running keeps running"

    # preflight checks of a run
    run = Run(open_folder(str(tmp_path)), PretrainConfig(corpus, workers=2))
    with pytest.raises(RequestError, match=r"out=runs: node .* does not see it; use a shared file system"):
        preflight(run)
    (tmp_path / "config.json").write_text("{}")
    assert preflight(run).cpus == 1.0
    assert "distgnn: warning: object store: 150 MB" in capsys.readouterr().err, "the default of Cluster"
    monkeypatch.setattr(examine.checks, "_MIN_STORE", 1)
    preflight(run)
    assert capsys.readouterr().err == ""

    # faults that need the nodes
    alive = nodes.live_nodes()
    assert len({node.name for node in alive}) == 2, "raylets with the same address have different names"
    facts, errors = nodes.gather_facts(
        [alive[0], Node("gone", "0" * 56, 0, 0)], Questions(out="s3://no-such-bucket-1/x")
    )
    assert len(facts) == 1
    assert facts[0].out is not None
    assert facts[0].out.problem
    assert list(errors) == ["gone"]
    monkeypatch.setattr(nodes, "_ANSWER_SECONDS", 0.0)
    with pytest.raises(GetTimeoutError):
        nodes.clock_offsets(alive)
    with pytest.raises(WorkError):
        nodes.all_reduce_speed(alive, gpu=False)


def test_gathering_needs_no_ray() -> None:
    found = gather(Questions(), "me", "/tmp")
    assert found.versions["ray"] == ray.__version__
    assert (found.out, found.corpus) == (None, None)
    assert found.disk[0] >= found.disk[1] > 0


def test_gpus_that_ray_hides_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("torch.cuda.device_count", lambda: seen.append(os.environ.get("CUDA_VISIBLE_DEVICES")) or 4)
    assert gather(Questions(), "me", "/tmp").gpus == 4
    assert seen == [None]


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"shards": -1}, {"cpus_per_worker": -1.0}, {"min_workers": 2}])
def test_configs(wrong: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=next(iter(wrong))):
        DoctorConfig(**wrong)
