"""Few-label evaluation on a small corpus: draws, pairing, statistics of the control, cached jobs, tables."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distgnn.api.few_labels import FewLabelResults
from distgnn.auxiliary.data_source import InitialEncoder
from distgnn.config import EncoderConfig, FewLabelConfig, SplitConfig
from distgnn.config.few_labels import checkpoint_groups
from distgnn.errors import RequestError
from distgnn.finetuning.comparison import finetune_source
from distgnn.finetuning.few_label_jobs import FewLabelJob, Method, RunFewLabels
from distgnn.finetuning.few_labels import FewLabelScores, evaluate_few_labels
from distgnn.graph.batch import select_graphs
from distgnn.labels.dataset import read_undivided
from distgnn.labels.resampling import effect
from distgnn.labels.scores import holm
from distgnn.models.encoder import build_encoder
from distgnn.report import few_labels as report
from distgnn.storage.folder import open_folder
from tests.helpers.labelled import FEATURES, signal, write_labelled

GRAPHS = 90
SMALL = EncoderConfig(layers=2, width=8)
MAKE = FewLabelConfig(corpus="")


def start(seed: int, encoder: EncoderConfig = SMALL) -> InitialEncoder:
    return InitialEncoder(f"run-{seed}", encoder, build_encoder(FEATURES, encoder, seed).state_dict(), FEATURES)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, s = tmp_path_factory.mktemp("corpora"), signal(GRAPHS)
    groups: list[str | None] = [f"g{g // 6}" for g in range(GRAPHS)]
    write_labelled(str(folder / "binary"), (s > 0)[:, None].astype(float), ("easy",), groups)
    rare = np.where(np.arange(GRAPHS) % 9 == 0, s, math.nan)
    write_labelled(str(folder / "values"), np.stack([100 + s, rare], 1), ("big", "rare"))
    return folder


def config(corpora: Path, kind: str = "binary", **changes: Any) -> FewLabelConfig:
    settings: dict[str, Any] = {
        "train_labels": (12, 30), "updates": (2, 5), "draws": 3, "test_graphs": 40, "norm_graphs": 20, "lr": 0.01,
    }  # fmt: skip
    return FewLabelConfig(str(corpora / kind), encoder=SMALL, **settings | changes)


def run_of(given: FewLabelConfig, *starts: InitialEncoder, folder: str = "/nowhere") -> RunFewLabels:
    given = given.settled()
    data, groups = read_undivided(given.corpus, given)
    return RunFewLabels(given, finetune_source(given, data, starts), groups, open_folder(folder))


def scores(given: FewLabelConfig, folder: Path, *methods: Method, **options: Any) -> FewLabelScores:
    return evaluate_few_labels(given, methods, open_folder(str(folder)), **options)


@pytest.fixture(scope="module")
def result(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> FewLabelScores:
    one, two = Method("one", (start(1), start(2))), Method("two", (start(1),))
    return scores(config(corpora), tmp_path_factory.mktemp("jobs"), one, two)


def test_scores_by_method_labels_and_updates(result: FewLabelScores) -> None:
    assert result.methods == ("one", "two", "none")
    assert result.cells == ((12, 2), (12, 5), (30, 2), (30, 5))
    assert result.scores["one", 12, 2].shape == (2, 3)
    assert result.scores["none", 30, 5].shape == (1, 3)
    assert result.tested == (40, 40, 40)
    assert result.overlap == pytest.approx(40 / 50)


def test_methods_share_graphs_head_order_and_dropout(result: FewLabelScores) -> None:
    """Equal initial weights give equal scores whatever the method's place; other weights do not."""
    for size, updates in result.cells:
        first, second = result.scores["one", size, updates][0], result.scores["two", size, updates][0]
        assert np.array_equal(first, second)
        assert not np.array_equal(first, result.scores["none", size, updates][0])


def test_a_training_is_tested_on_the_way(corpora: Path, tmp_path: Path, result: FewLabelScores) -> None:
    short = scores(config(corpora, updates=(2,), train_labels=(12,)), tmp_path, Method("two", (start(1),)))
    assert np.array_equal(short.scores["two", 12, 2], result.scores["two", 12, 2])


