"""Look-ahead steps of Adam against the optimiser's own step, moments per task, and judges of held-out rows."""

from __future__ import annotations

import copy
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distgnn.auxiliary.hypergradient import meta_gradient
from distgnn.auxiliary.look_ahead import AdamStep, task_adam_step
from distgnn.auxiliary.step import MultiTaskStep, StepRecord
from distgnn.auxiliary.weighting import Weighting, build_weighting
from distgnn.config import WeightingConfig
from distgnn.distributed import ProcessGroup
from distgnn.errors import WorkError
from tests.helpers.planted import Kind, Options, Planted
from tests.helpers.training import run_ranks

ALONE = ProcessGroup.single_process(torch.device("cpu"))
KINDS = (Kind(scale=2.0), Kind("random", summed=True), Kind("opposite"))
WEIGHTS = (1.0, 0.3, 0.2, 0.4)


class Free(Weighting):
    """Weights that are parameters themselves."""

    learns = "meta"

    def __init__(self) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor(WEIGHTS))

    def forward(self, signals: Any) -> Tensor:
        return self.values[signals.task]


def made(
    weighting: Weighting | str, problem: Planted | None = None, decay: float = 0.0, **options: Any
) -> MultiTaskStep:
    problem = problem or Planted(KINDS)
    method = {"method": weighting} if isinstance(weighting, str) else {}
    config = WeightingConfig(**{"hidden": 7, "lr": 1e-9} | method | options)
    module = build_weighting(config, problem.names, 5) if isinstance(weighting, str) else weighting
    return MultiTaskStep(problem, module, Options(weighting=config, lr=0.05, weight_decay=decay), ALONE, 1)


def judged(step: MultiTaskStep, number: int, weights: tuple[float, ...], steps: int = 1) -> float:
    """Return the judge's loss after real steps with constant weights, on a copy."""
    other = copy.deepcopy(step)
    other.weighting.learns = "nothing"
    other.weighting.values.data = torch.tensor(weights, dtype=torch.float64)
    for place in range(number, number + steps):
        other.step(place)
    unseen = other.problem.fetch_unseen(other.batches.judge_rows(number), number)
    return float(meta_gradient(other.problem, unseen, 0, other.layout, ALONE)[1])


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("moments", ["task", "joint"])
def test_slopes_equal_finite_differences_through_the_step_of_the_optimiser(moments: str, decay: float) -> None:
    step = made(Free(), decay=decay, moments=moments, judge="heldout", proximal=0)
    for number in range(4):
        before = copy.deepcopy(step)
        record = step.step(number)
        assert record.meta_loss == pytest.approx(judged(before, number, WEIGHTS), rel=1e-7)
        for task in range(1 if moments == "task" else 0, 4):
            around = [
                judged(before, number, tuple(w + sign * 1e-5 * (task == i) for i, w in enumerate(WEIGHTS)))
                for sign in (1, -1)
            ]
            numeric = (around[0] - around[1]) / 2e-5
            assert record.hypergradients[task] == pytest.approx(numeric, rel=1e-4, abs=1e-8), (number, task)


def moved(step: MultiTaskStep, number: int, weights: tuple[float, ...]) -> tuple[Tensor, MultiTaskStep]:
    """Return the real step [P] of the shared parameters with constant weights, and the copy that took it."""
    other = copy.deepcopy(step)
    other.weighting.learns = "nothing"
    other.weighting.values.data = torch.tensor(weights, dtype=torch.float64)
    other.step(number)
    return flat(step.layout.shared) - flat(other.layout.shared), other


def flat(parameters: Any) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in parameters])


