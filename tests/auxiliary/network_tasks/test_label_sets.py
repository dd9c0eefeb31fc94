"""Multi-label node classification: losses and scores against plain loops, invalid tables, and no leakage of OAG's paper fields."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distgnn.auxiliary.network_tasks import label_sets
from distgnn.auxiliary.network_tasks.build import build_problem
from distgnn.auxiliary.network_tasks.label_sets import LabelSetTarget, read_label_sets
from distgnn.auxiliary.network_tasks.problem import NetworkProblem
from distgnn.distributed import ProcessGroup
from distgnn.errors import RequestError
from distgnn.labels.ranking import label_scores
from distgnn.models.network_encoder import SubgraphBatch
from distgnn.network.network import Network
from distgnn.network.sample import full_block
from distgnn.network.sources.oag import OagConfig, build_oag
from distgnn.network.store import load_network, save_network
from tests.helpers.networks import CONFIG, CPU, LABELS, problem_of, tagged
from tests.network.test_oag import FILES
from tests.network.test_sources import pairs


def logits(problem: NetworkProblem, network: Network) -> Tensor:
    """[N, classes], from all messages."""
    assert isinstance(problem.target, LabelSetTarget)
    return problem.target.classify(problem.encoder(SubgraphBatch(problem.views.inputs, full_block(network))))


def test_losses_equal_a_plain_loop() -> None:
    network = tagged()
    problem = problem_of(network)
    assert (problem.names, problem.metrics, problem.rows) == (("node", "edge_generation"), ("mrr", "ndcg"), 8)
    ((samples,), _) = problem.losses(problem.fetch([np.array([7, 0, 4])], 0))
    for node, loss in zip((7, 0, 4), samples.losses, strict=True):
        chance = torch.softmax(logits(problem, network)[node], 0)
        share = 1 / len(LABELS[node])
        wanted = sum(share * math.log(share / chance[label].item()) for label in LABELS[node])
        assert loss.item() == pytest.approx(wanted, rel=1e-12)
    assert {len(LABELS[node]) for node in (7, 0, 4)} == {1, 2}
    assert (samples.count, samples.summed, samples.labels.tolist()) == (3, False, [0, 0, 0])


def test_scores_do_not_depend_on_the_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tagged()
    problem = problem_of(network)
    found = logits(problem, network)[13:18].detach().numpy()
    relevant = np.array([[label in LABELS[node] for label in range(5)] for node in range(13, 18)])
    assert problem.evaluate("test").scores == pytest.approx(label_scores(relevant, found))
    monkeypatch.setattr(label_sets, "_ROWS", 2)
    assert problem.evaluate("test").scores == pytest.approx(label_scores(relevant, found))
    assert problem.evaluate("val").scores != problem.evaluate("test").scores


def test_read_labels() -> None:
    sets = read_label_sets(tagged(), CONFIG)
    assert (sets.kind, sets.classes) == ("paper", 5)
    assert [sets.of(np.array([node]))[1].tolist() for node in range(18)] == list(LABELS.values())
    place, label = sets.of(np.array([19, 5, 9, 5]))
    assert place.tolist() == [1] * len(LABELS[5]) + [2] * len(LABELS[9]) + [3] * len(LABELS[5])
    assert label.tolist() == LABELS[5] + LABELS[9] + LABELS[5]


def test_labelled_type_that_is_not_the_first() -> None:
    network = tagged()
    turned = replace(network, types=("author", "paper", "venue"), type_ptr=np.array([0, 10, 30, 34]))
    sets = read_label_sets(turned, CONFIG)
    assert sets.node["val"].tolist() == [18, 19, 20, 21, 22]
    assert sets.of(np.array([14]))[1].tolist() == LABELS[4]


def test_networks_without_a_split_get_a_keyed_split() -> None:
    network = tagged()
    tables = {name: column for name, column in network.tables.items() if ".labels." in name}
    found = read_label_sets(replace(network, tables=tables), CONFIG)
    assert sorted(np.concatenate(list(found.node.values())).tolist()) == list(range(18))
    assert len(found.node["train"]) == 11


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"meaning": None}, "no table 'paper.labels.meaning'"),
    ({"class": [0]}, r"paper.labels.node has \d+ rows, paper.labels.class 1"),
    ({"meaning": [4]}, "1 classes; at least 2"),
    ({"node": [0, 20], "class": [0, 1]}, "paper.labels.node, row 2: 20 does not lie in 0 to 19"),
    ({"node": [0, 1], "class": [-1, 1]}, "paper.labels.class, row 1: -1 does not lie in 0 to 4"),
    ({"node": [0, 1], "class": [0, 1]}, "part 'train' has paper nodes without a label"),
    ({"val": []}, "part 'val' has no paper nodes"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_invalid_tables_are_refused(changes: dict[str, Any], message: str) -> None:
    network = tagged()
    tables = {
        f"paper.{name}" if name == "val" else f"paper.labels.{name}": column
        if column is None
        else np.array(column, int)
        for name, column in changes.items()
    }
    merged = {name: column for name, column in (network.tables | tables).items() if column is not None}
    with pytest.raises(RequestError, match=message) as caught:
        build_problem(replace(network, tables=merged), CONFIG, 0, ProcessGroup.single_process(CPU))
    assert "\n" not in str(caught.value)


def made_oag(tmp_path: Path, moves: Callable[[int], bool] = lambda _: False) -> Network:
    """Return 40 papers of 2010 to 2019 with one or two of six L2 fields each; ``moves`` changes those of some years."""
    year = [2010 + paper % 10 for paper in range(40)]
    fields = [(paper, 51) for paper in range(0, 40, 3)]
    for paper in range(40):
        shift = 2 if moves(year[paper]) else 0
        fields += [(paper, 61 + (number + shift) % 6) for number in (paper, paper * paper // 3, paper)]
    files = FILES | {
        "Papers_CS_20190919": FILES["Papers_CS_20190919"].splitlines()[0]
        + "".join(f"\n{100 + p}\t{year[p]}\tT\t{91 + p % 2}\ten\tx\tconference\tu" for p in range(40)),
        "PR_CS_20190919": "a\tb" + "".join(f"\n{100 + p}\t{100 + p * 7 % 40}" for p in range(40)),
        "PF_CS_20190919": "p\tf" + "".join(f"\n{100 + p}\t{f}" for p, f in fields),
        "FHierarchy_20190919": "c\tp\tl\tm" + "".join(f"\n{f}\t51\tL2\tL1" for f in range(61, 67)),
        "PAuAf_CS_20190919": "p\ta\taf\tplace" + "".join(f"\n{100 + p}\t{70 + p % 7}\t81\t1" for p in range(40)),
        "vfi_vector": "".join(f"{number}\t{number % 7} 0.5\n" for number in (91, 92, 51, *range(61, 67), 81)),
    }
    for name, content in files.items():
        (tmp_path / f"{name}.tsv").write_text(content)
    return build_oag(OagConfig(input=str(tmp_path), out="x", citation_bar=0.0))


def test_oag_fields_are_messages_of_old_papers_and_labels_of_new_ones(tmp_path: Path) -> None:
    network = made_oag(tmp_path)
    year, meaning = network.tables["paper.year"], network.tables["paper.labels.meaning"].tolist()
    sent = pairs(network, "PF_in_L2", "paper", "field")
    assert pairs(network, "PF_in_L2^-1", "field", "paper") == {(field, paper) for paper, field in sent}
    rows = zip(network.tables["paper.labels.node"].tolist(), network.tables["paper.labels.class"].tolist(), strict=True)
    labels = [(paper, meaning[label]) for paper, label in rows]
    assert len(set(labels)) == len(labels)  # repeated rows of the raw file count once
    known = network.features["field"][:, 0].tolist()
    for paper in range(40):
        messages = {known[field] for other, field in sent if other == paper}
        classes = {known[field] for other, field in labels if other == paper}
        wanted = {(61 + number % 6) % 7 for number in (paper, paper * paper // 3)}
        assert (messages, classes) == ((set(), wanted) if year[paper] >= 2014 else (wanted, set()))
    for part, years in (("train", {2014, 2015, 2016}), ("val", {2017}), ("test", {2018, 2019})):
        assert network.tables[f"paper.{part}"].tolist() == [paper for paper in range(40) if int(year[paper]) in years]


def test_labels_are_stored(tmp_path: Path) -> None:
    network = made_oag(tmp_path)
    save_network(network, str(tmp_path / "net"))
    stored = problem_of(load_network(str(tmp_path / "net")))
    assert stored.evaluate("test").scores == problem_of(network).evaluate("test").scores


def same(first: Network, other: Network) -> bool:
    """Return whether everything that encoders and auxiliary tasks read, all but the tables, is equal."""
    arrays = [(getattr(first, name), getattr(other, name)) for name in ("indptr", "source", "relation")]
    arrays += [(first.features[kind], other.features[kind]) for kind in first.features]
    return first.relations == other.relations and all(np.array_equal(one, two) for one, two in arrays)


def test_no_label_is_in_a_message(tmp_path: Path) -> None:
    network, shifted_parameters = made_oag(tmp_path), made_oag(tmp_path, lambda year: year >= 2014)
    assert network.tables["paper.labels.class"].tolist() != shifted_parameters.tables["paper.labels.class"].tolist()
    assert same(network, shifted_parameters)
    assert not same(network, made_oag(tmp_path, lambda year: year < 2014))  # these are there to be seen


@pytest.mark.parametrize("encoder", ["gcn", "hgt"])
def test_labels_of_later_papers_do_not_reach_training(encoder: str, tmp_path: Path) -> None:
    networks = made_oag(tmp_path), made_oag(tmp_path, lambda year: year >= 2017)
    problems = [problem_of(network, encoder=encoder, fan_out=3) for network in networks]
    for step in range(3):
        found = []
        for problem in problems:
            target, auxiliary = problem.losses(problem.fetch([np.arange(5), np.arange(5, 12)], step))
            losses = torch.cat([samples.losses for samples in (*target, *auxiliary)])
            gradient = torch.autograd.grad(losses.sum(), list(problem.shared.parameters()), materialize_grads=True)
            found.append([losses, *gradient])
        assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))
        assert len(found[0][0]) > 12
    for part in ("val", "test"):
        first, other = (problem.evaluate(part).scores for problem in problems)
        assert first != other
