"""Dry runs: ``distgnn.dry_run``."""

from __future__ import annotations

from typing import Any, overload

from distgnn.api.arguments import build_config
from distgnn.api.pretrain import check_options, refuse_foreign_files
from distgnn.api.tune import refuse_foreign_sweep, tune_config
from distgnn.config import PretrainConfig, TuneConfig
from distgnn.monitor.loggers.base import check_loggers
from distgnn.pretraining.estimate import PretrainEstimate
from distgnn.pretraining.estimate import estimate as estimate_pretraining
from distgnn.search.estimate import SweepEstimate
from distgnn.search.estimate import estimate as estimate_sweep
from distgnn.storage.folder import open_folder


@overload
def dry_run(config: PretrainConfig | None = None, **options: Any) -> PretrainEstimate: ...
@overload
def dry_run(config: TuneConfig, **options: Any) -> SweepEstimate: ...
def dry_run(config: PretrainConfig | TuneConfig | None = None, **options: Any) -> PretrainEstimate | SweepEstimate:
    """Say what a pre-training or a sweep would run, how long it would take and how much memory it needs.

    A few steps are measured in this process, on the real data. Nothing is written, and Ray is not started.

    Args:
        config: Config of the pre-training or of the sweep. Alternatively, fields of :class:`PretrainConfig` as keyword options.
        **options: Fields of the config, as for :func:`pretrain` and :func:`tune`.

    Returns:
        The estimate.

    Raises:
        RequestError: The command would be refused, such as for an invalid option or a folder that is in use.

    Example:
        >>> distgnn.dry_run(corpus="data/zinc", train={"epochs": 5}).seconds
    """
    if isinstance(config, TuneConfig):
        sweep = tune_config(config, options)
        folder = open_folder(sweep.out)
        check_loggers(sweep.loggers, folder)
        refuse_foreign_sweep(folder)
        return estimate_sweep(sweep)
    chosen = build_config(PretrainConfig, config, options)
    check_options(chosen, chosen.out)
    if chosen.name:
        refuse_foreign_files(open_folder(chosen.out).sub(chosen.name))
    return estimate_pretraining(chosen)
