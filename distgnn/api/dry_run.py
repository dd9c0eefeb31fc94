"""Dry runs: ``distgnn.dry_run``."""

from __future__ import annotations

from typing import overload

from distgnn.api.pretrain import check_options, refuse_foreign_files
from distgnn.api.tune import refuse_foreign_sweep
from distgnn.config import PretrainConfig, TuneConfig
from distgnn.monitor.loggers.base import check_loggers
from distgnn.pretraining.estimate import PretrainEstimate
from distgnn.pretraining.estimate import estimate as estimate_pretraining
from distgnn.search.estimate import SweepEstimate
from distgnn.search.estimate import estimate as estimate_sweep
from distgnn.storage.folder import open_folder


@overload
def dry_run(config: PretrainConfig) -> PretrainEstimate: ...
@overload
def dry_run(config: TuneConfig) -> SweepEstimate: ...
def dry_run(config: PretrainConfig | TuneConfig) -> PretrainEstimate | SweepEstimate:
    """Say what a pre-training or a sweep would run, how long it would take and how much memory it needs.

    A few steps are measured in this process, on the real data. Nothing is written, and Ray is not started.

    Args:
        config: Config of the pre-training or of the sweep.

    Returns:
        The estimate.

    Raises:
        RequestError: The command would be refused, such as for an invalid option or a folder that is in use.

    Example:
        >>> distgnn.dry_run(distgnn.PretrainConfig(corpus="data/zinc")).seconds
    """
    if isinstance(config, PretrainConfig):
        check_options(config, config.out)
        if config.name:
            refuse_foreign_files(open_folder(config.out).sub(config.name))
        return estimate_pretraining(config)
    folder = open_folder(config.out)
    check_loggers(config.loggers, folder)
    refuse_foreign_sweep(folder)
    return estimate_sweep(config)
