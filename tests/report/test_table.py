"""The table of a fine-tuning: verdicts, ties and significance match the scores."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch

from distgnn.auxiliary.comparison import Row
from distgnn.auxiliary.trainer import TrainingResult
from distgnn.config import FinetuneConfig, SplitConfig
from distgnn.finetuning.comparison import FinetuneComparison
from distgnn.graph.schema import Schema
from distgnn.labels.dataset import LabelledSet
from distgnn.labels.scores import METRIC_OF, Task
from distgnn.labels.target import Target
from distgnn.report.table import markdown, rows, terminal, verdict


def made(
    method: list[float], control: list[float], task: Task = "classification", ood: bool = False, name: str = "l2p"
) -> FinetuneComparison:
    """A result with one method ``name`` whose test scores are given; ood scores are 0.1 lower."""
    parts = {name: np.arange(count) for name, count in {"train": 8, "val": 2, "test": 3}.items()}
    if ood:
        parts["ood"] = np.arange(4)
    row, none = Row(name, "gin", "pretrained"), Row("none", "gin", "scratch")
    results = {}
    for place, values in ((row, method), (none, control)):
        for seed, value in enumerate(values):
            scores, coverage = {"val": 0.5, "test": value}, {"val": 1.0, "test": 1.0}
            if ood:
                scores["ood"], coverage["ood"] = value - 0.1, 0.5
            results[place, seed] = _result(METRIC_OF[task], scores, coverage)
    target = Target(task, ("a", "b"), 2, torch.zeros(2), torch.ones(2))
    data = LabelledSet(Schema(), cast(Any, None), torch.zeros(0, 2), target, parts, use_center=False, digest="")
    split = SplitConfig("group", ood_groups=("mouse",)) if ood else SplitConfig()
    config = FinetuneConfig("data|x", seeds=len(method), split=split)
    return FinetuneComparison(config, {row: none}, results, frozenset({"rmse"} & {METRIC_OF[task]}), data)


def _result(metric: str, scores: dict[str, float], coverage: dict[str, float]) -> TrainingResult:
    return TrainingResult(
        tasks=("target",),
        metrics=(metric,),
        best_epoch=1,
        seconds=1.0,
        validation=({metric: 0.5},),
        scores={part: {metric: value} for part, value in scores.items()},
        coverage=coverage,
        predictions={},
        curves={},
        meta_loss=np.zeros(0, np.float32),
    )


@pytest.mark.parametrize(
    ("method", "control", "task", "said"),
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
def test_verdicts(method: list[float], control: list[float], task: Task, said: str) -> None:
    result = made(method, control, task)
    assert verdict(result.contrasts()[result.rows[0]]) == said


def test_a_control_has_no_comparison() -> None:
    result = made([0.5], [0.5])
    assert [row.method for row in result.contrasts()] == ["l2p"]
    assert rows(result)[1][1][-2] == "control"


def test_numbers_of_a_row() -> None:
    titles, body = rows(made([0.80, 0.84], [0.70, 0.71]))
    assert titles == ["method", "seeds", "test", "se", "vs none", "p", "p (Holm)", "verdict (test)", "coverage"]
    assert body[0][:5] == ["l2p", "2", "82.00 ± 2.83", "2.00", "+11.50"]
    assert body[1] == ["none", "2", "70.50 ± 0.71", "0.50", "", "", "", "control", "100 %"]


def test_rmse_is_not_a_percentage_and_one_seed_has_no_deviation() -> None:
    _, body = rows(made([1.2345], [1.0], "regression"))
    assert body[0][2:7] == ["1.234", "-", "+0.234", "-", "-"]


def test_ood_has_its_own_columns_and_coverage_is_the_minimum() -> None:
    titles, body = rows(made([0.8, 0.9], [0.7, 0.71], ood=True))
    assert titles[8:14] == ["ood", "se", "vs none", "p", "p (Holm)", "verdict (ood)"]
    assert body[0][8] == "75.00 ± 7.07"
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
