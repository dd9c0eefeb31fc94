"""Network construction and neighbour sampling against per-node reference code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distgnn.errors import RequestError
from distgnn.graph.keyed import below, draw, key
from distgnn.network import csr
from distgnn.network.csr import Edges, both_ways, build_network, edges_of, symmetric, with_messages
from distgnn.network.network import Network, Relation, SampledSubgraph
from distgnn.network.sample import full_block, sample_block

SIZES = {"item": 7, "entity": 5, "user": 4}
MADE = Relation("made_by", "item", "entity")
RATED = Relation("rated", "user", "item")


def some(relation: Relation, count: int, seed: int) -> Edges:
    """Random edges, some of them repeated."""
    source, target = (draw(key(seed, end), np.arange(count)) for end in (0, 1))
    limits = [np.full(count, SIZES[end]) for end in (relation.source, relation.target)]
    return Edges(relation, below(source, limits[0]), below(target, limits[1]))


def small(seed: int = 0, count: int = 12) -> Network:
    """Three types, four relations; many nodes receive more than a few messages, some none."""
    return build_network(SIZES, [*both_ways(some(MADE, count, seed)), *both_ways(some(RATED, count, seed + 1))])


def hub(leaves: int = 50) -> Network:
    """One relation: node 0 linked with 1..leaves; two more nodes without any edge."""
    ends = np.zeros(leaves, np.int64), np.arange(1, leaves + 1)
    return build_network({"node": leaves + 3}, [symmetric(Relation("linked", "node", "node"), *ends)])


def triples(network: Network) -> list[tuple[int, int, int]]:
    """(target, relation, source) of each message, read one by one."""
    many = len(network.relations) > 1
    return [
        (v, int(network.relation[i]) if many else 0, int(network.source[i]))
        for v in range(network.num_nodes)
        for i in range(network.indptr[v], network.indptr[v + 1])
    ]


def received(network: Network, node: int, fan_out: int, word: int) -> set[tuple[int, int, int]]:
    """What a node receives in the sampled network: Floyd's algorithm, one number at a time."""
    all_of_it = [message for message in triples(network) if message[0] == node]
    if not fan_out or len(all_of_it) <= fan_out:
        return set(all_of_it)
    chosen: list[int] = []
    for step in range(fan_out):
        top = len(all_of_it) - fan_out + step
        number = int(below(draw(draw(word, node), step), np.array([top + 1]))[0])
        chosen.append(top if number in chosen else number)
    return {all_of_it[i] for i in chosen}


def slow_block(network: Network, seeds: list[int], hops: int, fan_out: int, word: int) -> tuple[set[int], list[Any]]:
    nodes, frontier, messages = set(seeds), set(seeds), set()
    for _ in range(hops):
        found = set().union(*(received(network, node, fan_out, word) for node in frontier)) if frontier else set()
        messages |= found
        frontier = {source for _, _, source in found} - nodes
        nodes |= frontier
    return nodes, sorted(messages)


def named(block: SampledSubgraph) -> list[tuple[int, int, int]]:
    """A block's messages with global ids, in its order."""
    ends = block.node[block.target].tolist(), block.relation.tolist(), block.node[block.source].tolist()
    return list(zip(*ends, strict=True))


@pytest.mark.parametrize("part", [3, 1 << 22])
def test_messages_are_sorted_and_unique(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csr, "_PART", part)
    edges = [some(MADE, 30, 1), some(RATED, 30, 2)]
    network = build_network(SIZES, edges, meta={"a": 1})
    start = {"item": 0, "entity": 7, "user": 12}
    wanted = {
        (int(t) + start[e.relation.target], number, int(s) + start[e.relation.source])
        for number, e in enumerate(edges)
        for s, t in zip(e.source, e.target, strict=True)
    }
    assert triples(network) == sorted(wanted)
    assert (network.source.dtype, network.relation.dtype, network.num_nodes) == (np.int32, np.uint8, 16)
    assert network.nodes("user") == range(12, 16)
    assert network.meta == {"a": 1}


def test_edges_round_trip_and_relations_can_be_added() -> None:
    network, rated = small(), Edges(Relation("new", "user", "item"), np.array([0, 3]), np.array([6, 6], np.int8))
    for edges, again in zip([MADE, RATED], edges_of(network, [MADE, RATED]), strict=True):
        assert again.relation == edges
    more = with_messages(network, *both_ways(rated))
    assert more.relations == (*network.relations, rated.relation, Relation("new^-1", "item", "user"))
    added = set(triples(more)) - set(triples(network))
    assert added == {(6, 4, 12), (6, 4, 15), (12, 5, 6), (15, 5, 6)}
    assert set(triples(network)) < set(triples(more))
    assert [len(e.source) for e in edges_of(more)] == [*(len(e.source) for e in edges_of(network)), 2, 2]
    assert triples(with_messages(network)) == triples(network)
    with pytest.raises(RequestError, match="'rated' from user to item appears twice"):
        with_messages(network, some(RATED, 3, 0))


def test_symmetric_edges_pass_messages_in_both_directions_without_self_loops() -> None:
    edges = symmetric(Relation("linked", "node", "node"), np.array([0, 1, 2]), np.array([1, 0, 2]))
    network = build_network({"node": 4}, [edges])
    assert triples(network) == [(0, 0, 1), (1, 0, 0)]
    assert len(network.relation) == 0


