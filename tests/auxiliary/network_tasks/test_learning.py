"""Targets on real networks can be learned, without auxiliary tasks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distgnn.auxiliary.network_tasks.build import build_problem
from distgnn.auxiliary.network_tasks.problem import NetworkProblem
from distgnn.config import NetworkTaskConfig
from distgnn.distributed import ProcessGroup
from distgnn.graph.keyed import permutation
from distgnn.network.sources.hetero import HeteroConfig, build_hetero
from distgnn.network.sources.kgrec import KgrecConfig, build_kgrec
from tests.helpers.corpora import real

ALONE = ProcessGroup.single_process(torch.device("cpu"))


def learn(problem: NetworkProblem, steps: int, batch: int, lr: float) -> None:
    """Train with Adam on the target's loss."""
    optimizer = torch.optim.Adam([*problem.shared.parameters(), *problem.heads[0].parameters()], lr=lr)
    problem.auxiliary = []
    for step in range(steps):
        rows = permutation(step, problem.rows)[:batch]
        ((samples,), _) = problem.losses(problem.fetch([rows], step))
        optimizer.zero_grad()
        samples.losses.mean().backward()
        optimizer.step()


@pytest.mark.data
def test_links_of_last_fm_are_learned() -> None:
    (path,) = real("kgrec/last-fm")
    network = build_kgrec(KgrecConfig(input=path, out="x", name="last-fm", columns="htr"))
    problem = build_problem(network, NetworkTaskConfig(messages="keep"), 0, ALONE)
    assert problem.names == ("link", *network.meta["paths"])
    assert len(problem.names) == 6
    assert problem.rows == 25_408
    batch = problem.fetch([np.arange(64), np.arange(64, 128)], 0)
    assert [one.count.item() for part in problem.losses(batch) for one in part] == [64.0, 64.0, *[128.0] * 5]
    learn(problem, steps=60, batch=512, lr=3e-3)
    found = problem.evaluate("test").scores
    assert found["auc"] > 0.75
    assert found["user_auc"] > 0.72


@pytest.mark.data
def test_classes_of_acm_are_learned() -> None:
    (path,) = real("hetero/acm")
    network = build_hetero(HeteroConfig(input=path, out="x", layout="acm"))
    generation = "edge_generation", "attribute_generation"
    assert len(build_problem(network, NetworkTaskConfig(), 0, ALONE).names) == 3
    problem = build_problem(network, NetworkTaskConfig(width=32, auxiliary=generation), 0, ALONE)
    assert problem.names == ("node", *generation)
    assert problem.rows == 60
    learn(problem, steps=30, batch=60, lr=1e-2)
    assert problem.evaluate("test").scores["micro_f1"] > 0.5
