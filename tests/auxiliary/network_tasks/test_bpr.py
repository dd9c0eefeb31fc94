"""Links by Bayesian personalised ranking, and by the dot product of the embeddings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from distgnn.auxiliary.step import MultiTaskStep
from distgnn.auxiliary.weighting import build_weighting
from distgnn.config import WeightingConfig
from distgnn.distributed import ProcessGroup
from tests.auxiliary.network_tasks.test_problems import (
    CPU,
    LINKS,
    embedded,
    folds_of,
    gathered,
    link_target,
    problem_of,
)
from tests.helpers.networks import films
from tests.helpers.planted import Options

BPR: dict[str, Any] = {"loss": "bpr", "fan_out": 0, "messages": "keep"}


@pytest.mark.parametrize("decoder", ["mlp", "dot"])
def test_losses_equal_a_plain_loop(decoder: str) -> None:
    """Of the positives only, each against an item that the user has not rated positively in training."""
    problem = problem_of(films(), LINKS, decoder=decoder, **BPR)
    links, rows = link_target(problem).links, np.arange(problem.rows)
    batch = problem.fetch([rows], 2)
    ((samples,), _) = problem.losses(batch)
    positives = [row for row in links.parts["train"] if links.label[row] == 1]
    known = {(links.user[row], links.item[row]) for row in positives}
    users, items, others = np.split(batch.folds[0].seeds, 3)
    assert 0 < len(users) < len(rows)
    assert set(zip(users, items, strict=True)) <= known
    assert not set(zip(users, others, strict=True)) & known
    assert set(others) <= set(links.items)
    nodes = link_target(problem).phi(embedded(problem, problem.views.network))
    margins = [nodes[u] @ nodes[i] - nodes[u] @ nodes[j] for u, i, j in zip(users, items, others, strict=True)]
    torch.testing.assert_close(samples.losses, -F.logsigmoid(torch.stack(margins)))
    assert (samples.count, samples.labels.tolist()) == (len(users), [1] * len(users))


def test_items_are_drawn_by_step_and_seed() -> None:
    """Which rows are in a step, or on a rank, changes no draw; all items are drawn in the end."""
    problem = problem_of(films(), LINKS, **BPR)
    target, rows = link_target(problem), np.arange(problem.rows)

    def drawn(step: int, some: np.ndarray = rows) -> dict[tuple[int, int], int]:
        users, items, others = np.split(target.query(some, step=step).seeds, 3)
        return dict(zip(zip(users.tolist(), items.tolist(), strict=True), others.tolist(), strict=True))

    assert drawn(1) == drawn(1) != drawn(2)
    assert drawn(1, rows[::-2]).items() <= drawn(1).items()
    free = {item for step in range(40) for item in drawn(step).values()}
    assert free == set(target.links.items)


def test_samples_of_two_ranks_sum_to_those_of_one() -> None:
    config = replace(LINKS, loss="bpr", decoder="dot")
    alone = problem_of(films(), config)
    folds = folds_of(alone)
    ranks = [problem_of(films(), config, ProcessGroup(rank, 2, CPU)) for rank in range(2)]
    parts = torch.stack([gathered(problem.losses(problem.fetch(folds, 4))) for problem in ranks])
    torch.testing.assert_close(parts.sum(0), gathered(alone.losses(alone.fetch(folds, 4))), rtol=1e-12, atol=1e-12)


def test_dot_product_scores_the_embeddings_without_a_head() -> None:
    problem = problem_of(films(), LINKS, decoder="dot")
    assert not list(link_target(problem).parameters())
    nodes, links = embedded(problem, problem.views.network).detach(), link_target(problem).links
    rows = links.parts["test"]
    scores = [float(nodes[links.user[row]] @ nodes[links.item[row]]) for row in rows]
    assert problem.evaluate("test").scores["auc"] == pytest.approx(roc_auc_score(links.label[rows], scores))


@pytest.mark.parametrize("method", ["none", "fixed", "auxts_all"])
def test_joint_steps_run(method: str) -> None:
    problem = problem_of(films(), LINKS, loss="bpr", decoder="dot")
    weighting = WeightingConfig(method=method, hidden=5)
    options = Options(batch=12, weighting=weighting)
    step = MultiTaskStep(
        problem, build_weighting(weighting, problem.names, 0), options, ProcessGroup.single_process(CPU), 0
    )
    losses = [step.step(number).losses[0] for number in range(30)]
    assert losses[-1] < losses[0]
