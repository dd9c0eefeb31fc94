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
    from distgnn.api.corpus import build_corpus, verify_corpus
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
    from distgnn.auxiliary.network_tasks.random_walks import RandomWalksConfig
    from distgnn.checkpoint.format import Checkpoint, load_checkpoint
    from distgnn.checkpoint.load import PretrainedEncoder, load_encoder
    from distgnn.checkpoint.push_pull import pull, push
    from distgnn.config import (
        AnalyseConfig,
        BuildConfig,
        CorpusTaskConfig,
        DatabaseBuildConfig,
        EncoderConfig,
        EvaluateConfig,
        EvaluateEncodersConfig,
        FewLabelConfig,
        FinetuneConfig,
        MetricsConfig,
        NetworkBuildConfig,
        NetworkTaskConfig,
        PretrainConfig,
        RecoveryConfig,
        SplitConfig,
        TrainConfig,
        TransferConfig,
        TuneConfig,
        WeightingConfig,
    )
    from distgnn.config.database_model import (
        DatabaseEvaluateConfig,
        DatabaseModelConfig,
        DatabasePretrainConfig,
        DatabaseTrainConfig,
        PredictConfig,
        SampleConfig,
    )
    from distgnn.config.transfer import ObjectivesConfig
    from distgnn.corpus.inspect import CorpusReport
    from distgnn.corpus.sources.pyg import write_corpus
    from distgnn.corpus.torch_dataset import Corpus
    from distgnn.errors import DistgnnError, DivergedError, RequestError, WorkError
    from distgnn.finetuning.saved_model import FineTunedModel, load_model
    from distgnn.graph.batch import GraphBatch
    from distgnn.graph.schema import Feature, Schema
    from distgnn.monitor.loggers.csv import CsvConfig
    from distgnn.monitor.loggers.mlflow import MlflowConfig
    from distgnn.monitor.loggers.tensorboard import TensorboardConfig
    from distgnn.monitor.loggers.wandb import WandbConfig
    from distgnn.objectives.attrmasking import MaskingConfig
    from distgnn.objectives.contextpred import ContextConfig
    from distgnn.objectives.graphcl import ContrastConfig
    from distgnn.objectives.l2p.objective import L2PConfig
    from distgnn.objectives.multitask import MultitaskConfig
    from distgnn.objectives.structure import StructureConfig
    from distgnn.objectives.supervised import SupervisedConfig
    from distgnn.register import register_encoder
    from distgnn.relational.database import Database
    from distgnn.relational.store import open_database
    from distgnn.relational.tasks import load_task

__version__ = "0.1.0"

