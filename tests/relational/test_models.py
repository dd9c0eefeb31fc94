"""The model, its inner steps, pre-training on several ranks, and checkpoints."""

from __future__ import annotations

import dataclasses
import os
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from distgnn.api.database_models import pretrain_databases
from distgnn.checkpoint.format import DATABASE_MODEL
from distgnn.checkpoint.load import load_encoder
from distgnn.checkpoint.push_pull import pull, push
from distgnn.config import from_json, to_json
from distgnn.config.database_model import DatabaseModelConfig, DatabasePretrainConfig, DatabaseTrainConfig, SampleConfig
from distgnn.distributed import ProcessGroup
from distgnn.errors import RequestError
from distgnn.relational.ensemble import DatabaseModel
from distgnn.relational.episodes import EpisodeLimits, draw_episode
from distgnn.relational.head import left_out_loss, solve, solve_weights
from distgnn.relational.model import Episode, Member, query_loss, standardise, statistics
from distgnn.relational.model_checkpoint import load_model, restore
from distgnn.relational.pretraining import pretraining_pool
from distgnn.relational.training import new_model, new_state, train_steps
from distgnn.relational.values import CHANNELS, FACTS, NAME_BUCKETS, REDUNDANCY, redundancy
from distgnn.storage.folder import open_folder
from distgnn.storage.verified import publish, read_verified, seal
from tests.helpers.databases import frames, write_database
from tests.helpers.hub import fake_hub
from tests.helpers.training import run_ranks

SMALL = DatabaseModelConfig(width=8, heads=2, layers=1, name_width=2, cell_width=2, row_width=4, members=1)


def episode(
    context: int = 12, query: int = 6, columns: int = 5, *, binary: bool = True, dtype=torch.float64
) -> Episode:
    random = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return 0.5 * torch.randn(*shape, generator=random, dtype=dtype)

    labels, targets = normal(context), normal(query)
    if binary:
        labels, targets = (labels > 0).to(dtype), (targets > 0).to(dtype)
    rows = normal(context, columns, CHANNELS), normal(query, columns, CHANNELS)
    return Episode(*rows, normal(columns, FACTS), normal(columns, NAME_BUCKETS), labels, targets, binary)


def new_member(kind: Literal["attention", "column-prior"] = "attention") -> Member:
    member = new_model(dataclasses.replace(SMALL, kind=kind), 0).double().members[0]
    assert isinstance(member, Member)
    return member


def test_leave_one_out_equals_leaving_one_out() -> None:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(7, 3, generator=random, dtype=torch.float64)
    kernel, y, noise = x @ x.T, torch.randn(7, generator=random, dtype=torch.float64), torch.tensor(0.3)
    solution = solve(kernel, noise, y)
    for left in range(7):
        rest = torch.arange(7) != left
        inner = kernel[rest][:, rest] + (0.3 + 1e-4) * torch.eye(6, dtype=torch.float64)
        weights = torch.linalg.solve(inner, torch.stack([y[rest], kernel[rest, left]], 1))
        mean, explained = kernel[left, rest] @ weights[:, 0], kernel[left, rest] @ weights[:, 1]
        torch.testing.assert_close(solution.left_out[left], y[left] - mean)
        torch.testing.assert_close(solution.variance[left], kernel[left, left] + 0.3 + 1e-4 - explained)
    torch.testing.assert_close(solve_weights(kernel, noise, y), solution.weights)
    assert left_out_loss(solution).ndim == 0


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("kind", ["attention", "column-prior"])
def test_outer_gradient_equals_finite_differences(
    steps: int, binary: bool, kind: Literal["attention", "column-prior"]
) -> None:
    """Second order: the gradient through the inner steps is exact."""
    model, data = new_member(kind), episode(binary=binary)

    def loss() -> Tensor:
        return query_loss(model(data, steps, second_order=True), data, standardise(data))

    parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss(), parameters, allow_unused=True)
    random = torch.Generator().manual_seed(1)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        direction = torch.randn(parameter.shape, generator=random, dtype=torch.float64)
        exact = 0.0 if gradient is None else float((gradient * direction).sum())
        with torch.no_grad():
            parameter += 1e-5 * direction
        above = loss().item()
        with torch.no_grad():
            parameter -= 2e-5 * direction
        below = loss().item()
        with torch.no_grad():
            parameter += 1e-5 * direction
        assert exact == pytest.approx((above - below) / 2e-5, rel=1e-4, abs=1e-7)


