"""Planted problems with known answers, trained with the default weighting: harm, help, overfitting, and scales of losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from distgnn.auxiliary.step import MultiTaskStep, StepRecord
from distgnn.auxiliary.weighting import build_weighting
from distgnn.config import WeightingConfig
from distgnn.distributed import ProcessGroup
from tests.helpers.planted import Kind, Options, Planted

ALONE = ProcessGroup.single_process(torch.device("cpu"))


def train(
    method: Any, kinds: Sequence[Kind], steps: int, problem: dict[str, Any] | None = None, **options: Any
) -> tuple[float, list[StepRecord]]:
    """Return (error on fresh inputs after ``steps`` steps, records)."""
    made = Planted(kinds, **{"rows": 60, "noise": 0.3, "hidden": 8, "dtype": torch.float32} | (problem or {}))
    config = WeightingConfig(method=method, **options)
    weighting = build_weighting(config, made.names, 5)
    step = MultiTaskStep(made, weighting, Options(batch=20, weighting=config), ALONE, made.seed)
    records = [step.step(number) for number in range(steps)]
    return made.evaluate("val").scores["rmse"], records


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
    """The loss of rows that are trained on keeps falling."""
    rises = {}
    for judge in ("heldout", "folds"):
        records = train("auxts_all", (Kind("random"),), 400, {"rows": 40, "noise": 1.0}, judge=judge)[1]
        losses = np.array([record.meta_loss for record in records]).reshape(-1, 20).mean(1)
        rises[judge] = losses[-1] / losses.min()
    assert rises["heldout"] > 1.3
    assert rises["folds"] < 1.1


@pytest.mark.slow
def test_the_scale_of_a_loss_hardly_matters() -> None:
    """As in the paper's Table 4, with the scales 1 and 5."""
    errors = [train("auxts_all", (Kind(scale=scale, rows=16),), 150)[0] for scale in (1.0, 5.0)]
    assert abs(errors[1] - errors[0]) < 0.05 * errors[0]
