"""Hypergradients equal finite differences and double backward; the look-ahead restores the parameters."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from distgnn.auxiliary.hypergradient import derivatives, meta_gradient, shifted_parameters
from distgnn.auxiliary.problem import Rows, Samples
from distgnn.auxiliary.step import MultiTaskStep
from distgnn.auxiliary.task_gradients import Layout, cosines
from distgnn.auxiliary.weighting import Weighting, build_weighting
from distgnn.config import EncoderConfig, WeightingConfig
from distgnn.config.weighting import PUBLISHED
from distgnn.distributed import ProcessGroup
from distgnn.models.encoder import build_encoder
from distgnn.models.ops.scatter import ScatteredSegments
from distgnn.objectives.l2p.objective import L2P, L2PConfig
from jobs.benches.double_backward import AsWrittenStep, DoubleBackwardStep
from tests.helpers.graphs import MOLECULE, random_graphs, with_tasks
from tests.helpers.lookahead import lookahead_loss
from tests.helpers.planted import Kind, Options, Planted

ALONE = ProcessGroup.single_process(torch.device("cpu"))
KINDS = (Kind(scale=2.0), Kind("random", summed=True), Kind("opposite", fixed=True))
METHODS = ("selar", "auxts_one", "auxts_all")


def made(method: Any, **options: Any) -> MultiTaskStep:
    config = WeightingConfig(method=method, **PUBLISHED | {"hidden": 7, "alpha": 0.3, "lr": 0.05} | options)
    problem = Planted(KINDS)
    return MultiTaskStep(problem, build_weighting(config, problem.names, 5), Options(weighting=config), ALONE, 1)


def own(weighting: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in weighting.parameters() if parameter.requires_grad]


def hypergradient(step: MultiTaskStep) -> tuple[list[Tensor], Weighting]:
    """Return the gradients of a step's first stage and the weighting before it; the model is restored."""
    before, parameters = copy.deepcopy(step.weighting), [value.detach().clone() for value in step.layout.parameters]
    step.step(0)
    for parameter, value in zip(step.layout.parameters, parameters, strict=True):
        parameter.data.copy_(value)
    return [parameter.grad for parameter in own(step.weighting) if parameter.grad is not None], before


