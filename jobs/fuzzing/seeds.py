"""The real files that are mutated: one folder per kind of seed, built once."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zipfile
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import distgnn
from distgnn.checkpoint.push_pull import pull
from distgnn.config import FinetuneConfig, PretrainConfig, TuneConfig, to_json
from distgnn.corpus.writer import BuildState
from distgnn.network.sources.synthetic import SyntheticNetworkConfig
from distgnn.search.records import Rung, Sweep, TrialRecord, write_sweep, write_trial
from distgnn.search.space import defaults, read_space, texts
from distgnn.search.winner import FinalEvaluation, write_result
from distgnn.storage.folder import open_folder

FINGERPRINT = "0" * 64
SCHEMA = """name = "shop"
[tables.customers]
key = "id"
columns = { id = "key", country = "category", name = "text" }
[tables.orders]
key = "id"
time = "placed"
foreign_keys = { customer_id = "customers" }
columns = { id = "key", customer_id = "key", placed = "time", price = "number" }
"""
TASKS = """[tasks.buys]
entity = "customers"
rule = "exists(orders) within 5 days"
start = "2024-01-05"
every_days = 5
val_from = "2024-02-01"
test_from = "2024-02-15"
"""
SMALL = {"layers": 1, "width": 8}
MODEL = Path(__file__).parents[2] / "models" / "databases"
_SPACE = ("l2p.node_lr=log(1e-4,1e-1)", "l2p.node_steps=0..3", "l2p.order={1,2}")


def build_seeds(work: Path) -> None:
    """Build all seeds below ``work``; a corpus and a checkpoint stay there unmutated, as ``corpus`` and ``checkpoint``."""
    corpus = work / "corpus"
    build_untrained(work)
    train = {"graphs_per_stream": 4, "streams": 2, "checkpoint_every": 2, "validate_every": 2, "log_seconds": 0}
    run = distgnn.pretrain(corpus=corpus, out=work, name="run", encoder=SMALL, train=train | {"max_steps": 4})
    pull(run.checkpoint, str(work / "checkpoint"))
    options = {"seeds": 1, "epochs": 1, "encoder": SMALL, "save_models": True}
    distgnn.finetune(corpus=corpus, checkpoint=(str(work / "checkpoint"),), out=work / "finetuned", **options)
    shutil.copytree(MODEL, work / "database-model")


def build_untrained(work: Path) -> None:
    """Build the seeds that need no training."""
    distgnn.build_corpus("motifs", graphs=60, out=work / "corpus", unit_rows=16, shard_rows=32)
    distgnn.build_network("made", SyntheticNetworkConfig(out=str(work / "network"), nodes=200, edges=600))
    _write_sweep(work / "sweep")
    _write_inputs(work / "inputs")
    _write_shop(work / "inputs" / "shop", work / "shop")
    (work / "build").mkdir()
    (work / "build" / "_build.json").write_text(json.dumps(asdict(BuildState(FINGERPRINT, part=1, skip=3))))
    (work / "configs").mkdir()
    for config in (PretrainConfig(corpus="c"), FinetuneConfig(corpus="d"), _tuning()):
        name = type(config).__name__.removesuffix("Config").lower()
        (work / "configs" / f"{name}.json").write_text(json.dumps(to_json(config)))


def _tuning() -> TuneConfig:
    pretrain, finetune = PretrainConfig(corpus="c"), FinetuneConfig(corpus="d")
    return TuneConfig(space=_SPACE, scheduler="asha", pretrain=pretrain, finetune=finetune)


def _write_sweep(path: Path) -> None:
    config, folder = _tuning(), open_folder(str(path))
    space = read_space(config)
    sweep = Sweep(config, "roc_auc", "max", (10, 30), texts(space), defaults(config, space), 8, 1000.0, 1.0)
    write_sweep(folder, sweep)
    records = [_trial(number) for number in range(8)]
    for record in records:
        write_trial(folder, record)
    scores = FinalEvaluation("winner", (0.7, 0.8), (0.6, 0.7)), FinalEvaluation("default", (0.6, 0.7), (0.5, 0.6))
    write_result(folder, sweep, records[0], list(scores))


def _trial(number: int) -> TrialRecord:
    params = {
        "pretrain.l2p.node_lr": 0.01 * (number + 1),
        "pretrain.l2p.node_steps": number % 4,
        "pretrain.l2p.order": 1,
    }
    rungs = (Rung(10, 0.6 + number / 100, 1.0), Rung(30, 0.7 + number / 90, 2.0))[: 1 + (number % 3 > 0)]
    state, reason = ("finished", "") if len(rungs) == 2 else ("failed", "out of memory")
    return TrialRecord(number, params, state, 1, reason, started=1.0, ended=9.0, seconds=3.0, rungs=rungs)


def _write_inputs(folder: Path) -> None:
    """Small inputs of the builders of corpora and networks, in the shapes of their documentation."""
    folder.mkdir()
    smiles = ("CCO", "c1ccccc1", "CC(=O)O", "C1CC1N", "CCN(CC)CC", "O=C=O", "CC#N", "CS(=O)C")
    lines = [f"{text},mol{at},{at % 2},{at * 0.5}" for at, text in enumerate(smiles)]
    (folder / "molecules.csv").write_text("\n".join(["smiles,name,active,value", *lines]) + "\n")
    arrays = {"node_ptr": [0, 3, 5], "edge_ptr": [0, 2, 3], "atom": [[6, 0]] * 5, "bond_uv": [[0, 1], [1, 2], [0, 1]]}
    packed: dict[str, Any] = {name: np.array(value) for name, value in arrays.items()} | {"bond": np.zeros((3, 2), int)}
    labels = {"y": np.array([[0.0], [1.0]]), "tasks": np.array(["t"]), "in_downstream": np.array([False, False])}
    np.savez(folder / "arrays.npz", allow_pickle=False, **packed, **labels, scaffold_split=np.array([0, 1]))
    (folder / "predblp.jsonl").write_text((json.dumps(predblp_record()) + "\n") * 3)
    _write_networks(folder)
    with zipfile.ZipFile(folder / "TU.zip", "w") as archive:
        archive.writestr("TU/TU_A.txt", "1, 2\n2, 1\n2, 3\n3, 2\n4, 5\n5, 4\n")
        archive.writestr("TU/TU_graph_indicator.txt", "1\n1\n1\n2\n2\n")
        archive.writestr("TU/TU_graph_labels.txt", "0\n1\n")
        archive.writestr("TU/TU_node_labels.txt", "0\n1\n2\n0\n1\n")


def predblp_record() -> dict[str, Any]:
    """A line of PreDBLP."""
    center = {"convert_id": 1, "n_citation": 3, "year": 2001, "cat": 1}
    record = {"center_id": center, "papers": [center], "authors": [{"convert_id": 2, "org": 1, "paper_num": 4}]}
    return record | {
        "venue": [{"convert_id": 4, "sub_cat": 1}],
        "terms": [{"convert_id": 3}],
        "edges": {"1": [2, 3, 4]},
    }


def _write_networks(folder: Path) -> None:
    (folder / "ratings.txt").write_text("0\t0\t1\n0\t1\t0\n1\t1\t1\n1\t2\t1\n2\t0\t0\n2\t2\t1\n")
    (folder / "kg.txt").write_text("0\t0\t3\n1\t1\t3\n2\t0\t4\n3\t1\t4\n")
    values = {
        "n": 4,
        "indptr": range(5),
        "indices": [1, 0, 3, 2],
        "y": [0, 1, 0, 1],
        "x_shape": [4, 3],
        "x_indptr": range(5),
    }
    plain: dict[str, Any] = {name: np.array(value) for name, value in values.items()}
    np.savez(folder / "citation.npz", **plain, x_indices=np.array([0, 1, 2, 0]), x_data=np.ones(4, np.float32))
    (folder / "ppi.txt").write_text(
        "".join(f"P{a}\tP{b}\n" for a, b in ((1, 2), (2, 3), (3, 4), (4, 1), (1, 3), (5, 2)))
    )


def _write_shop(folder: Path, store: Path) -> None:
    """A database of customers and their orders: as CSV files, as a SQLite file, and as a store with a task."""
    folder.mkdir()
    rows = range(48)
    placed = pd.Timestamp("2024-01-01") + pd.to_timedelta([at * 5 % 60 for at in rows], unit="D")
    people = {"id": range(12), "country": ["fr", "de", "it"] * 4, "name": [f"Ann {at}" for at in range(12)]}
    bought = {
        "id": rows,
        "customer_id": [at * 7 % 12 for at in rows],
        "placed": placed,
        "price": [at * 0.5 for at in rows],
    }
    tables = {"customers": pd.DataFrame(people), "orders": pd.DataFrame(bought)}
    with closing(sqlite3.connect(folder / "shop.sqlite")) as target:
        for name, table in tables.items():
            table.astype({"placed": str} if "placed" in table else {}).to_sql(name, target, index=False)
    (folder / "tables").mkdir()
    for name, table in tables.items():
        table.to_csv(folder / "tables" / f"{name}.csv", index=False)
    (folder / "shop.toml").write_text(SCHEMA)
    (folder / "tasks.toml").write_text(TASKS)
    distgnn.build_database(input=str(folder / "tables"), out=str(store), schema=str(folder / "shop.toml"))
    distgnn.add_tasks(str(store), str(folder / "tasks.toml"))
