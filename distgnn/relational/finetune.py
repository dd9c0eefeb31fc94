"""Fine-tuning of a pre-trained model on the labels of one task, with early stopping on its validation rows."""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import roc_auc_score

from distgnn.graph.keyed import key, permutation
from distgnn.graph.purposes import RelationalDraw
from distgnn.relational.ensemble import DatabaseModel
from distgnn.relational.episodes import TRAIN, VAL, TaskData
from distgnn.relational.predict import predict_rows

Int = npt.NDArray[np.int64]
LARGEST = 2048
_CONTEXT, _QUERIES, _CHECKS, _RATE = 384, 128, 5, 1e-3


def large_context(data: TaskData, seed: int = 0) -> Int:
    """All training rows, or as many as a context can hold."""
    train = np.flatnonzero(data.rows.split == TRAIN)
    return train[permutation(key(seed, RelationalDraw.CONTEXT), train.size)[:LARGEST]]


def fine_tune(model: DatabaseModel, data: TaskData, steps: int, seed: int = 0) -> DatabaseModel:
    """Return a copy of ``model``, trained on episodes of the training rows; the state with the best validation score."""
    tuned, context = copy.deepcopy(model), large_context(data, seed)
    train, val = (np.flatnonzero(data.rows.split == split) for split in (TRAIN, VAL))
    optimiser = torch.optim.Adam(tuned.parameters(), lr=_RATE)
    best, kept = validation_score(tuned, data, context, val), copy.deepcopy(tuned.state_dict())
    for step in range(steps):
        order = train[permutation(key(seed, RelationalDraw.EPISODE, step), train.size)]
        size = min(_CONTEXT, train.size // 2)
        episode = data.episode(order[:size], order[size : size + _QUERIES])
        optimiser.zero_grad()
        tuned.loss(episode).backward()
        torch.nn.utils.clip_grad_norm_(tuned.parameters(), 1.0)
        optimiser.step()
        if (step + 1) % max(steps // _CHECKS, 1) == 0:
            score = validation_score(tuned, data, context, val)
            if score > best:
                best, kept = score, copy.deepcopy(tuned.state_dict())
    tuned.load_state_dict(kept)
    return tuned


def validation_score(model: DatabaseModel, data: TaskData, context: Int, val: Int) -> float:
    """AUROC, or the negative mean absolute error; 0 where it is not defined."""
    values, labels = predict_rows(model, data, context, val).values, data.rows.label[val]
    if not data.binary:
        return -float(np.abs(values - labels).mean()) if val.size else 0.0
    return float(roc_auc_score(labels, values)) if np.unique(labels).size == 2 else 0.0
