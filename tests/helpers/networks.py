"""Small networks of several types for tests, and a reference implementation of their subgraphs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from distgnn.auxiliary.network_tasks.build import build_problem
from distgnn.auxiliary.network_tasks.problem import NetworkProblem
from distgnn.config import NetworkTaskConfig
from distgnn.distributed import ProcessGroup
from distgnn.network.csr import Edges, both_ways, build_network, symmetric
from distgnn.network.network import Network, Relation, SampledSubgraph

CPU = torch.device("cpu")
CONFIG = NetworkTaskConfig(width=6, fan_out=0, aux_batch=7, negatives=5)


def problem_of(network: Network, **changes: Any) -> NetworkProblem:
    """In float64."""
    problem = build_problem(network, replace(CONFIG, **changes), 3, ProcessGroup.single_process(CPU))
    problem.shared.double()
    problem.heads.double()
    return problem


def some_pairs(rng: np.random.Generator, left: int, right: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """``count`` different pairs of numbers below left and right."""
    chosen = rng.choice(left * right, count, replace=False)
    return chosen // right, chosen % right


def films(seed: int = 0) -> Network:
    """12 items, 6 entities and 9 users, one of each without any edge; 60 ratings, half of them positive."""
    rng = np.random.default_rng(seed)
    item, entity = some_pairs(rng, 11, 5, 20)
    edges = both_ways(Edges(Relation("film.actor", "item", "entity"), item, entity))
    user, rated = some_pairs(rng, 8, 11, 60)
    tables = {"rating.user": user, "rating.item": rated, "rating.label": rng.permutation(60) % 2}
    return build_network({"item": 12, "entity": 6, "user": 9}, edges, tables=tables)


def papers(features: bool = True, seed: int = 0) -> Network:
    """20 papers of 3 classes, 10 authors, 4 venues; citations are a symmetric relation; paper 19 and author 9 are alone."""
    rng = np.random.default_rng(seed)
    wrote, cites = some_pairs(rng, 19, 9, 40), some_pairs(rng, 19, 19, 25)
    edges = (
        *both_ways(Edges(Relation("written", "paper", "author"), *wrote)),
        *both_ways(Edges(Relation("at", "paper", "venue"), np.arange(19), np.arange(19) % 4)),
        symmetric(Relation("cites", "paper", "paper"), *cites),
    )
    label = np.append(np.arange(18) % 3, [-1, -1])
    tables = {"paper.label": label, "paper.train_20": np.arange(8), "paper.val_20": np.arange(8, 13)}
    tables |= {"paper.test_20": np.arange(13, 18)}
    values = {"paper": rng.normal(size=(20, 5)).astype(np.float32)} if features else {}
    return build_network({"paper": 20, "author": 10, "venue": 4}, edges, values, tables)


def paged() -> Network:
    """The labelled papers with authors, and a page of its own for each but the last: a meta-path over pages joins none."""
    wrote = Edges(Relation("written", "paper", "author"), np.arange(19), np.arange(19) % 9)
    has = Edges(Relation("has", "paper", "page"), np.arange(19), np.arange(19))
    sizes = {"paper": 20, "author": 10, "page": 19}
    return build_network(sizes, (*both_ways(wrote), *both_ways(has)), tables=papers().tables)


LABELS = {v: sorted({v % 4, v * v % 7 % 4, 3 * (v // 9)}) for v in range(18)}
"""Classes of the papers of ``tagged``."""


def tagged(labels: dict[int, list[int]] = LABELS) -> Network:
    """The papers with one to three of 5 classes each, the last of which is unused; 8 train, 5 val, 5 test."""
    network = papers(features=False)
    pairs = np.array([(node, label) for node, some in labels.items() for label in some])
    pairs = np.random.default_rng(1).permutation(np.concatenate([pairs, pairs[:4]]))  # rows may be repeated
    tables = {"paper.labels.node": pairs[:, 0], "paper.labels.class": pairs[:, 1], "paper.labels.meaning": np.arange(5)}
    parts = {f"paper.{part}": network.tables[f"paper.{part}_20"] for part in ("train", "val", "test")}
    return replace(network, tables=tables | parts)


def slow_block(network: Network, seeds: Any, hops: int) -> SampledSubgraph:
    """Collect all messages that ``hops`` layers need, without sampling."""
    queried = [int(node) for node in seeds]
    inside, frontier, messages = set(queried), set(queried), []
    for _ in range(hops):
        for v in sorted(frontier):
            for slot in range(int(network.indptr[v]), int(network.indptr[v + 1])):
                messages.append((v, int(network.relation[slot]), int(network.source[slot])))
        frontier = {source for _, _, source in messages} - inside
        inside |= frontier
    node = np.array(sorted(inside), np.int64)
    target, relation, source = np.array(sorted(messages), np.int64).reshape(-1, 3).T
    return SampledSubgraph(
        node=node,
        seed=np.searchsorted(node, np.array(queried, np.int64)),
        source=np.searchsorted(node, source),
        target=np.searchsorted(node, target),
        relation=relation.copy(),
        degree=np.diff(network.indptr)[node],
    )