def test_finished_jobs_are_loaded_and_more_draws_added(corpora: Path, tmp_path: Path) -> None:
    ran: list[str] = []

    def note(done: int, jobs: int, title: str, found: Any) -> None:  # noqa: ARG001
        ran.append(title)

    given, method = config(corpora, draws=2, train_labels=(12,)), Method("one", (start(1),))
    first = scores(given, tmp_path, method, progress=note)
    assert ran == [f"{name}, 12 labels, draw {draw}" for draw in (0, 1) for name in ("run-1", "none")]
    ran.clear()
    assert np.array_equal(
        scores(given, tmp_path, method, progress=note).scores["one", 12, 5], first.scores["one", 12, 5]
    )
    assert ran == []
    scores(replace(given, draws=3), tmp_path, method, progress=note)
    assert ran == ["run-1, 12 labels, draw 2", "none, 12 labels, draw 2"]
    ran.clear()
    next(tmp_path.glob("*draw1*")).write_bytes(b"damaged")
    scores(given, tmp_path, method, progress=note)
    assert len(ran) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"draw_by": "scaffold"},
        {"draw_by": "stratified"},
        {"split": SplitConfig(seed=1)},
        {"test_graphs": 30},
        {"lr": 0.1},
    ],
)
def test_names_of_jobs_tell_options_apart(corpora: Path, changes: dict[str, Any]) -> None:
    job, start_ = FewLabelJob(0, 12, 0), start(1)
    names = {run_of(given, start_).name(job) for given in (config(corpora), config(corpora, **changes))}
    assert len(names) == 2


def test_fewer_labels_are_a_subset_and_never_tested(corpora: Path) -> None:
    run = run_of(config(corpora), start(1))
    few, many, everything = (run.data(FewLabelJob(1, size, 0)).parts for size in (12, 30, "all"))
    assert len(few["train"]) == 12
    assert set(few["train"]) < set(many["train"]) < set(everything["train"])
    assert not set(everything["train"]) & set(few["test"])
    assert np.array_equal(few["test"], everything["test"])
    assert len(everything["train"]) == GRAPHS - 40


def test_test_graphs_are_at_most_half(corpora: Path) -> None:
    assert run_of(config(corpora, test_graphs=400), start(1)).test_graphs == GRAPHS // 2


def test_draws_by_scaffold_and_by_class(corpora: Path) -> None:
    run = run_of(config(corpora, draw_by="scaffold", test_graphs=36), start(1))
    assert run.groups is not None
    test, pool = run.draw(0)
    assert not set(run.groups[test]) & set(run.groups[pool])
    run = run_of(config(corpora, draw_by="stratified"), start(1))
    y = run.source.data.y[:, 0].numpy()
    assert y[run.draw(0).test].mean() == pytest.approx(y.mean(), abs=0.02)


def test_control_starts_from_statistics_of_graphs_outside_the_test(corpora: Path) -> None:
    fresh = InitialEncoder("none", SMALL)
    run = run_of(config(corpora, norm_graphs=1000), fresh)
    weights = run.weights(fresh, 2)
    assert weights is not None
    graphs, pool = run.source.data.graphs, np.sort(run.draw(2).pool)
    encoder = build_encoder(FEATURES, SMALL, 2).train()
    expected: dict[str, torch.Tensor] = {}
    first = next(name for name in weights if name.endswith("running_mean"))
    norm = encoder.get_submodule(first.rpartition(".")[0])
    norm.register_forward_pre_hook(lambda _, given: expected.update(mean=given[0].mean(0), var=given[0].var(0)))
    encoder(select_graphs(graphs, torch.from_numpy(pool)))
    assert torch.allclose(weights[first], expected["mean"], atol=1e-5)
    assert torch.allclose(weights[first.replace("mean", "var")], expected["var"], rtol=1e-4)
    assert not torch.allclose(expected["mean"], torch.zeros(()), atol=1e-3)
    other = run.weights(fresh, 1)
    assert other is not None
    assert not torch.equal(other[first], weights[first])


