"""Multi-task steps: gradients of each method, independent folds, equal ranks, and learned weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distgnn.auxiliary.problem import Samples
from distgnn.auxiliary.step import MultiTaskStep, StepRecord
from distgnn.auxiliary.weighting import build_weighting
from distgnn.config import NetworkTaskConfig, WeightingConfig
from distgnn.config.weighting import PUBLISHED
from distgnn.distributed import ProcessGroup
from distgnn.errors import WorkError
from jobs.benches.weighting_step import Run, compared, ratings_network
from tests.helpers.lookahead import joint_loss, mean_loss, similarities
from tests.helpers.planted import Kind, Options, Planted
from tests.helpers.training import run_ranks

CPU = torch.device("cpu")
ALONE = ProcessGroup.single_process(CPU)
KINDS = (Kind(scale=2.0), Kind("random", summed=True), Kind("opposite"))
METHODS = ("none", "fixed", "cosine", "selar", "auxts_one", "auxts_all", "frozen", "uncertainty")


def made(
    method: Any,
    problem: Planted | None = None,
    group: ProcessGroup = ALONE,
    batch: int = 24,
    seed: int = 1,
    **options: Any,
) -> MultiTaskStep:
    config = WeightingConfig(method=method, **PUBLISHED | {"hidden": 7} | options)
    problem = Planted(KINDS) if problem is None else problem
    weighting = build_weighting(config, problem.names, 5)
    return MultiTaskStep(problem, weighting, Options(batch=batch, weighting=config), group, seed)


def plain_sgd(step: MultiTaskStep, lr: float = 0.1) -> None:
    """Use SGD, so that an update is the gradient times a constant."""
    step.optimiser = torch.optim.SGD(step.layout.parameters, lr)


def values(step: MultiTaskStep) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in step.layout.parameters])


def moved_by(step: MultiTaskStep, number: int = 0) -> tuple[Tensor, StepRecord]:
    """Return the weighted gradient of a step and its record."""
    before = values(step)
    plain_sgd(step)
    record = step.step(number)
    return (before - values(step)) / 0.1, record


def flat_grad(loss: Tensor, step: MultiTaskStep) -> Tensor:
    parts = torch.autograd.grad(loss, step.layout.parameters, materialize_grads=True, retain_graph=True)
    return torch.cat([part.flatten() for part in parts])


def tasks_of(step: MultiTaskStep) -> list[list[Samples]]:
    target, auxiliary = step.problem.losses(step.fetch(0))
    return [target, *([samples] for samples in auxiliary)]


@pytest.mark.parametrize(
    ("method", "options", "weights"),
    [
        ("none", {}, (1, 0, 0, 0)),
        ("fixed", {}, (1, 1, 1, 1)),
        ("fixed", {"fixed": (1.0, 0.5, 0.0, 2.0)}, (1, 0.5, 0, 2)),
        ("uncertainty", {}, (1, 1, 1, 1)),
    ],
)
def test_gradients_of_methods_without_signals(method: str, options: dict[str, Any], weights: tuple[float, ...]) -> None:
    step = made(method, **options)
    means = [mean_loss(parts) for parts in tasks_of(step)]
    wanted = flat_grad(sum((w * mean for w, mean in zip(weights, means, strict=False)), torch.zeros(())), step)
    found, record = moved_by(step)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-13)
    assert record.weights == weights
    known = 1 if method == "none" else 4  # none does not compute the auxiliary tasks
    assert record.losses[:known] == pytest.approx([float(mean.detach()) for mean in means], rel=1e-12)
    assert all(map(math.isnan, (*record.losses[known:], *record.cosines, *record.hypergradients, record.meta_loss)))


def test_uncertainty_trains_its_variances_by_the_joint_loss() -> None:
    """d/ds (exp(-s) l + s) = 1 - exp(-s) l; the first update of Adam is its learning rate times the negative sign."""
    step = made("uncertainty", lr=0.01)
    parameter = next(step.weighting.parameters())
    start = torch.tensor([0.2, -0.3, 0.1, 0.5], dtype=torch.float64)
    parameter.data.copy_(start)
    first, second = step.step(0), step.step(1)
    slopes = 1 - torch.tensor(first.weights) * torch.tensor(first.losses)
    assert first.weights == pytest.approx((-start).exp().tolist())
    assert second.weights == pytest.approx((0.01 * slopes.sign() - start).exp().tolist(), rel=1e-4)


def test_gate_drops_opposed_gradients_of_shared_parameters_only() -> None:
    step, dropped = made("cosine"), set()
    for number in range(12):
        target, auxiliary = step.problem.losses(step.fetch(number))
        means = [mean_loss(parts) for parts in (target, *([samples] for samples in auxiliary))]
        known = similarities(step.problem, means, by_layer=False)
        kept = [mean for mean, cosine in zip(means, known, strict=True) if cosine >= 0]
        shared, heads = flat_grad(torch.stack(kept).sum(), step), flat_grad(torch.stack(means).sum(), step)
        size = step.layout.shared_size
        found, record = moved_by(step, number)
        torch.testing.assert_close(found, torch.cat([shared[:size], heads[size:]]), rtol=1e-10, atol=1e-13)
        assert record.cosines == pytest.approx(known.tolist(), rel=1e-10)
        assert record.weights == tuple(float(cosine >= 0) for cosine in known)
        dropped.add(record.weights)
    assert len(dropped) > 1


@pytest.mark.parametrize("similarity", ["whole", "layer"])
@pytest.mark.parametrize("granularity", ["task", "sample"])
@pytest.mark.parametrize("method", ["selar", "auxts_one", "auxts_all", "frozen"])
def test_second_stage_uses_the_weighting_after_the_first(method: str, granularity: str, similarity: Any) -> None:
    step = made(method, granularity=granularity, similarity=similarity, lr=0.05)
    tasks = tasks_of(step)
    found, record = moved_by(step)  # the graph of ``tasks`` was made before the model moved
    fresh = made(method, granularity=granularity, similarity=similarity, lr=0.05)
    fresh.weighting.load_state_dict(step.weighting.state_dict())
    joint, weights = joint_loss(fresh.problem, tasks_of(fresh), fresh.weighting, similarity == "layer")
    torch.testing.assert_close(found, flat_grad(joint, fresh), rtol=1e-9, atol=1e-12)
    rows = [sum(len(part.losses) for part in tasks[0]), 9] if granularity == "sample" else [1, 1]
    assert record.weights[0] == pytest.approx(float(weights[: rows[0]].mean().detach()), rel=1e-9)
    assert record.weights[1] == pytest.approx(float(weights[rows[0] : rows[0] + rows[1]].mean().detach()), rel=1e-9)
    assert len(tasks[0]) == step.batches.parts == (1 if method == "frozen" else 3)


class RowSums(nn.Module):
    """A weighting of a library: a function of the matrix of gradients."""

    def forward(self, matrix: Tensor) -> Tensor:
        return matrix.sum(1).abs()


def test_library_weighs_shared_gradients_and_leaves_heads_alone() -> None:
    step = made("library", library=f"{__name__}:RowSums", library_reads="matrix")
    means = [mean_loss(parts) for parts in tasks_of(step)]
    rows, size = torch.stack([flat_grad(mean, step) for mean in means]), step.layout.shared_size
    weights = rows[:, :size].sum(1).abs()
    found, record = moved_by(step)
    wanted = torch.cat([weights @ rows[:, :size], rows[:, size:].sum(0)])
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    assert record.weights == pytest.approx(weights.tolist(), rel=1e-9)


def test_frozen_is_not_trained_and_auxts_is() -> None:
    for method, moves in (("frozen", False), ("auxts_all", True), ("auxts_one", True), ("selar", True)):
        step = made(method)
        before = copy.deepcopy(step.weighting.state_dict())
        for number in range(5):
            step.step(number)
        after = step.weighting.state_dict()
        same = [torch.equal(before[name], after[name]) for name in before if name not in ("types.weight", "offset")]
        assert not any(same) if moves else all(same), method


def test_learning_rates_of_the_weighting_and_of_the_look_ahead() -> None:
    """lr is the size of Adam's first update; alpha=0 is the model's learning rate; the hypergradient scales with alpha."""
    step = made("auxts_one", lr=0.003)
    before = copy.deepcopy(step.weighting.state_dict())
    step.step(0)
    change = step.weighting.state_dict()["out.bias"] - before["out.bias"]
    assert abs(float(change)) == pytest.approx(0.003, rel=1e-3)
    slopes = {}
    for alpha, lr in ((0.0, 0.01), (0.01, 0.5), (0.02, 0.01), (0.0, 0.02)):
        step = made("auxts_one", alpha=alpha)
        step.optimiser.param_groups[0]["lr"] = lr
        slopes[alpha, lr] = step.step(0).hypergradients
    assert slopes[0.0, 0.01] == slopes[0.01, 0.5]
    assert slopes[0.02, 0.01] == slopes[0.0, 0.02]
    assert slopes[0.02, 0.01] == pytest.approx([2 * slope for slope in slopes[0.01, 0.5]], rel=0.1)


def test_the_weighted_gradient_is_clipped() -> None:
    free, record = moved_by(made("auxts_all"))
    clipped, same = moved_by(made("auxts_all", clip_norm=0.05))
    assert float(free.norm()) > 0.05
    torch.testing.assert_close(clipped, free * (0.05 / free.norm()))
    assert record == same
    torch.testing.assert_close(moved_by(made("auxts_all", clip_norm=50.0))[0], free)


def test_folds_are_independent() -> None:
    """The look-ahead of a fold does not depend on the labels of its rows; each row is evaluated with its fold only."""
    seen: dict[str, list[Tensor]] = {}
    for name in ("plain", "changed"):
        problem = Planted(KINDS)
        step = made("auxts_all", problem, batch=60)
        if name == "changed":
            problem.y[step.batches.rows(0)[1]] += 5
        judge = problem.fold_losses
        seen[name] = []

        def recording(
            batch: Any, fold: int, judge: Any = judge, step: MultiTaskStep = step, name: str = name
        ) -> Samples:
            seen[name].append(torch.cat([parameter.detach().flatten() for parameter in step.layout.target_parameters]))
            return judge(batch, fold)

        problem.fold_losses = recording  # pyright: ignore[reportAttributeAccessIssue]
        step.step(0)
        assert problem.judged == [0, 1, 2]
    same = [torch.equal(*pair) for pair in zip(seen["plain"], seen["changed"], strict=True)]
    assert same == [False, True, False]


@pytest.mark.parametrize("folds", [2, 3, 5])
@pytest.mark.parametrize("method", ["none", "fixed", "cosine", "auxts_all", "selar"])
def test_only_look_ahead_methods_cut_batches_into_folds(method: str, folds: int) -> None:
    step, plain = made(method, folds=folds), made("none")
    for number in range(4):
        step.step(number)
        plain.step(number)
    asked, others = (taken.problem.asked for taken in (step, plain))  # pyright: ignore[reportAttributeAccessIssue]
    for (_, parts), (_, whole) in zip(asked, others, strict=True):
        assert len(parts) == (folds if method in ("auxts_all", "selar") else 1)
        assert sorted(row for part in parts for row in part) == sorted(
            whole[0]
        )  # the rows of every method are the same


def test_folds_1_evaluates_one_half_of_the_batch_by_the_other() -> None:
    step = made("auxts_all", folds=1)
    step.step(0)
    assert step.problem.judged == [1]  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("judge", ["folds", "heldout"])
def test_a_batch_fetched_ahead_gives_the_same_step(judge: str) -> None:
    ahead, plain = (made("auxts_all", judge=judge) for _ in range(2))
    batches = [(ahead.fetch(number), ahead.fetch_judge(number)) for number in range(3)]
    asked = list(ahead.problem.asked)  # pyright: ignore[reportAttributeAccessIssue]
    records = [(ahead.step(number, *batch), plain.step(number)) for number, batch in enumerate(batches)]
    assert all(first == second for first, second in records)
    assert ahead.problem.asked == asked  # pyright: ignore[reportAttributeAccessIssue]
    assert made("fixed").fetch_judge(0) is None


@pytest.mark.parametrize("method", METHODS)
def test_no_auxiliary_tasks(method: str) -> None:
    record = made(method, Planted(())).step(0)
    assert len(record.losses) == len(record.weights) == 1


@pytest.mark.parametrize("method", ["fixed", "auxts_all", "selar"])
def test_a_task_without_samples_has_no_influence(method: str) -> None:
    step = made(method, Planted((Kind(rows=0), Kind("random", summed=True, rows=0), Kind())))
    record = step.step(0)
    assert record.losses[1:3] == (0, 0)
    assert all(map(math.isfinite, record.weights))


@pytest.mark.parametrize("method", METHODS[1:])
def test_a_non_finite_loss_is_reported_and_changes_nothing(method: str) -> None:
    step = made(method)
    step.step(0)
    batch, before = step.fetch(1), values(step)
    batch[1][1][1][:] = math.inf
    with pytest.raises(WorkError, match="step 1: the loss of task 'random2' is inf"):
        step.step(1, batch)
    assert torch.equal(values(step), before)


def test_a_non_finite_look_ahead_is_reported() -> None:
    step = made("auxts_all", alpha=1e200)
    before = values(step)
    with pytest.raises(WorkError, match="step 0: the loss of 'target' is inf after the look-ahead; lower"):
        step.step(0)
    assert torch.equal(values(step), before)


def test_a_non_finite_gradient_is_reported() -> None:
    step = made("fixed")
    step.problem.heads[1].weight.register_hook(lambda grad: grad * math.nan)  # pyright: ignore[reportCallIssue, reportArgumentType]
    before = values(step)
    with pytest.raises(WorkError, match="step 0: the joint gradient is not finite"):
        step.step(0)
    assert torch.equal(values(step), before)


LEARNT = [("selar", "task"), ("selar", "sample"), ("auxts_all", "task"), ("auxts_all", "sample")]
CASES = [
    *((*case, True) for case in LEARNT),
    ("auxts_one", "sample", False),
    *((method, "auto", None) for method in ("none", "fixed", "cosine", "frozen", "uncertainty")),
]


def curves(group: ProcessGroup) -> list[tuple[list[StepRecord], list[float], list[float]]]:
    """Return records, model and weighting after three steps of every case."""
    found = []
    for method, granularity, normalise in CASES:
        problem = Planted((*KINDS, Kind(rows=1)), rank=group.rank, size=group.world_size)
        step = made(method, problem, group, granularity=granularity, normalise=normalise, lr=0.01, batch=9)
        plain_sgd(step)
        records = [step.step(number) for number in range(3)]
        own = [value for part in step.weighting.parameters() for value in part.detach().flatten().tolist()]
        found.append((records, values(step).tolist(), own))
    return found


def test_two_ranks_equal_one() -> None:
    """Each rank has every second sample; the last task has a single sample, so the second rank has none."""
    alone = curves(ALONE)
    for ranks in run_ranks(2, curves):
        for case, actual, expected in zip(CASES, ranks, alone, strict=True):
            for found, wanted in zip(actual[0], expected[0], strict=True):
                for name in ("losses", "weights", "cosines", "hypergradients", "meta_loss"):
                    numbers = getattr(wanted, name)
                    assert getattr(found, name) == pytest.approx(numbers, rel=1e-9, abs=1e-13, nan_ok=True), (
                        case,
                        name,
                    )
            assert actual[1] == pytest.approx(expected[1], rel=1e-7, abs=1e-9), case
            assert actual[2] == pytest.approx(expected[2], rel=1e-5, abs=1e-7), (
                case
            )  # Adam makes rounding errors larger


def train(
    method: Any, kinds: Sequence[Kind], steps: int, seed: int = 0, **options: Any
) -> tuple[float, np.ndarray, list[StepRecord]]:
    """Return (validation error, weights averaged over the last third, records)."""
    problem = Planted(kinds, rows=36, seed=seed, noise=0.3, fixed=True, hidden=8, dtype=torch.float32)
    step = made(method, problem, batch=18, seed=seed, **{"hidden": 100, "lr": 1e-3} | options)
    records = [step.step(number) for number in range(steps)]
    last = np.array([record.weights for record in records[-steps // 3 :]])
    return problem.evaluate("val").scores["rmse"], last.mean(0), records


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["random", "opposite"])
def test_a_harmful_task_ends_with_less_weight_than_a_helpful_one(harm: str) -> None:
    """Harmful tasks have random or opposite labels, so that equal weights are worse than no auxiliary task."""
    kinds = (Kind(rows=16), Kind(harm, rows=16))
    none, fixed, learned = (train(method, kinds, 150) for method in ("none", "fixed", "auxts_all"))
    assert learned[1][2] < 0.4 * learned[1][1]
    assert learned[1][1] > 0.3
    assert learned[0] < none[0] < fixed[0]


@pytest.mark.slow
def test_the_scale_of_a_loss_moves_auxts_less_than_selar() -> None:
    """Like the paper's Table 4: a harmful task's loss is scaled by 5 (this seed is one of the four that were tried; the order
    was the same in all)."""
    moves = {}
    for method in ("selar", "auxts_all"):
        errors = [
            train(method, (Kind(rows=9), Kind("random", rows=9, scale=scale)), 150, seed=1)[0] for scale in (1.0, 5.0)
        ]
        moves[method] = abs(errors[1] - errors[0])
    assert moves["auxts_all"] < 0.5 * moves["selar"]


def test_bench_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTGNN_DATA", "absent")
    name, network = ratings_network()
    assert name == "synthetic ratings"
    config = NetworkTaskConfig(auxiliary=tuple(network.meta["paths"]), width=4, hidden=5, fan_out=2, aux_batch=8)
    lines = list(compared(name, network, config, Run(batch=12), "cpu", 1))
    assert all(line["value"] > 0 and line["baseline_value"] > 0 for line in lines if "step" in line["metric"])
    assert {line["baseline"] for line in lines} == {"fixed", "the same by double backward", "the same as written"}
