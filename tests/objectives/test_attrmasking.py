"""AttrMasking against loops over masked rows; masks are keyed, and masked features have no influence."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from distgnn.config import EncoderConfig, PretrainConfig
from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch
from distgnn.graph.schema import Feature, Schema
from distgnn.models.encoder import Encoder, build_encoder
from distgnn.models.norm import statistics
from distgnn.objectives.attrmasking import AttrMasking, MaskingConfig
from distgnn.objectives.build import build_objective
from distgnn.objectives.masking import NAME, MaskBuilder
from tests.helpers.checks import assert_prepare_ignores_the_batch, assert_same_loss_and_gradient, assert_streams_add_up
from tests.helpers.graphs import BARE, MOLECULE, random_graphs, with_tasks

SIZES = [5, 1, 9, 2, 6, 14]  # the second graph has no edge
RICH = Schema(
    node=(Feature("atom", "categorical", 7), Feature("ring", "categorical", 2), Feature("charge", "dense", 2)),
    edge=(Feature("bond", "categorical", 4), Feature("stereo", "categorical", 3), Feature("evidence", "dense", 3)),
)
CHANNELS = Schema(edge=(Feature("evidence", "dense", 3), Feature("more", "dense", 2)))
NUMBERS = Schema(node=(Feature("value", "dense", 3),))


def build(schema: Schema, target: Any = "auto", kind: Any = "gin", rate: float = 0.3) -> tuple[Encoder, AttrMasking]:
    config = EncoderConfig(kind=kind, layers=2, width=6)
    request = PretrainConfig(
        "-", objective="attrmasking", encoder=config, options={"attrmasking": MaskingConfig(target, rate)}
    )
    objective = build_objective(request, schema)
    assert isinstance(objective, AttrMasking)
    if objective.token is not None:
        torch.nn.init.normal_(objective.token, generator=torch.Generator().manual_seed(0))
    return build_encoder(schema, config, 1).double(), objective.double()


def hidden_of(batch: GraphBatch, g: int, ptr: Tensor) -> list[int]:
    """Batch-absolute rows hidden in graph g."""
    extra = batch.extras[NAME]
    return [int(ptr[g]) + row for row in extra.values[int(extra.ptr[g]) : int(extra.ptr[g + 1])].tolist()]


def slow_nodes(encoder: Encoder, objective: AttrMasking, batch: GraphBatch) -> Tensor:
    """Embeddings of graphs whose hidden features were taken away one by one."""
    if objective.of == "edge":
        mask = torch.tensor([row in hidden_edges(batch) for row in range(batch.num_edges)])
        return encoder(encoder.context(batch, mask))
    assert objective.token is not None
    rows = encoder.embed(batch).unbind()
    hidden = {row for g in range(batch.num_graphs) for row in hidden_of(batch, g, batch.node_ptr)}
    return encoder(batch, inputs=torch.stack([objective.token if i in hidden else row for i, row in enumerate(rows)]))


def hidden_edges(batch: GraphBatch) -> set[int]:
    return {row for g in range(batch.num_graphs) for row in hidden_of(batch, g, batch.edge_ptr)}


def slow_row(objective: AttrMasking, h: Tensor, cat: Tensor, dense: Tensor) -> tuple[Tensor, int, int]:
    """Return (loss, number of correct classes and channels, number of predictions) of one masked row."""
    if objective.target == "edge":
        active = (dense > 0).nonzero().flatten().tolist()
        cat, dense = (cat[:1], dense[:0]) if cat.numel() else (torch.tensor([(active or [0])[0]]), dense[:0])
    outputs, terms, correct, predicted = objective.recovery.linear(h), [], 0, 0
    for size, truth in zip(objective.recovery.categories, cat.tolist(), strict=True):
        logits, outputs = outputs[:size], outputs[size:]
        terms.append(-torch.log_softmax(logits, 0)[truth])
        correct, predicted = correct + int(int(logits.argmax()) == truth), predicted + 1
    for size in objective.recovery.numbers:
        values, outputs = outputs[:size], outputs[size:]
        truths, dense = dense[:size].double(), dense[size:]
        if objective.of == "node":
            terms.append((values - truths).square().mean())
            continue
        signs = torch.where(truths > 0, 1.0, -1.0)
        terms.append(-F.logsigmoid(values * signs).mean())
        correct, predicted = correct + int((values * signs > 0).sum()), predicted + size
    return torch.stack(terms).mean(), correct, predicted


def slow_loss(encoder: Encoder, objective: AttrMasking, batch: GraphBatch) -> tuple[Tensor, int, int]:
    nodes, total, correct, predicted = slow_nodes(encoder, objective, batch), torch.zeros((), dtype=torch.float64), 0, 0
    for g in range(batch.num_graphs):
        each = []
        for row in hidden_of(batch, g, batch.node_ptr if objective.of == "node" else batch.edge_ptr):
            if objective.of == "node":
                found = slow_row(objective, nodes[row], batch.node_cat[row], batch.node_dense[row])
            else:
                u, v = batch.edges[:, row].tolist()
                found = slow_row(objective, nodes[u] + nodes[v], batch.edge_cat[row], batch.edge_dense[row])
            each.append(found[0])
            correct, predicted = correct + found[1], predicted + found[2]
        if each:
            total = total + torch.stack(each).mean()
    return total, correct, predicted


CASES = [(RICH, "node"), (RICH, "edge"), (RICH, "edge_multilabel"), (CHANNELS, "edge"), (CHANNELS, "auto")]


@pytest.mark.parametrize(("schema", "target"), [*CASES, (NUMBERS, "auto"), (MOLECULE, "auto")])
def test_equals_plain_loops(schema: Schema, target: str) -> None:
    encoder, objective = build(schema, target)
    batch = with_tasks(random_graphs(SIZES, schema), objective.prepare, streams=[0, 3])
    found, (slow, correct, predicted) = objective.losses(encoder, batch, 3, 0), slow_loss(encoder, objective, batch)
    assert_same_loss_and_gradient(found.total, slow, encoder, objective)
    contributing = batch.node_ptr.diff() if objective.of == "node" else batch.edge_ptr.diff()
    without = int((contributing == 0).sum())
    assert float(found.count) == len(SIZES) - without
    assert [float(part) for part in found.sums["mask_accuracy"]] == [correct, predicted]
    assert [float(part) for part in found.sums["skipped"]] == [without, len(SIZES)]


@pytest.mark.parametrize(("schema", "target"), CASES)
def test_streams_add_up(schema: Schema, target: str) -> None:
    encoder, objective = build(schema, target)
    assert_streams_add_up(objective, encoder, random_graphs(SIZES, schema), 3)


@pytest.mark.parametrize("kind", ["gin", "gcn", "sage", "gat"])
def test_masked_node_features_do_not_influence_the_embeddings(kind: str) -> None:
    encoder, objective = build(RICH, "node", kind)
    batch = with_tasks(random_graphs(SIZES, RICH), objective.prepare)
    rows = [row for g in range(batch.num_graphs) for row in hidden_of(batch, g, batch.node_ptr)]
    other = replace(batch, node_cat=batch.node_cat.clone(), node_dense=batch.node_dense.clone())
    other.node_cat[rows] = (other.node_cat[rows] + 1) % torch.tensor([7, 2], dtype=torch.int32)
    other.node_dense[rows] += 5
    assert torch.equal(objective.encode(encoder, batch), objective.encode(encoder, other))
    assert not torch.equal(encoder(batch), encoder(other))


@pytest.mark.parametrize("kind", ["gin", "gcn", "sage", "gat"])
def test_masked_edge_features_do_not_influence_the_embeddings(kind: str) -> None:
    encoder, objective = build(RICH, "edge", kind)
    batch = with_tasks(random_graphs(SIZES, RICH), objective.prepare)
    rows = sorted(hidden_edges(batch))
    other = replace(batch, edge_cat=batch.edge_cat.clone(), edge_dense=batch.edge_dense.clone())
    other.edge_cat[rows] = (other.edge_cat[rows] + 1) % torch.tensor([4, 3], dtype=torch.int32)
    other.edge_dense[rows] += 5
    assert torch.equal(objective.encode(encoder, batch), objective.encode(encoder, other))
    assert not torch.equal(encoder(batch), encoder(other))


def test_unmasked_features_influence_the_embeddings() -> None:
    for target in ("node", "edge"):
        encoder, objective = build(RICH, target)
        batch = with_tasks(random_graphs([8], RICH), objective.prepare)
        shown = replace(batch, node_dense=batch.node_dense + 1, edge_dense=batch.edge_dense + 1)
        assert not torch.allclose(objective.encode(encoder, batch), objective.encode(encoder, shown))


def test_an_edge_without_active_channel_is_class_0() -> None:
    _, objective = build(CHANNELS, "edge")
    graphs = random_graphs([4], CHANNELS, density=1.0)
    dense = torch.tensor(
        [[0, 0, 0, 0, 0], [0, 2, 1, 0, 0], [-1, 0, 0, 0, 3], [0, 0, 1, 1, 1], [1, 1, 0, 0, 0], [0] * 5]
    )
    batch = replace(graphs, edge_dense=dense.float())
    classes, rest = objective._truth(batch, torch.arange(6))
    assert classes.flatten().tolist() == [0, 1, 4, 2, 0, 0]
    assert rest.shape == (6, 0)


GRAPHS = st.builds(
    random_graphs,
    st.lists(st.integers(1, 12), min_size=1, max_size=6),
    st.just(BARE),
    st.integers(0, 1000),
    st.sampled_from([0.0, 0.3, 1.0]),
)


@settings(max_examples=60, deadline=None)
@given(GRAPHS, st.sampled_from(["node", "edge"]), st.floats(0.01, 0.99))
def test_the_number_of_masked_rows(graphs: GraphBatch, of: Any, rate: float) -> None:
    extra = MaskBuilder(of, rate)(graphs, 5, 0)[NAME]
    sizes = (graphs.node_ptr if of == "node" else graphs.edge_ptr).diff().tolist()
    for g, size in enumerate(sizes):
        rows = extra.values[int(extra.ptr[g]) : int(extra.ptr[g + 1])].tolist()
        assert len(rows) == (max(1, round(rate * size)) if size else 0)
        assert len(set(rows)) == len(rows)
        assert all(0 <= row < size for row in rows)


@settings(max_examples=30, deadline=None)
@given(GRAPHS, st.sampled_from(["node", "edge"]))
def test_masks_do_not_depend_on_the_batch(graphs: GraphBatch, of: Any) -> None:
    assert_prepare_ignores_the_batch(MaskBuilder(of, 0.3), graphs)


def test_masks_depend_on_seed_and_epoch_and_cover_every_node() -> None:
    graphs, builder = random_graphs([12]), MaskBuilder("node", 0.25)
    first = builder(graphs, 0, 0)[NAME].values
    assert torch.equal(first, builder(graphs, 0, 0)[NAME].values)
    assert not torch.equal(first, builder(graphs, 0, 1)[NAME].values)
    assert not torch.equal(first, builder(graphs, 1, 0)[NAME].values)
    counts = Counter(row for epoch in range(400) for row in builder(graphs, 0, epoch)[NAME].values.tolist())
    assert len(counts) == 12
    assert min(counts.values()) > 70
    assert max(counts.values()) < 130


@pytest.mark.parametrize(("schema", "target"), [(RICH, "edge"), (CHANNELS, "auto")])
def test_graphs_without_edges_update_running_statistics(schema: Schema, target: str) -> None:
    """The encoder must run nevertheless, since ranks with other streams count these graphs in the running statistics."""
    encoder, objective = build(schema, target)
    batch = with_tasks(random_graphs([1, 3, 1], schema, density=0.0), objective.prepare)
    found = objective.losses(encoder, batch, 3, 0)
    found.total.backward()
    assert float(found.total.detach()) == float(found.count) == 0.0
    assert [float(part) for part in found.sums["skipped"]] == [3.0, 3.0]
    assert statistics(encoder).any()


def test_graphs_of_one_node_are_masked() -> None:
    encoder, objective = build(MOLECULE)
    batch = with_tasks(random_graphs([1, 1]), objective.prepare)
    found = objective.losses(encoder, batch, 3, 0)
    assert float(found.count) == 2.0
    assert_same_loss_and_gradient(found.total, slow_loss(encoder, objective, batch)[0], encoder, objective)


def test_auto_target_is_nodes_or_else_all_edge_channels() -> None:
    assert build(RICH)[1].target == "node"
    assert build(CHANNELS)[1].target == "edge_multilabel"


@pytest.mark.parametrize(
    ("schema", "target", "message"),
    [
        (BARE, "auto", "attrmasking: the corpus has no node or edge features to mask; choose edgepred"),
        (BARE, "edge", "the corpus has no node or edge features"),
        (CHANNELS, "node", "attrmasking.target=node: the corpus has edge features only; set attrmasking.target=auto"),
        (NUMBERS, "edge", "attrmasking.target=edge: the corpus has node features only"),
        (NUMBERS, "edge_multilabel", "attrmasking.target=edge_multilabel: the corpus has node features only"),
    ],
)
def test_missing_features_are_refused(schema: Schema, target: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        build(schema, target)


def test_invalid_rates_are_refused() -> None:
    for rate in (0.0, 1.0):
        with pytest.raises(RequestError, match=r"attrmasking.rate must lie in \(0, 1\)"):
            MaskingConfig(rate=rate)
