"""Dry runs: nothing is written, the figures follow from the config and the corpus, and requests are checked as in a run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import distgnn as dg
from distgnn.cli import main
from distgnn.pretraining.run import make_plan, open_corpus, planned_steps
from distgnn.search.sweep import new_sweep
from tests.helpers.sweeping import joint_tuning, tuning
from tests.helpers.training import small

SMALL = ["--encoder.layers=1", "--encoder.width=8", "--train.streams=2", "--train.device=cpu", "--train.epochs=3"]


def test_pretraining_has_the_steps_of_its_plan_and_writes_nothing(corpus: str, tmp_path: Path) -> None:
    config = small(corpus, tmp_path / "runs", name="one", max_steps=0, epochs=3, validate_every=10, keep_best=1)
    found = dg.dry_run(config)
    reader = open_corpus(config)
    plan = make_plan(config, reader)
    assert not list(tmp_path.iterdir())
    assert found.steps == planned_steps(config, plan) == 3 * found.steps_per_epoch
    assert (found.graphs, found.graphs_per_step, found.units) == (plan.graphs_per_epoch, 24, 19)
    assert found.graphs + found.held_out_graphs == 300
    assert found.validations == -(-found.steps // 10)
    assert found.step.steps == 5
    assert found.checkpoints == 4
    state = dg.pretrain(replace(config, name="real", train=replace(config.train, max_steps=1))).load_encoder()
    assert found.parameters >= sum(weight.numel() for weight in state.parameters())


def test_fields_of_the_config_as_keywords(corpus: str, tmp_path: Path) -> None:
    config = small(corpus, tmp_path, max_steps=0, epochs=3)
    assert dg.dry_run(config, train={"epochs": 1}).steps * 3 == dg.dry_run(config).steps
    encoder, train = {"layers": 1, "width": 8}, {"streams": 2, "device": "cpu", "epochs": 1}
    assert dg.dry_run(corpus=corpus, out=tmp_path, encoder=encoder, train=train).graphs > 0


def test_figures_have_the_right_order(corpus: str, tmp_path: Path) -> None:
    """The time is that of the steps and validations; ten times the epochs take about ten times as long."""
    config = small(corpus, tmp_path, name="one", max_steps=0, epochs=2, validate_every=0)
    one, ten = dg.dry_run(config), dg.dry_run(replace(config, train=replace(config.train, epochs=20)))
    for found in (one, ten):
        steps = found.steps * max(found.step.seconds, found.step.read_seconds / 2)
        assert found.seconds == pytest.approx(steps + found.validations * found.validation_seconds)
        assert 1e-4 < found.step.seconds < 10
        assert 100 < found.step.peak_memory_mb < 100_000
        assert 1 < found.graphs_per_second < 1e6
    assert ten.steps == 10 * one.steps
    assert one.validations == ten.validations == 1


def test_a_budget_of_cpu_seconds_limits_the_steps(corpus: str, tmp_path: Path) -> None:
    config = small(corpus, tmp_path, max_steps=0, epochs=100_000, max_cpu_seconds=5.0)
    found = dg.dry_run(config)
    assert found.steps == int(5.0 / found.step.cpu_seconds) + 1


def test_the_first_rank_is_measured_for_several_workers(corpus: str, tmp_path: Path) -> None:
    found = dg.dry_run(replace(small(corpus, tmp_path, max_steps=0, epochs=1), workers=3))
    assert found.workers == 3
    assert found.step.steps == 5


def test_an_untrained_encoder_costs_nothing(corpus: str, tmp_path: Path) -> None:
    found = dg.dry_run(small(corpus, tmp_path, objective="none"))
    assert (found.steps, found.seconds, found.validations) == (0, 0, 0)


def test_command(corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pretrain", "--corpus", corpus, "--out", str(tmp_path / "runs"), "--name", "one", *SMALL, "--dry-run"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert said.startswith("dry run of a pre-training; nothing has been written\n")
    assert "time " in said
    assert "memory " in said
    assert main([*words, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["dry_run"] == "pretrain"
    assert value["run"] == str(tmp_path / "runs" / "one")
    assert not list(tmp_path.iterdir())


def test_requests_are_checked_as_in_a_run(corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "progress.json").write_text("my own")
    place = ["--out", str(tmp_path)]
    wrong = [
        (["pretrain", "--corpus", corpus, *place, "--name", "mine"], "holds other things"),
        (["pretrain", "--corpus", str(tmp_path / "none"), *place], "none"),
        (["pretrain", "--corpus", corpus, *place, "--train.lr", "-1"], "must not be negative"),
        (["pretrain", "--corpus", corpus, *place, "--encoder.kind", "giin"], "did you mean"),
        (["pretrain", "--corpus", corpus, *place, "--objective", "supervised", "--workers", "9"], "exceeds"),
        (["pretrain", "--resume", str(tmp_path / "mine")], "for new runs"),
        (["finetune", "--corpus", corpus], "nrecognized options: --dry-run"),
        (["corpus", "build", "motifs", "--out", str(tmp_path / "c")], "nrecognized options: --dry-run"),
        (["tune", "--finetune.corpus", corpus, "--pretrain.corpus", corpus, *place, "--space", "speed=1..2"], "speed"),
    ]
    for words, said in wrong:
        assert main([*words, "--dry-run"]) == 2, words
        assert said in capsys.readouterr().err, words
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("kind", ["pretrain", "finetune", "transfer"])
def test_sweep(kind: str, corpus: str, tmp_path: Path) -> None:
    out = str(tmp_path / "sweep")
    config = joint_tuning(corpus, out) if kind == "transfer" else tuning(corpus, out, scheduler="asha")
    before = ["run"] if kind == "finetune" else []
    if kind == "finetune":
        run = dg.pretrain(small(corpus, tmp_path, max_steps=1))
        tuned = replace(config.finetune, checkpoint=(run.uri,), seeds=2)
        config = dg.TuneConfig(out, space=("finetune.lr=log(1e-3,1e-1)",), trials=3, finetune=tuned)
    found = dg.dry_run(config)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    _, sweep = new_sweep(config)
    assert (found.kind, found.trials, found.rungs) == (kind, sweep.trials, sweep.rungs)
    assert found.space == sweep.space
    seeds = {"pretrain": len(sweep.rungs), "finetune": 2, "transfer": 2}[kind]
    own = found.pretraining.seconds if found.pretraining else 0.0
    assert (found.pretraining is not None) == (kind == "pretrain")
    if found.pretraining:
        assert found.pretraining.steps == sweep.budget
    assert found.trial_seconds == pytest.approx(own + seeds * found.training_seconds)
    rounds = -(-found.trials // found.concurrency)
    assert found.seconds == pytest.approx(rounds * found.trial_seconds + found.final_seconds)


def test_sweep_command(corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tune.json"
    config = tuning(corpus, str(tmp_path / "sweep"))
    path.write_text(json.dumps(dg.config.to_json(config)))
    assert main(["tune", "--config", str(path), "--dry-run"]) == 0
    assert "4 of pre-training and fine-tuning, tpe" in capsys.readouterr().out
    assert main(["tune", "--config", str(path), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trials"] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["tune.json"]


def test_a_trial_that_fits_no_machine_is_refused(corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tuning(corpus, str(tmp_path / "sweep"), cpus_per_trial=4096.0)
    with pytest.raises(dg.RequestError, match="fits no node"):
        dg.dry_run(config)
    monkeypatch.setenv("RAY_ADDRESS", "ray://elsewhere:10001")
    found = dg.dry_run(config)
    assert (found.concurrency, found.seconds) == (0, 0.0)