def test_statistics_come_from_unlabelled_graphs_too(corpora: Path, tmp_path: Path, result: FewLabelScores) -> None:
    run = run_of(config(corpora, "values", labels=("rare",), test_graphs=5, norm_graphs=1000), start(1))
    unlabelled = np.flatnonzero(np.isnan(run.source.data.y[:, 0].numpy()))
    assert set(unlabelled) < set(run.norm_rows(0)) == set(range(GRAPHS)) - set(run.draw(0).test)
    given = config(corpora, "values", labels=("rare",), test_graphs=5, train_labels=("all",), norm_graphs=1000)
    assert f"norm statistics of the control from {GRAPHS - 5} graphs" in report.heading(scores(given, tmp_path))
    assert "norm statistics of the control from 20 graphs" in report.heading(result)
    assert "coverage" not in report.heading(result)


def test_statistics_do_not_depend_on_labels(corpora: Path) -> None:
    fresh = InitialEncoder("none", SMALL)
    run = run_of(config(corpora), fresh)
    blind = replace(run, source=replace(run.source, data=replace(run.source.data, y=run.source.data.y * math.nan)))
    one, other = run.weights(fresh, 0), blind.weights(fresh, 0)
    assert one is not None
    assert other is not None
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_norm_graphs_changes_the_control_only(corpora: Path, tmp_path: Path, result: FewLabelScores) -> None:
    off = scores(config(corpora, norm_graphs=0), tmp_path, Method("two", (start(1),)))
    assert all(np.array_equal(off.scores["two", *cell], result.scores["two", *cell]) for cell in result.cells)
    assert not all(np.array_equal(off.scores["none", *cell], result.scores["none", *cell]) for cell in result.cells)


def test_targets_are_standardised_by_the_labels_of_the_draw(corpora: Path) -> None:
    run = run_of(config(corpora, "values", train_labels=(4,)), start(1))
    jobs = [FewLabelJob(draw, 4, 0) for draw in range(3)]
    for data in map(run.data, jobs):
        train = data.y[torch.from_numpy(data.parts["train"])].numpy()
        assert data.target.mean[0] == pytest.approx(train[:, 0].mean())
        assert torch.isfinite(data.target.mean).all()  # the rare label may be unknown in all four graphs
    assert any(np.isnan(run.data(job).labels("train")[:, 1]).all() for job in jobs)


def test_a_label_without_a_training_value_is_not_scored(corpora: Path, tmp_path: Path) -> None:
    given = config(corpora, "values", train_labels=(4,), updates=(1,))
    run = run_of(given, start(1))
    data = [run.data(FewLabelJob(draw, 4, 0)) for draw in range(3)]
    lost = [np.isnan(one.labels("train")[:, 1]).all() for one in data]
    assert any(lost)
    assert [np.isnan(one.labels("test")[:, 1]).all() for one in data] == lost
    found = scores(given, tmp_path, Method("one", (start(1),)))
    assert found.coverage == 0.5
    assert "coverage 50 %: some draws leave labels out of the score" in report.markdown(found)
    drawn, y = run.draw(1), run.source.data.y.clone()
    y[drawn.pool, 1], y[drawn.test, 0] = math.nan, math.nan
    apart = replace(run, source=replace(run.source, data=replace(run.source.data, y=y)))
    with pytest.raises(RequestError, match="draw 1: label 'rare' has no known value among the 4 training graphs"):
        apart.data(FewLabelJob(1, 4, 0))


def test_training_graphs_of_one_class_warn_once(corpora: Path, tmp_path: Path) -> None:
    with pytest.warns(
        UserWarning, match="one class in 3 of 3 draws .the first: draw 0, 1 labels.*draw_by=strat"
    ) as seen:
        scores(config(corpora, train_labels=(1, 30), updates=(1,)), tmp_path)
    assert len(seen) == 1


