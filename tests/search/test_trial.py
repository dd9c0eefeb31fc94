"""Trials without Ray: scores do not depend on interruptions or on test labels; clones copy checkpoints."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from distgnn.auxiliary.data_source import InitialEncoder
from distgnn.checkpoint.format import load_checkpoint
from distgnn.config import TuneConfig, load_config
from distgnn.config.finetune import FinetuneConfig
from distgnn.config.pretrain import PretrainConfig
from distgnn.config.transfer import CorpusTaskConfig, TransferConfig
from distgnn.errors import RequestError, WorkError
from distgnn.labels.dataset import load_labelled
from distgnn.search import scoring, winner
from distgnn.search.records import (
    Clone,
    Rung,
    Sweep,
    TrialRecord,
    best_of,
    read_sweep,
    read_trials,
    results_table,
    write_sweep,
    write_trial,
)
from distgnn.search.scoring import search_data
from distgnn.search.space import Params
from distgnn.search.sweep import new_sweep, resumed_sweep
from distgnn.search.trial import Trial, checkpoint_at
from distgnn.storage.folder import Folder, open_folder
from tests.helpers.corpora import contents
from tests.helpers.finetunings import finetuned
from tests.helpers.sweeping import joint_tuning, tuning
from tests.helpers.training import train_small
from tests.helpers.transfers import write, write_network

PARAMS: Params = {"pretrain.l2p.node_lr": 0.01, "finetune.lr": 0.02}


def begin(corpus: str, out: Path, **options: object) -> tuple[Folder, Sweep]:
    folder, sweep = new_sweep(tuning(corpus, str(out), scheduler="asha", **options))
    write_sweep(folder, sweep)
    return folder, sweep


def whole(folder: Folder, sweep: Sweep, number: int, params: Params) -> TrialRecord:
    """Trial ``number``, run to its end."""
    record = TrialRecord(number, params, "running", tries=1)
    for rung in Trial.of(sweep, folder, record).run():
        record = record.with_rung(rung)
    record = replace(record, state="finished")
    write_trial(folder, record)
    return record


def scores(rungs: list[Rung]) -> list[tuple[int, float]]:
    return [(rung.fidelity, rung.score) for rung in rungs]


def test_rungs_do_not_depend_on_stops(corpus: str, tmp_path: Path) -> None:
    folder, sweep = begin(corpus, tmp_path / "sweep")
    assert sweep.rungs == (1, 3, 9)
    through = list(Trial.of(sweep, folder, TrialRecord(0, PARAMS)).run())
    record, found = TrialRecord(1, PARAMS), []
    while rungs := list(islice(Trial.of(sweep, folder, record).run(), 1)):  # a process for each rung
        found += rungs
        record = record.with_rung(rungs[0])
    assert scores(found) == scores(through)
    first, second = (checkpoint_at(folder.sub(f"trials/000{number}"), 0, 9) for number in (0, 1))
    assert first.read("model.safetensors") == second.read("model.safetensors")


def test_a_rung_that_was_reached_but_not_recorded(corpus: str, tmp_path: Path) -> None:
    folder, sweep = begin(corpus, tmp_path / "sweep")
    through = list(Trial.of(sweep, folder, TrialRecord(0, PARAMS)).run())
    noted = TrialRecord(0, PARAMS, rungs=tuple(through[:-1]))
    again = list(Trial.of(sweep, folder, noted).run(lambda _run, _step: pytest.fail("there is nothing to train")))
    assert scores(again) == scores(through[-1:])


def test_a_trial_is_the_run_of_its_config(corpus: str, tmp_path: Path) -> None:
    """Scores equal those of an uninterrupted distgnn pretrain followed by distgnn finetune."""
    folder, sweep = begin(corpus, tmp_path / "sweep")
    record = whole(folder, sweep, 0, PARAMS)
    assert winner.write_winner(folder, sweep, [record]) == record
    path = tmp_path / "sweep" / "winner"
    config = load_config(PretrainConfig, (path / "pretrain.json").read_bytes(), "pretrain.json")
    run = train_small(replace(config, out=str(tmp_path / "again")))
    actual, reference = load_checkpoint(str(path / "checkpoint")), load_checkpoint(run.folder.uri)
    assert actual.step == reference.step == 9
    assert all(torch.equal(tensor, reference.model[name]) for name, tensor in actual.model.items())
    tuned = load_config(FinetuneConfig, (path / "finetune.json").read_bytes(), "finetune.json")
    assert tuned.lr == 0.02
    result = finetuned(tuned, InitialEncoder.load_all(tuned.checkpoint))
    assert result.values(result.rows[0], "val").tolist() == [record.score]


class TestHonesty:
    def test_the_search_has_no_test_labels(self, corpus: str, tmp_path: Path) -> None:
        config = tuning(corpus, str(tmp_path)).finetune
        everything, data = load_labelled(config), search_data(config)
        assert set(data.parts) == {"train", "val"}
        for part in ("train", "val"):
            np.testing.assert_array_equal(data.labels(part), everything.labels(part))
        test = torch.from_numpy(everything.parts["test"])
        assert not torch.isnan(everything.y[test]).any()
        assert torch.isnan(data.y[test]).all()

    def test_only_the_final_evaluation_has_test_scores(
        self, corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder, sweep = begin(corpus, tmp_path / "sweep")
        record = whole(folder, sweep, 0, PARAMS)
        assert not [name for name, data in contents(tmp_path / "sweep").items() if b'"test"' in data]
        monkeypatch.setattr(scoring, "search_data", lambda _: pytest.fail("the final evaluation reads all data"))
        best = winner.write_winner(folder, sweep, [record])
        assert best is not None
        looks = [found for name in winner.FINAL for found in winner.evaluate_final(folder, sweep, best, name)]
        winner.write_result(folder, sweep, best, looks)
        evaluation = winner.read_result(folder)
        assert evaluation is not None
        assert [row.name for row in evaluation.rows] == ["winner", "default", "none"]
        assert evaluation.rows[0].validation == (record.score,)
        assert all(len(row.test) == 1 for row in evaluation.rows)


class TestClones:
    def test_clones_have_the_same_bytes_and_then_differ(self, corpus: str, tmp_path: Path) -> None:
        folder, sweep = new_sweep(tuning(corpus, str(tmp_path / "sweep"), scheduler="pbt", grace_period=3))
        whole(folder, sweep, 0, PARAMS)
        params: Params = {"pretrain.l2p.node_lr": 0.05, "finetune.lr": 0.02}
        record = TrialRecord(1, PARAMS, "running", rungs=(Rung(3, 0.1, 1.0),))
        record = replace(record, params=params, clones=(Clone(0, 0, 6, 1, params),))
        assert record.reached == 6
        rungs = list(Trial.of(sweep, folder, record).run())
        assert [rung.fidelity for rung in rungs] == [9]
        there, here = tmp_path / "sweep/trials/0000/pretrain", tmp_path / "sweep/trials/0001/pretrain-1"
        step = "checkpoints/step-000000006"
        assert contents(here / step) == contents(there / step)
        config = load_config(PretrainConfig, (here / "config.json").read_bytes(), "")
        assert config.l2p.node_lr == 0.05
        last = "checkpoints/step-000000009/model.safetensors"
        assert (here / last).read_bytes() != (there / last).read_bytes()
        assert Trial.of(sweep, folder, record.with_rung(rungs[0])).reached == 9

    def test_a_trial_killed_after_copying_a_clone(self, corpus: str, tmp_path: Path) -> None:
        folder, sweep = new_sweep(tuning(corpus, str(tmp_path / "sweep"), scheduler="pbt", grace_period=3))
        whole(folder, sweep, 0, PARAMS)
        record = TrialRecord(1, PARAMS, clones=(Clone(0, 0, 6, 0, PARAMS),))
        expected = scores(list(Trial.of(sweep, folder, record).run()))
        (tmp_path / "sweep/trials/0001/pretrain-1/config.json").unlink()
        assert scores(list(Trial.of(sweep, folder, record).run())) == expected


class TestOtherKinds:
    def test_fine_tuning_of_one_checkpoint(self, corpus: str, tmp_path: Path) -> None:
        folder, sweep = begin(corpus, tmp_path / "first")
        whole(folder, sweep, 0, PARAMS)
        checkpoint = checkpoint_at(folder.sub("trials/0000"), 0, 9).uri
        both = tuning(corpus, str(tmp_path / "sweep"))
        config = TuneConfig(
            out=both.out, space=("lr=log(1e-3,1e-1)",), finetune=replace(both.finetune, checkpoint=(checkpoint,), seeds=3),
            scheduler="asha", reduction_factor=2, grace_period=1, final_seeds=2,
        )  # fmt: skip
        folder, sweep = new_sweep(config)
        assert (sweep.axis, sweep.rungs) == ("seeds", (1, 2, 3))
        record = whole(folder, sweep, 0, {"finetune.lr": 0.02})
        result = finetuned(replace(config.finetune, lr=0.02), InitialEncoder.load_all([checkpoint]))
        values = result.values(result.rows[0], "val").tolist()
        assert [rung.score for rung in record.rungs] == pytest.approx([np.mean(values[:n]) for n in (1, 2, 3)], abs=0)
        winner.write_winner(folder, sweep, [record])
        tuned = load_config(FinetuneConfig, folder.sub("winner").read("finetune.json"), "")
        assert (tuned.lr, tuned.seeds, tuned.checkpoint) == (0.02, 3, (checkpoint,))
        looks = winner.evaluate_final(folder, sweep, record, "default")
        assert [found.name for found in looks] == ["default", "none"]

    @pytest.mark.parametrize("scheme", ["scratch", "pretrained"])
    def test_multi_task_trials_continue(self, tmp_path: Path, scheme: str) -> None:
        config = joint_tuning(
            write(str(tmp_path / "data")), str(tmp_path / "sweep"), scheduler="asha", reduction_factor=2
        )
        transfer = replace(config.transfer, schemes=(scheme,), pretrain_epochs=1)
        folder, sweep = new_sweep(replace(config, transfer=transfer))
        assert (sweep.axis, sweep.rungs) == ("epochs", (1, 2, 4))
        params: Params = {"transfer.weighting.lr": 1e-3}
        through = list(Trial.of(sweep, folder, TrialRecord(0, params)).run())
        record, found = TrialRecord(1, params), []
        while rungs := list(islice(Trial.of(sweep, folder, record).run(), 1)):
            found += rungs
            record = record.with_rung(rungs[0])
        assert scores(found) == scores(through)
        # distgnn transfer with the winner's file gives the score
        best = replace(record, state="finished")
        winner.write_winner(folder, sweep, [best])
        settings = load_config(TransferConfig, folder.sub("winner").read("transfer.json"), "")
        assert settings.weighting.lr == 1e-3
        looks = winner.evaluate_final(
            folder, replace(sweep, config=replace(sweep.config, final_seeds=2)), best, "winner"
        )
        assert np.mean(looks[0].validation) == record.score

    def test_multi_task_trials_on_networks(self, tmp_path: Path) -> None:
        config = joint_tuning(write_network(str(tmp_path / "net")), str(tmp_path / "sweep"))
        network = replace(config.transfer.network, width=4, aux_batch=8, negatives=5)
        changes = {"network": network, "corpus": CorpusTaskConfig(), "epochs": 2, "seeds": 1}
        folder, sweep = new_sweep(replace(config, transfer=replace(config.transfer, **changes)))
        record = whole(folder, sweep, 0, {"transfer.weighting.lr": 1e-3})
        looks = [found.name for name in winner.FINAL for found in winner.evaluate_final(folder, sweep, record, name)]
        assert looks == ["winner", "default", "none"]


class TestRecords:
    def test_records_round_trip(self, corpus: str, tmp_path: Path) -> None:
        folder, sweep = begin(corpus, tmp_path / "sweep")
        assert read_sweep(folder) == sweep
        records = [
            TrialRecord(0, PARAMS, "finished", 1, started=1.0, ended=2.0, rungs=(Rung(1, 0.5, 1.0), Rung(9, 0.7, 2.0))),
            TrialRecord(1, PARAMS, "failed", 2, reason="why", refused=True),
            TrialRecord(2, PARAMS, clones=(Clone(0, 0, 1, 0, PARAMS),)),
        ]
        for record in records:
            write_trial(folder, record)
        assert read_trials(folder) == records
        table = results_table(records).to_pydict()
        assert table["score"] == [0.7, None, None]
        assert table["clone_of"] == [None, None, 0]
        assert table["param:finetune.lr"] == [0.02] * 3
        assert best_of(sweep, records) == records[0]
        assert best_of(sweep, records[1:]) is None

    def test_an_existing_sweep_is_not_overwritten(self, corpus: str, tmp_path: Path) -> None:
        begin(corpus, tmp_path / "sweep")
        with pytest.raises(RequestError, match="continue it with --resume"):
            begin(corpus, tmp_path / "sweep")

    def test_population_based_training_refuses_structural_parameters(self, corpus: str, tmp_path: Path) -> None:
        with pytest.raises(RequestError, match=r"pretrain\.encoder\.layers: scheduler=pbt changes parameters"):
            new_sweep(tuning(corpus, str(tmp_path), scheduler="pbt", space=("encoder.layers=1..2",)))

    def test_resumed_with_other_fields(self, corpus: str, tmp_path: Path) -> None:
        folder, sweep = begin(corpus, tmp_path / "sweep")
        assert resumed_sweep(folder, replace(sweep.config, trials=7)).trials == 7
        with pytest.raises(
            RequestError,
            match=r"^resume: seed=3 differs from the sweep's 0; only these may change: concurrency, .*trials",
        ):
            resumed_sweep(folder, replace(sweep.config, seed=3))

    def test_damaged_records_are_refused(self, corpus: str, tmp_path: Path) -> None:
        folder, _ = begin(corpus, tmp_path / "sweep")
        write_trial(folder, TrialRecord(0, PARAMS))
        folder.write("trials/0000/trial.json", b"{}")
        with pytest.raises(RequestError, match=r"trial\.json: not the record of a trial"):
            read_trials(folder)
        with pytest.raises(RequestError, match="no sweep here"):
            read_sweep(open_folder(str(tmp_path)))


def test_lost_checkpoints_are_reported(corpus: str, tmp_path: Path) -> None:
    folder, sweep = begin(corpus, tmp_path / "sweep")
    with pytest.raises(WorkError, match="its newest checkpoint is not that of step 1"):
        next(Trial.of(sweep, folder, TrialRecord(0, PARAMS)).run(lambda _run, _step: None))
