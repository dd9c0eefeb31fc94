"""A synthetic comparison of weighting methods, and one that takes seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from distgnn.auxiliary.comparison import Comparison, jobs_of, method_comparison
from distgnn.auxiliary.jobs import Job
from distgnn.auxiliary.trainer import CURVES, TrainingResult
from distgnn.config import CorpusTaskConfig, EncoderConfig, SplitConfig, TransferConfig, WeightingConfig
from distgnn.config.weighting import PUBLISHED
from distgnn.network import manifest
from distgnn.network.csr import Edges, build_network
from distgnn.network.network import Relation
from distgnn.network.store import save_network
from distgnn.storage.folder import open_folder
from tests.helpers.labelled import signal, write_labelled

TASKS = ("target", "edgepred", "attrmasking")
STEPS = 6


def write(uri: str, graphs: int = 60) -> str:
    """A labelled corpus with one label that can be learned."""
    write_labelled(uri, (signal(graphs) > 0).astype(float)[:, None], ("easy",))
    return uri


def write_network(uri: str, nodes: int = 60) -> str:
    """Write a network of two classes, most edges within a class, with features weakly correlated with the class."""
    rng = np.random.default_rng(0)
    label = np.arange(nodes) % 2
    likely = np.where(label[:, None] == label, 0.2, 0.02) * (1 - np.eye(nodes))
    pairs = np.argwhere(rng.random((nodes, nodes)) < likely)
    features = (label[:, None] + rng.normal(size=(nodes, 4))).astype(np.float32)
    edges = Edges(Relation("cites", "paper", "paper"), pairs[:, 0], pairs[:, 1])
    made = build_network({"paper": nodes}, [edges], {"paper": features}, {"paper.label": label.astype(np.int64)}, {})
    save_network(made, uri)
    return uri


def config(data: str, out: str, **options: Any) -> TransferConfig:
    """A comparison that takes a second or two; options of a weighting model only if a method has one."""
    methods = options.get("methods", ("fixed", "auxts_one"))
    learned = any(method.startswith("auxts") for method in methods)
    settings: dict[str, Any] = {
        "methods": methods,
        "schemes": ("scratch",),
        "seeds": 1,
        "epochs": 2,
        "pretrain_epochs": 1,
        "batch": 18,
        "lr": 0.01,
        "weighting": WeightingConfig(hidden=8, **PUBLISHED) if learned else WeightingConfig(),
        "corpus": CorpusTaskConfig() if is_network_folder(data) else task(),
        "device": "cpu",
    }
    return TransferConfig(data, out, **(settings | options))


def is_network_folder(uri: str) -> bool:
    """Whether :func:`write_network` wrote it."""
    return open_folder(uri).size(manifest.NAME) is not None


def task(**options: Any) -> CorpusTaskConfig:
    """Its tasks and encoder."""
    split = SplitConfig("random", fractions=(0.6, 0.2, 0.2))
    return CorpusTaskConfig(**({"split": split, "encoder": EncoderConfig(layers=1, width=4)} | options))


def made(
    scores: dict[tuple[str, int, str], list[float]],
    metric: str = "roc_auc",
    diverged: Sequence[Job] = (),
    **options: Any,
) -> Comparison[TransferConfig]:
    """A comparison whose test scores are given by (scheme, encoder, method); a second metric is 0.1 lower."""
    settings = config("data|x", "out", seeds=len(next(iter(scores.values()))), **options)
    encoders = tuple(f"e{number}" for number in range(1 + max(place for _, place, _ in scores)))
    fitted = {
        job: _fitted(job, scores[job.scheme, job.encoder, job.method][job.seed], metric)
        for job in jobs_of(settings, len(encoders))
    }
    fitted |= {job: replace(fitted[job], scores={}, coverage={}, diverged="too far") for job in diverged}
    return method_comparison(settings, encoders, fitted, frozenset({"rmse"} & {metric}))


def _fitted(job: Job, value: float, metric: str) -> TrainingResult:
    base = np.arange(STEPS * len(TASKS), dtype=np.float32).reshape(STEPS, len(TASKS)) + job.seed
    curves = {name: base + 100 * place for place, name in enumerate(CURVES)}
    curves["hypergradients"] = np.full_like(base, np.nan)
    scores = {metric: value, "other": value - 0.1}
    return TrainingResult(
        tasks=TASKS,
        metrics=(metric, "other"),
        best_epoch=1,
        seconds=0.5,
        validation=(scores, scores),
        scores={"val": scores, "test": scores},
        coverage={"val": 1.0, "test": 1.0},
        predictions={},
        curves=curves,
        meta_loss=np.arange(STEPS, dtype=np.float32),
    )
