"""Multi-task pre-training: the sum of both losses on embeddings without the masked features."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from distgnn.config import EncoderConfig, PretrainConfig
from distgnn.errors import RequestError
from distgnn.graph.schema import Schema
from distgnn.models.encoder import Encoder, build_encoder
from distgnn.objectives.attrmasking import AttrMasking, MaskingConfig
from distgnn.objectives.build import build_objective
from distgnn.objectives.edgepred import EdgePred
from distgnn.objectives.multitask import Multitask, MultitaskConfig
from tests.helpers.checks import assert_same_loss_and_gradient, assert_streams_add_up
from tests.helpers.graphs import BARE, MOLECULE, random_graphs, with_tasks

SIZES = [5, 1, 9, 2, 6, 14]


def build(weight: float = 0.7, target: Any = "auto", rate: float = 0.3) -> tuple[Encoder, Multitask]:
    request = PretrainConfig(
        "-",
        objective="multitask",
        encoder=EncoderConfig(layers=2, width=6),
        options={"attrmasking": MaskingConfig(target, rate), "multitask": MultitaskConfig(weight)},
    )
    objective = build_objective(request, MOLECULE)
    assert isinstance(objective, Multitask)
    return build_encoder(MOLECULE, request.encoder, 1).double(), objective.double()


@pytest.mark.parametrize("target", ["node", "edge", "edge_multilabel"])
@pytest.mark.parametrize("weight", [0.0, 0.7, 2.0])
def test_the_loss_is_the_weighted_sum_of_both(target: str, weight: float) -> None:
    encoder, objective = build(weight, target)
    graphs, masking, links = random_graphs(SIZES), objective.masking, objective.links
    batch = with_tasks(graphs, objective.prepare, streams=[0, 3])
    found = objective.losses(encoder, batch, 3, 0)
    mask = masking.losses(encoder, with_tasks(graphs, masking.prepare, streams=[0, 3]), 3, 0)
    only_links = with_tasks(graphs, links.prepare, streams=[0, 3])
    link = links.of_nodes(masking.encode(encoder, batch), only_links)
    assert_same_loss_and_gradient(found.total, mask.total + weight * link.total, encoder, objective)
    assert float(found.count) == float(mask.count) >= float(link.count)
    for name in objective.metric_names:
        source = {"mask_loss": mask, "link_loss": link}.get(name)
        expected = (source.total, source.count) if source else (mask.sums | link.sums)[name]
        assert [float(part.detach()) for part in found.sums[name]] == pytest.approx(
            [float(e.detach()) for e in expected]
        )


def test_the_link_loss_uses_embeddings_without_masked_features() -> None:
    encoder, objective = build()
    batch = with_tasks(random_graphs(SIZES), objective.prepare)
    seen = EdgePred().of_nodes(encoder(batch), batch).total
    assert not torch.isclose(objective.losses(encoder, batch, 3, 0).sums["link_loss"][0], seen)


@pytest.mark.parametrize("target", ["node", "edge_multilabel"])
def test_streams_add_up(target: str) -> None:
    encoder, objective = build(target=target)
    assert_streams_add_up(objective, encoder, random_graphs(SIZES), 3)


def test_options_of_masking_are_used() -> None:
    objective = build(target="edge", rate=0.9)[1]
    assert isinstance(objective.masking, AttrMasking)
    assert objective.masking.target == "edge"
    assert int(objective.prepare(random_graphs([9]), 0, 0)["masked"].ptr[-1]) > 5


def test_invalid_options_are_refused() -> None:
    with pytest.raises(RequestError, match=r"multitask.link_weight must not be negative, found -1"):
        MultitaskConfig(-1)
    for schema in (BARE, Schema(labels=("a",))):
        with pytest.raises(RequestError, match="no node or edge features to mask; choose edgepred"):
            build_objective(PretrainConfig("-", objective="multitask"), schema)
