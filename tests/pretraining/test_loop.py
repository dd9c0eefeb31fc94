"""The training loop in one process: every option of TrainConfig has an effect, and non-finite steps are skipped."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from distgnn.checkpoint.format import FOLDER, load_checkpoint, newest
from distgnn.checkpoint.training_state import TrainState, make_state
from distgnn.cli import main
from distgnn.config import TrainConfig
from distgnn.corpus.plan import Plan
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.stream import local_units, threaded_units
from distgnn.distributed import ProcessGroup
from distgnn.errors import DivergedError
from distgnn.graph.batch import GraphBatch
from distgnn.models.encoder import Encoder
from distgnn.objectives.base import Losses, Objective
from distgnn.pretraining.history import Snapshot
from distgnn.pretraining.loop import Hooks, train
from distgnn.pretraining.run import Run, make_plan, new_run, open_corpus, planned_steps, run_config
from distgnn.pretraining.step import Wishes, learning_rate, outer_step
from distgnn.pretraining.validation import validate, validated_units
from distgnn.storage.folder import open_folder
from tests.helpers.corpora import motifs
from tests.helpers.training import (
    CPU,
    StopAfter,
    continue_small,
    ignore,
    losses,
    small,
    start_command,
    train_small,
    validations,
)

CURVE = {"max_steps": 6, "validate_every": 0}


class Scaled(Objective):
    """The mean squared embedding times ``factor``; contributes ``count`` graphs."""

    metric_names = ("size",)

    def __init__(self, factor: float, count: float = 1.0) -> None:
        super().__init__()
        self.prepare = lambda *_: {}
        self.factor, self.count = factor, count

    def losses(self, encoder: Encoder, batch: GraphBatch, seed: int, epoch: int) -> Losses:  # noqa: ARG002
        total = encoder.pool(encoder(batch), batch).square().mean() * self.factor
        one = torch.tensor(1.0)
        return Losses(total, torch.tensor(self.count), {"size": (total.detach(), one)})


@pytest.fixture(scope="module")
def base(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    return losses(train_small(small(corpus, tmp_path_factory.mktemp("base"), **CURVE)))


def test_validation_on_most_graphs_is_warned_of(tmp_path: Path) -> None:
    motifs(tmp_path / "few", 40, unit_rows=32)  # seed 0 holds out the unit of 32, seed 3 that of 8
    with pytest.warns(
        RuntimeWarning,
        match=r"32 of 40 graphs are held out for validation, since whole units of 32 are; build .* without",
    ):
        train_small(small(str(tmp_path / "few"), tmp_path, max_steps=1, seed=0))
    train_small(small(str(tmp_path / "few"), tmp_path, "other", max_steps=1, seed=3))


def test_validation_on_no_graph_is_warned_of(tmp_path: Path) -> None:
    motifs(tmp_path / "one", 40, unit_rows=64)
    with pytest.warns(
        RuntimeWarning, match="no graphs are held out for validation, since the corpus has one unit; build"
    ):
        train_small(small(str(tmp_path / "one"), tmp_path, max_steps=1))
    train_small(small(str(tmp_path / "one"), tmp_path, "none", max_steps=1, validation_fraction=0.0))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", 2),
        ("streams", 4),
        ("graphs_per_stream", 5),
        ("lr", 3e-3),
        ("weight_decay", 0.5),
        ("warmup_steps", 3),
        ("schedule", "constant"),
        ("max_steps", 5),
        ("clip_norm", 0.01),
        ("precision", "bf16"),
        ("validation_fraction", 0.5),
    ],
)
def test_every_option_changes_the_losses(
    base: dict[int, float], corpus: str, tmp_path: Path, field: str, value: Any
) -> None:
    found = losses(train_small(small(corpus, tmp_path, **(CURVE | {field: value}))))
    assert found != base
    assert all(0 < loss < 1000 for loss in found.values())


def test_the_same_config_gives_the_same_curve(base: dict[int, float], corpus: str, tmp_path: Path) -> None:
    run = train_small(small(corpus, tmp_path, **CURVE))
    assert losses(run) == base
    assert list(validations(run)) == [6]


def test_clip_norm_bounds_the_gradient(corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state, batch, config = prepared(corpus, Scaled(1e4))
    kept: list[torch.Tensor] = []
    update = state.optimiser.step

    def recorded() -> None:
        kept.append(torch.cat([p.grad.flatten() for p in parameters(state)]))
        update()

    monkeypatch.setattr(state.optimiser, "step", recorded)
    for clip in (0.5, 0.0):
        step(state, batch, replace(config, clip_norm=clip))
    assert float(kept[0].norm()) == pytest.approx(0.5, rel=1e-4)
    assert float(kept[1].norm()) > 1


def parameters(state: TrainState) -> list[Any]:
    return [parameter for _, parameter in state.named_parameters()]


def prepared(corpus: str, objective: Objective | None = None) -> tuple[TrainState, GraphBatch, TrainConfig]:
    config, reader = small(corpus, "unused"), CorpusReader(corpus)
    state = make_state(config, reader.manifest.schema, CPU)
    state.encoder.train()
    if objective is not None:
        state.objective = objective
    return state, reader.unit(0), config.train


def step(state: TrainState, batch: GraphBatch | None, config: TrainConfig) -> Any:
    return outer_step(state, batch, config, ProcessGroup.single_process(CPU), epoch=0, lr=config.lr)


def weights(state: TrainState) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in state.model_tensors().items()}


def unchanged(state: TrainState, before: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, before[name]) for name, tensor in state.model_tensors().items())


def test_non_finite_steps_are_skipped_and_finally_an_error(corpus: str) -> None:
    state, batch, config = prepared(corpus, Scaled(float("nan")))
    before = weights(state)
    for _ in range(19):
        assert not step(state, batch, config).applied
    assert unchanged(state, before)
    assert state.step == 19
    with pytest.raises(DivergedError, match=r"lower train\.lr"):
        step(state, batch, config)


def test_a_finite_step_resets_the_count_of_skipped_steps(corpus: str) -> None:
    state, batch, config = prepared(corpus, Scaled(float("nan")))
    step(state, batch, config)
    state.objective = Scaled(1.0)
    before = weights(state)
    assert step(state, batch, config).applied
    assert state.skipped == 0
    assert not unchanged(state, before)


def test_a_step_without_contributing_graphs_changes_nothing(corpus: str) -> None:
    state, batch, config = prepared(corpus, Scaled(1.0, count=0.0))
    before = weights(state)
    assert not step(state, batch, config).applied
    assert not step(state, None, config).applied
    assert unchanged(state, before)
    assert state.skipped == 0


def test_running_statistics_follow_the_steps(corpus: str) -> None:
    state, batch, config = prepared(corpus, Scaled(1.0))
    before = weights(state)
    step(state, batch, config)
    moved = [name for name in before if "running_" in name and not torch.equal(before[name], weights(state)[name])]
    assert moved


def test_validation_does_not_change_the_model_and_is_deterministic(corpus: str) -> None:
    config, reader = small(corpus, "unused"), CorpusReader(corpus)
    state, plan = make_state(config, reader.manifest.schema, CPU), make_plan(config, reader)
    state.encoder.train()
    objective, before = state.objective, weights(state)
    assert objective is not None

    read = partial(threaded_units, reader, plan, objective.prepare)
    first, second = (
        validate(state, objective, plan, config.train, ProcessGroup.single_process(CPU), read) for _ in range(2)
    )
    assert first == second
    assert {"loss", *objective.metric_names} >= set(first) > {"loss"}
    assert unchanged(state, before)
    step(state, None, config.train)
    assert unchanged(state, before)  # nor did it leave statistics behind for the next step


def test_validation_is_capped_by_whole_units_of_the_seed() -> None:
    plan = Plan(10_000, 16, 2, 8, seed=3, validation_fraction=0.1)
    every = plan.split_units()[1].tolist()
    chosen = validated_units(plan, 100).tolist()
    assert len(chosen) == 7  # 112 graphs
    assert chosen == sorted(set(chosen))
    assert set(chosen) < set(every)
    assert chosen not in (every[:7], validated_units(replace(plan, seed=4), 100).tolist())
    assert validated_units(plan, 0).tolist() == validated_units(plan, 8192).tolist() == every


def test_wishes_reach_all_ranks(corpus: str) -> None:
    state, batch, config = prepared(corpus, Scaled(1.0))
    group = ProcessGroup.single_process(CPU)
    told = outer_step(state, batch, config, group, epoch=0, lr=0.1, wishes=Wishes(True, True, 2.5))
    assert (told.stop, told.report, told.cpu_seconds) == (True, True, 2.5)
    assert 0 <= told.waited < 1
    silent = outer_step(state, batch, config, group, epoch=0, lr=0.1)
    assert (silent.stop, silent.report, silent.cpu_seconds) == (False, False, 0.0)


def test_the_run_is_reported_and_lost_steps_are_counted(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distgnn.pretraining.loop._REPORT_SECONDS", 0.0)
    run, reported = new_run(small(corpus, tmp_path, checkpoint_every=5)), list[Snapshot]()

    def part(stop: int) -> Any:
        hooks = Hooks(local_units, StopAfter(stop), ignore, report=reported.append)
        return train(run, open_corpus(run.config), ProcessGroup.single_process(CPU), hooks)

    assert part(7) == "stopped"
    assert [snapshot["step"] for snapshot in reported] == list(range(1, 7))
    assert reported[-1]["metrics"]["loss"] > 0
    run.folder.sub("checkpoints").delete_folder("step-000000007")  # as after a kill
    run.folder.write("progress.json", json.dumps(reported[-1]).encode())
    reported.clear()
    assert part(2) == "stopped"
    assert (reported[0]["first"], reported[0]["lost"]) == (5, 1)
    assert part(2) == "stopped"
    assert reported[-1]["lost"] == 0  # it had ended in order


def test_balanced_order_is_that_of_new_runs(corpus: str, tmp_path: Path) -> None:
    shuffled = train_small(small(corpus, tmp_path, "shuffled", **CURVE))
    balanced = train_small(small(corpus, tmp_path, "balanced", order=TrainConfig().order, **CURVE))
    assert losses(shuffled) != losses(balanced)
    saved = json.loads(shuffled.folder.read("config.json"))
    for name in ("order", "validation_graphs", "max_cpu_seconds"):
        del saved["train"][name]
    shuffled.folder.write("config.json", json.dumps(saved).encode())  # as an earlier version wrote it
    assert run_config(shuffled.folder.uri).train.order == "shuffled"
    assert run_config(shuffled.folder.uri).train.validation_graphs == 0
    assert continue_small(Run(shuffled.folder, run_config(shuffled.folder.uri))) == "finished"


def test_learning_rate() -> None:
    config = TrainConfig(lr=1.0, warmup_steps=4)
    rates = [learning_rate(config, step, 24) for step in range(25)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rates[4] == 1.0
    assert rates[14] == pytest.approx(0.5)
    assert rates[24] == pytest.approx(0.0)
    assert learning_rate(replace(config, schedule="constant"), 23, 24) == 1.0


def test_planned_steps(corpus: str) -> None:
    config, reader = small(corpus, "unused", max_steps=0, epochs=3), CorpusReader(corpus)
    plan = make_plan(config, reader)
    assert planned_steps(config, plan) == 3 * plan.steps_per_epoch
    assert planned_steps(replace(config, train=replace(config.train, max_steps=4)), plan) == 4
    assert planned_steps(replace(config, objective="none"), plan) == 0


def test_checkpoints_by_step_and_how_many_are_kept(corpus: str, tmp_path: Path) -> None:
    run = train_small(small(corpus, tmp_path, max_steps=9, checkpoint_every=2, keep=3))
    assert run.folder.sub(FOLDER).names() == ["step-000000006", "step-000000008", "step-000000009"]


def test_checkpoints_by_time(corpus: str, tmp_path: Path) -> None:
    run = train_small(small(corpus, tmp_path, max_steps=3, checkpoint_minutes=1e-9, keep=9))
    assert len(run.folder.sub(FOLDER).names()) == 3


def test_log_seconds_sets_the_interval_of_rows(corpus: str, tmp_path: Path) -> None:
    assert (
        len(losses(train_small(small(corpus, tmp_path, max_steps=6, log_seconds=3600)))) == 2
    )  # at the last step's validation


def test_none_writes_the_untrained_encoder(corpus: str, tmp_path: Path) -> None:
    run = train_small(small(corpus, tmp_path, objective="none"))
    checkpoint = load_checkpoint(run.folder.uri)
    fresh = make_state(run.config, checkpoint.schema, CPU).model_tensors()
    assert checkpoint.step == 0
    assert fresh.keys() == checkpoint.model.keys()
    assert all(torch.equal(fresh[name], checkpoint.model[name]) for name in fresh)


def test_resuming_a_finished_run_changes_nothing(corpus: str, tmp_path: Path) -> None:
    run = train_small(small(corpus, tmp_path, max_steps=3))
    before, kept = losses(run), newest(run.folder)
    assert continue_small(run) == "finished"
    assert losses(run) == before
    assert newest(run.folder) == kept


def words(corpus: str, out: Path, name: str) -> list[str]:
    config = {"encoder.layers": 2, "encoder.width": 12, "train.checkpoint_every": 5, "train.log_seconds": 0}
    config |= {"train.streams": 3, "train.graphs_per_stream": 4, "train.max_steps": 80, "train.validate_every": 0}
    flags = [f"--{key}={value}" for key, value in config.items()]
    return ["pretrain", "--corpus", corpus, "--out", str(out), "--name", name, "--train.epochs=100", *flags]


def wait_for_checkpoint(run: Path) -> None:
    deadline = time.monotonic() + 60
    while not list(run.glob(f"{FOLDER}/step-*")):
        assert time.monotonic() < deadline, f"{run} never had a checkpoint"
        time.sleep(0.02)


@pytest.mark.slow
def test_sigkill_resume_and_ctrl_c(corpus: str, tmp_path: Path) -> None:
    killed, stopped = (start_command(*words(corpus, tmp_path, name)) for name in ("killed", "stopped"))
    wait_for_checkpoint(tmp_path / "killed")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    wait_for_checkpoint(tmp_path / "stopped")
    stopped.send_signal(signal.SIGINT)
    out, err = stopped.communicate(timeout=60)
    assert stopped.returncode == 130, err
    assert "stopped" in out
    assert "Traceback" not in err
    step = load_checkpoint(str(tmp_path / "stopped")).step
    assert 5 <= step < 80
    assert main(["pretrain", "--resume", str(tmp_path / "killed")]) == 0
    assert load_checkpoint(str(tmp_path / "killed")).step == 80
    folder = open_folder(str(tmp_path / "killed"))
    whole = train_small(replace(run_config(folder.uri), name="whole"))
    assert losses(Run(folder, whole.config)) == pytest.approx(losses(whole), rel=1e-4)
