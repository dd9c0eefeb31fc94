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
)
from distgnn.config.finetune import FinetuneConfig, SplitConfig
from distgnn.config.pretrain import EncoderConfig, L2PConfig, PretrainConfig, TrainConfig

__all__ = [
    "ArraysConfig",
    "BiblioConfig",
    "BuildConfig",
    "EncoderConfig",
    "FinetuneConfig",
    "InputBuildConfig",
    "L2PConfig",
    "MoleculesConfig",
    "MotifsConfig",
    "PpiConfig",
    "PretrainConfig",
    "PygConfig",
    "SplitConfig",
    "TrainConfig",
    "from_json",
    "load_config",
    "to_json",
]
