"""Weighting methods against their formulas, and invalid options."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distgnn import register
from distgnn.auxiliary.weighting import Signals, Weighting, build_weighting
from distgnn.auxiliary.weighting.model import WeightModel
from distgnn.config import WeightingConfig, from_json, to_json
from distgnn.config.weighting import PUBLISHED
from distgnn.errors import RequestError

NAMES = ("target", "first", "second")


def signals(**changed: Any) -> Signals:
    values = {
        "task": torch.tensor([0, 1, 1, 2]),
        "loss": torch.tensor([0.3, 1.0, 2.0, 0.1]),
        "label": torch.tensor([1.0, 0.0, 1.0, 0.0]),
        "cosines": torch.tensor([1.0, 0.5, -0.2]),
        "shared": torch.tensor([[1.0, 0, 0, 2], [0, 2, 0, 0], [0, 0, 3, 1]]),
    }
    return Signals(**values | changed)


def build(method: Any, **options: Any) -> Weighting:
    return build_weighting(WeightingConfig(method=method, **PUBLISHED | {"hidden": 6} | options), NAMES, 0)


def test_weights_of_none_fixed_and_cosine() -> None:
    assert build("none")(signals()).tolist() == [1, 0, 0, 0]
    assert build("none").alone
    assert build("fixed")(signals()).tolist() == [1, 1, 1, 1]
    assert build("fixed", fixed=(1.0, 0.5, 2.0))(signals()).tolist() == [1, 0.5, 0.5, 2]
    assert build("cosine")(signals()).tolist() == [1, 1, 1, 0]
    assert build("cosine")(signals(cosines=torch.tensor([1.0, 0.0, -1e-9]))).tolist() == [1, 1, 1, 0]
    assert build("cosine").plain_heads


def test_uncertainty() -> None:
    method = build("uncertainty")
    with torch.no_grad():
        method.log_variance.copy_(torch.tensor([0.0, 1.0, -2.0]))  # pyright: ignore[reportCallIssue, reportArgumentType]
    torch.testing.assert_close(method(signals()), torch.tensor([0.0, -1.0, -1.0, 2.0]).exp())
    assert float(method.penalty().detach()) == -1


def by_hand(model: WeightModel, columns: list[list[float]], output: Any) -> Tensor:
    """Compute the formula of the paper's appendix row by row."""
    found = []
    for task, row in zip((0, 1, 1, 2), columns, strict=True):
        x = torch.cat([torch.tensor(row), model.types.weight[task]])
        hidden = F.relu(model.hidden.weight @ x + model.hidden.bias)
        found.append(output(model.out.weight @ hidden + model.out.bias)[0])
    return torch.stack(found)


SEEN = {
    "selar": [[0.3, 1.0], [1.0, 0.0], [2.0, 1.0], [0.1, 0.0]],
    "auxts_one": [[0.3, 1.0], [1.0, 0.5], [2.0, 0.5], [0.1, -0.2]],
    "auxts_all": [[0.3, 0.5, -0.2], [1.0, 0.5, -0.2], [2.0, 0.5, -0.2], [0.1, 0.5, -0.2]],
}


@pytest.mark.parametrize("types", ["learned", "onehot"])
@pytest.mark.parametrize("output", ["softplus", "sigmoid"])
@pytest.mark.parametrize("method", [*SEEN, "frozen"])
def test_weighting_models_equal_the_formula(method: str, output: str, types: str) -> None:
    model = build(method, output=output, types=types)
    assert isinstance(model, WeightModel)
    wanted = by_hand(
        model, SEEN[method.replace("frozen", "auxts_all")], {"softplus": F.softplus, "sigmoid": torch.sigmoid}[output]
    )
    torch.testing.assert_close(model(signals()), wanted)
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert ("types.weight" in trained) == (types == "learned")
    if types == "onehot":
        assert torch.equal(model.types.weight, torch.eye(3))