def test_first_order_differs_from_second_order() -> None:
    model, data = new_member(), episode()
    found = []
    for second_order in (True, False):
        loss = query_loss(model(data, 1, second_order=second_order), data, standardise(data))
        found.append(torch.autograd.grad(loss, model.per_column.weight)[0])
    assert not torch.allclose(*found)


def test_inner_steps_lower_the_left_out_loss() -> None:
    model, data = new_member(), episode(context=40)
    before, after = (model.fit(data, steps) for steps in (0, 3))
    with torch.no_grad():
        losses = [model.inner_loss(data.context, one.task, one.prior, one.modulation) for one in (before, after)]
    assert losses[1] < losses[0]


def test_columns_have_no_order_and_need_no_names() -> None:
    model, data = new_member(), episode()
    order = torch.tensor([3, 0, 4, 1, 2])
    turned = dataclasses.replace(
        data,
        context=data.context[:, order],
        query=data.query[:, order],
        facts=data.facts[order],
        names=data.names[order],
    )
    torch.testing.assert_close(model(data), model(turned))
    nameless = dataclasses.replace(data, names=torch.zeros_like(data.names))
    assert model(nameless).isfinite().all()
    assert not torch.allclose(model(nameless), model(data))


def test_a_column_prior_reads_each_description_alone() -> None:
    """A column's weights depend on its own description, neither on labels nor on the other columns."""
    data = episode()
    turned = dataclasses.replace(data, labels=data.labels.roll(5))
    facts = dataclasses.replace(data, facts=torch.cat([data.facts[:1] + 1, data.facts[1:]]))
    for kind, alone in (("attention", False), ("column-prior", True)):
        model = new_member(kind)
        found = [model.prior(one, standardise(one)).linear for one in (data, turned, facts)]
        assert torch.equal(found[0], found[1]) == alone
        assert torch.equal(found[0][1:], found[2][1:]) == alone
        assert not torch.equal(found[0][0], found[2][0])
    assert not torch.allclose(model(data), model(turned))


def test_no_context_ranks_by_descriptions() -> None:
    model, data = new_member(), episode(context=0)
    values = model(data)
    assert values.unique().numel() == 6
    assert (values == model(data, 2)).all()


def test_more_rows_than_columns_give_the_same_statistics() -> None:
    """Ridge weights come from the smaller of two systems of equations."""
    random = torch.Generator().manual_seed(0)
    rows = torch.randn(30, 5, CHANNELS, generator=random, dtype=torch.float64)
    labels = torch.randn(30, generator=random, dtype=torch.float64)
    x = ((rows - rows.mean(0)) / (rows - rows.mean(0)).square().mean(0).sqrt()).flatten(1)
    y = (labels - labels.mean()) / (labels - labels.mean()).square().mean().sqrt()
    ridge = torch.linalg.solve(x.T @ x / 20 + torch.eye(20, dtype=torch.float64), x.T @ y).reshape(5, CHANNELS)
    expected = (ridge / ridge.square().mean().sqrt() / 2).tanh()
    torch.testing.assert_close(statistics(rows, labels)[:, -CHANNELS:], expected)


def test_members_are_averaged_and_trained_on_their_own_losses() -> None:
    model, data = new_model(dataclasses.replace(SMALL, members=2), 0).double(), episode()
    parts = [member(data) for member in model.members]
    assert not torch.allclose(*parts)
    torch.testing.assert_close(model(data), (parts[0] + parts[1]) / 2)
    torch.testing.assert_close(parts[0], new_model(SMALL, 0).double()(data))  # the first is the model of one member
    losses = [query_loss(part, data, standardise(data)) for part in parts]
    torch.testing.assert_close(model.loss(data), (losses[0] + losses[1]) / 2)


