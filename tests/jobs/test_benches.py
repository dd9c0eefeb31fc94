"""Benchmarks: both sides of a comparison do the same work, and result lines have the expected form."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from distgnn import register
from distgnn.config import EncoderConfig, PretrainConfig, TrainConfig
from distgnn.corpus.manifest import read_manifest
from distgnn.corpus.sources.motifs import MotifsConfig, MotifsSource
from distgnn.corpus.writer import build_corpus
from distgnn.graph.batch import slice_graphs
from distgnn.graph.distances import hops
from distgnn.graph.pyg import to_pyg
from distgnn.graph.schema import Schema
from distgnn.graph.subgraph import keep_nodes
from distgnn.models.encoder import build_encoder
from distgnn.objectives.attrmasking import MaskingConfig
from distgnn.objectives.contextpred import ContextConfig, RootDistances
from distgnn.objectives.l2p.objective import L2P, L2PConfig
from distgnn.pretraining.run import Run
from distgnn.storage.folder import open_folder
from jobs.benches.dense import densify
from jobs.benches.l2p_sides import graphs_with_tasks, loop_losses
from jobs.benches.l2p_step import GROUPS, KINDS, Setting, compared, memory_lines, peak_of
from jobs.benches.l2p_variants import VARIANTS, lines
from jobs.benches.measure import Options, Side
from jobs.benches.memory import apart, peak_mb
from jobs.benches.objectives import context_lines, masking_lines, step_lines
from jobs.benches.reading import Read, long_waits, steady
from jobs.benches.scaling import axis_lines, synthetic_graphs
from jobs.benches.simulate import efficiency, fitted, unit_steps
from jobs.benches.throughput import count_work, throughput_lines
from jobs.benches.transforms import context_transform, masking_transform
from jobs.benches.vmap import vmap_step
from jobs.benches.world import measured
from tests.helpers.graphs import BARE, MOLECULE, random_graphs, with_tasks

SIZES = [5, 1, 9, 2, 6, 14]  # the second graph has no edge and so no task
TINY = EncoderConfig(layers=2, width=6)


@pytest.fixture(scope="module")
def motifs(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("motifs"))
    build_corpus(
        MotifsSource(MotifsConfig(out=folder, graphs=320, nodes=(4, 8))),
        folder,
        unit_rows=32,
        shard_rows=320,
    )
    return folder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("schema", [MOLECULE, BARE])
@pytest.mark.parametrize("children", [1, 3])
def test_loop_and_vmap_equal_the_per_graph_step(kind: str, schema: Schema, children: int) -> None:
    config = L2PConfig.paper(children=children, support=4, query=2, node_lr=0.02, graph_lr=0.1)
    encoder = build_encoder(schema, EncoderConfig(kind=kind, layers=2, width=6, norm="layer"), 1).double()  # pyright: ignore[reportArgumentType]
    batch = with_tasks(random_graphs(SIZES, schema), L2P(config).prepare)
    expected = L2P(config).losses(encoder, batch, 0, 0).total
    totals = (
        sum(loop_losses(encoder, graphs_with_tasks(batch), config)),
        vmap_step(encoder, densify(encoder, batch, config), config),
    )
    gradients = torch.autograd.grad(expected, list(encoder.parameters()), materialize_grads=True)
    for total in totals:
        torch.testing.assert_close(total, expected, rtol=1e-11, atol=1e-11)
        found = torch.autograd.grad(total, list(encoder.parameters()), materialize_grads=True)
        torch.testing.assert_close(found, gradients, rtol=1e-9, atol=1e-10)


def lines_of(lines: Iterator[dict]) -> dict[tuple[str, str | None], dict]:
    return {(line["metric"], line["baseline"]): line for line in lines}


@pytest.mark.parametrize("norm", list(GROUPS))
def test_l2p_step_lines(motifs: str, norm: str) -> None:
    setting = Setting(motifs, EncoderConfig(layers=1, width=4, norm=norm), 1, "cpu")  # pyright: ignore[reportArgumentType]
    lines = lines_of(compared(setting, "motifs", 1))
    assert [baseline for _, baseline in lines] == [*GROUPS[norm][1:], None]
    assert all(line["value"] > 0 and line["case"] == f"motifs, gin 1x4, {norm} norm" for line in lines.values())


def test_memory_is_measured_in_separate_processes(motifs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []
    monkeypatch.setattr(
        "jobs.benches.l2p_step.apart", lambda _, __, side: measured.append(side) or float(len(measured))
    )
    lines = list(memory_lines(Setting(motifs, TINY, 1, "cpu"), "motifs"))
    assert [(line["baseline"], line["ratio"]) for line in lines] == [("batch_shared", 1 / 2), ("plain_link", 1 / 3)]
    assert measured == ["per_graph", "batch_shared", "plain_link"]
    monkeypatch.undo()
    assert apart(peak_of, Setting(motifs, TINY, 1, "cpu"), "per_graph") >= 0


def allocate(size: int) -> float:
    return peak_mb(lambda: torch.ones(size).sum(), "cpu")


def test_peak_memory_includes_freed_memory() -> None:
    assert 79 < apart(allocate, 20_000_000) < 90


def test_flops_and_bytes_are_counted() -> None:
    a, b = torch.ones(3, 5), torch.ones(5, 7)
    assert count_work(lambda: a @ b) == (2 * 3 * 5 * 7, 4 * (15 + 35 + 21))
    assert count_work(lambda: a.t()) == (0, 0)
    sparse = torch.eye(5).to_sparse_csr()
    assert count_work(lambda: sparse @ b)[0] == 2 * 5 * 7


def test_throughput_lines(motifs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.benches.throughput.ceilings", lambda _: (1e9, 1e9))
    lines = list(throughput_lines(motifs, "motifs", TINY, "cpu", (16, 32)))
    assert [line["unit"] for line in lines] == ["TFLOP/s", "GB/s", *["graphs/s", "%", "%"] * 2]
    assert all(line["value"] > 0 for line in lines)


def test_objectives_lines(motifs: str) -> None:
    lines = list(step_lines(motifs, "motifs", EncoderConfig(layers=1, width=4), "cpu", 1))
    measured = [line["case"].split(", ")[1] for line in lines]
    assert {"l2p", "edgepred", "contextpred", "supervised"} <= set(measured) <= set(register.objective.names())
    assert all(line["value"] > 0 for line in lines)


def test_preparation_lines(motifs: str) -> None:
    (line,) = context_lines(motifs, "motifs", 1)
    assert line["baseline"] == "networkx_per_graph"
    assert not list(masking_lines(motifs, "motifs", 1)) or read_manifest(open_folder(motifs)).schema.node


def test_published_transforms_select_the_same_nodes() -> None:
    graphs = random_graphs([9, 12, 7], density=0.2)
    config, prepare = ContextConfig(inner=0, outer=2), RootDistances(2)
    for g in range(3):
        graph = slice_graphs(graphs, g, g + 1)
        published = context_transform(to_pyg(graph)[0], config)
        distance = hops(graph.edges.numpy(), published.root_index.numpy(), graph.num_nodes, prepare.radius)
        context = keep_nodes(graph, torch.from_numpy(distance > 0))
        pairs = {tuple(sorted(pair)) for pair in published.context_index.t().tolist()}
        assert pairs == {tuple(sorted(pair)) for pair in context.edges.t().tolist()}
        torch.testing.assert_close(published.x_context.int(), context.node_cat)
        assert len(published.edge_attr_context) == 2 * context.num_edges
    hidden = masking_transform(to_pyg(graphs)[1], MaskingConfig(rate=0.25))
    assert hidden.masked_index.unique().numel() == 3
    torch.testing.assert_close(hidden.masked_label, hidden.x[hidden.masked_index])


def test_scaling_lines_and_synthetic_graphs() -> None:
    batch = synthetic_graphs(3, 20)
    assert batch.edge_ptr.diff().tolist() == [int((batch.edges[0] // 20 == g).sum()) for g in range(3)]
    assert torch.equal(batch.edges[0] // 20, batch.edges[1] // 20)
    assert bool((batch.edges[0] != batch.edges[1]).all())
    assert torch.unique(batch.edges.sort(0).values, dim=1).shape[1] == batch.num_edges
    sides = {n: Side("step", lambda n=n: 1.0 / n) for n in (1, 2, 3)}
    lines = list(axis_lines("graphs", "s", sides, 1))
    assert [(line["case"], line["baseline"]) for line in lines] == [("graphs, s=2", "s=1"), ("graphs, s=3", "s=1")]


def test_l2p_variants_lines(motifs: str) -> None:
    found = list(lines(motifs, "motifs", TINY, Options(quick=True), 1))
    assert len(found) == 5 * len(VARIANTS)
    cosines = [row for row in found if "cosine" in row["metric"]]
    assert [row["value"] for row in cosines if "all layers, order 2" in row["case"]] == pytest.approx([1.0] * 4)
    assert all(row["value"] < 1.0 for row in cosines if "order 1" in row["case"])
    assert all(row["baseline"] == "s=t=0" and row["paired_ratio"] > 0 for row in found if row["metric"] == "step")


def test_simulated_efficiency() -> None:
    equal = np.full((4, 8), 0.25)
    none = np.zeros(3)
    assert efficiency(equal, none, 64, 0, 1.0) == pytest.approx(0.25 / (0.25 + 126 * 20e-6))
    assert efficiency(equal, none, 2, 1_000_000, 8e6) == pytest.approx(0.25 / (0.25 + 0.125 + 2 * 20e-6))
    uneven = np.tile([0.1, 0.3], (4, 4))
    assert efficiency(equal, np.array([-0.05, 0.05]), 64, 0, 1.0) == pytest.approx(0.25 / 0.3, abs=0.02)
    assert efficiency(uneven, none, 64, 0, 1.0) == pytest.approx(0.2 / 0.3, abs=0.02)


def test_steps_are_fitted_with_their_residuals(motifs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clock of CPU time: steps of 1 s, 2 s, ... after the first one, whatever their size."""
    times = iter(np.cumsum([0.0, *(second for n in range(1, 7) for second in (9.0, n))]))
    monkeypatch.setattr("jobs.benches.simulate.time.process_time", lambda: next(times))
    fit = fitted(motifs, TINY, 7, 16)
    assert fit.mean == pytest.approx(3.5)
    assert fit.residuals.sum() == pytest.approx(0, abs=1e-9)
    assert 0 < fit.residuals.std() <= np.std(range(1, 7)) + 1e-9


