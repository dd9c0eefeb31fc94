"""Analysis of checkpoints: CKA against closed forms and HSIC, changes during fine-tuning, scores against config fields."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distgnn.auxiliary.data_source import InitialEncoder
from distgnn.auxiliary.trainer import Trainer
from distgnn.config import AnalyseConfig, EncoderConfig, PretrainConfig, from_json, to_json
from distgnn.distributed import ProcessGroup
from distgnn.errors import RequestError
from distgnn.finetuning.analysis import Analysis, RunAnalysis, analyse_methods, linear_cka
from distgnn.finetuning.comparison import finetune_source
from distgnn.finetuning.few_label_jobs import FewLabelJob, Method
from distgnn.finetuning.few_labels import evaluate_few_labels
from distgnn.graph.batch import select_graphs
from distgnn.labels.dataset import read_undivided
from distgnn.labels.resampling import effect, interval
from distgnn.models.encoder import build_encoder
from distgnn.models.heads import graph_features
from distgnn.report import analysis as report
from distgnn.storage.folder import open_folder
from tests.helpers.labelled import FEATURES, signal, write_labelled

GRAPHS = 60
SMALL = EncoderConfig(layers=2, width=8)


def rows(n: int, width: int, seed: int) -> Tensor:
    return torch.randn(n, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def hsic_cka(x: Tensor, y: Tensor) -> float:
    """CKA from Gram matrices: HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)), HSIC(K, L) = tr(K H L H) / (n - 1)^2."""
    n = len(x)
    centre = torch.eye(n, dtype=torch.float64) - 1 / n

    def hsic(first: Tensor, second: Tensor) -> float:
        return float(torch.trace(first @ centre @ second @ centre)) / (n - 1) ** 2

    k, l = x @ x.T, y @ y.T  # noqa: E741 - the names of the paper
    return hsic(k, l) / math.sqrt(hsic(k, k) * hsic(l, l))


def test_cka_equals_hsic_of_gram_matrices() -> None:
    x, y = rows(40, 5, 0) + 3, rows(40, 7, 1)
    y[:, :5] += 0.7 * x
    assert linear_cka(x, y) == pytest.approx(hsic_cka(x, y), rel=1e-12)
    assert linear_cka(x.float(), y.float()) == pytest.approx(hsic_cka(x, y), rel=1e-5)
    assert 0.1 < linear_cka(x, y) < 0.9


def test_cka_does_not_see_rotation_scaling_and_shift() -> None:
    x = rows(30, 6, 0)
    rotation = torch.linalg.qr(rows(6, 6, 1)).Q
    assert linear_cka(x, x) == pytest.approx(1)
    assert linear_cka(x, 0.2 * x @ rotation + rows(1, 6, 2)) == pytest.approx(1)
    assert linear_cka(x, x @ rows(6, 6, 3)) < 0.99  # it does see other linear maps


def test_cka_by_hand() -> None:
    """Of centred columns (1, 0, -1) and (1, -2, 1): orthogonal; of one column beside both: 2 / sqrt(4 + 36)."""
    one, other = torch.tensor([[1.0], [0.0], [-1.0]]), torch.tensor([[1.0], [-2.0], [1.0]])
    assert linear_cka(one, other) == 0
    assert linear_cka(one, torch.cat([one, other], 1)) == pytest.approx(2 / math.sqrt(40))


def test_cka_of_constant_representations() -> None:
    constant, x = torch.ones(4, 2), rows(4, 2, 0)
    assert (linear_cka(constant, constant), linear_cka(constant, x)) == (1, 0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = str(tmp_path_factory.mktemp("corpus") / "binary")
    write_labelled(uri, (signal(GRAPHS) > 0)[:, None].astype(float), ("easy",))
    return uri


def start(seed: int, encoder: EncoderConfig = SMALL, **run: Any) -> InitialEncoder:
    weights = build_encoder(FEATURES, encoder, seed).state_dict()
    saved = to_json(from_json(PretrainConfig, {"corpus": "x", "encoder": to_json(encoder), **run}))
    return InitialEncoder(f"run-{seed}", encoder, weights, FEATURES, run=saved)


def l2p(name: str, seed: int = 1, **options: Any) -> Method:
    return Method(name, (start(seed, l2p=options),))


def config(corpus: str, **changes: Any) -> AnalyseConfig:
    settings: dict[str, Any] = {
        "train_labels": (12,), "updates": (2, 5), "draws": 2, "test_graphs": 24, "norm_graphs": 20, "lr": 0.01,
    }  # fmt: skip
    return AnalyseConfig(corpus, checkpoint=("x",), **settings | changes)


def analysed(given: AnalyseConfig, folder: Path, *methods: Method, **options: Any) -> Analysis:
    return analyse_methods(given, methods, open_folder(str(folder)), **options)


@pytest.fixture(scope="module")
def result(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    one, two = Method("one", (start(1), start(2))), Method("two", (start(3, objective="edgepred"),))
    return analysed(config(corpus), tmp_path_factory.mktemp("jobs"), one, two)


def test_scores_are_those_of_few_label_evaluation(corpus: str, tmp_path: Path, result: Analysis) -> None:
    plain = evaluate_few_labels(config(corpus), [Method("one", (start(1), start(2)))], open_folder(str(tmp_path)))
    assert plain.cells == ((12, 2), (12, 5))
    for method in ("one", "none"):
        for cell in plain.cells:
            assert np.array_equal(plain.scores[method, *cell], result.scores.scores[method, *cell])


def test_layers_and_cells(result: Analysis) -> None:
    assert result.layers == ("input", "layer 1", "layer 2", "graph")
    assert result.scores.cells == ((12, 0), (12, 2), (12, 5))
    for layer in result.layers:
        found = [result.scores.measured[f"cka {layer}"]["one", 12, updates] for updates in (0, 2, 5)]
        assert found[0] == pytest.approx(1)
        assert found[0].shape == (2, 2)
        assert (found[2] < 0.9999).all()


def test_measures_are_taken_on_the_right_graphs(corpus: str, result: Analysis) -> None:
    """CKA on the test graphs, loss on the training graphs, both without dropout: computed again from the trained network."""
    given = config(corpus).settled()
    data, groups = read_undivided(corpus, given)
    run = RunAnalysis(given, finetune_source(given, data, [start(3)]), groups, open_folder("/nowhere"))
    job, group = FewLabelJob(1, 12, 0), ProcessGroup.single_process(torch.device("cpu"))
    parts = run.data(job)
    problem = replace(run.source, data=parts).problem(0, 1, group, start(3).weights)
    before = build_encoder(FEATURES, SMALL, 3).eval()
    run.train(Trainer(problem, run.source.config, "none", 1, group), (0, 5))
    after: Any = problem.shared.eval()
    test, train = (select_graphs(data.graphs, torch.from_numpy(parts.parts[name])) for name in ("test", "train"))
    pairs = zip(before.layer_outputs(test).items(), after.layer_outputs(test).values(), strict=True)
    for (name, x), y in pairs:
        expected = result.scores.measured[f"cka {name}"]["two", 12, 5][0, 1]
        assert hsic_cka(x.detach().double(), y.detach().double()) == pytest.approx(expected, rel=1e-4)
    logits = problem.heads[0](graph_features(after, train, use_center=True))
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(parts.labels("train")))
    assert loss.item() == pytest.approx(result.scores.measured["train_loss"]["two", 12, 5][0, 1], rel=1e-5)


def test_finished_jobs_are_not_run_again(corpus: str, tmp_path: Path) -> None:
    ran: list[str] = []

    def note(done: int, jobs: int, title: str, found: Any) -> None:  # noqa: ARG001
        ran.append(title)

    given, method = config(corpus, draws=1), Method("one", (start(1),))
    first = analysed(given, tmp_path, method, progress=note)
    assert len(ran) == 2
    again = analysed(given, tmp_path, method, progress=note)
    assert len(ran) == 2
    assert np.array_equal(
        first.scores.measured["cka graph"]["one", 12, 5], again.scores.measured["cka graph"]["one", 12, 5]
    )
    analysed(replace(given, draws=2), tmp_path, method, progress=note)
    assert len(ran) == 4


def test_records_have_changes_and_differences(result: Analysis) -> None:
    table = {(r["method"], r["updates"], r["measure"]): r for r in report.records(result)}
    scores, overlap = result.scores.scores, result.scores.overlap
    row = table["one", 5, "roc_auc"]
    change = interval(scores["one", 12, 5] - scores["one", 12, 0], overlap)
    gain = effect(scores["one", 12, 5], scores["none", 12, 5], overlap)
    assert (row["change"], row["change_low"], row["change_high"]) == (change.difference, change.low, change.high)
    assert (row["difference"], row["difference_low"]) == (gain.difference, gain.low)
    assert (row["seeds"], row["draws"], row["control"]) == (2, 2, "none")
    losses = result.scores.measured["train_loss"]
    change = interval(losses["one", 12, 5] - losses["one", 12, 0], 12 / (GRAPHS - 12))
    assert table["one", 5, "train_loss"]["change_low"] == change.low
    assert table["one", 0, "train_loss"]["change"] is None
    assert table["one", 5, "cka graph"]["change"] is None
    assert table["none", 5, "cka graph"]["difference"] is None
    assert table["one", 5, "cka input"]["mean_high"] <= 1


def test_tables_and_figures(result: Analysis) -> None:
    text = report.markdown(result)
    assert "| labels | updates | method | input | layer 1 | layer 2 | graph |" in text
    assert text.count("\n| 12 | 5 | ") == 2 * 3
    assert "against" not in text
    drawn = report.cka_figure(result).axes[0]
    assert [label.get_text() for label in drawn.get_xticklabels()] == list(result.layers)
    assert drawn.get_title() == "12 labels, 5 updates"
    graph = result.scores.measured["cka graph"]["one", 12, 5].mean()
    assert np.asarray(drawn.lines[0].get_ydata())[-1] == pytest.approx(graph)
    loss, score = report.change_figure(result).axes
    assert "training loss" in loss.get_ylabel()
    assert "ROC-AUC" in score.get_ylabel()
    assert np.asarray(loss.lines[0].get_ydata())[0] == 0


def test_scores_against_one_field(corpus: str, tmp_path: Path) -> None:
    wide, narrow = (Method(f"w{width}", (start(1, EncoderConfig(layers=2, width=width)),)) for width in (16, 8))
    found = analysed(config(corpus, against=("encoder.width",)), tmp_path, wide, narrow)
    assert found.values == {"w16": (16,), "w8": (8,)}
    axes = report.against_figure(found).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["8", "16"]
    means = [100 * found.scores.scores[name, 12, 2].mean() for name in ("w8", "w16")]
    assert np.asarray(axes.lines[0].get_ydata()) == pytest.approx(means)
    assert "| encoder.width | labels | updates | method |" in report.markdown(found)
    assert {record["encoder.width"] for record in report.records(found)} == {8, 16, None}


def test_scores_against_two_fields(corpus: str, tmp_path: Path) -> None:
    methods = [l2p(f"{s}{t}", seed=1 + 2 * s + t, node_steps=s, graph_steps=t) for s, t in ((0, 1), (1, 0), (1, 1))]
    given = config(corpus, against=("l2p.node_steps", "l2p.graph_steps"))
    found = analysed(given, tmp_path, *methods, Method("other", (start(9, objective="edgepred"),)))
    assert found.values["10"] == (1, 0)
    assert found.values["other"] == (None, None)
    axes = report.against_figure(found).axes[0]
    shown = np.asarray(axes.images[0].get_array())
    assert np.isnan(shown[0, 0])
    assert shown[1, 0] == pytest.approx(100 * found.scores.scores["10", 12, 5].mean())


@pytest.mark.parametrize(
    ("against", "methods", "words"),
    [
        ("l2p.speed", (l2p("a"), l2p("b")), "against l2p.speed: is not a field of a pre-training config"),
        ("l2p", (l2p("a"), l2p("b")), "against l2p: is not a field"),
        ("l2p.levels", (l2p("a"), l2p("b")), r"against l2p.levels: a and b have the same value \(both\)"),
        ("l2p.levels", (l2p("a"), Method("b", (start(2, objective="edgepred"),))), "fewer than two methods"),
        (
            "l2p.node_steps",
            (Method("a", (start(1, l2p={"node_steps": 1}), start(2, l2p={"node_steps": 2}))), l2p("b")),
            "the pre-training seeds of a differ in it",
        ),
    ],
)
def test_fields_that_cannot_be_shown(corpus: str, tmp_path: Path, against: str, methods: Any, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        analysed(config(corpus, against=(against,)), tmp_path, *methods)


def test_encoders_need_the_same_layers(corpus: str, tmp_path: Path) -> None:
    deep = Method("deep", (start(1, EncoderConfig(layers=3, width=8)),))
    with pytest.raises(RequestError, match=r"checkpoint deep: encoder.layers is 3, that of one is 2"):
        analysed(config(corpus), tmp_path, Method("one", (start(1),)), deep)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"checkpoint": ()}, "nothing to analyse"),
        ({"frozen": True}, "a frozen encoder does not change"),
        ({"against": ("a", "b", "c")}, "takes one or two fields, found 3"),
        ({"against": ("a", "a")}, "given twice"),
    ],
)
def test_options_without_meaning(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        replace(AnalyseConfig("x", checkpoint=("y",)), **changes)


def test_defaults() -> None:
    found = AnalyseConfig("x", checkpoint=("y",), train_labels=()).settled()
    assert (found.few_labels, found.train_labels, found.updates, found.draws) == (True, ("all",), (10, 30, 100), 10)
