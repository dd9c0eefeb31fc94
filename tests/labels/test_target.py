"""The task of labels: inferred only where it is clear, and said."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distgnn.errors import RequestError
from distgnn.labels.target import Target, check_known_classes, task_labels

NAN = float("nan")


@pytest.mark.parametrize(("y", "asked", "task", "note"), [
    ([[0, 1], [NAN, 1]], "auto", "classification", ""),
    ([[-1], [1], [NAN]], "auto", "classification", "labels -1 and 1 read as 0 and 1"),
    ([[-1, 0], [1, 1]], "auto", "classification", "labels -1 and 1 read as 0 and 1"),
    ([[-1], [1]], "classification", "classification", "labels -1 and 1 read as 0 and 1"),
    ([[-1], [1]], "regression", "regression", ""),
    ([[0], [2], [2]], "auto", "multiclass", "class numbers 0: 1, 2: 2"),
    ([[0], [1]], "multiclass", "multiclass", "class numbers 0: 1, 1: 1"),
    ([[0, 3], [2, 1]], "auto", "regression", ""),
    ([[-1], [2]], "auto", "regression", ""),
    ([[0, 3], [1, 2.5]], "auto", "regression",
     "1 of 2 labels are 0 or 1, but regressed like the others; choose labels of one kind"),
    ([[float("nan"), 3], [float("nan"), 2.5]], "auto", "regression", ""),
    ([[0.5], [2]], "auto", "regression", ""),
    ([[10], [2e7]], "regression", "regression", ""),
    ([[10], [40]], "multiclass", "multiclass", "class numbers 10: 1, 40: 1"),
])  # fmt: skip
def test_tasks(y: list[list[float]], asked: str, task: str, note: str) -> None:
    found = task_labels(np.array(y, np.float32), asked, "c")
    assert (found.task, found.note) == (task, note)
    expected = np.array(y, np.float32)
    if task == "classification":
        expected[expected == -1] = 0
    np.testing.assert_array_equal(found.y, expected)


@pytest.mark.parametrize(("y", "asked", "message"), [
    ([[10], [250], [5000], [2e7], [10]], "auto",
     r"whole numbers \(10: 2, 250: 1, 5000: 1, 20000000: 1\): set task=regression, or task=multiclass"),
    ([[year] for year in range(1980, 2020)], "auto", r"1989: 1, \.\.\.; 40 values up to 2019\): set task"),
    ([[0], [20]], "auto", "whole numbers"),
    ([[-1], [0], [1]], "auto", "the labels are -1: 1, 0: 1, 1: 1; set task=regression, or build the corpus with 0/1"),
    ([[2e7]], "multiclass", "class numbers 0, 1, ... .below 65536."),
    ([[0.5]], "multiclass", "task=multiclass needs one label column of class numbers"),
    ([[1, 2]], "multiclass", "task=multiclass needs one label column"),
    ([[2]], "classification", "task=classification needs labels that are 0 or 1"),
    ([[-1], [0]], "classification", "task=classification needs labels that are 0 or 1"),
])  # fmt: skip
def test_unclear_labels_are_refused(y: list[list[float]], asked: str, message: str) -> None:
    with pytest.raises(RequestError, match=f"^c: .*{message}"):
        task_labels(np.array(y, np.float32), asked, "c")


def test_classes_that_the_corpus_names_may_be_many() -> None:
    y = np.arange(100, dtype=np.float32)[:, None]
    assert task_labels(y, "auto", "c", named=True).task == "multiclass"
    with pytest.raises(RequestError, match="100 values up to 99"):
        task_labels(y, "auto", "c")


def test_classes_beyond_those_of_the_model_are_refused() -> None:
    target = Target("multiclass", ("a",), 3, torch.zeros(1), torch.ones(1))
    check_known_classes(target, np.array([[2.0], [NAN]]), "c")
    with pytest.raises(RequestError, match=r"c: a label is class 3, but the model has 3 classes"):
        check_known_classes(target, np.array([[3.0], [NAN]]), "c")
