"""A small folder of each kind that reports show, made by the commands themselves where these take seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import distgnn as dg
from distgnn.api.database_evaluation import evaluate_databases
from distgnn.api.database_models import pretrain_databases
from distgnn.config.database_model import (
    DatabaseEvaluateConfig,
    DatabaseModelConfig,
    DatabasePretrainConfig,
    DatabaseTrainConfig,
    SampleConfig,
)
from tests.helpers import transfers
from tests.helpers.databases import frames, write_database
from tests.helpers.sweeps import planted, view
from tests.helpers.sweeps import write as write_sweep
from tests.helpers.training import SMALL_ENCODER

TRAIN: dict[str, Any] = {
    "max_steps": 6, "streams": 2, "graphs_per_stream": 4, "device": "cpu", "log_seconds": 0.0, "validate_every": 2,
}  # fmt: skip
FEW: dict[str, Any] = {"train_labels": [8, 12], "updates": [1, 2], "draws": 2, "test_graphs": 20}


def write_first_kinds(place: Path, pool: str) -> dict[str, str]:
    """Write those that take a few seconds from the unlabelled corpus ``pool``; returns their URIs by what they hold."""
    labelled = str(place / "labelled")
    dg.build_corpus("motifs", graphs=60, unit_rows=16, shard_rows=64, out=labelled)
    runs = [
        dg.pretrain(corpus=pool, out=place, name=name, encoder=SMALL_ENCODER, train=TRAIN | {"seed": seed})
        for seed, name in enumerate(["first", "second"])
    ]
    methods = {"l2p": [run.uri for run in runs]}
    few = dg.finetune(corpus=labelled, checkpoint=methods, out=place / "few", **FEW)
    sweep = write_sweep(place / "sweep", view(planted()))
    uris = {"corpus": labelled, "run": runs[0].uri, "second run": runs[1].uri, "few labels": few.uri}
    return uris | {"sweep": str(sweep), "study": write_study(place / "study")}


def write_other_kinds(place: Path, first: dict[str, str]) -> dict[str, str]:
    """Write the others from those of :func:`write_first_kinds`; returns their URIs by what they hold."""
    labelled, methods = first["corpus"], {"l2p": [first["run"], first["second run"]]}
    tuned = dg.finetune(
        corpus=labelled, checkpoint=first["run"], seeds=2, epochs=1, save_models=True, out=place / "tuned"
    )
    tested = dg.evaluate(model=tuned.folder.uri, corpus=labelled, out=place / "tested")
    analysis = dg.analyse(corpus=labelled, checkpoint=methods, out=place / "analysis", **FEW)
    made = transfers.config(transfers.write(str(place / "easy")), str(place / "transfer"), seeds=2)
    uris = {"fine-tuning": tuned.uri, "evaluation": tested.uri, "analysis": analysis.uri}
    return uris | {"transfer": dg.transfer(made).uri} | _databases(place)


def write_study(folder: Path) -> str:
    """What jobs/study.py writes of two methods with two numbers of updates."""
    folder.mkdir()
    records = [
        {
            "method": method, "reference": "none", "labels": 100, "updates": updates, "sets": 10,
            "better": better, "worse": 0, "positive": 5 + better, "difference": gain, "se": 0.005,
            "low": gain - 0.01, "high": gain + 0.01, "p": p, "p_holm": min(1.0, 4 * p),
        }
        for method, updates, better, gain, p in (
            ("l2p", 30, 4, 0.021, 0.001), ("l2p", 100, 2, 0.011, 0.04), ("edgepred", 30, 0, -0.002, 0.7),
        )
    ]  # fmt: skip
    records.append(
        dict.fromkeys(records[0]) | {"method": "edgepred", "reference": "none", "labels": 100, "updates": 100}
    )
    value = {"study": {"title": "<b>Core", "seeds": 2}, "sets": ["bace", "bbbp"], "records": records}
    (folder / "study.json").write_text(json.dumps(value))
    return str(folder)


def _databases(place: Path) -> dict[str, str]:
    """A store, a pre-training over it, predictions and an evaluation."""
    shop = write_database(place / "shop", frames(customers=40, orders=600))
    other = write_database(place / "market", frames(customers=40, orders=600, seed=5), "market")
    for source, store in ((shop, "store"), (other, "other-store")):
        dg.build_database(input=str(source), out=str(place / store))
    model = DatabaseModelConfig(width=8, heads=2, layers=1, name_width=2, cell_width=2, row_width=4, members=1)
    train = DatabaseTrainConfig(steps=6, episodes=2, contexts=(8, 16), queries=16, columns=12)
    run = pretrain_databases(
        DatabasePretrainConfig(
            (str(place / "other-store"),), str(place / "model"), 2, model, train, SampleConfig(4, 2), synthetic=0
        )
    )
    predicted = dg.predict(database=str(place / "store"), task="buys", model=run.uri, out=str(place / "predicted"))
    scores = evaluate_databases(
        DatabaseEvaluateConfig((str(place / "store"),), (run.uri,), (16, 32), draws=1, out=str(place / "scores"))
    )
    return {
        "store": str(place / "store"), "database run": run.uri,
        "predictions": predicted.uri, "database evaluation": scores.uri,
    }  # fmt: skip