def test_steps_of_units(motifs: str) -> None:
    shuffled, balanced = (unit_steps(motifs, 16, balanced=choice) for choice in (False, True))
    assert shuffled.sum() == balanced.sum()
    assert balanced.std(axis=1).mean() < shuffled.std(axis=1).mean()


def test_the_steady_state_of_reading_begins_when_every_rank_has_units_of_ray_data() -> None:
    """Rank 1 starts 3 s after rank 0, and both wait 2 s for a block in the middle of the steady state."""
    ranks = []
    for rank, own in enumerate((4, 7)):
        reads, now = list[Read](), 0.0
        for n in range(200):
            asked, now = now, now + (1.0 if n < own else 2.0 if n == 120 else 0.1)
            reads.append(Read(0, rank if n < own else 9, now - 0.3, now - 0.2, asked, now))
        ranks.append(reads)
    found = steady(ranks, [4, 7])
    assert found.begin == pytest.approx(7 + 33 * 0.1)
    assert found.end == pytest.approx(4 + 195 * 0.1 + 2)
    assert (found.longest, found.own) == (pytest.approx(2), 0)
    assert found.rate == pytest.approx(2 * (152 - 19) / 15.2, rel=0.02)
    assert found.busy == pytest.approx(0.1 * found.rate)
    assert list(long_waits(ranks, found.begin, found.end).values()) == [2, 0, 0, 2, 0]
    assert list(long_waits(ranks, 0.0, found.begin).values()) == [0] * 5
    with pytest.raises(SystemExit, match="a rank has 0 units in the steady state"):
        steady(ranks, [4, 200])


def test_speed_and_cpu_seconds_of_ranks() -> None:
    """Two ranks of 32 graphs a step: 0.5 s, of which 0.4 CPU seconds in the thread of training and 0.05 in others."""

    def fit(_: PretrainConfig, scratch: str) -> list[Run]:
        begin = time.time()
        subprocess.run([sys.executable, "-c", "sum(range(10**7))  # TrainWorker"], check=True)
        for rank in range(2):
            notes = [(begin + 0.5 * (n - 5), 0.1, 0.45 * n, 0.4 * n) for n in range(7)]
            (Path(scratch) / f"{rank}.json").write_text(json.dumps(notes))
        time.sleep(max(0.0, begin + 0.6 - time.time()))
        return []

    found = measured(PretrainConfig("c", train=TrainConfig(streams=4, graphs_per_stream=16)), fit)
    assert found.graphs_per_s == pytest.approx(128)
    assert found.reducing == pytest.approx(0.2)
    assert found.cpu == pytest.approx({"training threads": 12.5, "other threads of the ranks": 1.5625})
    assert found.cores[0] == pytest.approx(1.8)
    assert found.cores[1] > 0
