"""Pre-training over databases on Ray Train: the same losses as in one process, continued runs, unchanged errors."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from distgnn.api.database_models import pretrain_databases
from distgnn.config.database_model import DatabaseModelConfig, DatabasePretrainConfig, DatabaseTrainConfig, SampleConfig
from distgnn.errors import RequestError
from distgnn.relational.model_checkpoint import load_model
from distgnn.scale.train import databases
from tests.helpers.databases import frames, write_database

SMALL = DatabaseModelConfig(width=8, heads=2, layers=1, name_width=2, cell_width=2, row_width=4, members=2)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside Ray itself
def test_two_workers_equal_one_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop = write_database(tmp_path / "shop", frames(customers=30, orders=500))
    train = DatabaseTrainConfig(steps=50, episodes=4, contexts=(8, 16), queries=16, columns=12, adapted=0.5)
    config = DatabasePretrainConfig(
        (str(shop),), str(tmp_path / "1"), 3, SMALL, train, SampleConfig(4, 2), checkpoint_every=49, synthetic=1
    )
    one = pretrain_databases(config)
    many = replace(config, workers=2, max_failures=0, out=str(tmp_path / "2"))
    two = pretrain_databases(many)
    assert (two.losses, two.tasks) == (one.losses, one.tasks)
    assert "step 50 of 50: loss" in capsys.readouterr().err
    weights = load_model(one.uri).model.state_dict()
    for name, tensor in load_model(two.uri).model.state_dict().items():
        assert torch.equal(tensor, weights[name])
    assert not {"ray", "progress.txt", "failed.json"} & {path.name for path in (tmp_path / "2").iterdir()}
    shutil.rmtree(tmp_path / "2" / "checkpoints" / "step-000000050")
    assert pretrain_databases(many).losses == one.losses  # from step 49
    with pytest.raises(RequestError, match="no task to train on"):
        pretrain_databases(
            replace(
                many, automatic=0, synthetic=1, databases=(str(_without_tasks(Path(shop))),), out=str(tmp_path / "3")
            )
        )


def test_a_cluster_without_cpus_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that reserve nothing would all start on the head."""
    monkeypatch.setattr(databases, "start_ray", lambda _: None)
    monkeypatch.setattr(databases.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(databases, "possible_resources", lambda: {"CPU": 0.0, "GPU": 0.0})
    config = DatabasePretrainConfig(("unused",), str(tmp_path), workers=3)
    with pytest.raises(RequestError, match=r"^workers=3 need 0\.03 CPUs"):
        databases.pretrain_on_ray(config)


def _without_tasks(shop: Path) -> Path:
    (shop / "tasks.json").unlink()
    return shop
