"""Answers to a request for predictions: those of the model or of its ensemble, and those of baselines with the same labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from distgnn.config.database_model import PredictConfig
from distgnn.errors import RequestError
from distgnn.relational.baselines import boosting, forest_and_linear
from distgnn.relational.ensemble import DatabaseModel
from distgnn.relational.episodes import TRAIN, TaskData
from distgnn.relational.evaluate import BOOSTING
from distgnn.relational.finetune import fine_tune, large_context
from distgnn.relational.predict import Answer, choose_context, predict_rows
from distgnn.relational.scores import answer_of, constant, mean_of

Int = npt.NDArray[np.int64]


class Answers(NamedTuple):
    """What was asked for, and what to compare it with.

    Attributes:
        context: Rows whose labels were read as context.
        queries: Predicted rows.
        chosen: Their predictions.
        others: Predictions of baselines, and of the model alone, by name; empty where no label of ``queries`` is known.
        tuned: The model, fine-tuned if that was asked for.
    """

    context: Int
    queries: Int
    chosen: Answer
    others: dict[str, Answer]
    tuned: DatabaseModel


def answers_of(model: DatabaseModel, data: TaskData, queries: Int, config: PredictConfig) -> Answers:
    """Predict ``queries``, of which rows that become context are left out.

    Raises:
        RequestError: No label is known before the first query, or there are too few to fine-tune, or no row is left to predict.
    """
    if config.finetune:
        before = int(data.rows.time[queries].min())
        context, known = large_context(data, before, config.seed), data.eligible(before)
        model, name = fine_tune(model, data, config.finetune, before, config.seed), "fine-tuned alone"
    else:
        context, name = choose_context(data, queries, config.context, config.seed), "model alone"
        known, queries = context, np.setdiff1d(queries, context)
    if not queries.size:
        raise RequestError(
            f"{data.name}: all rows of the split are context, so none is left to predict; give less context"
        )
    chosen = predict_rows(model, data, context, queries, config.adapt, explain=config.explain)
    labelled = not bool(np.isnan(data.rows.label[queries]).all())
    fixed = known if known.size else np.flatnonzero(data.rows.split == TRAIN)
    others = {"constant": constant(data, fixed, queries.size)} if labelled else {}
    combined = config.ensemble and data.kind != "multiclass"
    if known.size and (combined or labelled):
        other, partner = _baseline(data, known, queries, config)
        others |= {partner: other} if labelled else {}
        if combined:
            others |= {name: chosen} if labelled else {}
            chosen = mean_of(chosen, other)
    return Answers(context, queries, chosen, others, model)


def _baseline(data: TaskData, known: Int, queries: Int, config: PredictConfig) -> tuple[Answer, str]:
    """The best baseline for as many labels, and its name."""
    if config.finetune:
        return answer_of(data, known, boosting(data, known, queries, own=False)), BOOSTING
    values = forest_and_linear(data, known, queries, config.seed)["forest + linear"]
    return answer_of(data, known, values), "forest + linear"
