"""Winner of a sweep as config files and a checkpoint, and the final evaluation of the winner and the default configuration.

Only the final evaluation reads test data, and nothing is selected after it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Literal

from msgspec import Meta

from distgnn.auxiliary.comparison import Comparison, Row, compare_methods
from distgnn.auxiliary.data_source import InitialEncoder
from distgnn.auxiliary.jobs import RunJob
from distgnn.config import TransferConfig, to_json
from distgnn.config.transfer import CONTROL
from distgnn.distributed import choose_device
from distgnn.finetuning.comparison import finetune
from distgnn.register import import_modules
from distgnn.search.joint import method_of, source_of
from distgnn.search.records import Sweep, TrialRecord, best_of
from distgnn.search.space import Params
from distgnn.search.trial import Pretrainer, Trial, copy_checkpoint, pretrain_here
from distgnn.storage.folder import Folder
from distgnn.storage.records import Name, Small, read_record

WINNER, RESULT, CHECKPOINT, DEFAULT = "winner", "result.json", "checkpoint", "default"
FINAL = (WINNER, DEFAULT)
"""Configurations of the final evaluation."""
PRETRAIN, FINETUNE, TRANSFER = "pretrain.json", "finetune.json", "transfer.json"

Scores = Annotated[tuple[float, ...], Meta(min_length=1)]


@dataclass(frozen=True)
class FinalEvaluation:
    """Validation and test scores of one configuration, one per seed."""

    name: Name
    validation: Scores
    test: Scores

    @property
    def parts(self) -> tuple[tuple[str, tuple[float, ...]], ...]:
        """Scores by part of the data."""
        return ("validation", self.validation), ("test", self.test)


@dataclass(frozen=True)
class Result:
    """The final evaluation of a sweep, as in winner/result.json.

    Attributes:
        number: Number of the winning trial.
        rows: The evaluations, that of the winner first.
        kind: Kind of trial.
        metric: Name of the score.
        mode: "max" if a higher score is better, otherwise "min".
        params: Parameters of the winning trial.
        score: Its score in the search.
        seeds: Number of seeds of the final evaluation.
    """

    number: Small
    rows: tuple[FinalEvaluation, ...]
    kind: Name = ""
    metric: Name = ""
    mode: Literal["max", "min"] = "max"
    params: Params = field(default_factory=dict)
    score: float | None = None
    seeds: Small = 0

    def __post_init__(self) -> None:
        found = [(f"{row.name}.{part}", scores) for row in self.rows for part, scores in row.parts]
        for name, scores in found:
            if len(scores) != len(found[0][1]):
                raise ValueError(
                    f"{len(scores)} scores of {name}, but {len(found[0][1])} of {found[0][0]}; one per seed"
                )


def write_winner(folder: Folder, sweep: Sweep, records: list[TrialRecord]) -> TrialRecord | None:
    """Write winner/ in the folder of a sweep: config files and checkpoint of the best finished trial.

    Returns:
        That trial; None if no trial finished.
    """
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
    """Return the default configuration as a trial of full length, in winner/default."""
    return Trial(sweep.config, sweep.rungs[-1:], folder, folder.sub(WINNER).sub(DEFAULT), {})


def evaluate_final(
    folder: Folder, sweep: Sweep, best: TrialRecord, name: str, pretrainer: Pretrainer = pretrain_here
) -> list[FinalEvaluation]:
    """Score a configuration on validation and test data with ``final_seeds`` seeds. Finished jobs are cached.

    Args:
        folder: Folder of the sweep.
        sweep: The sweep.
        best: The winning trial.
        name: One of FINAL. WINNER is ``best``; DEFAULT is pre-trained first if trials are.
        pretrainer: Pre-trains the default configuration.

    Returns:
        The evaluation; for DEFAULT, also that of the control.
    """
    trial = Trial.of(sweep, folder, best) if name == WINNER else default_trial(folder, sweep)
    import_modules(sweep.config.imports)  # trials may run in other processes
    if sweep.kind == "transfer":
        return _evaluate_joint(trial.configured.transfer, sweep, name, folder.sub(WINNER).sub("jobs"))
    config = trial.configured.finetune
    checkpoint = config.checkpoint[0] if sweep.kind == "finetune" else trial.pretrained(pretrainer).uri
    config = replace(config, checkpoint=(checkpoint,), seeds=sweep.config.final_seeds)
    jobs, device = folder.sub(WINNER).sub("jobs"), choose_device(config.device).type
    result = finetune(config, [InitialEncoder.load(checkpoint, name)], jobs, device=device)
    labels = (name, CONTROL) if name == DEFAULT else (name,)
    rows = {row.method: row for row in result.rows}
    return [_evaluation(label, result, rows[label]) for label in labels]


def _evaluate_joint(config: TransferConfig, sweep: Sweep, name: str, folder: Folder) -> list[FinalEvaluation]:
    settings = replace(config, seeds=sweep.config.final_seeds, epochs=sweep.budget)
    result = compare_methods(RunJob(source_of(settings), folder, choose_device(config.device).type))
    methods = {name: method_of(settings), **({CONTROL: CONTROL} if name == DEFAULT else {})}
    rows = {row.method: row for row in result.rows}
    return [_evaluation(label, result, rows[method]) for label, method in methods.items()]


def _evaluation(label: str, result: Comparison[Any], row: Row) -> FinalEvaluation:
    return FinalEvaluation(label, tuple(result.values(row, "val").tolist()), tuple(result.values(row, "test").tolist()))


def write_result(folder: Folder, sweep: Sweep, best: TrialRecord, evaluations: list[FinalEvaluation]) -> None:
    """Write winner/result.json."""
    value = Result(
        best.number,
        tuple(evaluations),
        sweep.kind,
        sweep.metric,
        sweep.mode,
        best.params,
        best.score,
        sweep.config.final_seeds,
    )
    folder.sub(WINNER).write(RESULT, (json.dumps(asdict(value), indent=1) + "\n").encode())


def _write(folder: Folder, name: str, config: Any) -> None:
    folder.write(name, (json.dumps(to_json(config), indent=1) + "\n").encode())


def read_result(folder: Folder) -> Result | None:
    """Read winner/result.json in the folder of a sweep; None before the final evaluation."""
    target = folder.sub(WINNER)
    return read_record(target, RESULT, Result, "the result of a sweep") if target.size(RESULT) is not None else None
