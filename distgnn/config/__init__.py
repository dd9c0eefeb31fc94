"""Configs of all commands: frozen dataclasses that validate themselves; the command line is generated from them.

Standard library only. Error messages that concern several fields name the field to change.
"""

from distgnn.config.analyse import AnalyseConfig
from distgnn.config.base import from_json, load_config, to_json
from distgnn.config.build import (
    BuildConfig,
    InputBuildConfig,
)
from distgnn.config.database import DatabaseBuildConfig
from distgnn.config.doctor import DoctorConfig
from distgnn.config.evaluate import EvaluateConfig, EvaluateEncodersConfig
from distgnn.config.few_labels import FewLabelConfig
from distgnn.config.finetune import FinetuneConfig, LabelChoice, SplitConfig
from distgnn.config.metrics import MetricsConfig
from distgnn.config.network import (
    InputNetworkConfig,
    NetworkBuildConfig,
)
from distgnn.config.network_tasks import NetworkTaskConfig
from distgnn.config.pretrain import EncoderConfig, PretrainConfig, TrainConfig
from distgnn.config.recovery import RecoveryConfig
from distgnn.config.submit import SubmitConfig
from distgnn.config.transfer import CorpusTaskConfig, TransferConfig
from distgnn.config.tune import TuneConfig
from distgnn.config.weighting import WeightingConfig

__all__ = [
    "AnalyseConfig",
    "BuildConfig",
    "CorpusTaskConfig",
    "DatabaseBuildConfig",
    "DoctorConfig",
    "EncoderConfig",
    "EvaluateConfig",
    "EvaluateEncodersConfig",
    "FewLabelConfig",
    "FinetuneConfig",
    "InputBuildConfig",
    "InputNetworkConfig",
    "LabelChoice",
    "MetricsConfig",
    "NetworkBuildConfig",
    "NetworkTaskConfig",
    "PretrainConfig",
    "RecoveryConfig",
    "SplitConfig",
    "SubmitConfig",
    "TrainConfig",
    "TransferConfig",
    "TuneConfig",
    "WeightingConfig",
    "from_json",
    "load_config",
    "to_json",
]