_MODULES = {
    "distgnn.api.analyse": ("AnalysisResults", "analyse"),
    "distgnn.api.board": ("serve_board",),
    "distgnn.api.corpus": ("build_corpus", "verify_corpus"),
    "distgnn.api.database": ("add_tasks", "build_database"),
    "distgnn.api.database_evaluation": ("DatabaseResults", "evaluate_databases"),
    "distgnn.api.database_models": ("DatabaseRun", "Predictions", "predict", "pretrain_databases"),
    "distgnn.api.dry_run": ("dry_run",),
    "distgnn.api.few_labels": ("FewLabelResults",),
    "distgnn.api.finetune": ("EvaluationResults", "FinetuneResults", "evaluate", "finetune"),
    "distgnn.api.network": ("build_network",),
    "distgnn.api.pretrain": ("Run", "pretrain", "resume"),
    "distgnn.api.report": ("write_report",),
    "distgnn.api.runs": ("delete_run", "list_runs"),
    "distgnn.api.transfer": ("TransferResults", "transfer"),
    "distgnn.api.tune": ("SweepResults", "resume_sweep", "tune"),
    "distgnn.auxiliary.network_tasks.random_walks": ("RandomWalksConfig",),
    "distgnn.checkpoint.format": ("Checkpoint", "load_checkpoint"),
    "distgnn.checkpoint.load": ("PretrainedEncoder", "load_encoder"),
    "distgnn.checkpoint.push_pull": ("pull", "push"),
    "distgnn.config": (
        "AnalyseConfig",
        "BuildConfig",
        "CorpusTaskConfig",
        "DatabaseBuildConfig",
        "EncoderConfig",
        "EvaluateConfig",
        "EvaluateEncodersConfig",
        "FewLabelConfig",
        "FinetuneConfig",
        "MetricsConfig",
        "NetworkBuildConfig",
        "NetworkTaskConfig",
        "PretrainConfig",
        "RecoveryConfig",
        "SplitConfig",
        "TrainConfig",
        "TransferConfig",
        "TuneConfig",
        "WeightingConfig",
    ),
    "distgnn.config.database_model": (
        "DatabaseEvaluateConfig",
        "DatabaseModelConfig",
        "DatabasePretrainConfig",
        "DatabaseTrainConfig",
        "PredictConfig",
        "SampleConfig",
    ),
    "distgnn.config.transfer": ("ObjectivesConfig",),
    "distgnn.corpus.inspect": ("CorpusReport",),
    "distgnn.corpus.sources.pyg": ("write_corpus",),
    "distgnn.corpus.torch_dataset": ("Corpus",),
    "distgnn.errors": ("DistgnnError", "DivergedError", "RequestError", "WorkError"),
    "distgnn.finetuning.saved_model": ("FineTunedModel", "load_model"),
    "distgnn.graph.batch": ("GraphBatch",),
    "distgnn.graph.schema": ("Feature", "Schema"),
    "distgnn.monitor.loggers.csv": ("CsvConfig",),
    "distgnn.monitor.loggers.mlflow": ("MlflowConfig",),
    "distgnn.monitor.loggers.tensorboard": ("TensorboardConfig",),
    "distgnn.monitor.loggers.wandb": ("WandbConfig",),
    "distgnn.objectives.attrmasking": ("MaskingConfig",),
    "distgnn.objectives.contextpred": ("ContextConfig",),
    "distgnn.objectives.graphcl": ("ContrastConfig",),
    "distgnn.objectives.l2p.objective": ("L2PConfig",),
    "distgnn.objectives.multitask": ("MultitaskConfig",),
    "distgnn.objectives.structure": ("StructureConfig",),
    "distgnn.objectives.supervised": ("SupervisedConfig",),
    "distgnn.register": ("register_encoder",),
    "distgnn.relational.database": ("Database",),
    "distgnn.relational.store": ("open_database",),
    "distgnn.relational.tasks": ("load_task",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}
__all__ = [
    "AnalyseConfig",
    "AnalysisResults",
    "BuildConfig",
    "Checkpoint",
    "ContextConfig",
    "ContrastConfig",
    "Corpus",
    "CorpusReport",
    "CorpusTaskConfig",
    "CsvConfig",
    "Database",
    "DatabaseBuildConfig",
    "DatabaseEvaluateConfig",
    "DatabaseModelConfig",
    "DatabasePretrainConfig",
    "DatabaseResults",
    "DatabaseRun",
    "DatabaseTrainConfig",
    "DistgnnError",
    "DivergedError",
    "EncoderConfig",
    "EvaluateConfig",
    "EvaluateEncodersConfig",
    "EvaluationResults",
    "Feature",
    "FewLabelConfig",
    "FewLabelResults",
    "FineTunedModel",
    "FinetuneConfig",
    "FinetuneResults",
    "GraphBatch",
    "L2PConfig",
    "MaskingConfig",
    "MetricsConfig",
    "MlflowConfig",
    "MultitaskConfig",
    "NetworkBuildConfig",
    "NetworkTaskConfig",
    "ObjectivesConfig",
    "PredictConfig",
    "Predictions",
    "PretrainConfig",
    "PretrainedEncoder",
    "RandomWalksConfig",
    "RecoveryConfig",
    "RequestError",
    "Run",
    "SampleConfig",
    "Schema",
    "SplitConfig",
    "StructureConfig",
    "SupervisedConfig",
    "SweepResults",
    "TensorboardConfig",
    "TrainConfig",
    "TransferConfig",
    "TransferResults",
    "TuneConfig",
    "WandbConfig",
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
    "pull",
    "push",
    "register",
    "register_encoder",
    "resume",
    "resume_sweep",
    "serve_board",
    "transfer",
    "tune",
    "verify_corpus",
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
