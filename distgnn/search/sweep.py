"""The beginning of a sweep: what is searched, how long trials are, where they are judged; and a sweep taken up again."""

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

USUAL_TRIALS = 16
FREE = (
    "loggers",
    "trials", "retries", "concurrency", "cpus_per_trial", "gpus_per_trial", "final_seeds", "pretrain.imports", "finetune.imports",
    "transfer.imports",
)  # fmt: skip
"""Fields that may change when a sweep is resumed: none of them moves a score."""
_MORE_RUNGS = 5
_FIXED = (
    "encoder", "contextpred.layers", "structure", "supervised", "attrmasking.target", "train.streams", "train.graphs_per_stream",
    "train.seed",
)  # fmt: skip
"""Fields of a pre-training that its checkpoints depend on."""


def new_sweep(config: TuneConfig) -> tuple[Folder, Sweep]:
    """Look at everything a trial needs: (the sweep's folder, what will be written there). Nothing is written yet.

    Raises RequestError where a sweep lies there already, a field or range is wrong, or data do not fit.
    """
    import_modules(config.imports)
    folder = open_folder(config.out)
    if folder.size(SWEEP) is not None:
        raise RequestError(
            f"{folder.uri}: a sweep lies here; continue it with --resume {folder.uri} or choose another out"
        )
    config = placed(config)
    space = read_space(config)
    if config.scheduler == "pbt":
        _check_population(space)
    metric, higher = _metric(config)
    mode: Literal["max", "min"] = "max" if higher else "min"
    told = texts(space), defaults(config, space), planned_trials(config, space), time.time()
    return folder, Sweep(config, metric, mode, rungs_of(config), *told)


def resumed_sweep(folder: Folder, config: TuneConfig) -> Sweep:
    """The sweep in ``folder``, with ``config``'s values of the fields that may change; RequestError naming another that differs."""
    import_modules(config.imports)
    before = read_sweep(folder)
    old, new = (_flat(to_json(item)) for item in (before.config, placed(config)))
    odd = sorted(name for name in old if old[name] != new[name] and name not in FREE)
    if odd:
        name = odd[0]
        raise RequestError(
            f"--resume: {name}={new[name]!r} differs from the sweep's {old[name]!r}; only these may change: {', '.join(FREE)}"
        )
    config = placed(config)
    return replace(before, config=config, trials=planned_trials(config, read_space(config)))


def placed(config: TuneConfig) -> TuneConfig:
    """``config`` with absolute places, and checkpoints named one by one."""
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
    """What a clone goes on with must fit the weights, the order of graphs and the optimiser that it clones."""
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
    """tpe, random or grid."""
    if config.searcher != "auto":
        return config.searcher
    return "grid" if any(name in GRIDS for name in config.space) else "tpe"


def proposals_of(sweep: Sweep) -> Proposals:
    """Who proposes the trials of ``sweep``."""
    config = sweep.config
    seconds = len(config.objectives) > 1
    return Proposals(read_space(config), searcher_of(config), config.seed, sweep.mode, config.startup, seconds)


def planned_trials(config: TuneConfig, space: Space) -> int:
    """How many trials there will be."""
    if searcher_of(config) != "grid":
        return config.trials or USUAL_TRIALS
    _, count = grid(space)
    if config.trials and config.trials != count:
        raise RequestError(f"trials={config.trials}: the grid has {count} points; leave trials out")
    return count


def rungs_of(config: TuneConfig) -> tuple[int, ...]:
    """Where trials are judged; the last is a whole trial. Raises RequestError where they do not fit into it."""
    whole = config.steps or _whole(config)
    if config.scheduler == "none":
        return (whole,)
    if config.scheduler == "pbt":
        every = config.grace or max(1, whole // _MORE_RUNGS)
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
    """What the configs themselves ask for."""
    if config.kind == "transfer":
        return config.transfer.epochs
    if config.kind == "finetune":
        return config.finetune.seeds
    return planned_steps(config.pretrain, make_plan(config.pretrain, open_corpus(config.pretrain)))
