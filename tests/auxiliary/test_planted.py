"""Planted problems with known answers, trained with the default weighting.

Harm, help, help only over a long horizon, a leak, overfitting, and scales of losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from distgnn.auxiliary.step import MultiTaskStep, StepRecord
from distgnn.auxiliary.trainer import pretrain_auxiliary
from distgnn.auxiliary.weighting import build_weighting
from distgnn.config import TransferConfig, WeightingConfig
from distgnn.distributed import ProcessGroup
from tests.helpers.planted import Kind, Options, Planted

ALONE = ProcessGroup.single_process(torch.device("cpu"))


def train(
    method: Any, kinds: Sequence[Kind], steps: int, problem: dict[str, Any] | None = None, **options: Any
) -> tuple[float, list[StepRecord]]:
    """Return (error on fresh inputs after ``steps`` steps, records)."""
    made = planted(kinds, problem)
    records = continued(made, method, steps, **options)[1]
    return made.evaluate("val").scores["rmse"], records


def planted(kinds: Sequence[Kind], problem: dict[str, Any] | None) -> Planted:
    return Planted(kinds, **{"rows": 60, "noise": 0.3, "hidden": 8, "dtype": torch.float32} | (problem or {}))


def continued(made: Planted, method: Any, steps: int, **options: Any) -> tuple[float, list[StepRecord]]:
    """Train a problem from its present weights; return (the lowest error of every tenth step, records)."""
    config = WeightingConfig(method=method, **options)
    if config.judge == "validation":
        made.split_validation(0)
    weighting = build_weighting(config, made.names, 5)
    step = MultiTaskStep(made, weighting, Options(batch=20, weighting=config), ALONE, made.seed)
    records, errors = [], []
    for number in range(steps):
        records.append(step.step(number))
        errors += [made.evaluate("val").scores["rmse"]] if number % 10 == 9 else []
    return min(errors), records


def test_a_harmful_task_is_switched_off_and_the_target_is_that_of_none() -> None:
    """Its labels are the opposite of the target's, without a head that could turn them round."""
    kinds, problem = (Kind("opposite", rows=16),), {"fixed": True, "rows": 120}
    none, fixed, learned = (train(method, kinds, 150, problem) for method in ("none", "fixed", "auxts_all"))
    assert learned[1][0].weights == pytest.approx((1, 0.05), abs=0.01)
    assert learned[1][-1].weights[1] < 0.01
    assert fixed[0] > 2 * none[0]
    assert learned[0] < 1.1 * none[0]  # a tenth of its rows is held out


def test_a_helpful_task_with_a_head_of_its_own_gains() -> None:
    """It has fresh inputs of the same teacher in every step, and the target few noisy rows."""
    none, learned = (train(method, (Kind(rows=16),), 150, {"rows": 36}) for method in ("none", "auxts_all"))
    assert learned[1][-1].weights[1] > 0.1
    assert learned[0] < 0.7 * none[0]


@pytest.mark.slow
def test_only_a_judge_of_held_out_rows_sees_overfitting() -> None:
    """The loss of rows that are trained on keeps falling. The target ends near that of none."""
    rises, ends = dict[str, float](), dict[str, float]()
    for judge in ("heldout", "folds"):
        error, records = train("auxts_all", (Kind("random"),), 400, {"rows": 40, "noise": 1.0}, judge=judge)
        losses = np.array([record.meta_loss for record in records]).reshape(-1, 20).mean(1)
        rises[judge] = losses[-1] / losses.min()
        ends[judge] = error
    assert rises["heldout"] > 1.3
    assert rises["folds"] < 1.1
    none = train("none", (Kind("random"),), 400, {"rows": 40, "noise": 1.0})[0]
    assert ends["heldout"] < 1.15 * none  # a quarter of its rows is held out


@pytest.mark.slow
@pytest.mark.parametrize("label", ["teacher", "random"])
def test_the_scale_of_a_loss_hardly_matters(label: str) -> None:
    """As in the paper's Table 4, with the scales 1 and 5."""
    errors = [train("auxts_all", (Kind(label, scale=scale, rows=16),), 100)[0] for scale in (1.0, 5.0)]
    assert abs(errors[1] - errors[0]) < 0.05 * errors[0]


@pytest.mark.slow
def test_what_helps_over_a_long_horizon_is_gained_by_pretraining_and_kept() -> None:
    """The auxiliary task alone for 100 epochs, then the target alone, or with learned weights; sums over three seeds."""
    errors: dict[tuple[str, int], float] = {}
    for seed, (method, epochs) in product(range(3), (("none", 0), ("none", 100), ("auxts_all", 100))):
        made = planted((Kind(rows=16),), {"rows": 40, "noise": 1.0, "seed": seed})
        if epochs:
            config = TransferConfig("x", pretrain_epochs=epochs, batch=20, lr=0.01)
            pretrain_auxiliary(made, config, made.seed, ALONE)
        errors[method, epochs] = errors.get((method, epochs), 0) + continued(made, method, 80)[0]
    assert errors["none", 100] < 0.9 * errors["none", 0]
    assert errors["auxts_all", 100] < 1.1 * errors["none", 100]


@pytest.mark.slow
def test_only_a_longer_horizon_keeps_a_task_that_helps_in_the_end() -> None:
    """From equal weights a look-ahead of one step lowers those of a helpful task, one of ten steps raises them."""
    weights, errors = dict[int, list[float]](), dict[int, float]()
    for horizon, seed in product((0, 1, 10), range(3)):
        made = planted((Kind(rows=16),), {"rows": 40, "noise": 1.0, "seed": seed})
        options = {"judge": "validation", "start": 1.0, "horizon": max(horizon, 1)}
        error, records = continued(made, "auxts_all" if horizon else "none", 150, **options)
        weights.setdefault(horizon, []).append(records[-1].weights[1])
        errors[horizon] = errors.get(horizon, 0) + error
    assert max(weights[1]) < 1 < min(weights[10])
    assert errors[10] < errors[1]
    assert errors[10] < 0.9 * errors[0]


@pytest.mark.slow
def test_only_a_judge_of_validation_rows_sees_a_leak() -> None:
    """The task has the noisy labels of the training rows, those that are held out for a judge included."""
    leak, problem = (Kind("leak", rows=16),), {"rows": 40, "noise": 1.0}
    none = train("none", leak, 200, problem)
    ends = {judge: train("auxts_all", leak, 200, problem, judge=judge) for judge in ("heldout", "validation")}
    weight = {judge: records[-1].weights[1] for judge, (_, records) in ends.items()}
    assert weight["heldout"] > 0.5
    assert weight["validation"] < 0.1
    assert ends["validation"][0] < 1.1 * none[0]
