"""The commands ``distgnn database pretrain``, ``distgnn database evaluate`` and ``distgnn predict``."""

from __future__ import annotations

from distgnn.api import database_evaluation, database_models
from distgnn.commands.output import Output
from distgnn.config.database_model import DatabaseEvaluateConfig, DatabasePretrainConfig, PredictConfig

_SHOWN = 5


def pretrain(config: DatabasePretrainConfig, output: Output) -> int:
    """Pre-train over databases, and print the checkpoint."""
    run = database_models.pretrain_databases(config)
    recent = run.losses[-100:]
    loss = sum(recent) / max(len(recent), 1)
    told = {
        "checkpoint": run.checkpoint,
        "steps": len(run.losses),
        "tasks": run.tasks,
        "loss": loss,
        "seconds": run.seconds,
    }
    output.emit(
        told, f"{run.checkpoint}: {len(run.losses)} steps on {run.tasks} tasks, loss {loss:.4f}, {run.seconds:.0f} s"
    )
    return 0


def predict(config: PredictConfig, output: Output) -> int:
    """Predict a task, and print the score and the columns that matter most."""
    found = database_models.predict(config)
    told = {
        "predictions": found.file,
        "rows": found.rows.num_rows,
        "context": found.context,
        "metric": found.metric,
        "score": found.score,
        "baselines": found.baselines,
        "columns": found.columns,
        "model": found.model,
    }
    score = "" if found.score is None else f", {found.metric} {found.score:.4f}"
    lines = [f"{found.file}: {found.rows.num_rows} rows from {found.context} labels{score}"]
    lines += [
        f"  {name}: {found.metric} {other:.4f}" + (", better than the predictions" if name in found.better else "")
        for name, other in found.baselines.items()
    ]
    lines += [f"  fine-tuned model: {found.model}"] if found.model else []
    lines += [f"  {name}: hidden, predictions change by {change:.3g}" for name, change in found.columns[:_SHOWN]]
    output.emit(told, "\n".join(lines))
    return 0


def evaluate(config: DatabaseEvaluateConfig, output: Output) -> int:
    """Evaluate models on unseen databases, and print the tables."""
    results = database_evaluation.evaluate_databases(config)
    output.emit({"out": results.uri, "scores": len(results.scores)}, str(results))
    return 0
