"""The end of a sweep: the winner as config files and a checkpoint, and the one look at test data, beside the default configuration.

The test part is read here and nowhere else; nothing is chosen after it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from distgnn.auxiliary.comparison import Comparison, Row, compare_methods
from distgnn.auxiliary.jobs import RunJob
from distgnn.config import TransferConfig, to_json
from distgnn.config.transfer import CONTROL
from distgnn.distributed import choose_device
from distgnn.finetuning.comparison import finetune
from distgnn.models.registry import import_modules
from distgnn.search.joint import method_named, source_of
from distgnn.search.records import Sweep, TrialRecord, best_of
from distgnn.search.scoring import initial_encoder
from distgnn.search.trial import Pretrainer, Trial, copy_checkpoint, pretrain_here
from distgnn.storage.folder import Folder

WINNER, RESULT, CHECKPOINT, DEFAULT = "winner", "result.json", "checkpoint", "default"
LOOKS = (WINNER, DEFAULT)
PRETRAIN, FINETUNE, TRANSFER = "pretrain.json", "finetune.json", "transfer.json"


@dataclass(frozen=True)
class Look:
    """How one configuration did. validation, test: the metric seed by seed."""

    name: str
    validation: tuple[float, ...]
    test: tuple[float, ...]


def write_winner(folder: Folder, sweep: Sweep, records: list[TrialRecord]) -> TrialRecord | None:
    """Write winner/ of the sweep in ``folder``: config files and checkpoint of the best whole trial; None where there is none."""
    best = best_of(sweep, records)
    if best is None:
        return None
    trial, target = Trial.of(sweep, folder, best), folder.sub(WINNER)
    config = trial.configured
    if sweep.kind == "transfer":
        _write(target, TRANSFER, replace(config.transfer, epochs=sweep.budget, out="runs/transfer"))
        return best
    tuned = config.finetune
    if sweep.kind == "pretrain":
        copy_checkpoint(trial.finished, target.sub(CHECKPOINT))
        _write(target, PRETRAIN, replace(trial.pretraining, out="runs", name="", init=config.pretrain.init))
        tuned = replace(tuned, checkpoint=(target.sub(CHECKPOINT).uri,))
    else:
        tuned = replace(tuned, seeds=sweep.budget)
    _write(target, FINETUNE, tuned)
    return best


def default_trial(folder: Folder, sweep: Sweep) -> Trial:
    """What nobody searched, as long as a whole trial; it lies in winner/default."""
    return Trial(sweep.config, sweep.rungs[-1:], folder, folder.sub(WINNER).sub(DEFAULT), {})


def look(
    folder: Folder, sweep: Sweep, best: TrialRecord, name: str, pretrainer: Pretrainer = pretrain_here
) -> list[Look]:
    """Score one of LOOKS on validation and test with ``final_seeds`` seeds; with the default comes the control.

    WINNER is ``best``; DEFAULT is pre-trained first where trials are. What was done before is kept.
    """
    trial = Trial.of(sweep, folder, best) if name == WINNER else default_trial(folder, sweep)
    import_modules(sweep.config.imports)  # this may be another process
    if sweep.kind == "transfer":
        return _joint_looks(trial.configured.transfer, sweep, name, folder.sub(WINNER).sub("jobs"))
    config = trial.configured.finetune
    checkpoint = config.checkpoint[0] if sweep.kind == "finetune" else trial.pretrained(pretrainer).uri
    config = replace(config, checkpoint=(checkpoint,), seeds=sweep.config.final_seeds)
    jobs, device = folder.sub(WINNER).sub("jobs"), choose_device(config.device).type
    result = finetune(config, [initial_encoder(checkpoint, name)], jobs, device=device)
    labels = (name, CONTROL) if name == DEFAULT else (name,)
    return [_look(label, result, next(row for row in result.rows if row.method == label)) for label in labels]


def _joint_looks(config: TransferConfig, sweep: Sweep, name: str, folder: Folder) -> list[Look]:
    settings = replace(config, seeds=sweep.config.final_seeds, epochs=sweep.budget)
    result = compare_methods(RunJob(source_of(settings), folder, choose_device(config.device).type))
    methods = {name: method_named(settings), **({CONTROL: CONTROL} if name == DEFAULT else {})}
    rows = {row.method: row for row in result.rows}
    return [_look(label, result, rows[method]) for label, method in methods.items()]


def _look(label: str, result: Comparison[Any], row: Row) -> Look:
    return Look(label, tuple(result.values(row, "val").tolist()), tuple(result.values(row, "test").tolist()))


def write_result(folder: Folder, sweep: Sweep, best: TrialRecord, looks: list[Look]) -> None:
    """Write winner/result.json."""
    told = {
        "kind": sweep.kind,
        "metric": sweep.metric,
        "mode": sweep.mode,
        "number": best.number,
        "params": best.params,
    }
    rows = [{"name": found.name, "validation": found.validation, "test": found.test} for found in looks]
    value = {**told, "score": best.score, "seeds": sweep.config.final_seeds, "rows": rows}
    folder.sub(WINNER).write(RESULT, (json.dumps(value, indent=1) + "\n").encode())


def _write(folder: Folder, name: str, config: Any) -> None:
    folder.write(name, (json.dumps(to_json(config), indent=1) + "\n").encode())


def read_result(folder: Folder) -> dict[str, Any] | None:
    """winner/result.json of the sweep in ``folder``; None before the last look."""
    target = folder.sub(WINNER)
    return json.loads(target.read(RESULT)) if target.size(RESULT) is not None else None