def test_auto_options_are_those_of_the_papers() -> None:
    selar, auxts = (WeightingConfig(method=method, **PUBLISHED).settled() for method in ("selar", "auxts_one"))
    assert (selar.output, selar.normalise, selar.granularity, selar.types) == ("sigmoid", True, "sample", "onehot")
    assert (auxts.output, auxts.normalise, auxts.granularity, auxts.types) == ("softplus", False, "task", "learned")
    assert (selar.lr, auxts.lr, WeightingConfig(method="uncertainty").settled().lr) == (5e-3, 1e-4, 1e-3)
    asked = WeightingConfig(
        method="selar", output="softplus", normalise=False, granularity="task", types="learned", lr=2.0
    )
    assert asked.settled() == asked
    assert WeightingConfig().hidden == 1000


def test_auxts_starts_near_none() -> None:
    """Relative to the target, for both outputs and on any signals; 0 keeps the published weights."""
    now = WeightingConfig(method="auxts_all").settled()
    assert (now.start, now.normalise, now.lr) == (0.05, True, 1e-3)
    for method in ("auxts_one", "auxts_all", "frozen"):
        for output, target in (("softplus", 1.0), ("sigmoid", 0.5)):
            found = build(method, output=output, start=0.05)(signals())
            wanted = torch.where(signals().task == 0, target, 0.05 * target).to(found)
            torch.testing.assert_close(found, wanted)
    assert torch.equal(build("selar", start=0.05)(signals()), build("selar", start=0.0)(signals()))


def test_too_few_steps_to_move_a_weight_are_told() -> None:
    """The estimate is first-order: updates x rate x the sum of absolute derivatives of the output."""
    model = build("auxts_all", start=0.05)
    assert isinstance(model, WeightModel)
    said = model.advice(10, 1e-3)
    reach = 10 * 1e-3 * model._slope()
    assert said == (
        f"10 updates of the weights with weighting.lr=0.001 move the output by about {reach:.2f}, and from 0.05 it is 1.63 to 0"
        " and 3.51 to 1"
    )
    assert model.advice(round(2.0 / model._slope() / 1e-3), 1e-3).endswith("it is 3.51 to 1")
    assert model.advice(round(4.0 / model._slope() / 1e-3), 1e-3) == ""
    for quiet in (build("auxts_all", start=0.0), build("frozen", start=0.05), build("selar"), build("none")):
        assert quiet.advice(1, 1e-9) == ""


def test_model_options_reach_the_model() -> None:
    plain = build("auxts_all")
    assert (plain.per_sample, plain.normalised) == (False, False)
    asked = build("auxts_all", granularity="sample", normalise=True, hidden=9)
    assert (asked.per_sample, asked.normalised) == (True, True)
    assert isinstance(asked, WeightModel)
    assert asked.hidden.out_features == 9


