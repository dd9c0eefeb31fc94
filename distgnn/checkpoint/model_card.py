"""Contents of a checkpoint's files, including its model card."""

from __future__ import annotations

import json
from typing import Any

import safetensors.torch

from distgnn.checkpoint.training_state import Frozen
from distgnn.config import PretrainConfig, to_json
from distgnn.corpus.manifest import Manifest
from distgnn.graph.schema import Feature


def checkpoint_files(
    state: Frozen,
    config: PretrainConfig,
    manifest: Manifest,
    epoch: int,
    metrics: dict[str, Any],
    score: float | None = None,
) -> dict[str, bytes]:
    """Contents of all files of a checkpoint except checksums.json.

    Args:
        state: Copy of the training state.
        config: The run's config.
        manifest: Manifest of the training corpus.
        epoch: Index of the epoch.
        metrics: Last metrics, ``{"train": {...}, "validation": {...}}``.
        score: Validation loss of exactly this state; None if it was not measured.

    Returns:
        Contents by file name.
    """
    described = {
        "step": state.step,
        "epoch": epoch,
        "seed": config.train.seed,
        "skipped": state.skipped,
        "metrics": metrics,
        "score": score,
        "corpus": manifest.digest(),
    }
    configured = {"encoder": to_json(config.encoder), "schema": state.schema.to_json(), "run": to_json(config)}
    return {
        "model.safetensors": safetensors.torch.save(state.model),
        "state.safetensors": safetensors.torch.save(state.optimiser),
        "config.json": _json(configured),
        "state.json": _json(described),
        "corpus.json": manifest.to_bytes(),
        "card.md": _card(state, config, manifest, epoch, metrics).encode(),
    }


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _features(features: tuple[Feature, ...]) -> str:
    return ", ".join(f"{f.name} ({f.kind}, {f.size})" for f in features) or "none"


def _start(config: PretrainConfig) -> str:
    return f", starting from the encoder of {config.init}" if config.init else ""


def _card(state: Frozen, config: PretrainConfig, manifest: Manifest, epoch: int, metrics: dict[str, Any]) -> str:
    rows = [
        f"| {part} | {name} | {value:.4g} |"
        for part, values in sorted(metrics.items())
        for name, value in sorted(values.items())
        if isinstance(value, int | float)
    ]
    encoder, schema = config.encoder, state.schema
    return "\n".join(
        [
            f"# Graph encoder, {config.objective} pre-training, step {state.step}",
            "",
            f"- encoder: {encoder.kind}, {encoder.layers} layers of width {encoder.width}, {encoder.norm} normalisation,"
            f" {encoder.pooling} pooling, {state.weights:,} weights",
            f"- trained for {state.step} steps (epoch {epoch}) with seed {config.train.seed}{_start(config)}",
            f"- corpus: {manifest.graphs:,} graphs, digest {manifest.digest()[:16]}",
            f"- node features: {_features(schema.node)}",
            f"- edge features: {_features(schema.edge)}",
            "",
            "| part | metric | value |",
            "|---|---|---|",
            *rows,
            "",
            "Use it from Python, on PyG `Data` or `Batch` with these features:",
            "",
            '    encoder = distgnn.load_encoder("PATH OF THIS FOLDER")',
            "    nodes, graphs = encoder(batch)",
            "",
            "or fine-tune it: `distgnn finetune --checkpoint PATH --corpus LABELLED_CORPUS`",
            "",
        ]
    )