def test_members_are_trained_as_if_each_were_alone(shop: str, tmp_path: Path) -> None:
    """Also where their gradients are clipped."""
    pool, alone = pretraining_pool(config(shop, tmp_path)), ProcessGroup.single_process(torch.device("cpu"))
    train = dataclasses.replace(config(shop, tmp_path).train, steps=3, clip_norm=0.05)
    both = new_state(dataclasses.replace(SMALL, members=2), train)
    singles = [new_state(SMALL, train) for _ in range(2)]
    for single, member in zip(singles, both.model.members, strict=True):
        single.model.members[0].load_state_dict(member.state_dict())
    for state in (both, *singles):
        train_steps(state, pool, train, alone, lambda _: False)
    for single, member in zip(singles, both.model.members, strict=True):
        for name, tensor in member.state_dict().items():
            torch.testing.assert_close(single.model.members[0].state_dict()[name], tensor, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(both.losses, np.mean([single.losses for single in singles], 0), rtol=1e-5)


def test_a_checkpoint_of_one_model_without_redundancy_is_read(shop: str, tmp_path: Path) -> None:
    run = pretrain_databases(config(shop, tmp_path / "run", steps=1))
    saved, (files, _) = load_model(run.checkpoint), read_verified(open_folder(run.checkpoint), DATABASE_MODEL)
    old = dict(files)
    for name in ("model.safetensors", "state.safetensors"):
        tensors = {key.replace("members.0.", ""): value for key, value in safetensors.torch.load(files[name]).items()}
        for key, value in tensors.items():
            if key.endswith("entry.weight") and value.ndim == 2:
                tensors[key] = torch.cat([value[:, : FACTS - REDUNDANCY], value[:, FACTS:]], 1)
        old[name] = safetensors.torch.save(tensors)
    publish(open_folder(tmp_path / "old"), old, seal(old, DATABASE_MODEL))
    loaded, kept = load_model(str(tmp_path / "old")), saved.model.members[0].get_parameter("entry.weight")
    assert loaded.optimiser.keys() == saved.optimiser.keys()
    with torch.no_grad():
        kept[:, FACTS - REDUNDANCY : FACTS] = 0
    for name, tensor in saved.model.state_dict().items():
        assert torch.equal(tensor, loaded.model.state_dict()[name])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_database(tmp_path_factory.mktemp("shop") / "shop", frames(customers=30, orders=500))


def config(shop: str, out: Path, steps: int = 6) -> DatabasePretrainConfig:
    train = DatabaseTrainConfig(steps=steps, episodes=4, contexts=(8, 16), queries=16, columns=12, adapted=0.5)
    return DatabasePretrainConfig(
        (shop,), str(out), 3, SMALL, train, SampleConfig(4, 2), checkpoint_every=2, synthetic=0
    )


def job(group: ProcessGroup, config: DatabasePretrainConfig) -> list[float]:
    return pretrain_databases(config, group).losses


def test_ranks_give_the_same_losses(shop: str, tmp_path: Path) -> None:
    one = pretrain_databases(config(shop, tmp_path / "1"))
    assert one.tasks >= 4
    weights = load_model(one.uri).model.state_dict()
    found = run_ranks(3, partial(job, config=config(shop, tmp_path / "3")))
    assert found == [one.losses] * 3
    for name, tensor in load_model(str(tmp_path / "3")).model.state_dict().items():
        assert torch.equal(tensor, weights[name])


def test_a_stopped_run_continues_with_the_same_losses(
    shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = pretrain_databases(config(shop, tmp_path / "whole"))
    monkeypatch.setattr("distgnn.relational.pretraining.after_step", lambda *args: _stop_at(4, *args))
    stopped = pretrain_databases(config(shop, tmp_path / "stopped"))
    assert len(stopped.losses) == 4
    monkeypatch.undo()
    again = pretrain_databases(config(shop, tmp_path / "stopped"))
    assert again.losses == whole.losses
    assert again.table["loss"].tolist() == again.losses
    assert again.table["step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert [len(line.get_xdata()) for line in again.plot().axes[0].lines] == [6, 6]
    assert "<th>loss</th>" in again._repr_html_()
    assert load_model(os.fspath(again)).losses == again.losses
    assert again.checkpoint.endswith("step-000000006")
    with pytest.raises(RequestError, match="another config"):
        pretrain_databases(dataclasses.replace(config(shop, tmp_path / "stopped"), automatic=1))
    assert capsys.readouterr().out == ""


def _stop_at(step: int, *args: object) -> bool:
    state = args[-1]
    return state.step == step  # type: ignore[attr-defined]


def test_a_model_is_pushed_and_pulled_as_other_checkpoints(
    shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also to the Hub and from there; without the state of the optimiser it predicts, and the run does not go on from it."""
    run = pretrain_databases(config(shop, tmp_path / "run", 2))
    (tmp_path / "card.md").write_text("# Mine\n")
    copy = push(run.uri, str(tmp_path / "copies"), weights_only=True, card=str(tmp_path / "card.md"))
    assert (tmp_path / "copies" / "card.md").read_text() == "# Mine\n"
    pytest.importorskip("huggingface_hub", reason="the extra 'hub' is not installed")
    with fake_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_TOKEN", hub.token)
        monkeypatch.setenv("DISTGNN_CACHE", str(tmp_path / "cache"))
        push(copy, "hf:lab/shop")
        assert pull("hf:lab/shop", str(tmp_path / "pulled")) == str(tmp_path / "pulled")
        found = [load_model(uri) for uri in (run.checkpoint, "hf:lab/shop", str(tmp_path / "pulled"))]
    for other in found[1:]:
        assert other.facts == found[0].facts
        for name, tensor in found[0].model.state_dict().items():
            assert torch.equal(tensor, other.model.state_dict()[name])
    with pytest.raises(RequestError, match="not the format of a checkpoint"):
        load_encoder(copy)
    with pytest.raises(RequestError, match="no state of the optimiser"):
        restore(new_state(found[2].model.config, DatabaseTrainConfig()), found[2])


def test_a_damaged_checkpoint_is_refused(shop: str, tmp_path: Path) -> None:
    run = pretrain_databases(config(shop, tmp_path / "run", steps=1))
    saved = load_model(run.checkpoint)
    assert saved.facts.databases == ("shop",)
    (Path(run.checkpoint) / "model.safetensors").write_bytes(b"x")
    with pytest.raises(RequestError, match="wrong checksum"):
        load_model(run.checkpoint)
    with pytest.raises(RequestError, match="no complete checkpoint here"):
        load_model(str(tmp_path))


def test_redundancy_counts_columns_that_say_the_same() -> None:
    a, b = np.array([1, 1, -1, -1], np.float32), np.array([1, -1, 1, -1], np.float32)
    ranks = np.stack([a, -a, b, 0.6 * a + 0.8 * b], 1).astype(np.float32)
    ranks[:, 2] = [1, np.nan, np.nan, -1]  # missing is 0: correlations sqrt(1/2) with a, and 0.99 with the last
    last = (0.6 + 0.8) / 2**0.5
    expected = [1 + 0.5 + 0.36, 1 + 0.5 + 0.36, 0.5 + 0.5 + last**2, 0.36 + 0.36 + last**2]
    np.testing.assert_allclose(redundancy(ranks)[:, 0], np.log1p(expected) / 3, rtol=1e-5)
    np.testing.assert_allclose(redundancy(ranks)[:, 1], [1, 1, last**2, last**2], rtol=1e-5)


def test_episodes_never_hold_test_rows(shop: str, tmp_path: Path) -> None:
    pool = pretraining_pool(config(shop, tmp_path))
    assert {data.name.split("/")[0] for data in pool} == {"shop"}
    for data in pool:
        assert data.rows.split.max() < 2
        drawn = draw_episode(data, EpisodeLimits((8,), 16, 10, 0.5), 0, 1)
        again = draw_episode(data, EpisodeLimits((8,), 16, 10, 0.5), 0, 1)
        assert torch.equal(drawn.context, again.context)
        assert drawn.context.shape[1] <= 10
        assert len(drawn.targets) <= 16
        bare = draw_episode(data, EpisodeLimits((8,), 16, 10, 1.0), 0, 1)
        assert not bare.names.any()


def test_learning_beats_the_untrained_model_on_another_database() -> None:
    """The planted sign of one column's description is learned and carries over."""
    random = np.random.default_rng(0)
    model = DatabaseModel(SMALL)
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)

    def made() -> Episode:
        rows = torch.from_numpy(random.normal(size=(48, 6, CHANNELS)).astype(np.float32))
        facts = torch.from_numpy(random.normal(size=(6, FACTS)).astype(np.float32))
        facts[:, 0] = torch.tensor([3.0, 0, 0, 0, 0, 0])
        labels = (rows[:, 0, 0] > 0).float()
        return Episode(rows[:4], rows[4:], facts, torch.zeros(6, NAME_BUCKETS), labels[:4], labels[4:], True)

    def loss(data: Episode) -> Tensor:
        return query_loss(model(data), data, standardise(data))

    held_out = [made() for _ in range(10)]
    with torch.no_grad():
        before = sum(loss(data).item() for data in held_out)
    for _ in range(60):
        optimiser.zero_grad()
        loss(made()).backward()
        optimiser.step()
    with torch.no_grad():
        assert sum(loss(data).item() for data in held_out) < 0.8 * before


def test_configs_of_earlier_versions_have_one_member_and_no_synthetic_databases(shop: str, tmp_path: Path) -> None:
    saved = to_json(config(shop, tmp_path))
    for name in ("synthetic", "workers", "max_failures"):
        del saved[name]
    del saved["model"]["members"]
    found = from_json(DatabasePretrainConfig, saved)
    assert (found.model.members, found.synthetic, found.workers, found.max_failures) == (1, 0, 1, 3)
    assert (DatabaseModelConfig().members, DatabasePretrainConfig((shop,)).synthetic) == (2, 24)
