"""Every knob, as frozen dataclasses that check themselves when built. Standard library only; the CLI is made from these.

Cross-field errors name the field to change.
"""

from distgnn.config.base import from_json, load_config, to_json
from distgnn.config.build import (
    ArraysConfig,
    BiblioConfig,
    BuildConfig,
    InputBuildConfig,
    MoleculesConfig,
    MotifsConfig,
    PpiConfig,
    PygConfig,
    TuDatasetConfig,
)
from distgnn.config.doctor import DoctorConfig
from distgnn.config.evaluate import EvaluateConfig
from distgnn.config.finetune import FinetuneConfig, LabelChoice, SplitConfig
from distgnn.config.metrics import MetricsConfig
from distgnn.config.network import (
    CitationConfig,
    HeteroConfig,
    InputNetworkConfig,
    KgrecConfig,
    MadeConfig,
    NetworkBuildConfig,
    OagConfig,
    RedditConfig,
)
from distgnn.config.network_tasks import NetworkTaskConfig
from distgnn.config.objectives import (
    ContextConfig,
    ContrastConfig,
    L2PConfig,
    MaskingConfig,
    MultitaskConfig,
    StructureConfig,
    SupervisedConfig,
)
from distgnn.config.pretrain import EncoderConfig, PretrainConfig, TrainConfig
from distgnn.config.recovery import RecoveryConfig
from distgnn.config.submit import SubmitConfig
from distgnn.config.transfer import CorpusTaskConfig, TransferConfig
from distgnn.config.tune import TuneConfig
from distgnn.config.weighting import WeightingConfig

__all__ = [
    "ArraysConfig",
    "BiblioConfig",
    "BuildConfig",
    "CitationConfig",
    "ContextConfig",
    "ContrastConfig",
    "CorpusTaskConfig",
    "DoctorConfig",
    "EncoderConfig",
    "EvaluateConfig",
    "FinetuneConfig",
    "HeteroConfig",
    "InputBuildConfig",
    "InputNetworkConfig",
    "KgrecConfig",
    "L2PConfig",
    "LabelChoice",
    "MadeConfig",
    "MaskingConfig",
    "MetricsConfig",
    "MoleculesConfig",
    "MotifsConfig",
    "MultitaskConfig",
    "NetworkBuildConfig",
    "NetworkTaskConfig",
    "OagConfig",
    "PpiConfig",
    "PretrainConfig",
    "PygConfig",
    "RecoveryConfig",
    "RedditConfig",
    "SplitConfig",
    "StructureConfig",
    "SubmitConfig",
    "SupervisedConfig",
    "TrainConfig",
    "TransferConfig",
    "TuDatasetConfig",
    "TuneConfig",
    "WeightingConfig",
    "from_json",
    "load_config",
    "to_json",
]
