"""Supervised pre-training against loops over known labels; unknown labels have no influence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from distgnn.config import EncoderConfig, PretrainConfig
from distgnn.corpus.reader import CorpusReader
from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch
from distgnn.graph.schema import Schema
from distgnn.models.encoder import Encoder, build_encoder
from distgnn.objectives.build import build_objective
from distgnn.objectives.supervised import Supervised, SupervisedConfig
from tests.helpers.checks import assert_same_loss_and_gradient, assert_streams_add_up, gradients
from tests.helpers.graphs import MOLECULE, random_graphs, with_tasks
from tests.helpers.labelled import signal, write_labelled
from tests.helpers.training import losses, small, train_small, validations

NAN = float("nan")
LABELLED = replace(MOLECULE, labels=("a", "b", "c"))
SIZES = [5, 1, 9, 2, 6]
CLASSES = [[1, 0, NAN], [NAN, NAN, NAN], [0, NAN, 1], [1, 1, 1], [NAN, 0, 0]]
NUMBERS = [[1.5, -2, NAN], [NAN, NAN, NAN], [0, NAN, 30], [0.1, 1, 1], [NAN, 0, -7]]


def build(task: Any, labels: tuple[str, ...] = (), schema: Schema = LABELLED) -> tuple[Encoder, Supervised]:
    config = EncoderConfig(layers=2, width=6)
    label_config = SupervisedConfig(labels, task)
    objective = build_objective(
        PretrainConfig("data/x", objective="supervised", encoder=config, options={"supervised": label_config}), schema
    )
    assert isinstance(objective, Supervised)
    return build_encoder(schema, config, 1).double(), objective.double()


def graphs_with(y: list[list[float]]) -> GraphBatch:
    return replace(random_graphs(SIZES), y=torch.tensor(y))


def slow_loss(
    encoder: Encoder, objective: Supervised, batch: GraphBatch, columns: list[int]
) -> tuple[Tensor, list[int]]:
    """(loss, known labels of each graph)."""
    outputs, total = objective.head(encoder.pool(encoder(batch), batch)), torch.zeros((), dtype=torch.float64)
    assert batch.y is not None
    known = []
    for row, truth in zip(outputs, batch.y[:, columns].double(), strict=True):
        terms = [
            -F.logsigmoid(out if label else -out) if objective.task == "classification" else (out - label) ** 2
            for out, label in zip(row, truth, strict=True)
            if not label.isnan()
        ]
        known.append(len(terms))
        if terms:
            total = total + torch.stack(terms).mean()
    return total, known


@pytest.mark.parametrize(("task", "y"), [("classification", CLASSES), ("regression", NUMBERS)])
@pytest.mark.parametrize(("labels", "columns"), [((), [0, 1, 2]), (("c", "a"), [2, 0]), (("b",), [1])])
def test_equals_plain_loops(task: str, y: Any, labels: tuple[str, ...], columns: list[int]) -> None:
    encoder, objective = build(task, labels)
    batch = with_tasks(graphs_with(y), objective.prepare, streams=[0, 2])
    found, (slow, known) = objective.losses(encoder, batch, 3, 0), slow_loss(encoder, objective, batch, columns)
    assert_same_loss_and_gradient(found.total, slow, encoder, objective)
    contributing = sum(count > 0 for count in known)
    assert float(found.count) == contributing < len(SIZES)
    assert [float(part) for part in found.sums["skipped"]] == [len(SIZES) - contributing, len(SIZES)]
    assert float(found.sums[objective.metric_names[0]][1]) == sum(known)


def test_metrics_are_computed_over_known_labels() -> None:
    for task, y in (("classification", CLASSES), ("regression", NUMBERS)):
        encoder, objective = build(task)
        batch = graphs_with(y)
        outputs = objective.head(encoder.pool(encoder(batch), batch)).detach()
        pairs = [(o, t) for o, t in zip(outputs.flatten().tolist(), np.ravel(y), strict=True) if not np.isnan(t)]
        right = sum((o > 0) == (t == 1) for o, t in pairs)
        expected = right if task == "classification" else sum(abs(o - t) for o, t in pairs)
        quality = objective.losses(encoder, batch, 0, 0).sums[objective.metric_names[0]]
        assert [float(part) for part in quality] == pytest.approx([expected, len(pairs)], rel=1e-6)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_streams_add_up(task: str) -> None:
    encoder, objective = build(task)
    assert_streams_add_up(objective, encoder, graphs_with(CLASSES), 2)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_no_known_label_is_no_loss_and_no_gradient(task: str) -> None:
    encoder, objective = build(task)
    batch = with_tasks(graphs_with([[NAN] * 3] * 5), objective.prepare)
    found = objective.losses(encoder, batch, 3, 0)
    assert float(found.total.detach()) == float(found.count) == 0.0
    assert all((gradient == 0).all() for gradient in gradients(found.total, encoder, objective))


def test_low_precision_stays_close() -> None:
    encoder, objective = (module.float() for module in build("classification"))
    batch = graphs_with(CLASSES)
    exact = objective.losses(encoder, batch, 3, 0).total
    with torch.autocast("cpu", torch.bfloat16):
        found = objective.losses(encoder, batch, 3, 0).total
    found.backward()
    assert float(found.detach()) == pytest.approx(float(exact.detach()), rel=0.05)


def test_classes_are_checked_where_they_are_read() -> None:
    y = [*CLASSES[:3], [1, 1, 3], CLASSES[4]]
    message = r"data/x: label 'c' is 3 in graph 103 where 0 or 1 belongs; set supervised.task=regression"
    with pytest.raises(RequestError, match=message):
        build("classification")[1].prepare(graphs_with(y), 0, 0)
    assert build("classification", ("a", "b"))[1].prepare(graphs_with(y), 0, 0) == {}
    assert build("regression")[1].prepare(graphs_with(y), 0, 0) == {}


@pytest.mark.parametrize(
    ("schema", "labels", "message"),
    [
        (MOLECULE, (), "data/x: the corpus has no labels; build it with labels"),
        (LABELLED, ("a", "toxic"), "data/x: no label column 'toxic'; it has a, b, c"),
    ],
)
def test_missing_labels_are_refused(schema: Schema, labels: tuple[str, ...], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        build("classification", labels, schema)


def test_a_label_named_twice_is_refused() -> None:
    with pytest.raises(RequestError, match=r"supervised.labels names .*'a'.* twice"):
        SupervisedConfig(("a", "b", "a"))


def test_graphs_must_be_read_with_labels(corpus: str) -> None:
    objective = build("classification", schema=CorpusReader(corpus).manifest.schema)[1]
    with pytest.raises(RequestError, match="come without labels"):
        objective.prepare(CorpusReader(corpus).unit(0), 0, 0)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_training_learns_a_signal(tmp_path: Path, task: Any) -> None:
    values = signal(200)[:, None]
    y = (values > 0).astype(float) if task == "classification" else values
    y[::3] = NAN
    write_labelled(str(tmp_path / "corpus"), y, ("easy",))
    config = small(
        str(tmp_path / "corpus"), tmp_path, objective="supervised", max_steps=40, lr=1e-2, validation_fraction=0.2
    )
    run = train_small(replace(config, options={"supervised": SupervisedConfig(task=task)}))
    curve = list(losses(run).values())
    assert sum(curve[-5:]) < 0.7 * sum(curve[:5])
    means = validations(run)[40]
    assert 0.2 < means["skipped"] < 0.5
    if task == "classification":
        assert means["label_accuracy"] > 0.7, "0.5 is chance"


def test_invalid_classes_stop_the_run_with_one_line(tmp_path: Path) -> None:
    write_labelled(str(tmp_path / "corpus"), 2 * np.ones((200, 1)), ("easy",))
    with pytest.raises(RequestError, match="label 'easy' is 2 in graph"):
        train_small(small(str(tmp_path / "corpus"), tmp_path, objective="supervised"))
