"""Choice by validation: planted differences, with the standard errors of rows and of seeds, and planted problems."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from distgnn.auxiliary.choice import validation_gain
from distgnn.auxiliary.comparison import Row, chosen_by_validation
from distgnn.auxiliary.trainer import Trainer, TrainingResult
from distgnn.config import TransferConfig, WeightingConfig
from distgnn.distributed import ProcessGroup
from distgnn.labels.influence import on_mean, standard_error
from tests.helpers.planted import Kind, Planted

ALONE = ProcessGroup.single_process(torch.device("cpu"))
LOWER = frozenset({"rmse"})


def scored(right: Any, metric: str = "micro_f1", test: float = 0.0) -> TrainingResult:
    """A result whose validation score is the mean of ``right``, row by row."""
    values, empty = np.asarray(right, np.float64), dict[str, Any]()
    scores = {"val": {metric: float(values.mean())}, "test": {metric: test}}
    result = TrainingResult(("t",), (metric,), 1, 1.0, (), scores, empty, empty, empty, np.zeros(0, np.float32))
    return replace(result, influence=on_mean(values).astype(np.float32))


def chosen(values: dict[tuple[str, str], list[TrainingResult]], lower: frozenset[str], margin: float) -> str:
    """Return the choice of the method fixed; values: by (method, scheme), seed by seed."""
    results = {
        (Row(method, "gin", scheme), seed): found
        for (method, scheme), every in values.items()
        for seed, found in enumerate(every)
    }
    found, _ = chosen_by_validation(results, lower, margin)
    names = {result.chosen for (row, _), result in found.items() if row == Row("fixed", "gin", "auto")}
    assert len(names) == 1
    return names.pop()


def test_ties_go_to_none_from_scratch_and_lower_errors_are_better() -> None:
    values = {
        ("none", "scratch"): 0.3,
        ("fixed", "scratch"): 0.3,
        ("none", "pretrained"): 0.2,
        ("fixed", "pretrained"): 0.4,
    }
    results = {place: [scored([value], "rmse")] for place, value in values.items()}
    assert chosen(results, LOWER, 1) == "none, pretrained"
    assert chosen(results, frozenset(), 1) == "fixed, pretrained"
    scratch = {place: found for place, found in results.items() if place[1] == "scratch"}
    assert chosen(scratch, LOWER, 0) == chosen(scratch, LOWER, 1) == "none, scratch"


def test_standard_error_by_hand() -> None:
    """One seed: rows only, 3 of 4 against 2 of 4 with one row that differs. Two seeds: the variance of both is added."""
    one, other = scored([1, 1, 1, 0]), scored([1, 1, 0, 0])
    gain = validation_gain("x", [one], [other], 1, True)
    assert gain.value == 0.25
    assert gain.se == pytest.approx((0.25 * 0.75 / 4) ** 0.5)
    assert gain.beyond(1) == pytest.approx(0.25 - gain.se)
    assert validation_gain("x", [one], [other], -1, True).value == -0.25
    both = validation_gain("x", [one, other], [other, other], 1, True)
    halves = on_mean(np.array([0, 0, 0.5, 0]))
    assert both.value == 0.125
    assert both.se == pytest.approx((0.25**2 / 4 + standard_error(halves) ** 2) ** 0.5)


def test_other_rows_in_every_seed_are_not_averaged_row_by_row() -> None:
    """Errors of opposite signs would cancel."""
    one, other, none = scored([1, 0, 1, 0]), scored([0, 1, 0, 1]), scored([1, 1, 0, 0])
    found = [validation_gain("x", [one, other], [none, none], 1, same).se for same in (True, False)]
    assert found[0] == pytest.approx(((0.5 * 0.5) / 4) ** 0.5)
    assert found[1] == pytest.approx((0.5 / 4) ** 0.5)


def random_choice(rng: np.random.Generator, effects: list[float], rows: int, margin: float) -> float:
    """Return the true effect of the training that is chosen; effects: of three candidates, on accuracy."""
    kinds = (("none", "scratch"), ("fixed", "scratch"), ("none", "pretrained"), ("fixed", "pretrained"))
    results = {
        kind: [scored(rng.random(rows) < 0.7 + effect, test=effect) for _ in range(3)]
        for kind, effect in zip(kinds, (0.0, *effects), strict=True)
    }
    name = chosen(results, frozenset(), margin)
    return next(found[0].scores["test"]["micro_f1"] for kind, found in results.items() if ", ".join(kind) == name)


def test_margin_makes_the_choice_safe() -> None:
    """Three candidates that lose 2 points, 100 validation rows, 3 seeds. The best score alone often takes one of them; within
    a standard error hardly ever. A gain of 10 points is taken all the same.
    """
    rng = np.random.default_rng(0)
    loss = {margin: np.mean([random_choice(rng, [-0.02] * 3, 100, margin) for _ in range(100)]) for margin in (0, 1)}
    assert loss[0] < -0.008
    assert loss[1] > -0.003
    assert np.mean([random_choice(rng, [0.1, -0.02, 0.1], 100, 1) for _ in range(50)]) > 0.09


def trained(kind: Kind, method: str, seed: int, problem: dict[str, Any]) -> TrainingResult:
    """Train on few rows with 20 validation rows."""
    made = Planted((kind,), seed=seed, noise=0.3, hidden=8, validated=20, dtype=torch.float32, **problem)
    config = TransferConfig("x", epochs=20, batch=20, lr=0.01, weighting=WeightingConfig(method="fixed", fixed=(1, 1)))
    return Trainer(made, config, method, seed, ALONE).run()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "problem", "seed", "taken"),
    [
        (Kind(rows=16), {"rows": 36}, 3, {0: "fixed", 1: "fixed"}),
        (Kind("random"), {"rows": 60}, 0, {0: "none", 1: "none"}),
        (Kind("random"), {"rows": 60}, 6, {0: "fixed", 1: "none"}),
        (Kind("opposite", rows=16), {"rows": 120, "fixed": True}, 0, {0: "none", 1: "none"}),
    ],
    ids=["helpful", "useless", "useless and lucky", "harmful"],
)
def test_planted_tasks(kind: Kind, problem: dict[str, Any], seed: int, taken: dict[int, str]) -> None:
    """Of three seeds. Without the margin, the validation score of a useless task is sometimes better by chance."""
    results = {
        (Row(method, "gin", "scratch"), place): trained(kind, method, place, problem)
        for place in range(seed, seed + 3)
        for method in ("none", "fixed")
    }
    for margin, method in taken.items():
        found = chosen_by_validation(results, LOWER, margin, same_rows=False)[0]
        assert found[Row("fixed", "gin", "auto"), seed].chosen == f"{method}, scratch"
