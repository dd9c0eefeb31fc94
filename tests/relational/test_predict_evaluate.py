"""Predictions, explanations and evaluation of models, from Python and from the command line."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import roc_auc_score

import distgnn
from distgnn.cli import main
from distgnn.errors import RequestError
from distgnn.relational.baselines import boosting, forest_and_linear
from distgnn.relational.ensemble import DatabaseModel
from distgnn.relational.episodes import TEST, TRAIN, VAL, TaskData, load_data
from distgnn.relational.evaluate import ALL, Record, summarise, why_not_scored
from distgnn.relational.finetune import fine_tune, large_context
from distgnn.relational.model import Episode
from distgnn.relational.model_checkpoint import load_model
from distgnn.relational.predict import choose_context, predict_rows
from distgnn.relational.sampling import Limits
from distgnn.relational.scores import constant, score_of
from distgnn.relational.store import open_database
from distgnn.relational.tasks import load_task
from distgnn.relational.values import Scaler
from distgnn.report.database_sections import evaluation_section, prediction_section
from distgnn.report.databases import markdown
from tests.helpers.databases import frames, write_database


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_database(tmp_path_factory.mktemp("data") / "shop", frames())


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("other")
    other = write_database(folder / "other", frames(customers=30, orders=400, seed=5), "other")
    words = [
        "database",
        "pretrain",
        "--databases",
        other,
        "--out",
        str(folder / "run"),
        "--automatic",
        "2",
        "--synthetic",
        "0",
    ]
    words += ["--model.width", "16", "--model.heads", "2", "--model.layers", "1", "--model.name-width", "4"]
    words += ["--train.steps", "2", "--train.episodes", "2", "--train.contexts", "16", "--train.columns", "16"]
    assert main(words) == 0
    return str(folder / "run")


@pytest.fixture(scope="module")
def data(shop: str) -> TaskData:
    database = open_database(shop)
    return load_data(database, *load_task(database, "buys"), Limits())


def test_predict_writes_rows_with_reasons(
    shop: str, checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", "--database", shop, "--task", "buys", "--model", checkpoint, "--context", "64", "--adapt", "1"]
    assert main([*words, "--out", str(tmp_path / "out"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    table = pq.read_table(tmp_path / "out/predictions.parquet")
    database = open_database(shop)
    _, rows = load_task(database, "buys")
    test = rows.split == TEST
    assert told["rows"] == table.num_rows == test.sum()
    assert told["context"] == 64
    assert table["customer_id"].to_pylist() == (rows.entity[test] + 100).tolist()
    scores = table["prediction"].to_numpy()
    assert told["score"] == pytest.approx(roc_auc_score(rows.label[test], scores))
    assert told["score"] > 0.6  # active customers buy again
    assert told["columns"][0][0].startswith("orders.")
    because = table["because"][0].as_py()
    assert len(because) == 5
    assert abs(because[0]["change"]) >= abs(because[4]["change"])


def test_predict_number_and_without_context(shop: str, checkpoint: str, tmp_path: Path) -> None:
    found = distgnn.predict(
        database=shop, task="order-amount", model=checkpoint, context=128, explain=False, out=tmp_path / "amount"
    )
    assert found.metric == "mae"
    assert "because" not in found.table.columns
    assert len(found.plot().axes) == 1
    assert 20 < np.mean(found.table["prediction"].to_numpy()) < 200
    found = distgnn.predict(database=shop, task="buys", model=checkpoint, context=0, out=tmp_path / "none", split="val")
    assert found.context == 0
    assert len(found.table)
    assert found.plot().axes[0].get_xlabel() == "prediction"
    assert len(found.plot().axes) == 2
    assert "<th>prediction</th>" in found._repr_html_()
    assert found.file == f"{os.fspath(found)}/predictions.parquet"
    assert found.to_json()["rows"] == len(found.table)


def test_predictions_depend_on_options(shop: str, checkpoint: str, tmp_path: Path) -> None:
    def scores(name: str, **options: Any) -> np.ndarray:
        base = {"context": 32, "explain": False, "seed": 0} | options
        found = distgnn.predict(database=shop, task="buys", model=checkpoint, out=tmp_path / name, **base)
        return found.table["prediction"].to_numpy()

    plain = scores("a")
    assert np.array_equal(plain, scores("b"))
    for name, options in {"c": {"seed": 1}, "d": {"adapt": 2}, "e": {"context": 64}, "f": {"ensemble": False}}.items():
        assert not np.array_equal(plain, scores(name, **options))


def test_labels_that_no_float_can_square_are_refused(shop: str) -> None:
    database = open_database(shop)
    task, rows = load_task(database, "order-amount")
    label = rows.label.copy()
    label[3] = -1e300
    with pytest.raises(RequestError, match="has a label of size 1e\\+300; choose a larger unit"):
        load_data(database, task, rows._replace(label=label), Limits())


def test_multiclass(data: TaskData, checkpoint: str) -> None:
    classes = np.digitize(data.raw[:, 3], np.nanquantile(data.raw[:, 3], [0.3, 0.6])).astype(float)
    many = TaskData(**{**vars(data), "kind": "multiclass", "rows": data.rows._replace(label=classes)})
    queries = np.flatnonzero(many.rows.split == TEST)
    context = choose_context(many, queries, 128)
    answer = predict_rows(load_model(checkpoint).model, many, context, queries, explain=True)
    assert answer.values.shape == (queries.size, 3)
    np.testing.assert_allclose(answer.values.sum(1), 1)
    assert (answer.classes[answer.values.argmax(1)] == classes[queries]).mean() > 0.7
    assert score_of(many, queries, answer) == ((answer.values.argmax(1) == classes[queries]).mean(), "accuracy")
    assert answer.changes.shape == (queries.size, len(answer.names))


def test_classes_are_those_of_the_context(shop: str, checkpoint: str) -> None:
    task, rows = load_task(open_database(shop), "buys")
    data = load_data(open_database(shop), task, rows, Limits())
    label = np.where(np.arange(data.rows.label.size) % 2, 2.0, 5.0)  # class 0 is never there
    many = TaskData(**{**vars(data), "kind": "multiclass", "rows": data.rows._replace(label=label)})
    queries = np.flatnonzero(many.rows.split == TEST)
    answer = predict_rows(load_model(checkpoint).model, many, choose_context(many, queries, 32), queries)
    assert answer.classes.tolist() == [2, 5]
    with pytest.raises(RequestError, match="without labels no class is known; give context"):
        predict_rows(load_model(checkpoint).model, many, queries[:0], queries)


def test_a_task_of_several_classes(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, tasks = str(tmp_path / "store"), tmp_path / "tasks.toml"
    source = write_database(tmp_path / "in", frames(customers=20, orders=600), "several")
    distgnn.build_database(input=source, out=store)
    tasks.write_text('[tasks.next]\nentity = "customers"\nrule = "next(orders.paid) via customer_id"\n')
    assert main(["database", "tasks", store, "--add", str(tasks)]) == 0
    assert "multiclass of customers, " in (told := capsys.readouterr().out)
    assert all(name in told for name in ("% bill", "% card", "% cash"))
    chosen = {"database": store, "task": "next", "model": checkpoint, "out": tmp_path / "out", "context": 64}
    found = distgnn.predict(**chosen)
    label, guess = (found.table[name].to_numpy() for name in ("label", "prediction"))
    assert (found.metric, found.score) == ("accuracy", (label == guess).mean())
    names = np.array(["bill", "card", "cash"])
    assert found.table["class"].tolist() == names[guess.astype(int)].tolist()
    assert json.loads((tmp_path / "out" / "results.json").read_text())["classes"] == names.tolist()
    assert set(found.baselines) == {"constant", "forest + linear"}
    words = ["database", "evaluate", "--databases", store, "--models", checkpoint, "--contexts", "16", "--draws", "1"]
    assert main([*words, "--rows", "20", "--finetune", "2", "--out", str(tmp_path / "scores")]) == 0
    told = capsys.readouterr().out
    assert "## Several classes, mean accuracy (1 tasks)" in told
    assert all(
        f"| {method} |" in told for method in ("constant", "16 | forest", "16 | pre-trained", "all | fine-tuned")
    )


def test_fine_tuning_on_several_classes_learns_one_at_a_time(data: TaskData, checkpoint: str) -> None:
    label = np.random.default_rng(0).permutation(np.nan_to_num(data.raw[:, 0]).argsort() % 3) + 2.0
    many = replace(data, kind="multiclass", rows=data.rows._replace(label=label))
    seen = []
    model = load_model(checkpoint).model
    loss = type(model).loss

    def noted(self: DatabaseModel, episode: Episode, steps: int = 0) -> torch.Tensor:
        seen.append((episode.binary, tuple(episode.labels.unique().tolist()), float(episode.labels.mean())))
        return loss(self, episode, steps)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseModel, "loss", noted)
        fine_tune(model, many, 4)
    assert {(binary, values) for binary, values, _ in seen} == {(True, (0, 1))}
    assert all(0.1 < mean < 0.6 for _, _, mean in seen)


def test_fine_tuned_models_are_kept(
    shop: str, checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = str(tmp_path / "kept")
    words = ["predict", "--database", shop, "--task", "buys", "--no-explain"]
    tuning = [*words, "--model", checkpoint, "--finetune", "3", "--save", kept, "--out", str(tmp_path / "tuned")]
    assert main(tuning) == 0
    told = capsys.readouterr().out
    assert f"  fine-tuned model: {kept}/checkpoints/step-000000005" in told
    assert all(f"  {name}: auroc 0." in told for name in ("constant", "boosting, two hops", "fine-tuned alone"))
    assert main(tuning) == 2
    assert f"{kept}: already holds a checkpoint" in capsys.readouterr().err
    assert load_model(kept).facts.databases == ("other", "shop")
    assert main([*words, "--model", kept, "--out", str(tmp_path / "again")]) == 0
    with pytest.raises(RequestError, match=r"every model .* was trained on 'shop'"):
        distgnn.evaluate_databases(databases=shop, models=kept, out=tmp_path / "scores")


def test_fine_tuned_predictions_are_averaged_with_boosting(shop: str, checkpoint: str, tmp_path: Path) -> None:
    data = load_data(open_database(shop), *load_task(open_database(shop), "buys"), Limits())
    queries = np.flatnonzero(data.rows.split == TEST)
    before = int(data.rows.time[queries].min())
    chosen = {"database": shop, "task": "buys", "model": checkpoint, "finetune": 3, "explain": False}
    both, alone = (distgnn.predict(**chosen, ensemble=one, out=tmp_path / str(one)) for one in (True, False))
    expected = (alone.table["prediction"] + boosting(data, data.eligible(before), queries, own=False)) / 2
    np.testing.assert_allclose(both.table["prediction"], expected)
    tuned = fine_tune(load_model(checkpoint).model, data, 3, before)
    context = large_context(data, before)
    np.testing.assert_allclose(alone.table["prediction"], predict_rows(tuned, data, context, queries).values)
    assert set(both.baselines) == {"constant", "boosting, two hops", "fine-tuned alone"}


def test_fine_tuning_does_not_read_what_it_predicts(shop: str, checkpoint: str, tmp_path: Path, data: TaskData) -> None:
    chosen = {"database": shop, "task": "buys", "model": checkpoint, "out": tmp_path / "out"}
    with pytest.raises(RequestError, match="predict rows of test, not val"):
        distgnn.predict(**chosen, finetune=2, split="val")
    with pytest.raises(RequestError, match="save keeps a fine-tuned model; give finetune"):
        distgnn.predict(**chosen, save="kept")
    train = np.flatnonzero(data.rows.split == TRAIN)
    late = int(np.sort(data.rows.time[train])[train.size // 2])
    label = data.rows.label.copy()
    unknown = np.flatnonzero(data.rows.time + data.horizon > late)
    label[unknown] = 1 - label[unknown]  # read by nothing
    val = np.where(np.arange(train.size) % 5 == 0, VAL, TRAIN)
    split = data.rows.split.copy()
    split[train] = val
    model = load_model(checkpoint).model
    states = [
        fine_tune(model, replace(data, rows=data.rows._replace(label=one, split=split)), 2, late).state_dict()
        for one in (data.rows.label, label)
    ]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    one = replace(data, rows=data.rows._replace(label=np.zeros_like(label)))
    with pytest.raises(RequestError, match="two labels among training and validation rows"):
        fine_tune(model, one, 2)


def test_baselines_are_told(shop: str, checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", "--database", shop, "--task", "order-amount", "--model", checkpoint, "--no-explain"]
    assert main([*words, "--context", "32", "--out", str(tmp_path / "out"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["baselines"]) == {"constant", "forest + linear", "model alone"}
    amount = load_data(open_database(shop), *load_task(open_database(shop), "order-amount"), Limits())
    queries = np.flatnonzero(amount.rows.split == TEST)
    fixed = constant(amount, choose_context(amount, queries, 32), queries.size)
    assert told["baselines"]["constant"] == score_of(amount, queries, fixed)[0]
    found = distgnn.predict(
        database=shop, task="order-amount", model=checkpoint, context=32, explain=False, out=tmp_path / "out"
    )
    worse = replace(found, score=1e9)
    assert worse.better == list(found.baselines)
    assert replace(found, score=0.0).better == []
    assert replace(found, metric="auroc", score=0.0).better == list(found.baselines)


def test_rows_without_a_label_are_predicted(checkpoint: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    source = write_database(folder, frames(customers=20, orders=600))
    chosen = {"database": source, "task": "buys", "model": checkpoint, "context": 32}
    plain = distgnn.predict(**chosen, out=tmp_path / "plain")
    rows = pq.read_table(folder / "tasks" / "buys.parquet").to_pandas()
    rows.loc[(rows.split == "test") & (rows.index % 2 == 0), "label"] = np.nan
    rows.to_parquet(folder / "tasks" / "buys.parquet")
    some = distgnn.predict(**chosen, out=tmp_path / "some")
    assert some.table["prediction"].equals(plain.table["prediction"])
    known = some.rows["label"].is_valid().to_numpy()
    assert 0 < known.sum() < known.size
    labels = plain.table["label"].to_numpy()
    assert some.score == roc_auc_score(labels[known], some.table["prediction"].to_numpy()[known])
    rows.loc[rows.split == "test", "label"] = np.nan
    rows.to_parquet(folder / "tasks" / "buys.parquet")
    none = distgnn.predict(**chosen, out=tmp_path / "none")
    assert (none.score, none.baselines) == (None, {})
    assert main(["database", "tasks", source]) == 0


def test_rarely_known_columns_say_that_they_are_known() -> None:
    values = np.full((100, 2), np.nan, np.float32)
    values[:4, 0], values[:40, 1] = np.arange(4), np.arange(40)
    scaler = Scaler.fit(values)
    found = scaler.transform(np.array([[50, 50], [np.nan, 2]], np.float32))
    assert found[0, 0].tolist() == [0, 0]
    assert np.isnan(found[1, 0]).all()
    assert found[0, 1, 0] == 1
    assert scaler.channels(found)[0, 0, 2] != scaler.channels(found)[1, 0, 2]


def test_baselines_and_fine_tuning(data: TaskData, checkpoint: str) -> None:
    train, queries = (np.flatnonzero(data.rows.split == split) for split in (TRAIN, TEST))
    train = train[::3]
    labels = data.rows.label[queries]
    found = forest_and_linear(data, train[::2], queries, 0)
    assert set(found) == {"forest", "linear", "forest + linear"}
    assert all(roc_auc_score(labels, values) > 0.6 for values in found.values())
    whole, own = (roc_auc_score(labels, boosting(data, train, queries, own=own)) for own in (False, True))
    assert whole > own
    model = load_model(checkpoint).model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tuned = fine_tune(model, data, 2)
    assert all((tensor == before[name]).all() for name, tensor in model.state_dict().items())
    values = predict_rows(tuned, data, train, queries).values
    assert roc_auc_score(labels, values) > 0.6


def test_evaluate_command_resumes(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    small = write_database(tmp_path / "small", frames(customers=20, orders=600), "small")
    words = [
        "database",
        "evaluate",
        "--databases",
        small,
        "--models",
        checkpoint,
        "--contexts",
        "0",
        "32",
        "--draws",
        "2",
    ]
    words += ["--rows", "60", "--adapt", "1", "--out", str(out)]
    assert main(words) == 0
    first = capsys.readouterr().out
    assert "| 32 | forest + linear |" in first
    assert "small/order-amount" in first
    records = json.loads((out / "results.json").read_text())["records"]
    few = [r for r in records if r["labels"] == 32 and r["method"] == "pre-trained" and r["binary"]]
    assert len(few) == 2
    assert (out / "pictures/scores.png").read_bytes()[:4] == b"\x89PNG"
    monkeypatch.setattr("distgnn.api.database_evaluation.evaluate_task", None)  # all tasks are finished
    assert main(words) == 0
    assert capsys.readouterr().out == first
    options = {"databases": small, "models": checkpoint, "contexts": [0, 32], "draws": 2, "rows": 60, "adapt": 1}
    results = distgnn.evaluate_databases(**options, out=out)
    assert str(results) == first.rstrip("\n") + "\n"
    assert results.records.to_dict("records") == records
    own = results.table.query("method == 'pre-trained' and labels == 32 and kind == 'classification'")
    assert own["mean"].iloc[0] == pytest.approx(np.mean([record["score"] for record in few]))
    assert len(results.plot().axes) == 2
    assert "<th>mean</th>" in results._repr_html_()
    assert json.loads((out / "results.json").read_text()) == results.to_json()


def test_tasks_of_one_label_do_not_enter_the_means(checkpoint: str, tmp_path: Path, data: TaskData) -> None:
    folder = tmp_path / "small"
    source = write_database(folder, frames(customers=20, orders=600), "small")
    for split in ("train", "test"):
        rows = pq.read_table(folder / "tasks" / "buys.parquet").to_pandas()
        rows.loc[rows.split == split, "label"] = 1.0
        rows.to_parquet(folder / "tasks" / "buys.parquet")
        options: dict[str, Any] = {
            "databases": source,
            "models": checkpoint,
            "contexts": 16,
            "draws": 1,
            "rows": 30,
            "baselines": False,
        }
        results = distgnn.evaluate_databases(**options, out=tmp_path / split)
        why = "fewer than two labels among its rows of train" + (" and test" if split == "test" else "")
        assert results.left_out == {"small/buys": why} == results.to_json()["left_out"]
        assert {record.task for record in results.scores} == {"small/order-amount"}
        assert f"- small/buys: {why}" in str(results)
    assert why_not_scored(data.rows, TEST, 50) == ""
    with pytest.raises(RequestError, match=r"no task to evaluate; small/buys: fewer than two labels"):
        distgnn.evaluate_databases(**options, skip="small/order-amount", out=tmp_path / "none")


def test_controls_are_averaged(checkpoint: str, tmp_path: Path, shop: str) -> None:
    options: dict[str, Any] = {
        "databases": shop,
        "models": checkpoint,
        "contexts": 16,
        "draws": 1,
        "rows": 60,
        "adapt": 0,
    }

    def control(seeds: int) -> float | None:
        found = distgnn.evaluate_databases(
            **options, untrained_seeds=seeds, skip="shop/order-amount", out=tmp_path / str(seeds)
        )
        scores = [record.score for record in found.scores if record.method == "untrained encoder"]
        assert ("forest + linear + untrained" in {record.method for record in found.scores}) == bool(seeds)
        return scores[0] if scores else None

    one, two, three = (control(seeds) for seeds in (1, 2, 3))
    assert control(0) is None
    assert len({one, two, three}) == 3
    with pytest.raises(RequestError, match="untrained_seeds must not be negative"):
        control(-1)


def test_other_models_are_scored_on_the_same_rows(checkpoint: str, tmp_path: Path, shop: str) -> None:
    other = write_database(tmp_path / "other", frames(seed=5), "other")
    model: dict[str, Any] = {"kind": "column-prior", "width": 16, "heads": 2, "layers": 1}
    train = {"steps": 3, "contexts": (16,)}
    options: dict[str, Any] = {"automatic": 2, "synthetic": 0, "model": model, "train": train}
    prior = distgnn.pretrain_databases(databases=other, out=tmp_path / "prior", **options)
    known = distgnn.pretrain_databases(databases=shop, out=tmp_path / "known", **options)
    sampled: dict[str, Any] = {**options, "sample": {"newest": 2}}
    options = {"databases": shop, "models": checkpoint, "contexts": 16, "draws": 2, "rows": 60, "adapt": 0}
    options |= {"skip": "shop/order-amount", "out": tmp_path / "out"}
    plain = distgnn.evaluate_databases(**options)
    found = distgnn.evaluate_databases(
        **options, others=(f"same={checkpoint}", f"prior={known.checkpoint},{prior.checkpoint}")
    )
    scores = {
        name: [score.score for score in found.scores if score.method == name]
        for name in ("pre-trained", "same", "prior")
    }
    assert scores["same"] == scores["pre-trained"] != scores["prior"]
    assert len(scores["prior"]) == 2
    assert {"forest + linear + prior"} <= {score.method for score in found.scores}
    assert [score for score in found.scores if score.method in {one.method for one in plain.scores}] == plain.scores
    with pytest.raises(RequestError, match=r"every model .* was trained on 'shop'"):
        distgnn.evaluate_databases(**options, others=f"prior={known.checkpoint}")
    few = distgnn.pretrain_databases(databases=other, out=tmp_path / "few", **sampled)
    with pytest.raises(RequestError, match=r"others: prior=.* was pre-trained with other --sample options"):
        distgnn.evaluate_databases(**options, others=f"prior={few.checkpoint}")
    for wrong in ("forest=x", "x"):
        with pytest.raises(RequestError, match=r"others: .* give NAME=RUN"):
            distgnn.evaluate_databases(**options, others=wrong)


def test_models_do_not_judge_databases_that_they_know(checkpoint: str, tmp_path: Path) -> None:
    other = write_database(tmp_path / "other", frames(seed=5), "other")
    with pytest.raises(RequestError, match=r"every model .* was trained on 'other'"):
        distgnn.evaluate_databases(databases=other, models=checkpoint, out=tmp_path / "out")


def test_task_without_training_rows_or_varying_columns(shop: str, data: TaskData) -> None:
    database = open_database(shop)
    task, rows = load_task(database, "buys")
    with pytest.raises(RequestError, match="'buys' has no training rows"):
        load_data(database, task, rows._replace(split=np.full_like(rows.split, TEST)), Limits())
    nothing = replace(data, missing=data.missing[:0])
    with pytest.raises(RequestError, match="no column that the task shows varies"):
        choose_context(nothing, np.arange(3), 8)
    early = replace(
        data, rows=data.rows._replace(time=data.rows.time + np.where(data.rows.split == TEST, -(10**15), 0))
    )
    with pytest.raises(RequestError, match="no training row whose label is known before"):
        choose_context(early, np.flatnonzero(data.rows.split == TEST), 8)


def test_summary_is_paired_over_tasks() -> None:
    scores = {("a", "forest + linear"): 0.6, ("b", "forest + linear"): 0.7, ("a", "new"): 0.62, ("b", "new"): 0.74}
    records = [
        Record(task, method, 64, draw, score, True) for (task, method), score in scores.items() for draw in (0, 1)
    ]
    records.append(Record("a", "new", ALL, 0, 0.9, True))
    rows = {(row.method, row.labels): row for row in summarise(records, kind="binary", reference="forest + linear")}
    new = rows["new", 64]
    assert (new.mean, new.tasks) == (pytest.approx(0.68), 2)
    assert new.difference == pytest.approx(0.03)
    assert new.error == pytest.approx(0.01)
    assert rows["new", ALL].difference is None
    assert "| 64 | new | 0.6800 | +0.0300 ± 0.0100 |" in markdown(records)


def test_reports_tell_baselines_and_tasks_left_out() -> None:
    told = {"columns": [], "score": 0.7, "metric": "auroc", "context": 32, "baselines": {"forest + linear": 0.75}}
    assert prediction_section(told, "here").verdicts[1] == "forest + linear: 0.7500."
    scores = [Record("a/b", method, 16, 0, 0.5, False, True) for method in ("forest + linear", "pre-trained")]
    values: dict[str, Any] = {"records": [asdict(score) for score in scores], "left_out": {"a/c": "one label"}}
    section = evaluation_section(values, "here")
    assert [table.heading for table in section.tables] == ["Several classes, mean accuracy", "Left out"]
    assert section.tables[1].body == [["a/c", "one label"]]
    old = [{key: value for key, value in record.items() if key != "multiclass"} for record in values["records"]]
    assert len(evaluation_section({"records": old}, "here").tables) == 1
