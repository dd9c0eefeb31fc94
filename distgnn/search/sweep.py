"""Creates and resumes sweeps: search space, length of trials and their rungs."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Literal

from distgnn.checkpoint.format import resolve
from distgnn.config import PretrainConfig, TuneConfig, to_json
from distgnn.config.fields import changed, named
from distgnn.errors import RequestError
from distgnn.labels.scores import HIGHER_IS_BETTER, METRIC_OF
from distgnn.pretraining.init_from import check_objective
from distgnn.pretraining.run import make_plan, open_corpus, planned_steps
from distgnn.search.joint import metric_of
from distgnn.search.presets import GRIDS
from distgnn.search.records import SWEEP, Sweep, read_sweep, read_trials
from distgnn.search.scoring import search_data
from distgnn.search.searchers.base import SearchContext, Searcher, build_searcher
from distgnn.search.space import Space, check_params, defaults, read_space, texts
from distgnn.storage.folder import Folder, open_folder

DEFAULT_TRIALS = 16
_PBT_RUNGS = 5


def new_sweep(config: TuneConfig) -> tuple[Folder, Sweep]:
    """Check everything that a trial needs. Nothing is written.

    Returns:
        The folder of the sweep, and the sweep to write there.

    Raises:
        RequestError: The folder has a sweep already, a field or range is invalid, or the data do not fit.
    """
    folder = open_folder(config.out)
    if folder.size(SWEEP) is not None:
        raise RequestError(
            f"{folder.uri}: a sweep exists here; continue it with --resume {folder.uri} (distgnn.resume_sweep) or choose"
            " another out"
        )
    config = absolute_config(config)
    space = read_space(config)
    if config.scheduler == "pbt":
        _check_population(space)
    length = _length(config)
    metric, higher = _metric(config)
    mode: Literal["max", "min"] = "max" if higher else "min"
    values = defaults(config, space)
    rungs = rungs_of(config, length)
    return folder, Sweep(config, metric, mode, rungs, texts(space), values, planned_trials(config, space), time.time())


def resumed_sweep(folder: Folder, config: TuneConfig) -> Sweep:
    """Read the sweep in a folder and apply the fields of ``config`` that may change.

    Raises:
        RequestError: Another field differs.
    """
    before = read_sweep(folder)
    config, resumable = absolute_config(config), named(TuneConfig, "resumable")
    for name, (old, new) in sorted(changed(to_json(before.config), to_json(config)).items()):
        if name not in resumable:
            raise RequestError(
                f"resume: {name}={new!r} differs from the sweep's {old!r}; only these may change: {_allowed()}"
            )
    space = read_space(config)
    for record in read_trials(folder):
        check_params(space, record.params, f"{folder.uri}: trial {record.number}")
    return replace(before, config=config, trials=planned_trials(config, space))


def _allowed() -> str:
    """Return a text of the fields that may change."""
    own = ", ".join(sorted(name for name in named(TuneConfig, "resumable") if "." not in name))
    return f"{own}, and how trials are run (imports, device, metrics and the like)"


def absolute_config(config: TuneConfig) -> TuneConfig:
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
    """Reject parameters that do not fit the weights, order of graphs and optimizer state of a cloned checkpoint."""
    structural = named(PretrainConfig, "structural")
    for field in space:
        group, _, name = field.partition(".")
        if group == "pretrain" and name in structural:
            raise RequestError(
                f"space {field}: scheduler=pbt changes parameters during training, but this one determines the"
                " shapes of weights or the steps; leave it out, or choose another scheduler"
            )


def _place(uri: str) -> str:
    return open_folder(uri).uri if uri else ""


def _checkpoint(uri: str) -> str:
    return resolve(uri).uri if uri else ""


def _metric(config: TuneConfig) -> tuple[str, bool]:
    if config.kind == "transfer":
        return metric_of(config.transfer)
    metric = METRIC_OF[search_data(config.finetune).target.task]
    return metric, HIGHER_IS_BETTER[metric]


def searcher_of(config: TuneConfig) -> str:
    """Return the searcher of a sweep: tpe, random or grid."""
    if config.searcher != "auto":
        return config.searcher
    return "grid" if any(name in GRIDS for name in config.space) else "tpe"


def proposals_of(sweep: Sweep) -> Searcher:
    """Build the searcher that proposes the trials of ``sweep``."""
    return _searcher(sweep.config, read_space(sweep.config), sweep.mode)


def _searcher(config: TuneConfig, space: Space, mode: str) -> Searcher:
    seconds = len(config.objectives) > 1
    return build_searcher(
        config, searcher_of(config), SearchContext(space, config.seed, mode, config.n_startup_trials, seconds)
    )


def planned_trials(config: TuneConfig, space: Space) -> int:
    """Return the number of trials.

    Raises:
        RequestError: The searcher proposes another number.
    """
    count = _searcher(config, space, "max").count
    if count is None:
        return config.trials or DEFAULT_TRIALS
    if config.trials and config.trials != count:
        raise RequestError(f"trials={config.trials}: the grid has {count} points; leave trials out")
    return count


def rungs_of(config: TuneConfig, length: int) -> tuple[int, ...]:
    """Return the fidelities at which trials report; the last is the budget.

    Args:
        config: Config of the sweep.
        length: Length of a whole trial: steps, epochs or seeds.

    Raises:
        RequestError: There is none before the end of a trial.
    """
    if config.scheduler == "none":
        return (length,)
    if config.scheduler == "pbt":
        every = config.grace_period or max(1, length // _PBT_RUNGS)
        return (*range(every, length, every), length)
    rung = config.grace_period or -(-length // config.reduction_factor**2)
    if rung >= length:
        raise RequestError(
            f"scheduler={config.scheduler}: trials of {length} {config.axis} have no rung before their end (grace_period={rung});"
            " raise max_steps or lower grace_period"
        )
    found = []
    while rung < length:
        found.append(rung)
        rung *= config.reduction_factor
    return (*found, length)


def _length(config: TuneConfig) -> int:
    """Return the length of a trial. Raises RequestError if the objective cannot train on the corpus, which is opened once."""
    if config.kind == "transfer":
        return config.max_steps or config.transfer.epochs
    if config.kind == "finetune":
        return config.max_steps or config.finetune.seeds
    reader = open_corpus(config.pretrain)
    check_objective(config.pretrain, reader.manifest.schema)
    return config.max_steps or planned_steps(config.pretrain, make_plan(config.pretrain, reader))
