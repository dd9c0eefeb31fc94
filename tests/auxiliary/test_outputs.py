"""Models and predictions that transfer writes on request."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import distgnn as dg
from distgnn.auxiliary.comparison import Row
from distgnn.errors import RequestError
from distgnn.network.store import load_network, save_network
from tests.helpers.networks import films, tagged
from tests.helpers.transfers import config, write, write_network


def run(data: str, out: Path, **options: Any) -> Any:
    usual = {"methods": ("fixed",), "schemes": ("auto",), "epochs": 1, "seeds": 2}
    return dg.transfer(config(data, str(out), **usual | options))


def test_models_that_auto_chose_are_evaluated(tmp_path: Path) -> None:
    """With the scores of the table, by evaluate and load_model."""
    data = write(str(tmp_path / "c"))
    results = run(data, tmp_path / "out", save_models=True, save_predictions=True)
    assert [Path(uri).name for uri in results.models] == ["fixed-seed0", "fixed-seed1", "none-seed0", "none-seed1"]
    found = dg.evaluate(model=results, corpus=data, part="test", out=str(tmp_path / "evaluated")).table
    for method in ("none", "fixed"):
        values = results.comparison.values(Row(method, "gin", "auto"))
        np.testing.assert_allclose(found[found.method == method].value, values, atol=1e-6)
    table = pq.read_table(tmp_path / "out/predictions.parquet").to_pandas()
    assert set(table.part) == {"val", "test"}
    assert len(table) == 2 * 2 * 24
    again = dg.load_model(results.models[0]).predict(data)["easy"]
    first = table[(table.method == "fixed") & (table.seed == 0)].set_index("graph_id").prediction
    np.testing.assert_allclose(again.loc[first.index.astype(np.int64)], first, atol=1e-5)


def test_names_of_models_by_scheme_and_encoder(tmp_path: Path) -> None:
    """Without auto every training is saved; a result without its model is trained again."""
    data = write(str(tmp_path / "c"))
    options = {"schemes": ("scratch", "pretrained"), "methods": ("none",), "seeds": 1}
    run(data, tmp_path / "out", **options)
    names = {Path(uri).name for uri in run(data, tmp_path / "out", save_models=True, **options).models}
    assert names == {"none-scratch-seed0", "none-pretrained-seed0"}
    options |= {"schemes": ("scratch",), "encoders": ("gin", "gcn"), "save_models": True}
    assert {Path(uri).name for uri in run(data, tmp_path / "two", **options).models} == {
        "none-gin-seed0",
        "none-gcn-seed0",
    }


@pytest.mark.filterwarnings("ignore:weighting.judge")
def test_validation_rows_that_judge_are_left_out(tmp_path: Path) -> None:
    data = write(str(tmp_path / "c"))
    weighting = replace(config(data, "", methods=("fixed",)).weighting, judge="validation")
    run(data, tmp_path / "out", save_predictions=True, weighting=weighting, schemes=("scratch",))
    assert set(pq.read_table(tmp_path / "out/predictions.parquet")["part"].to_pylist()) == {"test"}


def test_predictions_of_nodes_have_the_score_of_the_table(tmp_path: Path) -> None:
    data = write_network(str(tmp_path / "n"))
    results = run(data, tmp_path / "out", save_predictions=True)
    table = pq.read_table(tmp_path / "out/predictions.parquet").to_pandas()
    assert list(table) == ["method", "seed", "paper", "y", "prediction", "probability"]
    label = load_network(data).tables["paper.label"]
    assert (table.y == label[table.paper]).all()
    assert table.probability.between(0.5, 1).all()
    for (method, seed), rows in table.groupby(["method", "seed"], observed=True):
        accuracy = (rows.y == rows.prediction).mean()
        assert results.comparison.values(Row(str(method), "gcn", "auto"))[int(seed)] == pytest.approx(accuracy)


@pytest.mark.parametrize(("network", "columns"), [(films(), ["user", "item", "y"]), (tagged(), ["paper"])])
def test_predictions_of_other_targets(tmp_path: Path, network: Any, columns: list[str]) -> None:
    data = str(tmp_path / "n")
    save_network(network, data)
    options = {"schemes": ("scratch",), "methods": ("none",), "save_predictions": True, "seeds": 1}
    options["network"] = replace(config(data, "").network, auxiliary=("edge_generation",))
    run(data, tmp_path / "out", **options)
    table = pq.read_table(tmp_path / "out/predictions.parquet").to_pandas()
    assert list(table)[2:-1][: len(columns)] == columns
    assert table.prediction.notna().all()
    if "user" in columns:
        assert table.prediction.between(0, 1).all()


def test_models_of_networks_are_refused(tmp_path: Path) -> None:
    data = write_network(str(tmp_path / "n"))
    with pytest.raises(RequestError, match=r"save_models: .* is a network"):
        run(data, tmp_path / "out", save_models=True)
    assert not (tmp_path / "out").exists()
