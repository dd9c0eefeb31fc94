"""The trainer on synthetic tasks: selected epoch, restored weights, and training on auxiliary tasks only."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from distgnn.auxiliary.problem import PartEvaluation
from distgnn.auxiliary.step import MultiTaskStep
from distgnn.auxiliary.trainer import CURVES, Trainer, TrainingResult, pretrain_auxiliary
from distgnn.auxiliary.weighting import build_weighting
from distgnn.config import TransferConfig, WeightingConfig
from distgnn.config.weighting import PUBLISHED
from distgnn.distributed import ProcessGroup
from distgnn.errors import WorkError
from tests.helpers.planted import Kind, Planted
from tests.helpers.training import CPU, run_ranks

KINDS = (Kind(), Kind("random"))
CONFIG = TransferConfig("x", epochs=4, batch=24, lr=0.02, weighting=WeightingConfig(hidden=16, lr=1e-3, **PUBLISHED))


def fit(problem: Planted, method: str = "auxts_all", seed: int = 0, **changes: Any) -> TrainingResult:
    return Trainer(problem, replace(CONFIG, **changes), method, seed, ProcessGroup.single_process(CPU)).run()


def test_steps_and_curves_are_those_of_the_step() -> None:
    found = fit(Planted(KINDS), epochs=2)
    plain = Planted(KINDS)
    options = replace(CONFIG, weighting=CONFIG.weighted("auxts_all"))
    step = MultiTaskStep(
        plain, build_weighting(options.weighting, plain.names, 0), options, ProcessGroup.single_process(CPU), 0
    )
    records = [step.step(number) for number in range(2 * step.batches.steps_per_epoch)]
    assert len(records) == 6  # 60 rows in batches of at most 24
    for name in CURVES:
        assert found.curves[name].shape == (6, 3)
        np.testing.assert_allclose(found.curves[name], [getattr(r, name) for r in records], rtol=1e-6)
    np.testing.assert_allclose(found.meta_loss, [r.meta_loss for r in records], rtol=1e-6)
    assert found.tasks == ("target", "teacher1", "random2")


class Scripted(Planted):
    """A problem whose validation scores come from a list; records the parameters at each evaluation."""

    def __init__(self, scores: list[float], lower: bool = True) -> None:
        super().__init__(KINDS)
        self.script, self.seen, self.tested = list(scores), [], []
        self.lower_is_better = frozenset({"rmse"} if lower else ())

    def evaluate(self, part: str) -> PartEvaluation:
        (self.seen if part == "val" else self.tested).append(self.weights())
        return PartEvaluation({"rmse": self.script[len(self.seen) - 1] if part == "val" else 7.0})

    def weights(self) -> list[float]:
        return torch.cat([p.detach().flatten() for p in (*self.shared.parameters(), *self.heads.parameters())]).tolist()


@pytest.mark.parametrize(
    ("scores", "lower", "best"), [([3, 1, 1, 2], True, 2), ([3, 1, 1, 4], False, 4), ([2, 2, 2, 2], False, 1)]
)
def test_the_best_epoch_is_evaluated_and_restored(scores: list[float], lower: bool, best: int) -> None:
    problem = Scripted(scores, lower)
    found = fit(problem)
    assert found.best_epoch == best
    assert problem.tested == [problem.seen[best - 1]]
    assert problem.weights() == problem.seen[best - 1]
    assert found.scores == {"val": {"rmse": scores[best - 1]}, "test": {"rmse": 7.0}}
    assert [epoch["rmse"] for epoch in found.validation] == scores


def test_patience() -> None:
    assert len(fit(Scripted([3, 1, 2, 2, 0, 0]), epochs=6, patience=2).validation) == 4
    assert len(fit(Scripted([3, 1, 2, 2, 0, 0]), epochs=6).validation) == 6


def test_training_learns_and_depends_on_the_seed() -> None:
    found = fit(Planted((Kind(),), rows=200), epochs=10).validation
    assert found[-1]["rmse"] < 0.8 * found[0]["rmse"]
    same, other = (fit(Planted((Kind(),), rows=200), seed=seed, epochs=3).validation for seed in (0, 1))
    assert same == found[:3]
    assert other != same


@pytest.mark.parametrize("change", [{"lr": 0.1}, {"weight_decay": 1.0}, {"batch": 12}])
def test_options_change_the_curve(change: dict[str, Any]) -> None:
    assert fit(Planted(KINDS), **change).validation != fit(Planted(KINDS)).validation


@pytest.mark.parametrize("method", ["none", "fixed", "selar", "uncertainty"])
def test_similarities_are_recorded_and_change_nothing(method: str) -> None:
    without, recorded = (fit(Planted(KINDS), method, epochs=2, similarities=wish) for wish in (False, True))
    assert np.isnan(without.curves["cosines"]).all()
    assert np.isfinite(recorded.curves["cosines"]).all()
    assert recorded.validation[-1]["rmse"] == pytest.approx(without.validation[-1]["rmse"], rel=1e-9)


def test_divergence_is_reported() -> None:
    problem = Planted(KINDS)
    problem.y[:] = np.nan
    with pytest.raises(WorkError, match="step 0: the loss of task 'target' is nan"):
        fit(problem)


class TestPretraining:
    def test_only_auxiliary_tasks_are_trained(self) -> None:
        problem, start = Planted((Kind(),), rows=200), Planted((Kind(),))
        config = replace(CONFIG, pretrain_epochs=10)
        weights = pretrain_auxiliary(problem, config, 0, ProcessGroup.single_process(CPU))
        for name, value in start.shared.state_dict().items():
            assert not torch.equal(value, weights[name])
            assert torch.equal(weights[name], problem.shared.state_dict()[name])
        assert all(
            torch.equal(a, b) for a, b in zip(problem.heads[0].parameters(), start.heads[0].parameters(), strict=True)
        )
        first, last = (
            made.losses(made.fetch([np.arange(3)], 999))[1][0].losses.mean().item() for made in (start, problem)
        )
        assert last < 0.7 * first

    def test_labels_of_the_target_have_no_influence(self) -> None:
        one, other = Planted(KINDS), Planted(KINDS)
        other.y += 5
        found = [
            pretrain_auxiliary(made, replace(CONFIG, pretrain_epochs=2), 0, ProcessGroup.single_process(CPU))
            for made in (one, other)
        ]
        assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])

    def test_pretraining_epochs_use_every_row_in_a_new_order(self) -> None:
        problem = Planted(KINDS, rows=50)
        pretrain_auxiliary(problem, replace(CONFIG, pretrain_epochs=2), 0, ProcessGroup.single_process(CPU))
        rows = [folds[0] for _, folds in problem.asked]
        half = len(rows) // 2
        orders = [[row for fold in part for row in fold] for part in (rows[:half], rows[half:])]
        assert [sorted(order) for order in orders] == [list(range(50))] * 2
        assert orders[0] != orders[1]

    def test_divergence_is_reported(self) -> None:
        problem = Planted((Kind(scale=np.inf),))
        with pytest.raises(WorkError, match="pre-training on auxiliary tasks, step 0: the loss is inf"):
            pretrain_auxiliary(problem, CONFIG, 0, ProcessGroup.single_process(CPU))


def both(group: ProcessGroup) -> tuple[Any, ...]:
    problem = Planted(KINDS, rank=group.rank, size=group.world_size)
    weights = pretrain_auxiliary(problem, replace(CONFIG, pretrain_epochs=2), 0, group)
    found = Trainer(problem, CONFIG, "auxts_all", 0, group).run()
    return {name: value.tolist() for name, value in weights.items()}, found.validation, found.curves["weights"].tolist()


def test_two_ranks_equal_one() -> None:
    alone, ranks = both(ProcessGroup.single_process(CPU)), run_ranks(2, partial(both))
    assert ranks[0] == ranks[1]
    for actual, expected in zip(alone, ranks[0], strict=True):
        flat = [torch.cat([torch.tensor(v).flatten() for v in _numbers(x)]) for x in (actual, expected)]
        torch.testing.assert_close(flat[0], flat[1], rtol=1e-6, atol=1e-8)


def _numbers(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return [list(epoch.values()) if isinstance(epoch, dict) else epoch for epoch in value]
