"""``distgnn pretrain --dry-run`` and ``distgnn tune --dry-run``."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta

from distgnn.api.dry_run import dry_run
from distgnn.commands.output import Output
from distgnn.config import PretrainConfig, TuneConfig
from distgnn.pretraining.estimate import PretrainEstimate
from distgnn.search.estimate import SweepEstimate


def pretrain(config: PretrainConfig, output: Output) -> int:
    """Print what a pre-training would do."""
    found = dry_run(config)
    facts = {"run": found.run, **_pretraining(found), "time": f"about {_time(found.seconds)}"}
    output.emit({"dry_run": "pretrain", **asdict(found)}, _text("pre-training", facts))
    return 0


def tune(config: TuneConfig, output: Output) -> int:
    """Print what a sweep would do."""
    found = dry_run(config)
    output.emit({"dry_run": "tune", **asdict(found)}, _text("sweep", _sweep(found)))
    return 0


def _text(what: str, facts: dict[str, str]) -> str:
    width = max(map(len, facts))
    lines = [f"  {name:<{width}}  {value}" for name, value in facts.items()]
    return "\n".join([f"dry run of a {what}; nothing has been written", *lines])


def _pretraining(found: PretrainEstimate) -> dict[str, str]:
    """Facts of a pre-training by name, without its folder and time."""
    step = found.step
    processes = f"{found.workers} under Ray Train" if found.workers > 1 else "1, this one"
    share = ", share of the first process, without communication" if found.workers > 1 else ""
    return {
        "method": f"{found.objective}, {found.encoder}: {found.parameters:,} parameters",
        "data": f"{found.graphs:,} training graphs of {found.units:,} units, {found.held_out_graphs:,} in a validation",
        "steps": f"{found.steps:,} of up to {found.graphs_per_step:,} graphs; an epoch has {found.steps_per_epoch:,},"
        f" {found.epochs:,} epoch(s) at most",
        "processes": f"{processes}, on {found.device} with {found.threads} thread(s)",
        "measured": f"{step.steps} step(s) of {step.seconds:.3g} s, {found.graphs_per_second:,.0f} graphs/s{share};"
        f" reading the graphs of a step takes {step.read_seconds:.2g} s beside it",
        "validation": f"{found.validations:,} of {_time(found.validation_seconds)} each",
        "memory": f"about {step.peak_memory_mb:,.0f} MB {'of the GPU' if found.device.startswith('cuda') else 'a process'}",
        "disk": f"about {found.checkpoints * found.checkpoint_bytes / 1e6:,.1f} MB for {found.checkpoints} checkpoints",
    }


def _sweep(found: SweepEstimate) -> dict[str, str]:
    stages = {"pretrain": "pre-training and fine-tuning", "finetune": "fine-tuning", "transfer": "auxiliary tasks"}
    here = f"{found.concurrency} at a time" if found.concurrency else "as many at a time as fit the cluster"
    facts = {
        "sweep": found.sweep,
        "trials": f"{found.trials:,} of {stages[found.kind]}, {found.searcher}, scheduler {found.scheduler}",
        "space": "; ".join(f"{name} in {domain}" for name, domain in found.space.items()),
        "score": f"{found.metric} at {', '.join(f'{rung:,}' for rung in found.rungs)} {found.axis}",
        "resources": f"{found.workers_per_trial} process(es) a trial, each {found.cpus_per_trial:g} CPU(s) and"
        f" {found.gpus_per_trial:g} GPU(s); {here}",
    }
    if found.pretraining:
        before = _pretraining(found.pretraining)
        facts |= {
            f"pre-training: {name}": before[name] for name in ("method", "data", "steps", "measured", "validation")
        }
        facts["pre-training"] = f"about {_time(found.pretraining.seconds)} a trial"
    every = f"about {_time(found.seconds)} if no trial ends early" if found.seconds else "depends on the cluster"
    return facts | {
        "training on labels": f"about {_time(found.training_seconds)}, if it does not stop early",
        "trial": f"about {_time(found.trial_seconds)} at the default values of the searched fields",
        "final evaluation": f"about {_time(found.final_seconds)}",
        "memory": f"about {found.peak_memory_mb:,.0f} MB a trial",
        "time": every,
    }


def _time(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else str(timedelta(seconds=round(seconds)))
