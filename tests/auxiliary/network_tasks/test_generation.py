"""Edge and attribute generation on networks against plain loops."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from distgnn.auxiliary.network_tasks.attribute_generation import AttributeGeneration
from distgnn.auxiliary.network_tasks.edge_generation import EdgeGeneration
from distgnn.auxiliary.network_tasks.problem import NetworkProblem
from distgnn.auxiliary.network_tasks.removal import Removal
from distgnn.auxiliary.network_tasks.tasks import NodeQuery, draw_nodes
from distgnn.graph.keyed import draw, key, unit_interval
from distgnn.models.network_encoder import SubgraphBatch
from distgnn.network.csr import Edges, both_ways, build_network
from distgnn.network.network import Network, Relation, SampledSubgraph
from distgnn.network.sample import full_block
from tests.helpers.networks import CONFIG, papers, problem_of


def edge_task(problem: NetworkProblem) -> EdgeGeneration:
    task = problem.auxiliary[0]
    assert isinstance(task, EdgeGeneration)
    return task


def messages(block: SampledSubgraph) -> list[tuple[int, int, int]]:
    """(relation, source, target), global ids."""
    ends = block.node[block.source].tolist(), block.node[block.target].tolist()
    return list(zip(block.relation.tolist(), *ends, strict=True))


def removed(network: Network, share: float, sampled: Any, step: int) -> set[tuple[int, int, int]]:
    taken = Removal(network, share, 3)(full_block(network), np.asarray(sampled), step)
    return {one for one, gone in zip(messages(full_block(network)), taken, strict=True) if gone}


def turned(network: Network, message: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the message along the same edge in the other direction."""
    relation = network.relations[message[0]]
    name = relation.name.removesuffix("^-1") if relation.name.endswith("^-1") else relation.name + "^-1"
    if relation.name == "cites":
        name = "cites"
    return network.relations.index(Relation(name, relation.target, relation.source)), message[2], message[1]


def test_edges_are_removed_in_both_directions_and_only_at_sampled_nodes() -> None:
    network, sampled = papers(), [0, 4, 7, 11]
    everything = set(messages(full_block(network)))
    at_sampled = {one for one in everything if one[1] in sampled or one[2] in sampled}
    found = removed(network, 0.5, sampled, step=0)
    assert found < at_sampled
    assert {turned(network, one) for one in found} == found
    assert removed(network, 1.0, sampled, step=0) == at_sampled
    assert removed(network, 0.5, sampled, step=1) not in (found, at_sampled)
    assert removed(network, 0.5, [0, 4], step=0) == {one for one in found if {one[1], one[2]} & {0, 4}}


def test_the_share_of_removed_edges() -> None:
    left, right = np.divmod(np.arange(3000), 60)
    network = build_network({"a": 50, "b": 60}, both_ways(Edges(Relation("r", "a", "b"), left, right)))
    for share in (0.2, 0.5):
        found = len(removed(network, share, range(50), 0)) / network.num_messages
        assert abs(found - share) < 0.04


def test_one_way_relations_are_removed_too() -> None:
    network = build_network({"a": 4, "b": 4}, [Edges(Relation("r^-1", "b", "a"), np.arange(4), np.arange(4))])
    assert len(removed(network, 1.0, range(8), 0)) == 4


def slow_edge_losses(problem: NetworkProblem, network: Network, step: int) -> list[float]:
    """InfoNCE of each removed message into a sampled node, in the order of (relation, target, source)."""
    task, sampled = edge_task(problem), draw_nodes(key(3, 64, step), network.nodes("paper"), CONFIG.aux_batch)
    whole = full_block(network)
    kept = [one for one in messages(whole) if one not in removed(network, 0.5, sampled, step)]
    relation, source, target = np.array(kept).T
    block = replace(whole, relation=relation, source=source, target=target)
    nodes, losses = problem.encoder(SubgraphBatch(problem.views.inputs, block)), []
    lost = sorted(removed(network, 0.5, sampled, step), key=lambda one: (one[0], one[2], one[1]))
    for number, u, v in lost:
        if v not in sampled:
            continue
        kind = network.relations[number].source
        pool = draw_nodes(key(3, 65, step, network.types.index(kind)), network.nodes(kind), CONFIG.negatives)
        rest = [w for w in pool.tolist() if (number, w, v) not in messages(whole)]
        place = task.relations.index(number)
        left, right = task.left[place](nodes[v]), task.right[place](nodes[[u, *rest]])
        if rest:
            losses.append(-torch.log_softmax(F.cosine_similarity(left[None], right) / 0.1, 0)[0].item())
    return losses


@pytest.mark.parametrize("step", [0, 1])
def test_edge_losses_equal_a_plain_loop(step: int) -> None:
    network = papers()
    problem = problem_of(network)
    _, (samples, _) = problem.losses(problem.fetch([np.arange(2)], step))
    wanted = slow_edge_losses(problem, network, step)
    assert samples.losses.tolist() == pytest.approx(wanted, rel=1e-10)
    assert samples.count == len(wanted) > 10
    assert not samples.summed
    assert not samples.labels.any()


