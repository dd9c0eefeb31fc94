"""Meta-path labels against exhaustive path search on small networks."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distgnn.config import SplitConfig
from distgnn.errors import RequestError
from distgnn.graph.splits import make_split
from distgnn.network.csr import Edges, both_ways, build_network, edges_of, with_messages
from distgnn.network.metapath import MetapathPairs, Walks, path_pairs
from distgnn.network.network import Network, Relation
from distgnn.network.paths import PAPER_PATHS
from distgnn.network.sources.kgrec import KgrecConfig, build_kgrec
from tests.helpers.corpora import real
from tests.network.test_sampling import MADE, RATED, SIZES, small, some

SHARED = "user rated item made_by entity made_by^-1 item"
BACK = "user rated item rated^-1 user"


def walked(network: Network, path: str) -> set[tuple[int, int]]:
    """Global (start, end) of every pair that some instance of the path joins, itself excluded."""
    words = path.split()
    reached = {(start, start) for start in network.nodes(words[0])}
    for source, name, target in zip(words[:-2:2], words[1::2], words[2::2], strict=True):
        back = name.endswith("^-1")
        relation = Relation(name[:-3], target, source) if back else Relation(name, source, target)
        (edges,) = edges_of(network, [relation])
        first, last = network.nodes(relation.source)[0], network.nodes(relation.target)[0]
        steps = {(int(s) + first, int(t) + last) for s, t in zip(edges.source, edges.target, strict=True)}
        steps = {(t, s) for s, t in steps} if back else steps
        reached = {(start, t) for start, here in reached for s, t in steps if s == here}
    return {(start, end) for start, end in reached if start != end}


def walked_without_return(network: Network, path: str) -> set[tuple[int, int]]:
    """Like :func:`walked`, by enumerating walks that never take an edge and then the same edge back."""
    words = path.split()
    walks = [(start,) for start in network.nodes(words[0])]
    before: tuple[str, ...] = ()
    for place in range(0, len(words) - 2, 2):
        source, name, target = words[place : place + 3]
        steps = walked(network, f"{source} {name} {target}")
        reverses = before == (target, name.removesuffix("^-1") if name.endswith("^-1") else f"{name}^-1", source)
        walks = [(*walk, t) for walk in walks for s, t in steps if s == walk[-1] and not (reverses and t == walk[-2])]
        before = source, name, target
    return {(walk[0], walk[-1]) for walk in walks if walk[0] != walk[-1]}


def as_set(pairs: tuple[np.ndarray, np.ndarray]) -> set[tuple[int, int]]:
    return set(zip(*(end.tolist() for end in pairs), strict=True))


def everything(pairs: MetapathPairs) -> set[tuple[int, int]]:
    found = pairs.joined.tocoo()
    return {(int(s) + pairs.first_start, int(e) + pairs.first_end) for s, e in zip(found.row, found.col, strict=True)}


@given(st.integers(0, 200), st.sampled_from([SHARED, BACK, "user rated item", "item rated^-1 user rated item"]))
@settings(max_examples=40, deadline=None)
def test_pairs_equal_exhaustive_path_search(seed: int, path: str) -> None:
    network = small(seed, 6)
    wanted = walked(network, path)
    if not wanted:
        with pytest.raises(RequestError, match="it joins no two nodes"):
            path_pairs(network, path)
        return
    pairs = path_pairs(network, path)
    assert everything(pairs) == wanted
    assert len(pairs) == len(wanted)
    assert as_set(pairs.positives(seed, 40)) <= wanted
    free = {*itertools.product({s for s, _ in wanted}, {e for _, e in wanted})} - wanted
    free = {(s, e) for s, e in free if s != e}
    if not free:
        with pytest.raises(RequestError, match="has no negatives"):
            pairs.negatives(seed, 5)
        return
    assert as_set(pairs.negatives(seed, 40)) <= free
    assert as_set(pairs._free(seed, np.arange(400))) == {(s - pairs.first_start, e - pairs.first_end) for s, e in free}


def test_a_relation_can_be_traversed_in_both_directions() -> None:
    network = build_network(SIZES, [some(RATED, 9, 3)])
    there, back = (path_pairs(network, path) for path in ("user rated item", "item rated^-1 user"))
    assert everything(there) == {(s, e) for e, s in everything(back)}
    inverse_only = build_network(SIZES, [both_ways(some(RATED, 9, 3))[1]])
    assert everything(path_pairs(inverse_only, "user rated item")) == everything(there)


def test_positives_are_keyed_and_uniform() -> None:
    pairs = path_pairs(small(4, 20), SHARED)
    first, again, other = (pairs.positives(word, 50) for word in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal([end[:20] for end in first], pairs.positives(1, 20))
    assert np.array_equal([end[:20] for end in pairs.negatives(1, 50)], pairs.negatives(1, 20))
    assert not np.array_equal(pairs.negatives(1, 50), pairs.negatives(2, 50))
    assert [len(end) for end in (*pairs.positives(1, 0), *pairs.negatives(1, 0))] == [0] * 4
    sampled = pairs.positives(9, 100 * len(pairs))
    counts = np.unique(np.stack(sampled), axis=1, return_counts=True)[1]
    assert len(counts) == len(pairs)
    assert abs(counts - 100).max() < 50


def test_negatives_follow_the_node_frequencies_of_positives() -> None:
    """User 0 has 30 of 33 positives, and must be about as frequent among negatives."""
    items = np.arange(30)
    ends = np.concatenate([np.zeros(30, np.int64), [1, 2, 3]]), np.concatenate([items, [30, 31, 32]])
    network = build_network({"user": 4, "item": 33}, [Edges(RATED, *ends)])
    start, end = path_pairs(network, "user rated item").negatives(0, 3000)
    free = [(30 * 3, 0), (32, 1), (32, 2), (32, 3)]  # weights degree(start) x free ends
    assert abs((start == 0).mean() - free[0][0] / (90 + 3 * 32)) < 0.03
    assert set(start.tolist()) == {0, 1, 2, 3}
    assert as_set((start, end)) & set(zip(*(e.tolist() for e in (ends[0], ends[1] + 4)), strict=True)) == set()


WRONG = {
    "user": "must alternate types and relations",
    "user rated item rated^-1": "must alternate types and relations",
    "user rated book": "no node type 'book'; the types are item, entity, user",
    "user liked item": "no relation 'liked' from user to item; relations from user: rated",
    "item rated user": "no relation 'rated' from item to user; relations from item: made_by, rated^-1",
}


@pytest.mark.parametrize(("path", "says"), WRONG.items())
def test_invalid_paths_are_rejected_in_one_line(path: str, says: str) -> None:
    with pytest.raises(RequestError, match=says.replace("^", r"\^")):
        path_pairs(small(), path)


def test_path_over_an_empty_relation_is_rejected() -> None:
    none = np.zeros(0, np.int64)
    network = with_messages(small(), *both_ways(Edges(Relation("sung_by", "item", "entity"), none, none)))
    with pytest.raises(
        RequestError, match="the relation 'sung_by' from item to entity has no messages; remove the path"
    ):
        path_pairs(network, "user rated item sung_by entity")


def test_pairs_depend_on_training_ratings_only() -> None:
    """Other ratings of the validation and test parts change no pair and no draw."""
    base = build_network(SIZES, both_ways(some(MADE, 10, 0)))
    ratings = some(RATED, 40, 5)
    parts = make_split(SplitConfig(method="random", fractions=(0.6, 0.2, 0.2)), np.arange(40))
    held_out = np.concatenate([parts["val"], parts["test"]])
    changed = ratings.target.copy()
    changed[held_out] = (changed[held_out] + 1) % SIZES["item"]
    found = []
    for target in (ratings.target, changed):
        rows = parts["train"]
        network = with_messages(base, *both_ways(Edges(RATED, ratings.source[rows], target[rows])))
        pairs = path_pairs(network, SHARED)
        found.append((everything(pairs), *map(tuple, pairs.positives(3, 30)), *map(tuple, pairs.negatives(3, 30))))
    assert found[0] == found[1]
    leaky = with_messages(base, *both_ways(ratings))
    assert everything(path_pairs(leaky, SHARED)) != found[0][0]  # so the test would see a leak


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "name", "columns"),
    [("kgrec/last-fm", "last-fm", "htr"), ("kgrec/book-crossing-full", "book-crossing", "hrt")],
)
def test_paths_of_the_paper_exist_in_the_data(folder: str, name: str, columns: str, tmp_path: Path) -> None:
    (path,) = real(folder)
    network = build_kgrec(KgrecConfig(input=path, out=str(tmp_path), name=name, columns=columns))  # pyright: ignore[reportArgumentType]
    user, item, label = (network.tables[f"rating.{column}"] for column in ("user", "item", "label"))
    train = np.flatnonzero(label)[::2]
    network = with_messages(network, *both_ways(Edges(RATED, user[train], item[train])))
    assert network.meta["paths"] == list(PAPER_PATHS[name])
    for chain in network.meta["paths"]:
        pairs = path_pairs(network, chain)
        assert len(pairs) > 100
        assert not as_set(pairs.positives(0, 256)) & as_set(pairs.negatives(0, 256))


LONG = "user rated item rated^-1 user rated item"
TWICE = "item rated^-1 user rated item rated^-1 user rated item"


@given(st.integers(0, 300), st.sampled_from([SHARED, BACK, LONG, TWICE, "user rated item"]))
@settings(max_examples=60, deadline=None)
def test_walks_that_do_not_turn_back_equal_their_enumeration(seed: int, path: str) -> None:
    network = small(seed, 6)
    wanted = walked_without_return(network, path)
    if not wanted:
        with pytest.raises(RequestError, match="it joins no two nodes by walks that do not turn back"):
            path_pairs(network, path, "nonbacktracking")
        return
    assert everything(path_pairs(network, path, "nonbacktracking")) == wanted


@pytest.mark.parametrize("path", [SHARED, LONG])
def test_a_label_does_not_depend_on_the_edge_between_its_ends(path: str) -> None:
    """So a label of a training positive says nothing that the label of a held-out positive does not; walks that turn back
    join every positive."""
    network = small(4, 12)
    (edges,) = edges_of(network, [RATED])
    first = network.nodes("user")[0], network.nodes("item")[0]
    changed = 0
    for place in range(len(edges.source)):
        pair = int(edges.source[place]) + first[0], int(edges.target[place]) + first[1]
        kept = np.arange(len(edges.source)) != place
        others = [
            found
            for relation in network.relations
            if relation.name.removesuffix("^-1") != "rated"
            for found in edges_of(network, [relation])
        ]
        less = build_network(SIZES, [*both_ways(Edges(RATED, edges.source[kept], edges.target[kept])), *others])
        for walks in ("nonbacktracking", "all"):
            with_edge, without = (pair in everything(path_pairs(one, path, walks)) for one in (network, less))
            if walks == "nonbacktracking":
                assert with_edge == without
            else:
                changed += with_edge != without
    assert changed


@pytest.mark.parametrize("walks", ["all", "nonbacktracking"])
def test_too_many_pairs_are_refused(walks: Walks) -> None:
    size = 1 << 15
    one = Edges(Relation("r", "a", "b"), np.arange(size), np.zeros(size, np.int64))
    with pytest.raises(
        RequestError, match=r"up to 1,073,741,824 pairs of nodes, at most 268,435,456 are held; name paths"
    ):
        path_pairs(build_network({"a": size, "b": 1}, [one]), "a r b r^-1 a", walks)


def test_too_many_walks_are_refused() -> None:
    size = 1 << 16
    star = build_network(
        {"a": size, "b": 1}, [Edges(Relation("r", "a", "b"), np.arange(size), np.zeros(size, np.int64))]
    )
    with pytest.raises(RequestError, match=r"too many walks to count; shorten it or set network\.paths=all"):
        path_pairs(star, "b r^-1 a r b r^-1 a r b r^-1 a r b r^-1 a r b", "nonbacktracking")