def priced(step: MultiTaskStep, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the target's step d_0, the denominator D of its Adam, and c, from real steps and the optimiser's state."""
    alone, target = moved(step, number, (1.0, 0.0, 0.0, 0.0))
    group, states = target.optimiser.param_groups[0], [target.optimiser.state[p] for p in target.layout.shared]
    second = torch.cat([state["exp_avg_sq"].flatten() for state in states])
    bottom = (second / (1 - group["betas"][1] ** float(states[0]["step"]))).sqrt() + group["eps"]
    _, ahead = moved(step, number, WEIGHTS)
    unseen = ahead.problem.fetch_unseen(ahead.batches.judge_rows(number), number)
    direction = meta_gradient(ahead.problem, unseen, 0, ahead.layout, ALONE)[0][: len(alone)]
    return alone, bottom, (alone @ direction).clamp(min=0) / (alone @ (bottom * alone))


def test_slopes_with_the_cost_of_a_step_equal_finite_differences_of_the_judges_objective() -> None:
    """J(w) = L_judge + c / 2 <a, D a> by real steps, with the cost c of the present weights; proximal=1 is the default."""
    step, costs = made(Free()), []
    for number in range(4):
        before = copy.deepcopy(step)
        record = step.step(number)
        alone, bottom, cost = priced(before, number)
        costs.append(float(cost))

        def objective(weights: tuple[float, ...], before: MultiTaskStep = before, number: int = number) -> float:
            added = moved(before, number, weights)[0] - alone  # noqa: B023
            return judged(before, number, weights) + float(cost / 2 * (added @ (bottom * added)))  # noqa: B023

        for task in range(1, 4):
            around = [
                objective(tuple(w + sign * 1e-5 * (task == i) for i, w in enumerate(WEIGHTS))) for sign in (1, -1)
            ]
            numeric = (around[0] - around[1]) / 2e-5
            assert record.hypergradients[task] == pytest.approx(numeric, rel=1e-4, abs=1e-8), (number, task)
    assert max(costs) > 0


def linear_judge(direction: Tensor, weights: Tensor, others: Tensor, proximal: float) -> tuple[Tensor, AdamStep]:
    """Return the slopes [K + 1] for a judge's loss <direction, theta>, with a target of 6 parameters, and its step."""
    own = AdamStep(torch.arange(1.0, 7) / 10, Tensor, torch.arange(6.0, 0, -1))
    return task_adam_step(own, weights, others, 0.1, proximal).slopes(direction), own


def test_the_cost_of_a_step_is_that_for_which_the_targets_weight_is_the_best() -> None:
    """Against differentiation of the judge's objective; four of the parameters are shared."""
    weights = torch.tensor([1.0, 0.3, 0.7], requires_grad=True)
    others = torch.tensor([[1.0, -2, 3, 1], [0, 1, -1, 2]])
    direction = torch.tensor([3.0, 1, 2, 1, 5, 7])
    found, own = linear_judge(direction, weights.detach(), others, 2.0)
    added, first, metric = 0.1 * weights[1:] @ others, own.step[:4], own.denominator[:4]
    cost = (first @ direction[:4]) / (first @ (metric * first))
    objective = -direction[:4] @ added + 2 * cost / 2 * (added @ (metric * added))
    torch.testing.assert_close(found[1:], torch.autograd.grad(objective, weights)[0][1:])
    same = linear_judge(direction, torch.tensor([1.0, 1.0]), 10 * own.step[None, :4], 1.0)[0]
    assert float(same[1]) == pytest.approx(
        0, abs=1e-6
    )  # a task with the target's step has the best weight 1, as the target


def test_a_step_has_no_cost_while_the_targets_own_step_harms() -> None:
    weights, others = torch.tensor([1.0, 0.3]), torch.ones(1, 4)
    found = [linear_judge(-torch.ones(6), weights, others, proximal)[0] for proximal in (1.0, 0.0)]
    assert torch.equal(*found)


def test_the_cost_of_a_step_follows_proximal() -> None:
    """Weights of zero cost nothing."""
    for values, costs in ((WEIGHTS, True), ((1.0, 0.0, 0.0, 0.0), False)):
        slopes = []
        for proximal in (1.0, 0.0):
            step = made(Free(), proximal=proximal)
            step.weighting.values.data = torch.tensor(values, dtype=torch.float64)
            slopes.append(step.step(0).hypergradients)
        assert (slopes[0][1:] != slopes[1][1:]) == costs
    assert made("auxts_all").options.proximal == 1


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("moments", ["task", "joint"])
def test_slopes_of_a_horizon_equal_finite_differences_through_its_steps(moments: str, decay: float) -> None:
    step = made(Free(), decay=decay, moments=moments, horizon=3)
    for number in range(6):
        before = copy.deepcopy(step)
        record = step.step(number)
        if number % 3:
            assert np.isnan(record.meta_loss)
            continue
        assert record.meta_loss == pytest.approx(judged(before, number, WEIGHTS, 3), rel=1e-7)
        for task in range(1 if moments == "task" else 0, 4):
            around = [
                judged(before, number, tuple(w + sign * 1e-5 * (task == i) for i, w in enumerate(WEIGHTS)), 3)
                for sign in (1, -1)
            ]
            numeric = (around[0] - around[1]) / 2e-5
            assert record.hypergradients[task] == pytest.approx(numeric, rel=1e-4, abs=1e-8), (number, task)


def test_the_memory_of_unrolled_steps_does_not_grow_with_the_horizon() -> None:
    """The most bytes that autograd keeps for backward passes at a time."""
    short, long = (_kept(made(Free(), horizon=horizon)) for horizon in (2, 8))
    assert long == short


def _kept(step: MultiTaskStep) -> int:
    alive, most = 0, 0

    def change(size: int) -> None:
        nonlocal alive, most
        alive += size
        most = max(most, alive)

    def pack(tensor: Tensor) -> list[Tensor]:
        box, size = _Box([tensor.detach()]), tensor.numel() * tensor.element_size()
        change(size)
        weakref.finalize(box, change, -size)
        return box

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda box: box[0]):
        step.step(0)
    return most


