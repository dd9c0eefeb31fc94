"""Problems on networks: losses against plain loops, no leakage, sums over ranks, and options."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from distgnn.auxiliary.network_tasks import views
from distgnn.auxiliary.network_tasks.build import auxiliary_names, build_problem, default_auxiliary
from distgnn.auxiliary.network_tasks.links import LinkTarget, read_links, training_network
from distgnn.auxiliary.network_tasks.metapaths import MetapathTask
from distgnn.auxiliary.network_tasks.nodes import NodeTarget, read_nodes
from distgnn.auxiliary.network_tasks.problem import NetworkProblem
from distgnn.auxiliary.network_tasks.references import link_references
from distgnn.auxiliary.problem import PartEvaluation, Samples
from distgnn.auxiliary.step import MultiTaskStep
from distgnn.auxiliary.weighting import build_weighting
from distgnn.config import NetworkTaskConfig, WeightingConfig
from distgnn.distributed import ProcessGroup
from distgnn.errors import RequestError
from distgnn.labels.influence import on_auc
from distgnn.models.network_encoder import SubgraphBatch
from distgnn.network.csr import Edges, both_ways, build_network
from distgnn.network.network import Network, Relation
from distgnn.network.paths import symmetric_paths
from distgnn.network.sample import full_block
from tests.helpers.networks import films, paged, papers, tagged
from tests.helpers.planted import Options

CPU = torch.device("cpu")
PATHS = ("user rated item film.actor entity film.actor^-1 item", "item rated^-1 user rated item")
LINKS = NetworkTaskConfig(width=6, hidden=7, fan_out=2, aux_batch=10, auxiliary=PATHS)
NODES = NetworkTaskConfig(width=6, hidden=7, fan_out=3, aux_batch=7, negatives=5)
WALKS = replace(NODES, auxiliary=("random_walks",))
BOTH = pytest.mark.parametrize(
    ("network", "config"),
    [(films(), LINKS), (papers(), NODES), (papers(), WALKS), (tagged(), NODES)],
    ids=["links", "nodes", "walks", "labels"],
)


def problem_of(
    network: Network, config: NetworkTaskConfig, group: ProcessGroup | None = None, **changes: Any
) -> NetworkProblem:
    problem = build_problem(network, replace(config, **changes), 3, group or ProcessGroup.single_process(CPU))
    problem.shared.double()
    problem.heads.double()
    return problem


def folds_of(problem: NetworkProblem, count: int = 3) -> list[np.ndarray]:
    return np.array_split(np.random.default_rng(0).permutation(problem.rows), count)


def gathered(found: tuple[list[Samples], list[Samples]]) -> Tensor:
    """Return (sum of losses, count) of each fold and task, [tasks, 2]."""
    return torch.stack([torch.stack([one.losses.sum(), one.count]) for part in found for one in part])


def gradients(problem: NetworkProblem, sums: Tensor) -> list[Tensor]:
    parameters = [*problem.shared.parameters(), *problem.heads.parameters()]
    weights = torch.arange(1, len(sums) + 1)
    return list(torch.autograd.grad((sums[:, 0] * weights).sum(), parameters, materialize_grads=True))


@BOTH
@pytest.mark.parametrize(("messages", "dropout"), [("keep", 0.0), ("hide", 0.0), ("keep", 0.5)])
def test_samples_of_two_ranks_sum_to_those_of_one(
    network: Network, config: NetworkTaskConfig, messages: str, dropout: float
) -> None:
    config = replace(config, messages=messages, dropout=dropout)
    alone = problem_of(network, config)
    folds, size = folds_of(alone), 3
    whole = gathered(alone.losses(alone.fetch(folds, 4)))
    ranks = [problem_of(network, config, ProcessGroup(rank, size, CPU)) for rank in range(size)]
    found = [gathered(problem.losses(problem.fetch(folds, 4))) for problem in ranks]
    torch.testing.assert_close(torch.stack(found).sum(0), whole, rtol=1e-12, atol=1e-12)
    parts = [gradients(problem, sums) for problem, sums in zip(ranks, found, strict=True)]
    for several, one in zip(zip(*parts, strict=True), gradients(alone, whole), strict=True):
        torch.testing.assert_close(torch.stack(several).sum(0), one, rtol=1e-10, atol=1e-12)


@BOTH
def test_a_rank_without_rows_has_no_samples(network: Network, config: NetworkTaskConfig) -> None:
    problem = problem_of(network, config, ProcessGroup(2, 3, CPU), aux_batch=2)
    batch = problem.fetch([np.array([0]), np.array([1])], 0)
    sums = gathered(problem.losses(batch))
    assert not sums.any()
    assert problem.fold_losses(batch, 0).losses.shape == (0,)
    assert not any(grad.any() for grad in gradients(problem, sums))


@BOTH
@pytest.mark.parametrize("messages", ["keep", "hide"])
@pytest.mark.parametrize("kind", ["gcn", "hgt"])
def test_fold_losses_equal_those_of_the_joint_pass(
    network: Network, config: NetworkTaskConfig, messages: str, kind: str
) -> None:
    problem = problem_of(network, config, messages=messages, encoder=kind)
    batch = problem.fetch(folds_of(problem), 0)
    target, _ = problem.losses(batch)
    for fold, samples in enumerate(target):
        again = problem.fold_losses(batch, fold)
        torch.testing.assert_close(again.losses, samples.losses, rtol=1e-12, atol=1e-12)
        assert (again.count.item(), again.labels.tolist()) == (len(samples.losses), samples.labels.tolist())


@BOTH
def test_a_fold_does_not_depend_on_other_folds(network: Network, config: NetworkTaskConfig) -> None:
    problem = problem_of(network, replace(config, messages="keep"))
    folds = folds_of(problem)
    first, other = (problem.losses(problem.fetch(some, 0))[0] for some in (folds, [folds[0], folds[2][:1]]))
    torch.testing.assert_close(first[0].losses, other[0].losses, rtol=1e-12, atol=1e-12)


def link_target(problem: NetworkProblem) -> LinkTarget:
    assert isinstance(problem.target, LinkTarget)
    return problem.target


def embedded(problem: NetworkProblem, network: Network) -> Tensor:
    """Embed all nodes from all messages."""
    return problem.encoder(SubgraphBatch(problem.views.inputs, full_block(network)))


def test_link_losses_equal_a_plain_loop() -> None:
    problem = problem_of(films(), LINKS, fan_out=0, messages="keep")
    links, rows = link_target(problem).links, np.array([3, 0, 5])
    nodes, head = embedded(problem, training_network(films(), links)), link_target(problem)
    ((samples,), _) = problem.losses(problem.fetch([rows], 0))
    for row, loss, label in zip(links.parts["train"][rows], samples.losses, samples.labels, strict=True):
        chance = torch.sigmoid(head.phi(nodes[links.item[row]]) @ head.phi(nodes[links.user[row]]))
        assert label == links.label[row]
        torch.testing.assert_close(loss, -torch.log(chance if label else 1 - chance))
    assert samples.count == 3
    assert not samples.summed


def test_training_positives_and_nothing_else_pass_messages() -> None:
    network = films()
    links = read_links(network, LINKS)
    passed, wanted = training_network(network, links), set()
    for row in links.parts["train"]:
        if links.label[row] == 1:
            wanted |= {(links.user[row], links.item[row]), (links.item[row], links.user[row])}
    target = np.repeat(np.arange(passed.num_nodes), np.diff(passed.indptr))
    users, messages = network.nodes("user"), set(zip(passed.source.tolist(), target.tolist(), strict=True))
    assert {pair for pair in messages if pair[0] in users or pair[1] in users} == wanted
    assert passed.num_messages == network.num_messages + len(wanted)


def test_messages_hide_excludes_the_links_of_the_step() -> None:
    rows = np.arange(7)
    kept, hidden = (problem_of(films(), LINKS, fan_out=0, messages=how) for how in ("keep", "hide"))
    links = link_target(kept).links
    some = links.parts["train"][rows]
    query = set(zip(links.user[some].tolist(), links.item[some].tolist(), strict=True))

    def messages(problem: NetworkProblem) -> set[tuple[int, int]]:
        block = problem.views.block(np.arange(problem.views.network.num_nodes), 0)
        if link_target(problem).hides:
            pairs = link_target(problem).pairs_of(rows)
            block = views.without(block, views.joins(block, problem.views.network.num_nodes, pairs))
        return set(zip(block.node[block.source].tolist(), block.node[block.target].tolist(), strict=True))

    assert messages(kept) - messages(hidden) == {
        pair for pair in messages(kept) if pair in query or pair[::-1] in query
    }
    assert messages(hidden) < messages(kept)
    first, other = (problem.losses(problem.fetch([rows], 0))[0][0].losses for problem in (kept, hidden))
    assert not torch.allclose(first, other)
    for problem in (kept, hidden):  # rows of a judge never see their own links
        unseen = problem.fold_losses(problem.fetch_unseen(rows, 0), 0).losses
        torch.testing.assert_close(unseen, other)


@pytest.mark.parametrize("kind", ["gcn", "hgt"])
@pytest.mark.parametrize("messages", ["keep", "hide"])
def test_no_held_out_rating_leaks(kind: str, messages: str) -> None:
    network, config = films(), replace(LINKS, encoder=kind, messages=messages, fan_out=0)
    held = np.concatenate([read_links(network, config).parts[part] for part in ("val", "test")])
    tables = {name: column.copy() for name, column in network.tables.items()}
    tables["rating.label"][held] = 1 - tables["rating.label"][held]
    tables["rating.item"][held] = (tables["rating.item"][held] + 5) % 11
    tables["rating.user"][held] = (tables["rating.user"][held] + 3) % 8
    first, other = (problem_of(one, config) for one in (network, replace(network, tables=tables)))
    for step in range(3):
        sums = [gathered(problem.losses(problem.fetch(folds_of(problem), step))) for problem in (first, other)]
        assert torch.equal(*sums)
        assert all(
            torch.equal(one, two) for one, two in zip(gradients(first, sums[0]), gradients(other, sums[1]), strict=True)
        )
    assert first.evaluate("test").scores != other.evaluate("test").scores


def test_steps_with_one_sample() -> None:
    for network, config in ((films(), LINKS), (papers(), NODES)):
        problem = problem_of(network, config, aux_batch=1)
        problem.auxiliary = [task for task in problem.auxiliary if task.name != "edge_generation"]
        _, auxiliary = problem.losses(problem.fetch([np.arange(3)], 0))
        assert [one.losses.numel() for one in auxiliary] == [1] * len(problem.auxiliary)


def test_path_labels_are_those_of_the_training_network() -> None:
    network = films()
    passed = training_network(network, read_links(network, LINKS))
    task = MetapathTask(passed, PATHS[1], replace(LINKS, aux_batch=41), 0, ProcessGroup.single_process(CPU))
    target = np.repeat(np.arange(passed.num_nodes), np.diff(passed.indptr))
    edges = set(zip(passed.source.tolist(), target.tolist(), strict=True))
    users, seen = network.nodes("user"), set()
    for step in range(20):
        query = task.query(step)
        assert query.data.sum() == 21
        for one, two, label in zip(query.seeds[:41].tolist(), query.seeds[41:].tolist(), query.data, strict=True):
            assert (one != two and any((one, u) in edges and (u, two) in edges for u in users)) == label
            seen.add((one, two))
    assert len(seen) > 50  # drawn anew for each step


def test_class_losses_equal_a_plain_loop() -> None:
    network = papers()
    problem = problem_of(network, NODES, fan_out=0)
    assert isinstance(problem.target, NodeTarget)
    ((samples,), _) = problem.losses(problem.fetch([np.array([4, 1])], 0))
    logits = problem.target.classify(embedded(problem, network)[[4, 1]])
    torch.testing.assert_close(samples.losses, F.cross_entropy(logits, torch.tensor([1, 1]), reduction="none"))
    assert not samples.labels.any()


@BOTH
def test_scores_equal_those_of_a_full_pass(network: Network, config: NetworkTaskConfig) -> None:
    problem = problem_of(network, config)
    nodes = embedded(problem, problem.views.network)
    problem.heads.requires_grad_(False)
    for part in ("val", "test"):
        wanted = problem.target.evaluate(part, lambda ids: nodes[ids].detach()).scores
        assert problem.evaluate(part).scores == pytest.approx(wanted)
        assert tuple(wanted) == problem.metrics
    assert problem.encoder.training


@BOTH
def test_influences_are_those_on_the_metric_that_selects(network: Network, config: NetworkTaskConfig) -> None:
    """Those of accuracy, and of the AUC of the pairs."""
    problem = problem_of(network, config)
    nodes, part = embedded(problem, problem.views.network).detach(), "val"
    problem.heads.requires_grad_(False)
    found = problem.target.evaluate(part, lambda ids: nodes[ids])
    assert found.influence is not None
    assert found.influence.sum() == pytest.approx(0, abs=1e-9)
    if isinstance(problem.target, NodeTarget):
        rows = problem.target.nodes.node[part]
        right = problem.target.classify(nodes[rows]).argmax(1).numpy() == problem.target.nodes.label[part]
        assert found.influence.tolist() == (right - found.scores["micro_f1"]).tolist()
    if isinstance(problem.target, LinkTarget):
        links = problem.target.links
        rows = links.parts[part]
        users, items = (problem.target.phi(nodes[ids[rows]]) for ids in (links.user, links.item))
        wanted = on_auc(links.label[rows], (users * items).sum(1).detach().numpy())
        assert found.influence == pytest.approx(wanted)


@BOTH
def test_scores_of_a_network_too_large_for_one_pass(
    network: Network, config: NetworkTaskConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = problem_of(network, config)
    wanted = problem.evaluate("test").scores
    monkeypatch.setattr(views, "_KEPT", 0)
    monkeypatch.setattr(views, "_SEEDS", 2)
    assert problem.evaluate("test").scores == pytest.approx(wanted)


def test_evaluation_can_be_sampled_once() -> None:
    first, other, whole = (problem_of(papers(), NODES, eval_fan_out=fan_out) for fan_out in (1, 1, 0))
    found = [problem.evaluation.embed(problem.encoder, np.arange(20), "any") for problem in (first, other, whole)]
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2])


def test_fan_out_and_steps_change_what_is_sampled() -> None:
    rows = [np.arange(8)]
    sampled, whole = problem_of(papers(), NODES, fan_out=1), problem_of(papers(), NODES, fan_out=0)
    found = [sampled.losses(sampled.fetch(rows, step))[0][0].losses for step in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2])
    assert not torch.allclose(found[0], whole.losses(whole.fetch(rows, 0))[0][0].losses)


def test_dropout_is_keyed() -> None:
    problem = problem_of(papers(), NODES, dropout=0.4, fan_out=0)
    before = torch.random.get_rng_state()
    batches = [problem.fetch([np.arange(8)], step) for step in (0, 1)]
    first, again, other = (gathered(problem.losses(batch)) for batch in (batches[0], batches[0], batches[1]))
    assert torch.equal(first, again)
    assert not torch.allclose(first[0], other[0])
    assert problem.evaluate("val").scores == problem.evaluate("val").scores
    assert torch.equal(torch.random.get_rng_state(), before)


def test_initial_weights_and_sampling_are_functions_of_the_seed() -> None:
    before = torch.random.get_rng_state()
    problems = [build_problem(films(), LINKS, seed, ProcessGroup.single_process(CPU)) for seed in (1, 1, 2)]
    assert torch.equal(torch.random.get_rng_state(), before)
    found = [gathered(problem.losses(problem.fetch([np.arange(9)], 0))) for problem in problems]
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2])
    for module in ("encoder", "heads"):
        first, other = (getattr(problems[number], module).state_dict() for number in (0, 2))
        assert not any(torch.equal(first[name], other[name]) for name in first if name.endswith("weight"))


def test_a_path_that_joins_everything_is_refused_at_once() -> None:
    user, item = np.divmod(np.arange(6), 3)
    full = build_network({"item": 3, "user": 2}, both_ways(Edges(Relation("rated", "user", "item"), user, item)))
    with pytest.raises(RequestError, match="joins every start with every end"):
        MetapathTask(full, "user rated item", LINKS, 0, ProcessGroup.single_process(CPU))


def test_splits_do_not_depend_on_the_seed() -> None:
    problems = [link_target(build_problem(films(), LINKS, seed, ProcessGroup.single_process(CPU))) for seed in (1, 2)]
    for part, rows in problems[0].links.parts.items():
        assert rows.tolist() == problems[1].links.parts[part].tolist()
    other = read_links(films(), replace(LINKS, split_seed=1, fractions=(0.5, 0.25, 0.25)))
    assert [len(other.parts[part]) for part in ("train", "val", "test")] == [30, 15, 15]
    assert (
        read_links(films(), replace(LINKS, split_seed=1)).parts["val"].tolist()
        != problems[0].links.parts["val"].tolist()
    )


def test_the_official_split_is_preferred_to_a_keyed_one() -> None:
    network = papers()
    assert read_nodes(network, NODES).node["val"].tolist() == [8, 9, 10, 11, 12]
    label = {"paper.label": network.tables["paper.label"]}
    only = label | {f"paper.{part}": np.array([row]) for row, part in enumerate(("train", "val", "test"))}
    found = read_nodes(replace(network, tables=only), replace(NODES, official_split=60))
    assert [found.node[part].tolist() for part in ("train", "val", "test")] == [[0], [1], [2]]
    keyed = read_nodes(replace(network, tables=label), NODES)
    assert sorted(np.concatenate(list(keyed.node.values())).tolist()) == list(range(18))  # 18 and 19 have no label
    assert len(keyed.node["train"]) == 11
    sixty = network.tables | {
        f"paper.{part}_60": np.array([5 + row]) for row, part in enumerate(("train", "val", "test"))
    }
    assert read_nodes(replace(network, tables=sixty), replace(NODES, official_split=60)).node["test"].tolist() == [7]


def test_default_auxiliary_tasks() -> None:
    assert problem_of(papers(), NODES).names == ("node", "edge_generation", "attribute_generation")
    assert problem_of(papers(features=False), NODES).names == ("node", "edge_generation")
    assert problem_of(films(), LINKS).names == ("link", *PATHS)
    assert default_auxiliary(replace(films(), meta={"paths": list(PATHS)}), "item") == PATHS
    mixed = problem_of(papers(), NODES, auxiliary=("edge_generation", "paper written author written^-1 paper"))
    assert len(mixed.heads) == 3


def test_symmetric_paths_stand_for_the_meta_paths_to_other_types_and_back() -> None:
    author, venue = "paper written author written^-1 paper", "paper at venue at^-1 paper"
    assert problem_of(papers(), NODES, auxiliary=("symmetric_paths",)).names == ("node", author, venue)
    mixed = problem_of(papers(), NODES, auxiliary=(venue, "symmetric_paths", "edge_generation"))
    assert mixed.names == ("node", venue, author, "edge_generation")
    assert symmetric_paths(papers(), "author") == (
        "author written^-1 paper written author",
        "author written^-1 paper at venue at^-1 paper written author",
    )


def test_symmetric_paths_need_a_few_other_types() -> None:
    alone = replace(papers(), relations=papers().relations[-1:])
    with pytest.raises(RequestError, match="no relation leads from paper to another type"):
        auxiliary_names(alone, replace(NODES, auxiliary=("symmetric_paths",)), "paper")
    many = replace(papers(), relations=tuple(Relation(f"r{n}", "paper", "author") for n in range(17)))
    with pytest.raises(RequestError, match=r"17 meta-paths from paper, at most 16 .* such as 'paper r0 author"):
        auxiliary_names(many, replace(NODES, auxiliary=("symmetric_paths",)), "paper")


def test_symmetric_paths_without_pairs_are_left_out_and_listed() -> None:
    path = "paper has page has^-1 paper"
    found = problem_of(paged(), NODES, auxiliary=("symmetric_paths",))
    assert found.names == ("node", "paper written author written^-1 paper")
    assert found.left_out == (f"path {path!r}: it joins no two nodes by walks that do not turn back",)
    with pytest.raises(RequestError, match="it joins no two nodes"):
        problem_of(paged(), NODES, auxiliary=("symmetric_paths", path))
    pages = both_ways(Edges(Relation("has", "paper", "page"), np.arange(19), np.arange(19)))
    with pytest.raises(RequestError, match="none of its meta-paths can be a task"):
        problem_of(
            build_network({"paper": 20, "page": 19}, pages, tables=papers().tables),
            NODES,
            auxiliary=("symmetric_paths",),
        )


def tables_less(network: Network, **tables: Any) -> Network:
    return replace(network, tables={name.replace("_", ".", 1): column for name, column in tables.items()})


REFUSED = [
    (films(), {"auxiliary": ("attribute_generation",)}, "item nodes have no features"),
    (papers(features=False), {"auxiliary": ("attribute_generation",)}, "paper nodes have no features"),
    (films(), {"auxiliary": ("edgepred",)}, "network.auxiliary='edgepred' is unknown .*edge_generation"),
    (films(), {"auxiliary": ("item knows user",)}, "no relation 'knows'"),
    (films(), {"target": "node"}, "no table TYPE.label"),
    (papers(), {"target": "link"}, "no table 'rating.user'"),
    (films(), {"fractions": (0.96, 0.02, 0.02)}, "ratings of one label only"),
    (tables_less(papers(), paper_label=np.zeros(20, np.int64)), {}, "1 classes"),
    (tables_less(films(), rating_user=[0], rating_item=[0], rating_label=[5]), {}, "must be 0 or 1"),
    (replace(papers(), tables=papers().tables | {"paper.val_20": np.array([19])}), {}, "'val' has paper nodes without"),
]


@pytest.mark.parametrize(("network", "changes", "message"), REFUSED)
def test_invalid_requests_are_refused(network: Network, changes: dict[str, Any], message: str) -> None:
    config = LINKS if "rating.user" in network.tables and "auxiliary" in changes else NODES
    with pytest.raises(RequestError, match=message) as caught:
        build_problem(network, replace(config, **changes), 0, ProcessGroup.single_process(CPU))
    assert "\n" not in str(caught.value)


@BOTH
@pytest.mark.parametrize("kind", ["gcn", "gat", "gin", "sage", "hgt", "lightgcn"])
@pytest.mark.parametrize("granularity", ["task", "sample"])
def test_joint_steps_run_on_networks(network: Network, config: NetworkTaskConfig, kind: str, granularity: Any) -> None:
    problem = problem_of(network, config, encoder=kind)
    weighting = WeightingConfig(method="auxts_all", granularity=granularity, hidden=5)
    options = Options(batch=6, weighting=weighting)
    model = build_weighting(weighting, problem.names, 0)
    step = MultiTaskStep(problem, model, options, ProcessGroup.single_process(CPU), 0)
    before = [parameter.clone() for parameter in problem.shared.parameters()]
    records = [step.step(number) for number in range(2)]
    assert all(np.isfinite(record.losses).all() and np.isfinite(record.weights).all() for record in records)
    assert np.any(np.asarray(records[-1].hypergradients) != 0)
    assert any(not torch.equal(*pair) for pair in zip(before, problem.shared.parameters(), strict=True))


def test_strata_are_the_classes_of_the_rows() -> None:
    for network in (films(), papers()):
        problem = build_problem(network, NetworkTaskConfig(width=6), 3, ProcessGroup.single_process(CPU))
        labels = problem.target.query(np.arange(problem.rows)).data.long().tolist()
        assert problem.strata.tolist() == labels
        assert len(set(labels)) > 1


def test_links_are_ranked_among_all_items_that_are_not_known() -> None:
    """The scores are those of the pairs, and the positives of training (and validation) are no candidates."""
    network = films()
    problem = problem_of(network, LINKS, fan_out=0)
    target, links = link_target(problem), link_target(problem).links
    nodes = embedded(problem, training_network(network, links))
    both = (target.phi(nodes[list(links.users)]) @ target.phi(nodes[list(links.items)]).t()).detach().numpy()
    for part, known in (("val", ("train",)), ("test", ("train", "val"))):
        rows = {one: links.parts[one][links.label[links.parts[one]] == 1] for one in (*known, part)}
        taken = {pair for one in known for pair in zip(links.user[rows[one]], links.item[rows[one]], strict=True)}
        recalls = []
        for user in links.users:
            mine = links.item[rows[part]][links.user[rows[part]] == user].tolist()
            wanted = {item for item in mine if (user, item) not in taken}
            free = [item for item in links.items if (user, item) not in taken]
            first = sorted(free, key=lambda item: -both[user - links.users.start, item - links.items.start])[:20]
            recalls += [len(wanted & set(first)) / len(wanted)] if wanted else []
        assert problem.evaluate(part).scores["recall@20"] == pytest.approx(np.mean(recalls))


def test_references_of_links() -> None:
    """Popularity by a loop; the factorisation reads training positives only."""
    links = read_links(films(), LINKS)
    found = link_references(links)
    rows = links.parts["test"]
    train = links.parts["train"][links.label[links.parts["train"]] == 1]
    counts = [int((links.item[train] == item).sum()) for item in links.item[rows]]
    assert found["popularity"]["auc"] == pytest.approx(roc_auc_score(links.label[rows], counts))
    assert set(found) == {"popularity", "matrix factorisation", "LightGCN"}
    label = links.label.copy()
    label[rows] = 1 - label[rows]
    turned = link_references(replace(links, label=label))
    for name in found:
        assert set(found[name]) == set(LinkTarget.metrics)
        assert turned[name]["auc"] == pytest.approx(1 - found[name]["auc"])


@BOTH
def test_half_of_the_validation_rows_judge_and_the_others_select(network: Network, config: NetworkTaskConfig) -> None:
    whole, split = (problem_of(network, config) for _ in range(2))
    split.split_validation(3)
    nodes = {name: _nodes(problem) for name, problem in (("whole", whole), ("split", split))}
    judging, selecting = nodes["split"]["judge"], nodes["split"]["val"]
    assert split.judges == len(judging) == len(nodes["whole"]["val"]) // 2
    assert sorted([*judging, *selecting]) == sorted(nodes["whole"]["val"])
    unseen = split.fetch_unseen(np.arange(split.judges), 0)
    seeds = unseen.folds[0].seeds
    asked = list(zip(*np.split(seeds, 2), strict=True)) if isinstance(split.target, LinkTarget) else seeds.tolist()
    assert asked == judging
    seen: list[list[int]] = []
    evaluate = split.target.evaluate

    def recording(part: str, embed: Any) -> PartEvaluation:
        return evaluate(part, lambda rows: seen.append(rows.tolist()) or embed(rows))

    split.target.evaluate = recording  # pyright: ignore[reportAttributeAccessIssue]
    influence = split.evaluate("val").influence
    assert influence is not None
    assert len(influence) == len(selecting)
    first = selecting[0]
    assert set(first if isinstance(first, tuple) else [first]) <= set(seen[0])
    if not isinstance(first, tuple):
        assert seen[0] == selecting
    sums = [gathered(problem.losses(problem.fetch(folds_of(problem), 1))) for problem in (whole, split)]
    assert torch.equal(*sums)  # training is the same
    metric = "auc" if isinstance(split.target, LinkTarget) else "mrr"
    assert whole.evaluate("test").scores[metric] == split.evaluate("test").scores[metric]


def _nodes(problem: NetworkProblem) -> dict[str, list[Any]]:
    """Nodes, or pairs of nodes, of every part."""
    target: Any = problem.target
    if isinstance(target, LinkTarget):
        links = target.links
        return {part: list(zip(links.user[rows], links.item[rows], strict=True)) for part, rows in links.parts.items()}
    found = target.nodes if isinstance(target, NodeTarget) else target.sets
    return {part: rows.tolist() for part, rows in found.node.items()}


def test_the_judge_of_links_is_left_out_of_the_ranking_of_the_others() -> None:
    """Its positives are neither candidates nor wanted in validation, and known in the test."""
    problem = problem_of(films(), LINKS)
    problem.split_validation(0)
    links = link_target(problem).links
    judged = links.matrix(("judge",)).toarray()
    assert judged.any()
    assert not (judged & ~links.known("val").toarray()).any()
    assert not (judged & ~links.known("test").toarray()).any()
    assert not (judged & links.wanted("val").toarray()).any()