@pytest.mark.parametrize("method", sorted(set(register.weighting.names()) - {"library"}))
def test_initial_weights_depend_on_the_seed_alone(method: Any) -> None:
    config = WeightingConfig(method=method, hidden=6)
    state = torch.random.get_rng_state()
    first, again, other = (build_weighting(config, NAMES, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(state, torch.random.get_rng_state())
    for name, value in first.items():
        assert torch.equal(value, again[name])
    if "hidden.weight" in first:
        assert not torch.equal(first["hidden.weight"], other["hidden.weight"])


@pytest.mark.parametrize("method", sorted(set(register.weighting.names()) - {"library"}))
def test_methods_without_auxiliary_tasks(method: Any) -> None:
    made = build_weighting(WeightingConfig(method=method, hidden=6), NAMES[:1], 0)
    one = torch.zeros(1)
    assert made(Signals(torch.tensor([0]), one, one, one + 1)).shape == (1,)


class FromGramian(nn.Module):
    def forward(self, gramian: Tensor) -> Tensor:
        return gramian.diagonal() + torch.rand(len(gramian))


class FromMatrix(nn.Module):
    def forward(self, matrix: Tensor) -> Tensor:
        return matrix.sum(1)


class Aggregator(nn.Module):
    """Mixes gradients, with weights that it exposes."""

    def __init__(self) -> None:
        super().__init__()
        self.weighting = FromMatrix()

    def forward(self, matrix: Tensor) -> Tensor:
        return self.weighting(matrix) @ matrix


class Rescaling(Aggregator):
    """Mixes gradients with other weights than those it exposes."""

    def forward(self, matrix: Tensor) -> Tensor:
        return super().forward(matrix) * 2


class Mixer(nn.Module):
    """Mixes gradients without exposing weights."""

    def forward(self, matrix: Tensor) -> Tensor:
        return matrix.median(0).values


class Picky(nn.Module):
    def __init__(self, rate: float) -> None:  # noqa: ARG002
        super().__init__()


class Broken(nn.Module):
    def forward(self, matrix: Tensor) -> Tensor:  # noqa: ARG002
        raise ValueError("too few\nrows")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("fakelib")
    for item in (FromGramian, FromMatrix, Aggregator, Rescaling, Mixer, Picky, Broken):
        setattr(module, item.__name__, item)
    module.number = 3  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "fakelib", module)


def library(name: str, reads: Any = "gramian") -> Weighting:
    return build("library", library=f"fakelib:{name}", library_reads=reads)


@pytest.mark.usefixtures("fake")
def test_library_class_gets_the_selected_input() -> None:
    found = library("FromMatrix", "matrix")(signals())
    assert found.tolist() == [3, 2, 2, 4]
    for reads in ("matrix", "gramian"):
        assert library("Aggregator", reads)(signals()).tolist() == [3, 2, 2, 4]
    random_part = library("FromGramian")(signals()) - torch.tensor([5.0, 4, 4, 10])
    assert bool(((random_part >= 0) & (random_part < 1)).all())
    method = library("FromGramian")
    assert (method.plain_heads, method.reads) == (True, "gradients")


@pytest.mark.usefixtures("fake")
def test_random_numbers_of_a_library_are_keyed() -> None:
    first, second = library("FromGramian"), library("FromGramian")
    torch.manual_seed(1)
    a = [first(signals()) for _ in range(2)]
    torch.manual_seed(2)
    b = [second(signals()) for _ in range(2)]
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1], b[1])
    assert not torch.equal(a[0], a[1])


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("name", "reads", "said"),
    [
        ("fakelib:Picky", "gramian", "cannot be instantiated without arguments"),
        ("fakelib:Broken", "gramian", "called for 3 gradients with their gramian .too few rows."),
        ("fakelib:Mixer", "matrix", r"returned \[5\] for 3 gradients, not one weight each; name a weighting class"),
        ("fakelib:Rescaling", "gramian", "its result is not a weighted sum of the gradients; name a weighting class"),
        ("fakelib:number", "gramian", "is not a class"),
        ("fakelib:Absent", "gramian", "install the package or correct the name"),
        ("absent_package_of_ours:Any", "gramian", "install the package or correct the name"),
        (":Any", "gramian", "install the package or correct the name"),
    ],
)
def test_refused_libraries(name: str, reads: Any, said: str) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        build("library", library=name, library_reads=reads)
    assert "\n" not in str(caught.value)
    assert f"weighting.library={name}" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lr": -1.0}, "weighting.lr must not be negative"),
        ({"alpha": -1.0}, "weighting.alpha must not be negative"),
        ({"clip_norm": -1.0}, "weighting.clip_norm must not be negative"),
        ({"proximal": -1.0}, "weighting.proximal must not be negative"),
        ({"hidden": 0}, "weighting.hidden must be at least 1"),
        ({"folds": 0}, "weighting.folds must be at least 1"),
        ({"fixed": (1.0, -1.0)}, "weighting.fixed must be finite and not negative"),
        ({"fixed": (1.0, float("nan"))}, "weighting.fixed must be finite and not negative"),
        ({"method": "library"}, "needs weighting.library=module:Class"),
        ({"method": "library", "library": "torchjd"}, "needs weighting.library=module:Class"),
    ],
)
def test_refused_options(options: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        WeightingConfig(**options)


def test_fixed_weights_must_fit_the_tasks() -> None:
    with pytest.raises(RequestError, match="holds 2 weights for 3 tasks; give one each for target, first, second"):
        build("fixed", fixed=(1.0, 2.0))


def test_config_round_trip() -> None:
    config = replace(WeightingConfig(), method="fixed", fixed=(1.0, 0.5))
    assert from_json(WeightingConfig, to_json(config)) == config