class _Box(list[Tensor]):
    """A list that can be referred to weakly."""


def test_a_horizon_moves_the_model_as_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that do not learn: the unrolled steps are not taken."""
    ends = []
    for horizon in (1, 3):
        step = made(Free(), horizon=horizon)
        monkeypatch.setattr(step, "_learn", lambda *_: None)
        for number in range(4):
            step.step(number)
        ends.append(torch.cat([p.detach().flatten() for p in step.layout.parameters]))
    assert torch.equal(*ends)


def test_validation_rows_judge_and_the_other_half_selects() -> None:
    problem = Planted(KINDS)
    problem.split_validation(0)
    step = made("auxts_all", problem, judge="validation")
    assert len(step.batches.judging) == problem.judges == 100
    assert not len(step.batches.held)
    for number in range(3):
        step.step(number)
    assert {row for _, folds in problem.asked for fold in folds for row in fold} == set(
        range(60)
    )  # every row is trained on
    before = problem.evaluate("val").scores
    problem.test[:100] = 0
    assert problem.evaluate("val").scores == before


def test_the_look_ahead_follows_lookahead_and_moments() -> None:
    """A step of gradient descent, of Adam, and of one Adam per task have different slopes."""
    cases = [{"lookahead": "gradient", "moments": "joint"}, {"moments": "joint"}, {"moments": "task"}]
    found = [made(Free(), **case) for case in cases]
    slopes = [[step.step(number).hypergradients[1] for number in range(3)][-1] for step in found]
    assert len({round(slope, 9) for slope in slopes}) == 3


@pytest.mark.parametrize("moments", ["task", "joint"])
def test_zero_weights_equal_none_bit_for_bit(moments: str) -> None:
    """Heads of the auxiliary tasks have moments of their own, without influence on the target."""
    steps = []
    for method, options in (("none", {}), ("fixed", {"fixed": (1.0, 0.0, 0.0, 0.0)})):
        step = made(method, Planted(KINDS, dtype=torch.float32), moments=moments, **options)
        step.weighting.reads = "cosines"  # both compute the auxiliary tasks
        for number in range(20):
            step.step(number)
        steps.append(step)
    none, zero = steps
    for one, other in zip(none.layout.target_parameters, zero.layout.target_parameters, strict=True):
        assert torch.equal(one, other)


def test_moments_of_a_task_do_not_depend_on_its_scale_or_on_other_tasks() -> None:
    ends = []
    for kinds in ((Kind(),), (Kind(scale=100.0),), (Kind(), Kind("random"))):
        step = made("fixed", Planted(kinds), fixed=(1.0, 0.5, 0.0)[: len(kinds) + 1])
        for number in range(10):
            step.step(number)
        ends.append(torch.cat([p.detach().flatten() for p in step.layout.target_parameters]))
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ends[2], ends[0], rtol=1e-12, atol=1e-12)


def test_weights_are_relative_to_the_target() -> None:
    one, other = (made("fixed", fixed=weights) for weights in ((1.0, 0.5, 0.25, 0.0), (4.0, 2.0, 1.0, 0.0)))
    records = [[step.step(number) for number in range(3)] for step in (one, other)]
    assert [record.weights for record in records[0]] == [(1, 0.5, 0.25, 0)] * 3
    assert [record.losses for record in records[0]] == [record.losses for record in records[1]]
    step = made("fixed")
    step.weighting.values[0] = 0  # pyright: ignore[reportIndexIssue, reportArgumentType]
    with pytest.raises(WorkError, match="the weight of the target is 0"):
        step.step(0)


def three_steps(group: ProcessGroup) -> list[tuple[list[StepRecord], list[float]]]:
    """Records and parameters, by default, with validation rows as the judge, and with unrolled steps."""
    found = []
    judge = {"judge": "validation"}
    for options in ({}, judge, {**judge, "horizon": 2}, {**judge, "horizon": 2, "moments": "joint"}):
        problem = Planted((*KINDS, Kind(rows=1)), rank=group.rank, size=group.world_size)
        problem.split_validation(0)
        config = WeightingConfig(**{"hidden": 7} | options)
        weighting = build_weighting(config, problem.names, 5)
        step = MultiTaskStep(problem, weighting, Options(batch=9, weighting=config), group, 1)
        records = [step.step(number) for number in range(3)]
        found.append((records, torch.cat([p.detach().flatten() for p in step.layout.parameters]).tolist()))
    return found


def test_two_ranks_equal_one() -> None:
    alone = three_steps(ALONE)
    for rank in run_ranks(2, three_steps):
        for (records, ends), (wanted, where) in zip(rank, alone, strict=True):
            assert ends == pytest.approx(where, rel=1e-7, abs=1e-9)
            for record, one in zip(records, wanted, strict=True):
                for name in ("losses", "weights", "cosines", "hypergradients", "meta_loss"):
                    value = getattr(one, name)
                    assert getattr(record, name) == pytest.approx(value, rel=1e-6, abs=1e-10, nan_ok=True), name


def test_methods_of_samples_and_of_the_matrix_keep_joint_moments() -> None:
    assert made("selar").moments is None
    assert made("selar", granularity="task").moments is not None
    assert made("auxts_all", moments="joint").moments is None
    assert made("auxts_all", Planted(())).moments is None


def test_rows_of_the_judge_are_never_trained_on() -> None:
    problem = Planted(KINDS)
    step = made("auxts_all", problem, judge="heldout", heldout=0.3)
    for number in range(9):
        step.step(number)
    held = set(step.batches.held.tolist())
    assert len(held) == 18
    trained = {row for _, folds in problem.asked[::2] for fold in folds for row in fold}
    judges = {row for _, folds in problem.asked[1::2] for fold in folds for row in fold}
    assert trained == set(range(60)) - held
    assert judges == held
    plain = Planted(KINDS)
    made("fixed", plain, judge="heldout").step(0)
    assert len(plain.asked) == 1


def test_none_asks_for_no_auxiliary_task() -> None:
    problem = Planted(KINDS)
    step = made("none", problem)
    assert step.fetch(0)[1] == []
    record = step.step(0)
    assert np.isnan(record.losses[1:]).all()
    assert record.weights == (1, 0, 0, 0)