@pytest.mark.parametrize("nodes", [1, 2, 1 << 16])
def test_largest_node_ids(nodes: int) -> None:
    relation = Relation("to", "node", "node")
    last = np.array([nodes - 1, 0])
    network = build_network(
        {"node": nodes}, [Edges(relation, last, last), Edges(Relation("fro", "node", "node"), last, last)]
    )
    assert set(triples(network)) == {(v, r, v) for v in (0, nodes - 1) for r in (0, 1)}


def test_many_relations_use_a_wider_dtype() -> None:
    edges = [Edges(Relation(f"r{i}", "node", "node"), np.array([0]), np.array([1])) for i in range(300)]
    network = build_network({"node": 2}, edges)
    assert network.relation.dtype == np.uint16
    assert network.relation.tolist() == list(range(300))


def test_invalid_edges_are_rejected() -> None:
    one = np.array([0])
    cases = {
        "no node type 'book'; the types are item, entity, user": Edges(Relation("x", "item", "book"), one, one),
        r"relation 'rated', row 2: user 4 does not exist; ids must be in \[0, 4\)": Edges(
            RATED, np.array([1, 4]), np.array([0, 0])
        ),
        "relation 'rated', row 1: item -1 does not exist": Edges(RATED, one, np.array([-1])),
        "relation 'rated': 1 sources but 2 targets": Edges(RATED, one, np.array([0, 0])),
    }
    for says, edges in cases.items():
        with pytest.raises(RequestError, match=says):
            build_network(SIZES, [edges])
    with pytest.raises(RequestError, match="do not fit in 64-bit message keys"):
        build_network({"node": 1 << 33}, [Edges(Relation("x", "node", "node"), one, one)])


def test_empty_networks() -> None:
    network = build_network({"node": 3}, [])
    block = sample_block(network, [2, 1], 2, 4, 0)
    assert (block.node.tolist(), block.seed.tolist(), len(block.source)) == ([1, 2], [1, 0], 0)
    assert full_block(network).degree.tolist() == [0, 0, 0]
    assert len(sample_block(network, [], 2, 4, 0).node) == 0
    assert len(sample_block(build_network({"node": 0}, []), [], 1, 0, 0).node) == 0


@given(st.integers(0, 50), st.lists(st.integers(0, 15), max_size=6), st.integers(0, 3), st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_block_equals_the_reference_sampler(seed: int, seeds: list[int], hops: int, fan_out: int) -> None:
    network = small(seed, 25)
    block = sample_block(network, seeds, hops, fan_out, seed)
    nodes, messages = slow_block(network, seeds, hops, fan_out, seed)
    assert block.node.tolist() == sorted(nodes)
    assert block.node[block.seed].tolist() == seeds
    assert named(block) == messages
    assert block.degree.tolist() == [len(received(network, int(v), fan_out, seed)) for v in block.node]
    assert {array.dtype for array in vars(block).values()} == {np.dtype(np.int64)}


@given(st.integers(0, 99), st.sets(st.integers(0, 15), min_size=1, max_size=4), st.sets(st.integers(0, 15)))
@settings(max_examples=60, deadline=None)
def test_sampled_messages_do_not_depend_on_other_seeds(seed: int, ours: set[int], others: set[int]) -> None:
    network = small(seed, 30)
    alone = sample_block(network, sorted(ours), 2, 2, 7)
    beside = sample_block(network, sorted(ours | others), 2, 2, 7)
    inner = alone.node[alone.degree > 0]
    expanded = {target for target, _, _ in named(alone)}
    assert expanded <= set(inner.tolist())
    assert [message for message in named(beside) if message[0] in expanded] == named(alone)


def test_high_degree_nodes_sample_fan_out_messages_uniformly() -> None:
    network, counts = hub(50), np.zeros(51)
    for number in range(2000):
        block = sample_block(network, [0, 0, 52], 1, 5, key(1, number))
        assert block.seed.tolist() == [0, 0, len(block.node) - 1]
        assert block.degree.tolist() == [5, 1, 1, 1, 1, 1, 0]
        assert len(set(block.source.tolist())) == len(block.source) == 5
        counts[block.node[block.source]] += 1
    assert counts[0] == 0
    assert abs(counts[1:] - 200).max() < 5 * np.sqrt(200 * 0.9)


def test_key_changes_only_nodes_above_the_fan_out() -> None:
    network = hub(50)
    blocks = [sample_block(network, [0], 2, fan_out, word) for fan_out in (5, 0, 50) for word in (1, 2)]
    assert named(blocks[0]) != named(blocks[1])
    assert all(named(block) == named(blocks[2]) for block in blocks[3:])


def test_full_block_contains_every_message() -> None:
    for network in (small(), hub()):
        block = full_block(network)
        assert named(block) == triples(network)
        assert block.seed.tolist() == block.node.tolist() == list(range(network.num_nodes))
        assert block.degree.tolist() == np.bincount(block.target, minlength=network.num_nodes).tolist()


@pytest.mark.parametrize("wrong", [{"seeds": [16]}, {"seeds": [-1]}, {"hops": -1}, {"fan_out": -1}])
def test_invalid_sampling_arguments_are_rejected(wrong: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=r"is not a node|at least 0"):
        sample_block(small(), **({"seeds": [0], "hops": 1, "fan_out": 1, "key": 0} | wrong))
