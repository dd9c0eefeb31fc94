"""Conditional medians of numbers: they beat conditional means on skewed labels, and rest on predictions without each label."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneOut, cross_val_predict

from distgnn.config.database_model import DatabaseModelConfig
from distgnn.relational import baselines
from distgnn.relational.episodes import TEST, TRAIN, TaskData, load_data
from distgnn.relational.median import conditional_median
from distgnn.relational.model import Member, product
from distgnn.relational.predict import predict_rows
from distgnn.relational.sampling import Limits
from distgnn.relational.store import open_database
from distgnn.relational.tasks import load_task
from distgnn.relational.training import new_model
from tests.helpers.databases import frames, write_database

MODEL = DatabaseModelConfig(width=16, heads=2, layers=1, name_width=4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TaskData:
    """Skewed counts whose rate depends on the country of a customer."""
    shop = write_database(tmp_path_factory.mktemp("data") / "shop", frames())
    found = load_data(open_database(shop), *load_task(open_database(shop), "order-amount"), Limits())
    random = np.random.default_rng(0)
    rate = np.where(np.nan_to_num(found.raw[:, 0]) > np.nanmedian(found.raw[:, 0]), 2.0, 0.0)
    return replace(found, rows=found.rows._replace(label=np.exp(rate + 1.5 * random.standard_normal(rate.size))))


def test_medians_equal_a_loop() -> None:
    random = np.random.default_rng(1)
    values, left_out, labels = random.normal(size=1500), random.normal(size=40), random.gamma(1.0, 2.0, 40)
    residuals, width = labels - left_out, labels.std() * 0.4 * (64 / 40) ** 0.25
    expected = []
    for value in values:
        weights = np.exp(-0.5 * np.square((value - left_out) / width))
        order = np.argsort(residuals)
        half = np.searchsorted(weights[order].cumsum(), weights.sum() / 2)
        expected.append(np.clip(value + residuals[order][half], labels.min(), labels.max()))
    np.testing.assert_allclose(conditional_median(values, left_out, labels), expected)


def test_medians_of_unusual_contexts() -> None:
    values = np.array([3.0, 1e30, -1e30])
    assert conditional_median(values, np.empty(0), np.empty(0)).tolist() == values.tolist()
    assert conditional_median(values, np.array([5.0]), np.array([2.0])).tolist() == [2, 2, 2]
    assert conditional_median(values, np.array([1.0, 2.0]), np.array([4.0, 4.0])).tolist() == [4, 4, 4]
    assert conditional_median(values[:0], np.array([1.0]), np.array([4.0])).size == 0


def test_predictions_without_a_label_equal_the_slow_way(data: TaskData) -> None:
    model = new_model(MODEL, 0)
    context = np.flatnonzero(data.rows.split == TRAIN)[:24]
    fitted = model.fit(data.episode(context, context[:0]), steps=1)
    means = []
    for member, one in zip(model.members, fitted, strict=True):
        assert isinstance(member, Member)
        assert one.placed is not None
        rows = data.episode(context, context[:0]).context
        kernel = product(one.placed, one.placed).detach().double()
        noise = float((one.prior.amplitudes[-1] + one.modulation.amplitudes[-1]).exp().detach()) + 1e-4
        prior = member.row_mean(rows, one.prior).detach().double()
        for left in range(context.size):
            rest = torch.arange(context.size) != left
            system = kernel[rest][:, rest] + noise * torch.eye(context.size - 1, dtype=torch.float64)
            weights = torch.linalg.solve(system, one.task.labels.double()[rest] - prior[rest])
            means.append(float(prior[left] + kernel[left, rest] @ weights))
    slow = np.reshape(means, (2, -1)).mean(0)
    np.testing.assert_allclose(model.left_out(fitted).detach().numpy(), slow, atol=2e-4)


def test_ridge_without_a_label_equals_the_slow_way(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(2)
    x, labels = random.normal(size=(30, 4)), random.normal(size=30)
    given: list[Any] = []
    monkeypatch.setattr(baselines, "conditional_median", lambda *found: given.append(found) or found[0])
    monkeypatch.setattr(baselines, "_PENALTIES", np.array([3.0]))
    baselines._ridge_median(x, labels, x[:2])
    slow: Any = cross_val_predict(Ridge(3.0), x, labels, cv=LeaveOneOut())
    np.testing.assert_allclose(given[0][1], slow)


def test_medians_beat_means_on_skewed_labels(data: TaskData, monkeypatch: pytest.MonkeyPatch) -> None:
    train, queries = (np.flatnonzero(data.rows.split == split) for split in (TRAIN, TEST))
    model, labels = new_model(MODEL, 0), data.rows.label[queries]

    def errors() -> list[float]:
        found = baselines.forest_and_linear(data, train[:128], queries, 0)
        found["model"] = predict_rows(model, data, train[:128], queries).values
        return [float(np.abs(values - labels).mean()) for values in found.values()]

    medians = errors()
    for place in ("baselines", "predict"):
        monkeypatch.setattr(f"distgnn.relational.{place}.conditional_median", lambda means, *_: means)
    assert all(median < 0.97 * mean for median, mean in zip(medians, errors(), strict=True))
