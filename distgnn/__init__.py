"""Pre-training of graph neural networks at cluster scale, on Ray.

Names are imported when they are first used. ``import distgnn`` itself imports neither torch nor Ray nor RDKit.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distgnn import register
    from distgnn.api.analyse import AnalysisResults, analyse
    from distgnn.api.board import serve_board
    from distgnn.api.corpus import build_corpus
    from distgnn.api.database import add_tasks, build_database
    from distgnn.api.database_evaluation import DatabaseResults, evaluate_databases
    from distgnn.api.database_models import DatabaseRun, Predictions, predict, pretrain_databases
    from distgnn.api.dry_run import dry_run
    from distgnn.api.few_labels import FewLabelResults
    from distgnn.api.finetune import EvaluationResults, FinetuneResults, evaluate, finetune
    from distgnn.api.network import build_network
    from distgnn.api.pretrain import Run, pretrain, resume
    from distgnn.api.report import write_report
    from distgnn.api.runs import delete_run, list_runs
    from distgnn.api.transfer import TransferResults, transfer
    from distgnn.api.tune import SweepResults, resume_sweep, tune
    from distgnn.checkpoint.format import Checkpoint, load_checkpoint
    from distgnn.checkpoint.load import PretrainedEncoder, load_encoder
    from distgnn.config import (
        AnalyseConfig,
        DatabaseBuildConfig,
        EncoderConfig,
        EvaluateConfig,
        FewLabelConfig,
        FinetuneConfig,
        PretrainConfig,
        SplitConfig,
        TrainConfig,
        TransferConfig,
        TuneConfig,
        WeightingConfig,
    )
    from distgnn.corpus.sources.pyg import write_corpus
    from distgnn.corpus.torch_dataset import Corpus
    from distgnn.errors import DistgnnError, DivergedError, RequestError, WorkError
    from distgnn.finetuning.saved_model import FineTunedModel, load_model
    from distgnn.graph.batch import GraphBatch
    from distgnn.graph.schema import Feature, Schema
    from distgnn.register import register_encoder
    from distgnn.relational.database import Database
    from distgnn.relational.store import open_database
    from distgnn.relational.tasks import load_task

__version__ = "0.1.0"

_MODULES = {
    "distgnn.api.analyse": ("AnalysisResults", "analyse"),
    "distgnn.api.board": ("serve_board",),
    "distgnn.api.corpus": ("build_corpus",),
    "distgnn.api.database": ("add_tasks", "build_database"),
    "distgnn.api.database_evaluation": ("DatabaseResults", "evaluate_databases"),
    "distgnn.api.database_models": ("DatabaseRun", "Predictions", "predict", "pretrain_databases"),
    "distgnn.api.dry_run": ("dry_run",),
    "distgnn.api.network": ("build_network",),
    "distgnn.api.few_labels": ("FewLabelResults",),
    "distgnn.api.finetune": ("EvaluationResults", "FinetuneResults", "evaluate", "finetune"),
    "distgnn.api.pretrain": ("Run", "pretrain", "resume"),
    "distgnn.api.report": ("write_report",),
    "distgnn.api.runs": ("delete_run", "list_runs"),
    "distgnn.api.transfer": ("TransferResults", "transfer"),
    "distgnn.api.tune": ("SweepResults", "resume_sweep", "tune"),
    "distgnn.checkpoint.format": ("Checkpoint", "load_checkpoint"),
    "distgnn.checkpoint.load": ("PretrainedEncoder", "load_encoder"),
    "distgnn.config": (
        "AnalyseConfig",
        "DatabaseBuildConfig",
        "EncoderConfig",
        "EvaluateConfig",
        "FewLabelConfig",
        "FinetuneConfig",
        "PretrainConfig",
        "SplitConfig",
        "TrainConfig",
        "TransferConfig",
        "TuneConfig",
        "WeightingConfig",
    ),
    "distgnn.corpus.sources.pyg": ("write_corpus",),
    "distgnn.corpus.torch_dataset": ("Corpus",),
    "distgnn.errors": ("DistgnnError", "DivergedError", "RequestError", "WorkError"),
    "distgnn.finetuning.saved_model": ("FineTunedModel", "load_model"),
    "distgnn.graph.batch": ("GraphBatch",),
    "distgnn.graph.schema": ("Feature", "Schema"),
    "distgnn.register": ("register_encoder",),
    "distgnn.relational.database": ("Database",),
    "distgnn.relational.store": ("open_database",),
    "distgnn.relational.tasks": ("load_task",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}
__all__ = [
    "AnalyseConfig",
    "AnalysisResults",
    "Checkpoint",
    "Corpus",
    "Database",
    "DatabaseBuildConfig",
    "DatabaseResults",
    "DatabaseRun",
    "DistgnnError",
    "DivergedError",
    "EncoderConfig",
    "EvaluateConfig",
    "EvaluationResults",
    "Feature",
    "FewLabelConfig",
    "FewLabelResults",
    "FineTunedModel",
    "FinetuneConfig",
    "FinetuneResults",
    "GraphBatch",
    "Predictions",
    "PretrainConfig",
    "PretrainedEncoder",
    "RequestError",
    "Run",
    "Schema",
    "SplitConfig",
    "SweepResults",
    "TrainConfig",
    "TransferConfig",
    "TransferResults",
    "TuneConfig",
    "WeightingConfig",
    "WorkError",
    "add_tasks",
    "analyse",
    "build_corpus",
    "build_database",
    "build_network",
    "delete_run",
    "dry_run",
    "evaluate",
    "evaluate_databases",
    "finetune",
    "list_runs",
    "load_checkpoint",
    "load_encoder",
    "load_model",
    "load_task",
    "open_database",
    "predict",
    "pretrain",
    "pretrain_databases",
    "register",
    "register_encoder",
    "resume",
    "resume_sweep",
    "serve_board",
    "transfer",
    "tune",
    "write_corpus",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name == "register":
        return importlib.import_module("distgnn.register")
    if name not in _HOMES:
        raise AttributeError(f"module 'distgnn' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
