"""Fine-tuning of a pre-trained model on the labels of one task, with early stopping on its validation rows."""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt
import torch

from distgnn.errors import RequestError
from distgnn.graph.keyed import draw, key, permutation, unit_interval
from distgnn.graph.purposes import RelationalDraw
from distgnn.relational.ensemble import DatabaseModel
from distgnn.relational.episodes import VAL, TaskData
from distgnn.relational.model import Episode
from distgnn.relational.predict import predict_rows
from distgnn.relational.sampling import NEVER
from distgnn.relational.scores import score_of

Int = npt.NDArray[np.int64]
LARGEST, FEWEST = 2048, 16
_CONTEXT, _QUERIES, _CHECKS, _RATE = 384, 128, 5, 1e-3


def large_context(data: TaskData, before: int = NEVER, seed: int = 0) -> Int:
    """All training rows whose label windows closed before a time, or as many as a context can hold."""
    train = data.eligible(before)
    return train[permutation(key(seed, RelationalDraw.CONTEXT), train.size)[:LARGEST]]


def fine_tune(model: DatabaseModel, data: TaskData, steps: int, before: int = NEVER, seed: int = 0) -> DatabaseModel:
    """Return a copy of ``model``, trained on episodes of the training rows; the state with the best validation score.

    An episode of a task of several classes asks for one of them, as predictions do.

    Args:
        model: The model; it is not changed.
        data: The task.
        steps: Training steps.
        before: Only rows are read whose label windows closed before this time.
        seed: Seed of the episodes.

    Raises:
        RequestError: There are too few training rows, or no validation score is defined.
    """
    tuned, context = copy.deepcopy(model), large_context(data, before, seed)
    train, val = data.eligible(before), data.eligible(before, VAL)
    if told := why_not_tuned(data, before):
        raise RequestError(f"{data.name}: {told}; label more rows, or predict without fine-tuning")
    optimiser = torch.optim.Adam(tuned.parameters(), lr=_RATE)
    best, kept = validation_score(tuned, data, context, val), copy.deepcopy(tuned.state_dict())
    for step in range(steps):
        optimiser.zero_grad()
        tuned.loss(_episode(data, train, seed, step)).backward()
        torch.nn.utils.clip_grad_norm_(tuned.parameters(), 1.0)
        optimiser.step()
        if (step + 1) % max(steps // _CHECKS, 1) == 0:
            score = validation_score(tuned, data, context, val)
            if score > best:
                best, kept = score, copy.deepcopy(tuned.state_dict())
    tuned.load_state_dict(kept)
    return tuned


def why_not_tuned(data: TaskData, before: int = NEVER) -> str:
    """Why a model cannot be fine-tuned on a task; empty if it can."""
    train, val = data.eligible(before), data.eligible(before, VAL)
    if train.size >= FEWEST and all(np.unique(data.rows.label[rows]).size > 1 for rows in (train, val)):
        return ""
    return f"fine-tuning needs {FEWEST} training rows (found {train.size}) and two labels among training and validation rows"


def _episode(data: TaskData, train: Int, seed: int, step: int) -> Episode:
    base = key(seed, RelationalDraw.EPISODE, step)
    order = train[permutation(base, train.size)]
    size, labels = min(_CONTEXT, train.size // 2), data.rows.label
    if data.kind == "multiclass":
        classes = np.unique(labels[train])
        chosen = int(unit_interval(draw(key(base, RelationalDraw.ROWS), 0))[0] * classes.size)
        labels = (labels == classes[chosen]).astype(float)
    return data.episode(order[:size], order[size : size + _QUERIES], labels=labels)


def validation_score(model: DatabaseModel, data: TaskData, context: Int, val: Int) -> float:
    """AUROC, accuracy, or the negative mean absolute error."""
    score, metric = score_of(data, val, predict_rows(model, data, context, val))
    return (-1.0 if metric == "mae" else 1.0) * (score or 0.0)