def test_epochs_where_no_updates_are_given(corpora: Path, tmp_path: Path) -> None:
    given = config(corpora, updates=(), epochs=2, train_labels=("all", 12), draws=2)
    found = scores(given, tmp_path)
    assert found.cells == ((12, 2), ("all", 8))  # batch 16: one and four updates in an epoch
    assert "2 epochs" in report.heading(found)
    assert "batch 16" in report.heading(found)


def test_linear_probe(corpora: Path, tmp_path: Path) -> None:
    found = scores(config(corpora, frozen=True, draws=2), tmp_path, Method("one", (start(1),)))
    assert "frozen encoder" in report.heading(found)
    assert found.scores["one", 12, 5].shape == (1, 2)


def test_a_draw_without_both_classes_says_what_helps(tmp_path: Path) -> None:
    write_labelled(str(tmp_path / "same"), (np.arange(GRAPHS) == 0)[:, None].astype(float), ("first",))
    given = config(tmp_path, "same", test_graphs=4, split=SplitConfig(seed=1))
    with pytest.raises(RequestError, match=r"part 'test'; give draw_by=stratified, more test_graphs or other labels"):
        scores(given, tmp_path)


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("binary", {"train_labels": (60,)}, "40 test graphs leave 50"),
        ("values", {"draw_by": "scaffold"}, "needs a 'group' column"),
        ("values", {"draw_by": "stratified"}, "needs one label of classes"),
    ],
)
def test_impossible_draws_fail_before_training(
    corpora: Path, tmp_path: Path, kind: str, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(RequestError, match=words):
        scores(config(corpora, kind, **changes), tmp_path)


def test_seeds_of_a_method_have_one_encoder(corpora: Path, tmp_path: Path) -> None:
    other = replace(SMALL, width=16)
    with pytest.raises(RequestError, match="run-2 has another encoder than run-1"):
        scores(config(corpora), tmp_path, Method("one", (start(1), start(2, other))))


def costing(name: str, graphs: float, seconds: float) -> Method:
    return Method(name, (replace(start(1), cost={"graphs": graphs, "cpu_seconds": seconds}),))


def test_unequal_costs_warn_and_a_budget_refuses_them(corpora: Path, tmp_path: Path) -> None:
    methods = costing("a", 100, 10), costing("b", 108, 20), costing("c", 200, 21)
    given = config(corpora, train_labels=(12,), updates=(1,), draws=2)
    found = scores(given, tmp_path, *methods)
    warning = "neither equal graphs nor equal CPU seconds (within 10%): a and c."
    assert warning in report.terminal(found).replace("\n", " ")
    assert warning in report.markdown(found)
    assert warning in report.to_values(found)["cost_warning"]
    assert not report.to_values(scores(given, tmp_path, *methods[:2]))["cost_warning"]
    scores(replace(given, budget="graphs"), tmp_path, *methods[:2])
    scores(replace(given, budget="seconds"), tmp_path, *methods[1:])
    for budget, chosen, words in (
        ("graphs", methods[1:], r"graphs of pre-training differ by more than 10% .b 108, c 200.; .*train.max_steps"),
        ("seconds", methods[:2], r"CPU seconds of pre-training differ by more than 10% .a 10, b 20."),
        ("graphs", (methods[0], Method("d", (start(1),))), "checkpoint d does not record its graphs"),
    ):
        with pytest.raises(RequestError, match=words):
            scores(replace(given, budget=budget), tmp_path, *chosen)  # pyright: ignore[reportArgumentType]


def test_table_and_records(result: FewLabelScores) -> None:
    table = report.summary(result)
    row = next(row for row in table if (row["method"], row["labels"], row["updates"]) == ("one", 30, 5))
    values, control = result.scores["one", 30, 5], result.scores["none", 30, 5]
    expected = effect(values, control, result.overlap)
    assert (row["seeds"], row["draws"], row["mean"]) == (2, 3, pytest.approx(values.mean()))
    assert (row["difference"], row["low"], row["high"], row["p"]) == pytest.approx(
        (expected.difference, expected.low, expected.high, expected.p)
    )
    tests = [row["p"] for row in table if row["control"]]
    assert len(tests) == 8
    assert [row["p_holm"] for row in table if row["control"]] == holm(tests)
    assert len(report.records(result)) == 4 * (2 + 1 + 1) * 3
    assert report.tsv(result).splitlines()[0].startswith("method\tlabels\tupdates")


def test_another_reference(result: FewLabelScores) -> None:
    rows = report.summary(result, reference="two")
    row = next(row for row in rows if row["method"] == "one")
    assert row["control"] == "two"
    assert row["difference"] == pytest.approx((result.scores["one", 12, 2] - result.scores["two", 12, 2]).mean())


def test_an_unknown_reference_is_refused(result: FewLabelScores) -> None:
    with pytest.raises(RequestError, match="reference 'nosuch': is not a method; there are one, two, none"):
        FewLabelResults(open_folder("/nowhere"), result).against("nosuch")


def test_lower_is_better_for_errors(corpora: Path, tmp_path: Path) -> None:
    found = scores(config(corpora, "values", labels=("big",)), tmp_path, Method("one", (start(1),)))
    for row in report.summary(found):
        assert row["gain"] is None or row["gain"] == -row["difference"]


def test_figures(result: FewLabelScores) -> None:
    titles = ["12 labels", "30 labels", "2 updates", "5 updates"]
    drawn = report.figure(result)
    assert [axes.get_title() for axes in drawn.axes] == titles
    mean = [100 * result.scores["two", 12, updates].mean() for updates in (2, 5)]
    assert drawn.axes[0].lines[1].get_ydata() == pytest.approx(mean)
    bands = [band.get_paths()[0].vertices[:, 1] for axes in drawn.axes for band in axes.collections]
    assert all(band.min() >= 0 and band.max() <= 100 for band in bands)  # pyright: ignore[reportAttributeAccessIssue]
    differences = report.figure(result, difference=True).axes[2]
    change = result.scores["two", 12, 2].mean() - result.scores["none", 12, 2].mean()
    assert differences.lines[1].get_ydata()[0] == pytest.approx(100 * change)  # pyright: ignore[reportIndexIssue]


def test_checkpoint_groups() -> None:
    assert checkpoint_groups(("a=x,y", "runs/b", "a=z", "s3://bucket/c?region=eu-1", "./d=1")) == [
        ("a", ("x", "y", "z")), ("", ("runs/b",)), ("", ("s3://bucket/c?region=eu-1",)), ("", ("./d=1",)),
    ]  # fmt: skip
    for bad, words in ((("a=x,x",), "given twice"), (("a=x,",), "is empty")):
        with pytest.raises(RequestError, match=words):
            checkpoint_groups(bad)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"updates": (5, 5)}, "updates must name each once"),
        ({"updates": (0,)}, "updates must be at least 1"),
        ({"train_labels": (0,)}, "train_labels must be at least 1"),
        ({"draws": -1}, "draws must not be negative"),
        ({"draw_by": "scaffold"}, "option of few-label evaluation"),
        ({"norm_graphs": 7}, "option of few-label evaluation"),
        ({"budget": "graphs"}, "option of few-label evaluation"),
        ({"draws": 2, "seeds": 3}, "give draws"),
        ({"draws": 2, "patience": 3}, "patience: has no meaning"),
        ({"draws": 2, "save_models": True}, "save_models: has no meaning"),
        ({"draws": 2, "split": SplitConfig("random")}, "give draw_by"),
        ({"draws": 2, "test_graphs": 1}, "test_graphs must be at least 2"),
    ],
)
def test_options_that_contradict_each_other(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        replace(MAKE, **changes)


def test_defaults_of_the_mode() -> None:
    found = replace(MAKE, updates=(30, 10)).settled()
    assert (found.batch, found.draws, found.train_labels, found.updates) == (16, 10, ("all",), (10, 30))
    assert replace(MAKE, draws=3).settled().draws == 3
    assert MAKE.plain().batch == 32
    assert replace(MAKE, batch=8, draws=2).settled().batch == 8
