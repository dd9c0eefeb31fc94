"""The table says what the scores say: losses as losses, ties as ties, no significance where there is none."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
from distgnn.finetuning.trainer import Outcome

from distgnn.config import FinetuneConfig, SplitConfig
from distgnn.finetuning.comparison import Result
from distgnn.graph.schema import Schema
from distgnn.labels.dataset import LabelledSet
from distgnn.labels.scores import Score, Task
from distgnn.labels.target import Target
from distgnn.report.table import compare, markdown, rows, terminal


def made(method: list[float], control: list[float], task: Task = "classification", ood: bool = False) -> Result:
    """A result with one method "l2p" whose test scores are given; ood scores are 0.1 lower."""
    parts = {name: np.arange(count) for name, count in {"train": 8, "val": 2, "test": 3}.items()}
    if ood:
        parts["ood"] = np.arange(4)
    outcomes = []
    for name, values in (("l2p", method), ("none", control)):
        for seed, value in enumerate(values):
            scores = {"val": Score(0.5, 1.0), "test": Score(value, 1.0)}
            if ood:
                scores["ood"] = Score(value - 0.1, 0.5)
            outcomes.append(Outcome(name, seed, 1, 1.0, scores, (0.5,), {}))
    target = Target(task, ("a", "b"), 2, torch.zeros(2), torch.ones(2))
    data = LabelledSet(Schema(), cast(Any, None), torch.zeros(0, 2), target, parts, use_center=False)
    split = SplitConfig("group", ood_groups=("mouse",)) if ood else SplitConfig()
    config = FinetuneConfig("data|x", seeds=len(method), split=split)
    return Result(config, data, ("l2p", "none"), {"l2p": "none"}, tuple(outcomes))


@pytest.mark.parametrize(
    ("method", "control", "task", "verdict"),
    [
        ([0.80, 0.83, 0.85], [0.70, 0.72, 0.74], "classification", "better than no pre-training"),
        ([0.70, 0.72, 0.74], [0.80, 0.83, 0.85], "classification", "worse than no pre-training"),
        ([0.80, 0.60, 0.75], [0.70, 0.72, 0.74], "classification", "worse than no pre-training (not significant)"),
        ([0.80, 0.70, 0.75], [0.70, 0.72, 0.74], "classification", "better than no pre-training (not significant)"),
        ([0.70, 0.72], [0.70, 0.72], "classification", "same as no pre-training"),
        ([0.70], [0.60], "classification", "better than no pre-training (no test possible)"),
        ([1.0, 1.1, 1.3], [0.5, 0.62, 0.77], "regression", "worse than no pre-training"),
        ([0.5, 0.62, 0.77], [1.0, 1.1, 1.3], "regression", "better than no pre-training"),
        ([0.9, 0.91, 0.95], [0.5, 0.52, 0.54], "multiclass", "better than no pre-training"),
    ],
)
def test_verdicts(method: list[float], control: list[float], task: Task, verdict: str) -> None:
    found = compare(made(method, control, task), "l2p", "test")
    assert found is not None
    assert found.verdict == verdict


def test_a_control_is_compared_with_nothing() -> None:
    assert compare(made([0.5], [0.5]), "none", "test") is None


def test_numbers_of_a_row() -> None:
    titles, body = rows(made([0.80, 0.84], [0.70, 0.71]))
    assert titles == ["method", "seeds", "test", "vs none", "p (paired)", "verdict (test)", "coverage"]
    assert body[0][:4] == ["l2p", "2", "82.00 ± 2.83", "+11.50"]
    assert body[1] == ["none", "2", "70.50 ± 0.71", "", "", "control", "100 %"]


def test_rmse_is_not_a_percentage_and_one_seed_has_no_deviation() -> None:
    _, body = rows(made([1.2345], [1.0], "regression"))
    assert body[0][2:5] == ["1.234", "+0.234", "-"]


def test_ood_has_columns_of_its_own_and_coverage_is_the_least() -> None:
    titles, body = rows(made([0.8, 0.9], [0.7, 0.71], ood=True))
    assert titles[6:10] == ["ood", "vs none", "p (paired)", "verdict (ood)"]
    assert body[0][6] == "75.00 ± 7.07"
    assert body[0][-1] == "50 %"


def test_markdown_is_a_table() -> None:
    text = markdown(made([0.8, 0.9], [0.7, 0.71], ood=True))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {lines[0].count("|")}
    assert "higher is better" in text
    assert "group split (train 8, val 2, test 3, ood 4)" in text


def test_terminal_shows_the_same() -> None:
    text = terminal(made([0.7, 0.71], [0.8, 0.9]))
    assert "worse than no pre-training" in text
    assert "70.50 ± 0.71" in text
