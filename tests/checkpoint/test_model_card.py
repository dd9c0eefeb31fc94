"""Contents of a checkpoint's files, including its model card."""

from __future__ import annotations

import json
from typing import Any

import safetensors.torch
import torch

from distgnn.checkpoint.model_card import checkpoint_files
from distgnn.checkpoint.training_state import make_state
from distgnn.config import EncoderConfig, PretrainConfig
from distgnn.corpus.manifest import Manifest, Shard
from distgnn.graph.schema import Feature, Schema
from tests.helpers.training import CPU

SCHEMA = Schema(node=(Feature("color", "categorical", 8), Feature("size", "dense", 2)))
CONFIG = PretrainConfig(corpus="c", objective="edgepred", encoder=EncoderConfig(layers=1, width=4))
MANIFEST = Manifest(SCHEMA, 1200, 4, 1200, (Shard("x", 1200, 0, 0, 10**6, "0" * 64),))


def test_files() -> None:
    metrics: dict[str, Any] = {"validation": {"loss": 0.123456, "note": "x"}, "train": {"seconds": 12, "loss": 1e-9}}
    state = make_state(CONFIG, SCHEMA, CPU)
    state.step, state.skipped = 7, 2
    frozen = state.freeze()
    files = checkpoint_files(frozen, CONFIG, MANIFEST, 3, metrics, 0.25)
    assert sorted(files) == sorted(
        ["model.safetensors", "state.safetensors", "config.json", "state.json", "corpus.json", "card.md"]
    )
    told = {
        "step": 7,
        "epoch": 3,
        "seed": 0,
        "skipped": 2,
        "metrics": metrics,
        "score": 0.25,
        "corpus": MANIFEST.digest(),
    }
    assert json.loads(files["state.json"]) == told
    assert files["state.json"].startswith(b'{\n "corpus": ')  # sorted, and ends with a newline
    assert files["state.json"].endswith(b"}\n")
    config = json.loads(files["config.json"])
    assert (config["encoder"]["width"], config["run"]["corpus"], Schema.from_json(config["schema"])) == (4, "c", SCHEMA)
    assert files["corpus.json"] == MANIFEST.to_bytes()
    for name, tensors in (("model", frozen.model), ("state", frozen.optimiser)):
        found = safetensors.torch.load(files[f"{name}.safetensors"])
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[key], tensors[key]) for key in found)
    lines = files["card.md"].decode().splitlines()
    assert lines[:11] == [
        "# Graph encoder, edgepred pre-training, step 7",
        "",
        f"- encoder: gin, 1 layers of width 4, ghost normalisation, mean pooling, {frozen.weights:,} weights",
        "- trained for 7 steps (epoch 3) with seed 0",
        f"- corpus: 1,200 graphs, digest {MANIFEST.digest()[:16]}",
        "- node features: color (categorical, 8), size (dense, 2)",
        "- edge features: none",
        "",
        "| part | metric | value |",
        "|---|---|---|",
        "| train | loss | 1e-09 |",
    ]
    assert lines[11:14] == ["| train | seconds | 12 |", "| validation | loss | 0.1235 |", ""]
