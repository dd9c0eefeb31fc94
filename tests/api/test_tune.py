"""Arguments of ``distgnn.tune``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import distgnn as dg
from distgnn.api.tune import tune_config
from distgnn.search.records import Sweep, write_sweep
from distgnn.storage.folder import Folder, open_folder
from tests.helpers.sweeps import view

FINETUNE = dg.TuneConfig(trials=3, finetune=dg.FinetuneConfig("data/bace", checkpoint=("runs/zinc",)))


def test_space_as_a_dictionary() -> None:
    space = {"finetune.lr": "log(1e-4,1e-2)", "finetune.batch": [8, 16], "finetune.augment": (True, False)}
    found = tune_config(FINETUNE, {"space": space})
    assert found.space == ("finetune.lr=log(1e-4,1e-2)", "finetune.batch={8,16}", "finetune.augment={true,false}")
    assert found.trials == 3
    assert tune_config(found, {}) == found


def test_a_sweep_says_how_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """config.json and environment.json before the search."""

    def search(folder: Folder, sweep: Sweep) -> str:
        write_sweep(folder, sweep)
        return "stopped"

    monkeypatch.setattr("distgnn.api.tune.load_function", lambda _: search)
    monkeypatch.setattr("distgnn.api.tune.new_sweep", lambda config: (open_folder(config.out), view([]).sweep))
    dg.tune(FINETUNE, out=str(tmp_path / "sweep"))
    environment = json.loads((tmp_path / "sweep" / "environment.json").read_text())
    assert environment["command"] == "tune"
    assert (tmp_path / "sweep" / "config.json").exists()