@pytest.mark.parametrize("folds", [1, 3])
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("granularity", ["task", "sample"])
@pytest.mark.parametrize("method", METHODS)
def test_equals_double_backward(method: str, granularity: str, normalise: bool, folds: int) -> None:
    step = made(method, granularity=granularity, normalise=normalise, folds=folds)
    found, before = hypergradient(step)
    loss = lookahead_loss(step.problem, step.fetch(0), before, step.batches, 0.3)
    wanted = torch.autograd.grad(loss, own(before), materialize_grads=True)
    assert max(float(part.abs().max()) for part in wanted) > 1e-4
    torch.testing.assert_close(found, list(wanted), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("folds", [1, 3])
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("granularity", ["task", "sample"])
def test_equals_finite_differences(granularity: str, normalise: bool, folds: int) -> None:
    step = made("auxts_all", granularity=granularity, normalise=normalise, folds=folds)
    found, weighting = hypergradient(step)
    batch, generator = step.fetch(0), torch.Generator().manual_seed(0)
    for parameter, slope in zip(own(weighting), found, strict=True):
        direction = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        values = []
        for size in (1e-5, -1e-5):
            parameter.data.add_(size * direction)
            values.append(float(lookahead_loss(step.problem, batch, weighting, step.batches, 0.3).detach()))
            parameter.data.sub_(size * direction)
        numeric = (values[0] - values[1]) / 2e-5
        assert numeric != 0
        assert float((slope * direction).sum()) == pytest.approx(numeric, rel=1e-6, abs=1e-10)


def test_recorded_hypergradient_is_the_derivative_by_the_weight() -> None:
    """With weights that are parameters themselves, Adam's gradient is the record's."""

    class Free(Weighting):
        learns = "meta"

        def __init__(self) -> None:
            super().__init__()
            self.values = nn.Parameter(torch.tensor([0.9, 0.3, 0.2, 0.4]))

        def forward(self, signals: Any) -> Tensor:
            return self.values[signals.task]

    for granularity in ("task", "sample"):
        weighting = Free()
        weighting.per_sample = granularity == "sample"
        config = WeightingConfig(alpha=0.3, **PUBLISHED)
        step = MultiTaskStep(Planted(KINDS), weighting, Options(weighting=config), ALONE, 1)
        record = step.step(0)
        assert weighting.values.grad is not None
        assert record.hypergradients == pytest.approx(weighting.values.grad.tolist(), rel=1e-12)
        assert min(map(abs, record.hypergradients)) > 0


@pytest.mark.parametrize("granularity", ["task", "sample"])
def test_similarity_by_layer(granularity: str) -> None:
    step = made("auxts_one", similarity="layer", granularity=granularity)
    found, before = hypergradient(step)
    losses = [lookahead_loss(step.problem, step.fetch(0), before, step.batches, 0.3, layer) for layer in (True, False)]
    layer, whole = (torch.autograd.grad(loss, own(before), materialize_grads=True) for loss in losses)
    torch.testing.assert_close(found, list(layer), rtol=1e-9, atol=1e-13)
    assert not torch.allclose(layer[1], whole[1], rtol=1e-3)


def test_look_ahead_moves_every_parameter_of_the_target_and_no_other() -> None:
    step, seen = made("auxts_all"), []
    problem, layout = step.problem, step.layout
    judge = problem.fold_losses

    def recording(batch: Any, fold: int) -> Samples:
        seen.append([parameter.detach().clone() for parameter in layout.parameters])
        return judge(batch, fold)

    problem.fold_losses = recording  # pyright: ignore[reportAttributeAccessIssue]
    before = [parameter.detach().clone() for parameter in layout.parameters]
    step.step(0)
    assert len(seen) == 3
    for there in seen:
        for place, (old, new) in enumerate(zip(before, there, strict=True)):
            assert bool((old != new).all()) == (place < len(layout.target_parameters)), place


def test_meta_gradient_depends_on_every_parameter_moved() -> None:
    step = made("auxts_all")
    batch, layout = step.fetch(0), step.layout
    plain = meta_gradient(step.problem, batch, 0, layout, ALONE)[1]
    start = 0
    for parameter in layout.target_parameters:
        change = torch.zeros(layout.target_size, dtype=torch.float64)
        change[start : start + parameter.numel()] = 0.01
        start += parameter.numel()
        with shifted_parameters(layout, change):
            assert meta_gradient(step.problem, batch, 0, layout, ALONE)[1] != plain
    assert start == layout.target_size
    assert meta_gradient(step.problem, batch, 0, layout, ALONE)[1] == plain


def test_parameters_are_restored_bit_for_bit() -> None:
    layout = Layout(Planted(dtype=torch.float32))
    before = [parameter.detach().clone() for parameter in layout.target_parameters]
    change = torch.randn(layout.target_size, generator=torch.Generator().manual_seed(0)) * 1e3
    with shifted_parameters(layout, change):
        assert not torch.equal(layout.target_parameters[0], before[0])
    with pytest.raises(KeyError), shifted_parameters(layout, change):
        raise KeyError
    for parameter, value in zip(layout.target_parameters, before, strict=True):
        assert torch.equal(parameter, value)


class Graphs:
    """A MultiTaskProblem on graphs: squared error of each graph, folds are streams; L2P is an auxiliary task with a summed loss."""

    names = ("target", "l2p")
    strata: Rows = np.zeros(8, np.int64)
    rows, metrics, lower_is_better = 8, ("none",), frozenset[str]()

    def __init__(self, kind: str, norm: str) -> None:
        config = EncoderConfig(kind=kind, layers=2, width=6, norm=norm, pooling="attention")  # pyright: ignore[reportArgumentType]
        sizes = [5, 1, 9, 2, 6, 14, 3, 4]
        self.objective = L2P(L2PConfig.paper(support=3, query=2, node_lr=0.1, graph_lr=0.1))
        self.graphs = with_tasks(random_graphs(sizes), self.objective.prepare, streams=[0, 4])
        self.shared = build_encoder(MOLECULE, config, 1).double()
        self.heads = nn.ModuleList([nn.Linear(6, 1).double(), nn.Identity()])

    def fetch(self, folds: Sequence[Rows], step: int, auxiliary: bool = True) -> Any:  # noqa: ARG002
        return self.graphs

    def losses(self, batch: Any) -> tuple[list[Samples], list[Samples]]:
        each = self.heads[0](self.shared.pool(self.shared(batch), batch)).square().sum(1)
        made = self.objective.losses(self.shared, batch, 3, 0)
        zero, count = torch.zeros(8, dtype=torch.float64), torch.tensor(4.0)
        target = [Samples(each[:4], zero[:4], count), Samples(each[4:], zero[4:], count)]
        return target, [Samples(made.total.reshape(1), zero[:1], made.count, summed=True)]


@pytest.mark.parametrize("norm", ["ghost", "layer", "graph"])
@pytest.mark.parametrize("kind", ["gin", "gcn", "sage", "gat"])
def test_forward_mode_runs_through_every_encoder_and_l2p(kind: str, norm: str) -> None:
    problem = Graphs(kind, norm)
    layout = Layout(problem)  # pyright: ignore[reportArgumentType]
    direction = torch.randn(layout.target_size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = derivatives(problem, problem.graphs, layout, direction)  # pyright: ignore[reportArgumentType]
    target, auxiliary = problem.losses(problem.graphs)
    for samples, slopes in zip((*target, *auxiliary), found, strict=True):
        for loss, slope in zip(samples.losses, slopes, strict=True):
            grads = torch.autograd.grad(loss, layout.target_parameters, retain_graph=True, materialize_grads=True)
            flat = torch.cat([part.flatten() for part in grads])
            torch.testing.assert_close(slope, flat @ direction, rtol=1e-9, atol=1e-10)


def test_padding_in_forward_mode() -> None:
    rows = ScatteredSegments(torch.tensor([1, 0, 1, 2, 1]), 3)
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(
        lambda v: rows.padding.unpad(rows.padding.pad(v * v)), (x,), check_forward_ad=True, check_backward_ad=False
    )


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    tasks=st.integers(1, 5),
    layers=st.integers(1, 3),
    scale=st.sampled_from([1e-12, 1.0, 1e9]),
)
def test_cosines(seed: int, tasks: int, layers: int, scale: float) -> None:
    """Equal to torch's, layer by layer; 0 for a zero gradient; in [-1, 1] in float32, too."""
    gradients = torch.randn(layers, tasks, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    gradients[:, 1:] += gradients[:, :1] * torch.tensor([0.0, 5.0, -1e6])[seed % 3]
    gradients[0, -1] = 0
    wanted = torch.stack([torch.nn.functional.cosine_similarity(part[:1], part) for part in gradients]).mean(0)
    wanted[0] = 1
    scaled = gradients * scale
    torch.testing.assert_close(cosines(scaled @ scaled.mT), wanted, rtol=1e-9, atol=1e-9)
    rounded = cosines(gradients.float() @ gradients.float().mT)
    assert float(rounded.abs().max()) <= 1


@pytest.mark.parametrize(
    ("kind", "granularity", "normalise"),
    [
        (DoubleBackwardStep, "task", False),
        (DoubleBackwardStep, "sample", True),
        (DoubleBackwardStep, "sample", False),
        (AsWrittenStep, "task", False),
    ],
)
def test_baselines_of_the_benchmark_take_the_same_steps(
    kind: type[MultiTaskStep], granularity: str, normalise: bool
) -> None:
    optimized = made("auxts_all", granularity=granularity, normalise=normalise)
    config = optimized.options
    problem = Planted(KINDS)
    baseline = kind(problem, build_weighting(config, problem.names, 5), Options(weighting=config), ALONE, 1)
    for number in range(3):
        optimized.step(number)
        baseline.step(number)
    for mine, other in (
        (optimized.layout.parameters, baseline.layout.parameters),
        (own(optimized.weighting), own(baseline.weighting)),
    ):
        torch.testing.assert_close(list(mine), list(other), rtol=1e-6, atol=1e-8)
