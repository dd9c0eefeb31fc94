"""Sets up a sweep: its search space, the length of trials and their rungs; and resumes one."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Literal

from distgnn.checkpoint.format import resolve
from distgnn.config import TuneConfig, to_json
from distgnn.errors import RequestError
from distgnn.labels.scores import HIGHER_IS_BETTER, METRIC_OF
from distgnn.models.registry import import_modules
from distgnn.pretraining.init_from import check_objective
from distgnn.pretraining.run import make_plan, open_corpus, planned_steps
from distgnn.search.joint import metric_of
from distgnn.search.presets import GRIDS
from distgnn.search.proposals import Proposals
from distgnn.search.records import SWEEP, Sweep, read_sweep
from distgnn.search.scoring import search_data
from distgnn.search.space import Space, defaults, grid, read_space, texts
from distgnn.storage.folder import Folder, open_folder

DEFAULT_TRIALS = 16
FREE = (
    "trials", "retries", "concurrency", "cpus_per_trial", "gpus_per_trial", "final_seeds", "pretrain.imports", "finetune.imports",
    "transfer.imports",
)  # fmt: skip
"""Fields that may change when a sweep is resumed; none of them changes a score."""
_PBT_RUNGS = 5
_FIXED = (
    "encoder", "contextpred.layers", "structure", "supervised", "attrmasking.target", "train.streams", "train.graphs_per_stream",
    "train.seed",
)  # fmt: skip
"""Fields of a pre-training that the contents of its checkpoints depend on."""


def new_sweep(config: TuneConfig) -> tuple[Folder, Sweep]:
    """Check everything that a trial needs. Nothing is written.

    Returns:
        The folder of the sweep, and the sweep to write there.

    Raises:
        RequestError: The folder has a sweep already, a field or range is invalid, or the data do not fit.
    """
    import_modules(config.imports)
    folder = open_folder(config.out)
    if folder.size(SWEEP) is not None:
        raise RequestError(
            f"{folder.uri}: a sweep exists here; continue it with --resume {folder.uri} or choose another out"
        )
    config = placed(config)
    space = read_space(config)
    if config.scheduler == "pbt":
        _check_population(space)
    metric, higher = _metric(config)
    mode: Literal["max", "min"] = "max" if higher else "min"
    values = defaults(config, space)
    return folder, Sweep(
        config, metric, mode, rungs_of(config), texts(space), values, planned_trials(config, space), time.time()
    )


def resumed_sweep(folder: Folder, config: TuneConfig) -> Sweep:
    """Read the sweep in a folder and apply the fields of ``config`` that may change.

    Raises:
        RequestError: Another field differs.
    """
    import_modules(config.imports)
    before = read_sweep(folder)
    old, new = (_flat(to_json(item)) for item in (before.config, placed(config)))
    changed = sorted(name for name in old if old[name] != new[name] and name not in FREE)
    if changed:
        name = changed[0]
        raise RequestError(
            f"--resume: {name}={new[name]!r} differs from the sweep's {old[name]!r}; only these may change: {', '.join(FREE)}"
        )
    config = placed(config)
    return replace(before, config=config, trials=planned_trials(config, read_space(config)))


def placed(config: TuneConfig) -> TuneConfig:
    """Return ``config`` with absolute URIs, and the URIs of single checkpoints instead of runs."""
    pretrain, finetune, transfer = config.pretrain, config.finetune, config.transfer
    corpus = replace(transfer.corpus, aux_corpus=_place(transfer.corpus.aux_corpus))
    return replace(
        config,
        out=open_folder(config.out).uri,
        pretrain=replace(pretrain, corpus=_place(pretrain.corpus), init=_checkpoint(pretrain.init)),
        finetune=replace(
            finetune, corpus=_place(finetune.corpus), checkpoint=tuple(map(_checkpoint, finetune.checkpoint))
        ),
        transfer=replace(
            transfer,
            data=_place(transfer.data),
            checkpoint=tuple(map(_checkpoint, transfer.checkpoint)),
            corpus=corpus,
        ),
    )


def _check_population(space: Space) -> None:
    """Refuse parameters that do not fit the weights, order of graphs and optimizer state of a cloned checkpoint."""
    for field in space:
        for fixed in _FIXED:
            if field == f"pretrain.{fixed}" or field.startswith(f"pretrain.{fixed}."):
                raise RequestError(
                    f"--space {field}: scheduler=pbt changes parameters while training goes on, this one decides what"
                    " weights or steps there are; leave it out, or choose another scheduler"
                )


def _place(uri: str) -> str:
    return open_folder(uri).uri if uri else ""


def _checkpoint(uri: str) -> str:
    return resolve(uri).uri if uri else ""


def _flat(data: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(data, dict):
        return {prefix: data}
    return {
        name: value
        for key, below in data.items()
        for name, value in _flat(below, f"{prefix}.{key}" if prefix else key).items()
    }


def _metric(config: TuneConfig) -> tuple[str, bool]:
    if config.kind == "transfer":
        return metric_of(config.transfer)
    if config.kind == "pretrain":
        check_objective(config.pretrain)
    metric = METRIC_OF[search_data(config.finetune).target.task]
    return metric, HIGHER_IS_BETTER[metric]


def searcher_of(config: TuneConfig) -> str:
    """Return the searcher of a sweep: tpe, random or grid."""
    if config.searcher != "auto":
        return config.searcher
    return "grid" if any(name in GRIDS for name in config.space) else "tpe"


def proposals_of(sweep: Sweep) -> Proposals:
    """Return the proposals of a sweep."""
    config = sweep.config
    seconds = len(config.objectives) > 1
    return Proposals(read_space(config), searcher_of(config), config.seed, sweep.mode, config.startup, seconds)


def planned_trials(config: TuneConfig, space: Space) -> int:
    """Return the number of trials of a sweep."""
    if searcher_of(config) != "grid":
        return config.trials or DEFAULT_TRIALS
    _, count = grid(space)
    if config.trials and config.trials != count:
        raise RequestError(f"trials={config.trials}: the grid has {count} points; leave trials out")
    return count


def rungs_of(config: TuneConfig) -> tuple[int, ...]:
    """Return the fidelities at which trials report; the last is the budget. Raises RequestError if there is none before it."""
    whole = config.steps or _whole(config)
    if config.scheduler == "none":
        return (whole,)
    if config.scheduler == "pbt":
        every = config.grace or max(1, whole // _PBT_RUNGS)
        return (*range(every, whole, every), whole)
    rung = config.grace or -(-whole // config.eta**2)
    if rung >= whole:
        raise RequestError(
            f"scheduler={config.scheduler}: trials of {whole} {config.axis} have no rung before their end (grace={rung});"
            " raise steps or lower grace"
        )
    found = []
    while rung < whole:
        found.append(rung)
        rung *= config.eta
    return (*found, whole)


def _whole(config: TuneConfig) -> int:
    """Return the length of a trial that the configs themselves ask for."""
    if config.kind == "transfer":
        return config.transfer.epochs
    if config.kind == "finetune":
        return config.finetune.seeds
    return planned_steps(config.pretrain, make_plan(config.pretrain, open_corpus(config.pretrain)))
