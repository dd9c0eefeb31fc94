"""Random walks on networks against plain loops, and what pre-training on them learns."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from distgnn.auxiliary.network_tasks.build import build_problem
from distgnn.auxiliary.network_tasks.problem import NetworkProblem
from distgnn.auxiliary.network_tasks.random_walks import RandomWalks, RandomWalksConfig, Walker
from distgnn.auxiliary.network_tasks.tasks import draw_nodes
from distgnn.config import NetworkTaskConfig
from distgnn.distributed import ProcessGroup
from distgnn.errors import RequestError
from distgnn.graph.keyed import draw, key
from distgnn.graph.purposes import NetworkDraw
from distgnn.models.network_encoder import SubgraphBatch
from distgnn.network.csr import Edges, both_ways, build_network
from distgnn.network.network import Network, Relation
from distgnn.network.sample import full_block
from distgnn.network.sources.hetero import HeteroConfig, build_hetero
from tests.helpers.corpora import real
from tests.helpers.networks import CONFIG, papers, problem_of

WALKS = ("random_walks",)


def walks_of(problem: NetworkProblem) -> RandomWalks:
    task = problem.auxiliary[0]
    assert isinstance(task, RandomWalks)
    return task


def word(*parts: int, of: int) -> int:
    return int(draw(key(*parts), of)[0])


def slow_walk(network: Network, start: int, moves: int, key_of_step: int) -> list[tuple[int, int]]:
    """Return (node, word of its place) of every move; a move picks a relation, then a sender."""
    at, found = start, []
    for move in range(moves):
        senders: dict[int, list[int]] = {}
        for slot in range(int(network.indptr[at]), int(network.indptr[at + 1])):
            senders.setdefault(int(network.relation[slot]), []).append(int(network.source[slot]))
        if not senders:
            break
        relation, sender, place = (word(key_of_step, move, what, of=start) for what in range(3))
        some = senders[sorted(senders)[(relation >> 32) * len(senders) >> 32]]
        at = some[(sender >> 32) * len(some) >> 32]
        found.append((at, place))
    return found


@pytest.mark.parametrize("moves", [1, 2, 7])
def test_walks_equal_a_plain_loop(moves: int) -> None:
    network = papers()
    nodes, start = network.nodes("paper"), np.array([3, 19, 0, 7, 12])
    wanted = []
    for node in start.tolist():
        places = {place: at for at, place in slow_walk(network, node, moves, 5) if at in nodes and at != node}
        wanted.append(places[max(places)] if places else -1)
    assert Walker(network).meet(start, nodes, moves, 5).tolist() == wanted
    assert wanted[1] == -1  # paper 19 is alone
    assert moves == 1 or max(wanted) > -1


def star(one_way: bool = False) -> Network:
    """Paper 0 with author 0 and references 0 to 8; paper 1 has the author, papers 2 to 10 one of the references each."""
    has = Edges(Relation("has", "paper", "author"), np.array([0, 1]), np.array([0, 0]))
    cites = Edges(
        Relation("cites", "paper", "reference"), np.append(np.zeros(9, int), np.arange(2, 11)), np.arange(18) % 9
    )
    edges = [both_ways(has)[1], both_ways(cites)[1]] if one_way else [*both_ways(has), *both_ways(cites)]
    return build_network({"paper": 11, "author": 1, "reference": 9}, edges)


def test_relations_are_drawn_before_senders() -> None:
    """Of two moves from paper 0, those over its author are as frequent as those over its nine references together."""
    walker, nodes = Walker(star()), range(11)
    met = Counter(int(walker.meet(np.array([0]), nodes, 2, step)[0]) for step in range(1200))
    left = 1200 - met[-1]
    assert 0.45 < met[1] / left < 0.55  # half of the walks return to paper 0 and are left out
    assert all(0.03 < met[node] / left < 0.09 for node in range(2, 11))
    assert set(met) == {-1, *range(1, 11)}


def test_a_walk_ends_where_no_messages_arrive() -> None:
    """Messages lead from authors and references to papers only."""
    assert Walker(star(one_way=True)).meet(np.arange(11), range(11), 6, 0).tolist() == [-1] * 11


def test_visits_have_the_same_probability() -> None:
    """On a ring with messages one way, six moves visit six nodes in order."""
    ring = build_network({"a": 9}, [Edges(Relation("next", "a", "a"), np.arange(9), (np.arange(9) + 1) % 9)])
    walker = Walker(ring)
    met = Counter(int(walker.meet(np.array([0]), range(9), 6, step)[0]) for step in range(3000))
    assert set(met) == {8, 7, 6, 5, 4, 3}
    assert all(abs(count / 3000 - 1 / 6) < 0.04 for count in met.values())


def slow_losses(problem: NetworkProblem, network: Network, step: int, temperature: float, moves: int) -> list[float]:
    """InfoNCE of each walk that meets another paper."""
    step_key = key(key(3, NetworkDraw.WALKS), step)
    nodes = problem.encoder(SubgraphBatch(problem.views.inputs, full_block(network)))
    pool = draw_nodes(key(step_key, 1), network.nodes("paper"), CONFIG.negatives).tolist()
    losses = []
    for start in draw_nodes(key(step_key, 0), network.nodes("paper"), CONFIG.aux_batch).tolist():
        places = {place: at for at, place in slow_walk(network, start, moves, step_key) if at < 20 and at != start}
        if not places:
            continue
        met = places[max(places)]
        others = nodes[[met, *(node for node in pool if node not in (start, met))]]
        losses.append(-torch.log_softmax(F.cosine_similarity(nodes[[start]], others) / temperature, 0)[0].item())
    return losses


@pytest.mark.parametrize("step", [0, 1, 2])
@pytest.mark.parametrize(
    ("options", "moves", "temperature"), [({}, 40, 0.5), ({"moves": 3, "temperature": 1.5}, 3, 1.5)]
)
def test_losses_equal_a_plain_loop(step: int, options: dict[str, Any], moves: int, temperature: float) -> None:
    network = papers()
    problem = problem_of(network, auxiliary=WALKS, options={"random_walks": RandomWalksConfig(**options)})
    _, (samples,) = problem.losses(problem.fetch([np.arange(2)], step))
    wanted = slow_losses(problem, network, step, temperature, moves)
    assert samples.losses.tolist() == pytest.approx(wanted, rel=1e-10)
    assert samples.count == len(wanted) > 3


def test_walks_without_negatives_are_left_out() -> None:
    """With a pool of one node, pairs that contain it have no negatives."""
    task = walks_of(problem_of(papers(), auxiliary=WALKS, negatives=1, aux_batch=20))
    sizes = [len(task.query(step).data) for step in range(8)]
    assert all(task.query(step).data.all() for step in range(8))
    assert 10 < min(sizes) < 19  # paper 19 has no walk; one start at least is the pool


def test_targets_without_messages_are_refused() -> None:
    lonely = build_network(
        {"paper": 20, "author": 3},
        [Edges(Relation("has", "paper", "author"), np.arange(3), np.arange(3))],
        tables=papers().tables,
    )
    with pytest.raises(RequestError, match="random_walks: paper nodes receive no messages; choose other auxiliary"):
        problem_of(lonely, auxiliary=WALKS)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"moves": 0}, "moves must be at least 1"), ({"temperature": 0.0}, "temperature must be pos")],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=f"network.random_walks.{message}"):
        RandomWalksConfig(**options)


def chains() -> Network:
    """Two chains of 15 papers: neighbours in a chain share an author."""
    left = np.setdiff1d(np.arange(29), [14])
    wrote = np.concatenate([left, left + 1]), np.tile(np.arange(28), 2)
    label = np.repeat([0, 1], 15)
    parts = {f"paper.{part}_20": np.arange(30) for part in ("train", "val", "test")}
    edges = both_ways(Edges(Relation("written", "paper", "author"), *wrote))
    return build_network({"paper": 30, "author": 28}, edges, tables={"paper.label": label} | parts)


def contrast(problem: NetworkProblem) -> float:
    """Mean cosine of papers of one chain minus that of papers of two."""
    embedded = F.normalize(problem.encoder(SubgraphBatch(problem.views.inputs, full_block(chains())))[:30], dim=1)
    cosine = (embedded @ embedded.t()).detach()
    return float((cosine[:15, :15].mean() + cosine[15:, 15:].mean()) / 2 - cosine[:15, 15:].mean())


def train_on_walks(problem: NetworkProblem, steps: int) -> None:
    optimiser = torch.optim.Adam(problem.shared.parameters(), lr=1e-2)
    for step in range(steps):
        _, (samples,) = problem.losses(problem.fetch([np.arange(2)], step))
        optimiser.zero_grad()
        samples.losses.mean().backward()
        optimiser.step()


def test_papers_of_a_chain_become_similar() -> None:
    """Most papers of a chain have no common neighbour."""
    problem = problem_of(chains(), auxiliary=WALKS, aux_batch=30, negatives=30, norm="layer", width=16)
    before = contrast(problem)
    train_on_walks(problem, 60)
    assert contrast(problem) > before + 0.3


@pytest.mark.data
def test_random_walks_find_the_classes_of_aminer() -> None:
    """A linear probe of embeddings that saw no label has 79 to 81 % of the validation nodes after 100 steps of 1024 nodes."""
    (path,) = real("hetero/aminer")
    network = build_hetero(HeteroConfig(input=path, out="x", layout="aminer"))
    config = NetworkTaskConfig(width=64, norm="layer", fan_out=0, auxiliary=("random_walks",), aux_batch=512)
    problem = build_problem(network, config, 0, ProcessGroup.single_process(torch.device("cpu")))
    before = probe(problem, network)
    train_on_walks(problem, 40)
    assert before < 0.6 < 0.65 < probe(problem, network)


def probe(problem: NetworkProblem, network: Network) -> float:
    """Return the share of validation nodes that a linear model of the embeddings classifies."""
    label, start = network.tables["paper.label"], network.nodes("paper").start
    with torch.no_grad():
        train, val = (
            problem.evaluation.embed(problem.encoder, network.tables[f"paper.{part}_20"] + start, part).numpy()
            for part in ("train", "val")
        )
    model = LogisticRegression(C=1e-3).fit(train, label[network.tables["paper.train_20"]])
    return float(model.score(val, label[network.tables["paper.val_20"]]))
