"""Fine-tuning on a small corpus with a known signal."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from distgnn.auxiliary.comparison import Row, compare_methods
from distgnn.auxiliary.data_source import CorpusDataSource, InitialEncoder
from distgnn.auxiliary.graph_level import GraphLevelProblem
from distgnn.auxiliary.jobs import RunJob
from distgnn.auxiliary.linear_probe import LinearProbe
from distgnn.auxiliary.trainer import Trainer
from distgnn.config import CorpusTaskConfig, EncoderConfig, FinetuneConfig, SplitConfig, TransferConfig
from distgnn.distributed import ProcessGroup
from distgnn.errors import RequestError, WorkError
from distgnn.finetuning.comparison import FinetuneComparison, finetune_job, finetune_source, with_controls
from distgnn.finetuning.results import summary, write_results
from distgnn.graph.schema import Feature
from distgnn.labels.dataset import load_labelled, most_positives
from distgnn.labels.scores import score
from distgnn.labels.target import Target, make_target
from distgnn.models.encoder import build_encoder
from distgnn.storage.folder import open_folder
from tests.helpers.finetunings import finetuned, first, value
from tests.helpers.labelled import FEATURES, signal, write_labelled

NAN = math.nan
GRAPHS = 160
SMALL = EncoderConfig(layers=2, width=16)
PLAIN = InitialEncoder("pretrained", SMALL, build_encoder(FEATURES, SMALL, seed=99).state_dict(), FEATURES)


def corpus(folder: Path, kind: str) -> str:
    """A corpus whose labels depend on the signal (or, column "noise", do not)."""
    s, rng = signal(GRAPHS), np.random.default_rng(1)
    noise = rng.integers(0, 2, GRAPHS)
    columns = {
        "binary": (np.stack([s > 0, noise, s > 1.0], 1).astype(float), ("easy", "noise", "rare")),
        "classes": (np.digitize(s, [-0.5, 0.5])[:, None].astype(float), ("class",)),
        "values": (np.stack([1000 + 50 * s, 0.001 * s], 1), ("big", "small")),
    }
    y, names = columns[kind]
    y[::7, -1] = NAN
    groups: list[str | None] = [f"g{g % 5}" for g in range(GRAPHS)]
    uri = str(folder / kind)
    write_labelled(uri, y, names, groups, [(0, 0, 0, 1, 2)[g // 5 % 5] for g in range(GRAPHS)])
    return uri


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> str:
    return corpus(tmp_path_factory.mktemp("corpora"), "binary")


def config(uri: str, **changes: Any) -> FinetuneConfig:
    settings: dict[str, Any] = {
        "split": SplitConfig("random"),
        "seeds": 1,
        "epochs": 8,
        "lr": 0.01,
        "dropout": 0.1,
        "encoder": SMALL,
    }
    return FinetuneConfig(uri, **settings | changes)


def test_a_signal_is_learned_and_noise_is_not(binary: str) -> None:
    found = {name: value(first(config(binary, labels=(name,), epochs=12))) for name in ("easy", "noise")}
    assert found["easy"] > 0.9
    assert found["noise"] < 0.8


@pytest.mark.parametrize(("kind", "least"), [("classes", 0.75), ("values", None)])
def test_regression_and_multiclass_learn(tmp_path: Path, kind: str, least: float | None) -> None:
    result = finetuned(config(corpus(tmp_path, kind), epochs=25, seeds=3))  # a test part of 14 graphs is noisy
    mean = float(result.values(result.rows[0]).mean())
    if least is None:
        spread = np.nanstd(result.data.labels("test"), axis=0).mean()
        assert result.metric == "rmse"
        assert mean < 0.6 * spread, "much closer than the mean would be, in the labels' own units"
    else:
        assert result.metric == "micro_f1"
        assert mean >= least


def test_each_architecture_has_a_control(binary: str) -> None:
    result = finetuned(config(binary, epochs=1), [PLAIN])
    assert result.rows == (Row("pretrained", "gin", "pretrained"), Row("none", "gin", "scratch"))
    assert result.controls == {result.rows[0]: result.rows[1]}
    wide = EncoderConfig(layers=1, width=8)
    everything, controls = with_controls([PLAIN, InitialEncoder("wide", wide)], SMALL)
    assert [method.name for method in everything] == ["pretrained", "wide", "none (pretrained)", "none (wide)"]
    assert everything[3].encoder == wide
    assert everything[3].weights is None
    assert controls == {"pretrained": "none (pretrained)", "wide": "none (wide)"}
    assert with_controls([], wide)[0] == (InitialEncoder("none", wide),)


@pytest.mark.parametrize("names", [("a", "a"), ("none",), ("none (a)",)])
def test_names_must_differ(names: tuple[str, ...]) -> None:
    with pytest.raises(RequestError, match="names must differ"):
        with_controls([InitialEncoder(name, SMALL) for name in names], SMALL)


def test_methods_with_the_same_seed_differ_only_in_the_encoder(binary: str) -> None:
    """A method with the initial weights of the control for seed 0 gives exactly the scores of the control."""
    twin = InitialEncoder("twin", SMALL, build_encoder(FEATURES, SMALL, seed=0).state_dict(), FEATURES)
    result = finetuned(config(binary, seeds=2, epochs=3), [twin])
    runs = {(row.method, seed): found for (row, seed), found in result.results.items()}
    assert [seed for _, seed in result.results] == [0, 0, 1, 1]
    assert runs["twin", 0].history == runs["none", 0].history
    assert np.array_equal(runs["twin", 0].predictions["test"], runs["none", 0].predictions["test"])
    assert runs["twin", 1].history != runs["none", 1].history
    assert runs["twin", 1].history != runs["twin", 0].history


def test_global_random_state_is_unchanged(binary: str) -> None:
    before = torch.random.get_rng_state()
    finetuned(config(binary, epochs=1))
    assert torch.equal(before, torch.random.get_rng_state())


def test_best_epoch_is_selected_and_restored(binary: str) -> None:
    """With weights that change after the best epoch, the test score is that of a run that ended with it."""
    run = first(config(binary, labels=("noise",), epochs=10))
    assert run.best_epoch == int(np.argmax(run.history)) + 1
    assert 1 <= run.best_epoch < 10, "the noise label must not improve for ever; choose another seed for this test"
    short = first(config(binary, labels=("noise",), epochs=run.best_epoch))
    assert np.array_equal(short.predictions["test"], run.predictions["test"])
    assert value(run, "val") == max(run.history)


def test_lower_is_better_for_rmse(tmp_path: Path) -> None:
    run = first(config(corpus(tmp_path, "values"), epochs=6, lr=0.05))
    assert run.best_epoch == int(np.argmin(run.history)) + 1


def test_patience_stops_early(binary: str) -> None:
    run = first(config(binary, labels=("noise",), epochs=30, patience=2))
    assert len(run.history) == run.best_epoch + 2 < 30


def trainer(settings: FinetuneConfig, start: InitialEncoder = PLAIN) -> Trainer:
    """The trainer of a fine-tuning, before its first epoch."""
    source = finetune_source(settings, load_labelled(settings), [start])
    run = RunJob(source, open_folder("unused"))
    return run.begin(finetune_job(source, 0, 0), ProcessGroup.single_process(torch.device("cpu")))


def test_frozen_trains_the_head_only(binary: str) -> None:
    assert PLAIN.weights is not None
    before = {name: value.clone() for name, value in PLAIN.weights.items()}
    made = trainer(config(binary, frozen=True, epochs=3))
    probe = made.problem
    assert isinstance(probe, LinearProbe)
    features = probe.features.clone()
    assert sum(p.numel() for p in made.trained.parameters()) == (2 * 16 + 1) * 3
    start = {name: value.clone() for name, value in probe.heads[0].state_dict().items()}
    made.run()
    assert torch.equal(features, probe.features)
    assert not torch.equal(start["weight"], probe.heads[0].state_dict()["weight"])
    assert all(torch.equal(before[name], value) for name, value in PLAIN.weights.items())
    assert all(torch.equal(probe.tensors()[f"encoder.{name}"], value) for name, value in before.items())


def test_a_frozen_encoder_gives_other_results(binary: str) -> None:
    whole, frozen = (first(config(binary, frozen=frozen, epochs=2)) for frozen in (False, True))
    assert whole.history != frozen.history


def test_full_fine_tuning_trains_the_encoder_and_its_statistics(binary: str) -> None:
    made = trainer(config(binary, epochs=1))
    made.run()
    assert PLAIN.weights is not None
    state = made.problem.shared.state_dict()
    changed = {name for name, value in state.items() if not torch.equal(value, PLAIN.weights[name])}
    assert "pooling.omega.weight" in changed
    assert any("running_mean" in name for name in changed)


@pytest.mark.parametrize("use", [True, False, None])
def test_use_center_widens_the_head(binary: str, use: Any) -> None:
    problem = trainer(config(binary, use_center=use)).problem
    assert isinstance(problem, GraphLevelProblem)
    assert problem.width == (16 if use in ("no", False) else 32)


def method_config(settings: FinetuneConfig, out: str, **tasks: Any) -> TransferConfig:
    """The comparison of weighting methods with the options of a fine-tuning."""
    choice = CorpusTaskConfig(split=settings.split, dropout=settings.dropout, encoder=settings.encoder, **tasks)
    return TransferConfig(
        settings.corpus,
        out,
        methods=("fixed", "auxts_one"),
        schemes=("scratch",),
        seeds=settings.seeds,
        epochs=settings.epochs,
        lr=settings.lr,
        corpus=choice,
        device="cpu",
    )


@pytest.mark.filterwarnings("ignore:.*weighting.lr=")  # twelve steps are too few to move a weight far
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_controls_of_finetune_and_transfer_are_the_same_run(binary: str, tmp_path: Path, dropout: float) -> None:
    """Bitwise, for any auxiliary tasks and methods in the same comparison."""
    settings = config(binary, seeds=2, epochs=3, dropout=dropout)
    control = finetuned(settings)
    other_config = method_config(settings, str(tmp_path), auxiliary=("edgepred", "attrmasking"))
    other = compare_methods(RunJob(CorpusDataSource.read(other_config, ()), open_folder(str(tmp_path))))
    for seed in range(2):
        actual = control.results[Row("none", "gin", "scratch"), seed]
        expected = other.results[Row("none", "gin", "scratch"), seed]
        assert actual.validation == expected.validation
        assert actual.scores == expected.scores
        assert actual.best_epoch == expected.best_epoch
        assert all(np.array_equal(actual.predictions[part], expected.predictions[part]) for part in ("val", "test"))
        assert expected.validation != other.results[Row("auxts_one", "gin", "scratch"), seed].validation


def test_defaults_of_finetune_and_transfer_are_the_same() -> None:
    one, other = FinetuneConfig("c"), TransferConfig("c")
    for name in ("seeds", "epochs", "patience", "lr", "weight_decay"):
        assert getattr(one, name) == getattr(other, name), name
    assert (other.batch, other.corpus.dropout) == (0, one.dropout)


def test_the_default_batch_is_that_of_fine_tuning(binary: str) -> None:
    other_config = TransferConfig(binary, corpus=CorpusTaskConfig(split=SplitConfig("random")))
    assert CorpusDataSource.read(other_config, ()).config.batch == FinetuneConfig("c").batch
    assert CorpusDataSource.read(replace(other_config, batch=7), ()).config.batch == 7


def test_centre_is_refused_where_there_is_none(tmp_path: Path) -> None:
    uri = str(tmp_path / "c")
    write_labelled(uri, np.arange(40)[:, None] % 2.0, ("a",), center=False)
    with pytest.raises(RequestError, match="use_center=True, but the corpus has no centre"):
        load_labelled(config(uri, use_center=True))
    assert not load_labelled(config(uri)).use_center


@pytest.mark.parametrize(
    ("key", "value"), [("lr", 0.0), ("batch", 7), ("weight_decay", 0.5), ("dropout", 0.6), ("epochs", 1)]
)
def test_options_change_the_result(binary: str, key: str, value: float) -> None:
    one, other = (first(config(binary, **{"epochs": 2} | change)) for change in ({}, {key: value}))
    assert one.history != other.history


class TestTarget:
    @pytest.mark.parametrize("task", ["classification", "regression"])
    def test_unknown_labels_do_not_influence_loss_or_gradient(self, task: Any) -> None:
        y = torch.tensor([[1.0, NAN], [0.0, 1.0]])
        target = Target(task, ("a", "b"), 2, torch.zeros(2), torch.ones(2))
        outputs = torch.tensor([[0.3, 5.0], [0.2, -0.1]], requires_grad=True)
        loss = target.loss(outputs, y)
        loss.backward()
        assert outputs.grad is not None
        assert outputs.grad[0, 1] == 0
        assert (outputs.grad != 0).sum() == 3
        moved = outputs.detach().clone()
        moved[0, 1] = -7.0
        assert target.loss(moved, y) == loss
        single = Target(task, ("a",), 1, torch.zeros(1), torch.ones(1))
        parts = [
            single.loss(outputs[row, column].view(1, 1), y[row, column].view(1, 1))
            for row, column in ((0, 0), (1, 0), (1, 1))
        ]
        assert loss.item() == pytest.approx(torch.stack(parts).mean().item())

    def test_no_known_label_in_a_batch_is_no_loss(self) -> None:
        target = Target("classification", ("a",), 1, torch.zeros(1), torch.ones(1))
        assert target.loss(torch.ones(3, 1), torch.full((3, 1), NAN)) == 0

    def test_regression_statistics_come_from_training_rows(self) -> None:
        y = np.array([[1.0, 5.0], [3.0, NAN], [100.0, 5.0]])
        target = make_target("regression", ("a", "b"), y, y[:2])
        assert target.mean.tolist() == [2.0, 5.0]
        assert target.std.tolist() == [1.0, 1.0]
        assert target.predictions(torch.ones(1, 2)).tolist() == [[3.0, 6.0]]


class TestLabels:
    def test_most_positives_count_training_rows_only(self) -> None:
        train = np.array([[1, 0, 1, NAN], [1, 1, 1, 0], [0, 1, 1, 0]], dtype=np.float32)
        assert most_positives(train, 2).tolist() == [0, 2]

    def test_max_labels_ignores_test(self, tmp_path: Path) -> None:
        """Column b has more positives overall, but column a has more among the training graphs."""
        split: list[int | None] = [*[0] * 20, *[1] * 10, *[2] * 30]
        a, b = np.arange(60) % 2.0, np.r_[np.arange(20) % 4 == 0, np.arange(40) % 10 > 0].astype(float)
        assert b.sum() > a.sum()
        write_labelled(str(tmp_path / "c"), np.stack([a, b], 1), ("a", "b"), split=split)
        chosen = load_labelled(config(str(tmp_path / "c"), split=SplitConfig("column"), max_labels=1))
        assert chosen.target.names == ("a",)

    def test_columns_by_name(self, binary: str) -> None:
        data = load_labelled(config(binary, labels=("rare", "easy")))
        assert data.target.names == ("rare", "easy")
        assert np.isnan(data.labels("train")[:, 0]).any()
        assert not np.isnan(data.labels("train")[:, 1]).any()

    def test_group_split_gives_ood_scores(self, binary: str) -> None:
        split = SplitConfig("group", ood_groups=("g1",))
        result = finetuned(config(binary, split=split, epochs=1))
        assert set(result.results[result.rows[0], 0].scores) == {"val", "test", "ood"}
        assert result.parts == ("test", "ood")
        assert len(result.data.parts["ood"]) == GRAPHS // 5

    def test_refusals(self, binary: str, tmp_path: Path) -> None:
        with pytest.raises(RequestError, match="no label column 'toxic'; it has easy, noise, rare"):
            load_labelled(config(binary, labels=("toxic",)))
        with pytest.raises(RequestError, match="max_labels counts positives"):
            load_labelled(config(corpus(tmp_path, "values"), max_labels=1))
        bare, blank, same, half = (str(tmp_path / name) for name in ("bare", "blank", "same", "half"))
        write_labelled(bare, np.zeros((10, 0)), ())
        with pytest.raises(RequestError, match="the corpus has no labels"):
            load_labelled(config(bare))
        write_labelled(blank, np.full((10, 1), NAN), ("a",))
        with pytest.raises(RequestError, match="no graph has a known label"):
            load_labelled(config(blank))
        write_labelled(same, np.ones((20, 1)), ("a",))
        y = np.stack([signal(40), np.where(np.arange(40) < 20, NAN, signal(40))], 1)
        write_labelled(half, y, ("a", "late"), split=[0] * 20 + [1] * 10 + [2] * 10)
        with pytest.raises(RequestError, match="label 'late' has no known value in part 'train'"):
            load_labelled(config(half, split=SplitConfig("column")))
        with pytest.raises(RequestError, match="no label has both classes in part 'train'"):
            load_labelled(config(same))


class TestRefusals:
    def test_checkpoint_of_other_features(self, binary: str) -> None:
        other = replace(FEATURES, node=(Feature("kind", "categorical", 4),))
        with pytest.raises(RequestError, match=r"pretrained cannot read .*: node features differ"):
            finetuned(config(binary), [replace(PLAIN, schema=other)])

    def test_weights_of_another_shape(self, binary: str) -> None:
        with pytest.raises(RequestError, match="weights do not fit") as caught:
            finetuned(config(binary), [replace(PLAIN, encoder=EncoderConfig(layers=3, width=16))])
        assert "\n" not in str(caught.value)

    def test_divergence_is_one_line(self, binary: str) -> None:
        broken = {
            name: value * NAN if name == "pooling.omega.weight" else value
            for name, value in (PLAIN.weights or {}).items()
        }
        with pytest.raises(WorkError, match=r"^broken, seed 0: step 0: .* lower lr"):
            finetuned(config(binary), [InitialEncoder("broken", SMALL, broken, FEATURES)])

    @pytest.mark.parametrize("wrong", [{"patience": -1}, {"workers": 2, "device": "cuda"}, {"dropout": 1.0}])
    def test_configs(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(RequestError, match=next(iter(wrong))):
            FinetuneConfig("c", **wrong)


@pytest.fixture(scope="module")
def result(binary: str) -> FinetuneComparison:
    seen: list[tuple[int, int]] = []
    other_config = config(binary, seeds=2, epochs=2, save_predictions=True)
    result = finetuned(other_config, [PLAIN], progress=lambda done, count, *_: seen.append((done, count)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    return result


class TestResults:
    def test_results_json(self, result: FinetuneComparison, tmp_path: Path) -> None:
        write_results(result, open_folder(str(tmp_path)))
        saved = json.loads((tmp_path / "results.json").read_text())
        assert saved == json.loads(json.dumps(summary(result)))
        assert saved["metric"] == "roc_auc"
        assert [(run["method"], run["seed"]) for run in saved["runs"]] == [
            ("pretrained", 0), ("none", 0), ("pretrained", 1), ("none", 1),
        ]  # fmt: skip
        assert set(saved["runs"][0]["scores"]) == {"val", "test"}

    def test_predictions_give_the_metric(self, result: FinetuneComparison, tmp_path: Path) -> None:
        write_results(result, open_folder(str(tmp_path)))
        table = pq.read_table(tmp_path / "predictions.parquet").to_pandas()
        names = list(result.data.target.names)
        for (row, seed), found in result.results.items():
            chosen = table[(table.method == row.method) & (table.seed == seed) & (table.part == "test")]
            wide = [chosen.pivot(index="graph_id", columns="label", values=of)[names] for of in ("y", "prediction")]
            known = (value(found), found.coverage["test"])
            assert score("classification", *(frame.to_numpy() for frame in wide)) == pytest.approx(known)

    def test_predictions_only_on_request(self, result: FinetuneComparison, tmp_path: Path) -> None:
        write_results(
            replace(result, config=replace(result.config, save_predictions=False)), open_folder(str(tmp_path))
        )
        assert [path.name for path in tmp_path.iterdir()] == ["results.json"]

    def test_a_failed_write_leaves_no_results(
        self, result: FinetuneComparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("distgnn.finetuning.results.summary", _fail)
        with pytest.raises(WorkError):
            write_results(result, open_folder(str(tmp_path)))
        assert not (tmp_path / "results.json").exists()


def _fail(_: FinetuneComparison) -> None:
    raise WorkError("disk full")


def test_norms_without_running_statistics(binary: str) -> None:
    for norm in ("layer", "graph"):
        finetuned(config(binary, epochs=1, encoder=replace(SMALL, norm=norm)))
