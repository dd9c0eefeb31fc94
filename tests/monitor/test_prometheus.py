"""The dashboard and the alert rules against a real Prometheus that scrapes real runs, in this process and on Ray."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from distgnn.cli import main
from distgnn.monitor.sink import METRICS
from tests.helpers.clusters import token_cluster
from tests.helpers.corpora import motifs
from tests.helpers.prometheus import REASON, ROOT, Prometheus, find, free_port
from tests.helpers.training import command
from tests.helpers.transfers import write

DASHBOARD = ROOT / "cluster/grafana/distgnn.json"
RULES = ROOT / "cluster/prometheus/rules.yml"
SELECTOR = re.compile(r'\{__name__=~"\(ray_\)\?(distgnn_[a-z_]+)"([^{}]*)\}')
SUFFIXES = ("_bucket", "_sum", "_count")
needs_prometheus = pytest.mark.skipif(not find("prometheus") or not find("promtool"), reason=REASON)


def panels() -> dict[str, str]:
    """Queries of all panels, with Grafana's variables filled in."""
    found = {}
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$__rate_interval", "30s").replace('"$run"', '".+"')
            assert "$" not in query, query
            found[f"{panel['title']} {target['refId']}"] = query
    return found


def rules() -> list[str]:
    """Expressions of all alerts."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def marks() -> list[str]:
    return [item["expr"] for item in json.loads(DASHBOARD.read_text())["annotations"]["list"]]


def base(name: str) -> str:
    """The metric of the table that a series belongs to."""
    if name in METRICS:
        return name
    return next(name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix))


@pytest.mark.parametrize("text", [*panels().values(), *marks(), *rules()])
def test_queries_use_existing_metrics(text: str) -> None:
    found = SELECTOR.findall(text)
    assert len(found) == text.count("distgnn_") > 0  # none is named in another way, without Ray's prefix
    for name, _ in found:
        metric = METRICS[base(name)]
        assert (metric.kind == "histogram") == (name != metric.name), name


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {base(name) for query in panels().values() for name, _ in SELECTOR.findall(query)}
    assert shown == set(METRICS)


def test_panels_have_distinct_titles_and_do_not_overlap() -> None:
    found = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in found}) == len(found)
    taken: set[tuple[int, int]] = set()
    for panel in found:
        place = panel["gridPos"]
        cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or panel["description"].endswith(".")


@needs_prometheus
def test_rules_are_valid_and_fire_when_they_should() -> None:
    for words in (["check", "rules", RULES.name], ["test", "rules", "rules_test.yml"]):
        done = subprocess.run([find("promtool"), *words], cwd=RULES.parent, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@needs_prometheus
def test_the_sample_configuration_is_valid() -> None:
    command = [find("promtool"), "check", "config", "--syntax-only", str(RULES.parent / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass(frozen=True)
class Recorded:
    """A Prometheus that has seen runs since ``since`` (time.time())."""

    server: Prometheus
    since: float

    def values(self, query: str) -> list[float]:
        """Finite values of ``query`` over that time."""
        found = self.server.series(query, self.since)
        numbers = [float(value) for series in found for _, value in series["values"]]
        return [number for number in numbers if math.isfinite(number)]


def run_everything(folder: Path, run: Callable[[list[str]], int], after: tuple[str, ...]) -> None:
    """A corpus build, a pre-training and a joint training, of a few seconds each."""
    corpus, labelled = folder / "corpus", write(str(folder / "labelled"), graphs=90)
    motifs(corpus)
    small = ["--encoder.layers", "1", "--encoder.width", "8"]
    jobs = [
        ["corpus", "build", "motifs", "--graphs", "80000", "--out", str(folder / "built"), "--unit-rows", "64"],
        ["pretrain", "--corpus", str(corpus), "--out", str(folder), "--name", "pre", *small, *PRETRAIN.split()],
        [
            "transfer",
            "--data",
            labelled,
            "--out",
            str(folder / "joint"),
            *TRANSFER.split(),
            "--corpus.encoder.layers",
            "1",
        ],
    ]
    for job in jobs:
        assert run([*job, *after]) == 0
        time.sleep(1.5)  # Ray's processes report once a second


STEPS = 400  # several seconds, so that every rate has two reports even if a busy machine loses some
PRETRAIN = (
    f"--train.max-steps {STEPS} --train.streams 2 --train.graphs-per-stream 8 --train.log-seconds 0.3 --train.device cpu"
    " --train.checkpoint-every 40 --train.validate-every 60 --train.validation-fraction 0.1"
)
WORKERS = ("--workers", "2")
TRANSFER = (
    "--methods auxts_one --schemes scratch --seeds 1 --epochs 24 --batch 18 --corpus.split.method random --device cpu"
    " --corpus.encoder.width 8 --weighting.hidden 8 --weighting.lr 0.1"
)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """Commands that serve their own metrics."""
    folder, port, since = tmp_path_factory.mktemp("here"), free_port(), time.time()
    with Prometheus(folder / "prometheus", [f"127.0.0.1:{port}"], RULES) as server:
        server.wait_for_scrapes()
        run_everything(folder, main, ("--metrics.port", str(port)))
        yield Recorded(server, since)


@pytest.fixture(scope="module")
def on_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """Commands that run in processes of a local Ray, scraped through its agent."""
    folder = tmp_path_factory.mktemp("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_metrics_report_interval_ms", "1000")
        ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False)
        try:
            node, since = ray.nodes()[0], time.time()
            target = f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}"
            with Prometheus(folder / "prometheus", [target], RULES) as server:
                run_everything(folder, main, WORKERS)
                yield Recorded(server, since)
        finally:
            ray.shutdown()


@pytest.fixture(scope="module")
def by_jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """The same commands as jobs, by distgnn submit to a cluster with token authentication."""
    folder, since = tmp_path_factory.mktemp("jobs"), time.time()
    with token_cluster(cpus=3, RAY_metrics_report_interval_ms="1000") as access:
        client = {**os.environ, **access}

        def submit(job: list[str]) -> int:
            """Submit in a new process, since Ray reads RAY_AUTH_MODE once per process."""
            return subprocess.run(command("submit", *job), env=client, check=False).returncode

        with Prometheus(folder / "prometheus", [f"127.0.0.1:{access['METRICS']}"], RULES) as server:
            run_everything(folder, submit, WORKERS)
            yield Recorded(server, since)


def check_panels(recorded: Recorded) -> None:
    """Every panel has a number; they are printed, for pytest -s."""
    values = {name: recorded.values(query) for name, query in panels().items()}
    for name, found in values.items():
        print(f"{name:45} {found[-1] if found else 'empty'}")
    empty = [name for name, found in values.items() if not found]
    assert not empty, f"panels without a number: {empty}"


def check_rules(recorded: Recorded) -> None:
    groups: list[dict[str, Any]] = recorded.server.ask("rules")["groups"]
    loaded = [rule for group in groups for rule in group["rules"]]
    assert [rule["health"] for rule in loaded] == ["ok"] * len(rules())
    assert [rule["name"] for rule in loaded if rule["state"] == "firing"] == []
    silent = [
        name for name, _ in SELECTOR.findall(" ".join(rules())) if not recorded.values(f'{{__name__=~"(ray_)?{name}"}}')
    ]
    assert not silent, f"rules look at series that are not there: {silent}"


def check_numbers(recorded: Recorded) -> None:
    """Check that counts equal the work done, over all processes; a process may end before its last values are scraped."""

    def last(name: str, of: Callable[[list[float]], float] = max) -> float:
        return of(recorded.values(f'sum by (run) ({{__name__=~"(ray_)?distgnn_{name}"}})'))

    assert STEPS / 4 <= last("train_steps_total") <= STEPS
    assert 0.25 <= last("train_progress_ratio") <= 1
    assert last("train_graphs_total") == pytest.approx(16 * last("train_steps_total"), rel=0.2)
    assert 0 <= last("build_graphs_total") <= 80_000
    assert last("restarts_total") == pytest.approx(0)


@needs_prometheus
@pytest.mark.parametrize("check", [check_panels, check_rules, check_numbers])
def test_metrics_of_this_process(here: Recorded, check: Callable[[Recorded], None]) -> None:
    check(here)


@needs_prometheus
@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside Ray itself
@pytest.mark.parametrize("check", [check_panels, check_rules, check_numbers])
def test_metrics_of_ray(on_ray: Recorded, check: Callable[[Recorded], None]) -> None:
    check(on_ray)


@needs_prometheus
@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("check", [check_panels, check_rules, check_numbers])
def test_metrics_of_jobs(by_jobs: Recorded, check: Callable[[Recorded], None]) -> None:
    check(by_jobs)