def test_removed_messages_are_not_in_the_subgraph() -> None:
    network = papers()
    query = edge_task(problem_of(network)).query(0)
    assert query.cut is not None
    sampled = draw_nodes(key(3, 64, 0), network.nodes("paper"), CONFIG.aux_batch)
    block = problem_of(network).views.block(query.seeds, 0)
    node = torch.from_numpy(block.node)
    ends = node[query.cut.source].tolist(), node[query.cut.target].tolist()
    seen = set(zip(query.cut.relation.tolist(), *ends, strict=True))
    assert seen == set(messages(block)) - removed(network, 0.5, sampled, 0)


def test_only_sampled_messages_are_predicted() -> None:
    problem = problem_of(papers(), fan_out=1, removed=1.0)
    samples = edge_task(problem).samples
    query = edge_task(problem).query(0)
    assert 0 < samples(problem.encoder(query.cut), query).count <= CONFIG.aux_batch  # one message a node


def pool_sizes(query: NodeQuery) -> list[int]:
    return [len(one.pool) for one in query.data]


def test_options_negatives_and_aux_batch() -> None:
    assert set(pool_sizes(edge_task(problem_of(papers(), negatives=3)).query(0))) == {3}
    assert set(pool_sizes(edge_task(problem_of(papers(), negatives=255)).query(0))) == {20, 10, 4}  # all there are
    few, many = (edge_task(problem_of(papers(), aux_batch=size, removed=1.0)).query(0) for size in (2, 20))
    assert sum(len(one.target) for one in few.data) < sum(len(one.target) for one in many.data)


def test_messages_without_negatives_are_left_out() -> None:
    left, right = np.divmod(np.arange(12), 3)
    network = build_network(
        {"paper": 4, "tag": 3},
        both_ways(Edges(Relation("r", "paper", "tag"), left, right)),
        tables=papers().tables | {"paper.label": np.array([0, 1, 0, 1])} | rows(),
    )
    problem = problem_of(network, removed=1.0)
    _, (samples,) = problem.losses(problem.fetch([np.arange(2)], 0))
    assert samples.losses.shape == (0,)
    assert samples.count == 0


def rows() -> dict[str, Any]:
    return {f"paper.{part}_20": np.array(ids) for part, ids in (("train", [0, 1]), ("val", [2]), ("test", [3]))}


def test_attribute_losses_equal_a_plain_loop() -> None:
    network = papers()
    problem = problem_of(network)
    task = problem.auxiliary[1]
    assert isinstance(task, AttributeGeneration)
    with torch.no_grad():
        task.blank.copy_(torch.arange(6) / 6)
    _, (_, samples) = problem.losses(problem.fetch([np.arange(2)], 5))
    query, cut = task.query(5), SubgraphBatch(problem.views.inputs, full_block(network))
    x = problem.encoder.embed(cut)
    x[query.seeds] = task.blank
    predicted = task.tell(problem.encoder(cut, x)[query.seeds])
    raw = torch.from_numpy(network.features["paper"])[query.seeds].double()
    for loss, one, wanted in zip(samples.losses, predicted, raw, strict=True):
        torch.testing.assert_close(loss, (1 - (one @ wanted) / one.norm() / wanted.norm()) / 0.1)
    assert samples.count == len(set(query.seeds.tolist())) == CONFIG.aux_batch


def test_masked_features_do_not_change_embeddings() -> None:
    network = papers()
    task = problem_of(network).auxiliary[1]
    sampled, values = task.query(0).seeds, network.features["paper"].copy()
    values[sampled] = 100
    changed = problem_of(replace(network, features={"paper": values}))
    found = []
    for problem in (problem_of(network), changed):
        query = problem.auxiliary[1].query(0)
        found.append(problem.encoder(query.cut, problem.auxiliary[1].inputs(problem.encoder, query)))
    assert torch.equal(*found)


def test_sampled_nodes() -> None:
    nodes = range(5, 505)
    found = draw_nodes(1, nodes, 40)
    assert len(set(found.tolist())) == 40
    assert all(node in nodes for node in found.tolist())
    assert found.tolist() == draw_nodes(1, nodes, 40).tolist() != draw_nodes(2, nodes, 40).tolist()
    assert draw_nodes(1, nodes, 500).tolist() == list(nodes)
    counts = np.bincount(np.concatenate([draw_nodes(seed, range(10), 3) for seed in range(2000)]), minlength=10)
    assert np.abs(counts / 2000 - 0.3).max() < 4 * math.sqrt(0.21 / 2000)


def test_the_removal_is_the_documented_keyed_sample() -> None:
    network = papers()
    taken = Removal(network, 0.5, 3)(full_block(network), np.arange(34), 2)
    for (number, u, v), gone in zip(messages(full_block(network)), taken, strict=True):
        forward = min((number, u, v), turned(network, (number, u, v)))
        word = draw(draw(key(3, 66, 2), forward[0]), forward[1] * network.num_nodes + forward[2])
        assert (unit_interval(word)[0] < 0.5) == gone
