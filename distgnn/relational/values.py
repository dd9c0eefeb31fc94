"""Values of evidence as the encoder reads them: ranks and signed logs fitted on training rows, and descriptions of columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import HashingVectorizer

from distgnn.relational.evidence import Source
from distgnn.relational.visibility import Visibility

Float32 = npt.NDArray[np.float32]
CHANNELS = 4
NAME_BUCKETS = 512
SHAPES = ("", "u", "d", "uu", "ud", "du", "dd")
KINDS = ("number", "category", "time", "text", "count", "window", "recency", "first", "overdue", "present", "calendar")
AGGREGATES = ("value", "mean", "last", "max")
REDUNDANCY = 2
FACTS = len(SHAPES) + len(KINDS) + len(AGGREGATES) + 14 + REDUNDANCY
_QUANTILES = 65
_RARELY_KNOWN = 0.95
_HASHING = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), n_features=NAME_BUCKETS, alternate_sign=True)


@dataclass(frozen=True)
class Scaler:
    """Ranks and scales of columns, fitted on training rows. Columns that are constant there are dropped.

    Attributes:
        kept: int64 [columns], indices of the kept columns.
        quantiles: float32 [columns, 65].
        centre, scale: float32 [columns], of the signed logs.
        missing: float32 [columns], share of missing values.
        distinct: float32 [columns], log of the number of distinct values over log of the number of rows.
    """

    kept: npt.NDArray[np.int64]
    quantiles: Float32
    centre: Float32
    scale: Float32
    missing: Float32
    distinct: Float32

    @classmethod
    def fit(cls, values: Float32) -> Scaler:
        """Fit to ``values``, [rows, columns] with NaN = missing."""
        kept, rows = [], []
        for index, column in enumerate(values.T):
            known = column[np.isfinite(column)]
            distinct = np.unique(known).size
            if distinct < 2 and not (distinct and known.size < column.size):
                continue
            logs = _signed_log(known)
            spread = float(logs.std()) or 1.0
            facts = (logs.mean(), spread, 1 - known.size / column.size, np.log(distinct) / np.log(max(known.size, 2)))
            kept.append(index)
            rows.append((np.quantile(known, np.linspace(0, 1, _QUANTILES)), facts))
        quantiles = np.array([row[0] for row in rows], np.float32).reshape(-1, _QUANTILES)
        facts = np.array([row[1] for row in rows], np.float32).reshape(-1, 4)
        return cls(np.array(kept, np.int64), quantiles, *facts.T)

    def transform(self, values: Float32) -> Float32:
        """Return float32 [rows, kept columns, 2]: rank in [-1, 1] and standardised signed log; NaN = missing.

        A column that few training rows know says only that it is known: a trend over so few values is not to be trusted later,
        when more of them are known.
        """
        found = np.empty((values.shape[0], self.kept.size, 2), np.float32)
        for at, index in enumerate(self.kept):
            column = values[:, index]
            grid = self.quantiles[at]
            middle = np.searchsorted(grid, column, "left") + np.searchsorted(grid, column, "right")
            rank = middle / _QUANTILES - 1
            logs = (_signed_log(column) - self.centre[at]) / self.scale[at]
            known = np.isfinite(column)
            if self.missing[at] > _RARELY_KNOWN:
                rank, logs = np.zeros(column.size), np.zeros(column.size)
            found[:, at, 0] = np.where(known, rank, np.nan)
            found[:, at, 1] = np.where(known, np.clip(logs, -3, 3), np.nan)
        return found

    def channels(self, scaled: Float32) -> Float32:
        """Return float32 [rows, kept columns, 4]: rank, its curve, missing and signed log; zero = nothing to say."""
        return channels(scaled, self.missing)


def channels(scaled: Float32, missing: Float32) -> Float32:
    """See :meth:`Scaler.channels`."""
    rank, logs = scaled[..., 0], scaled[..., 1]
    unknown = np.isnan(rank)
    parts = (rank, 1.5 * rank * rank - 0.5, 0.0, 0.6 * logs)
    found = np.stack([np.where(unknown, 0, part) for part in parts], -1).astype(np.float32)
    found[..., 2] = unknown - missing
    return found


def _signed_log(values: Float32) -> Float32:
    return np.sign(values) * np.log1p(np.abs(values))


@dataclass(frozen=True)
class Descriptions:
    """What is known about columns of evidence before any label.

    Attributes:
        facts: float32 [columns, FACTS].
        names: float32 [columns, NAME_BUCKETS], hashed character 3- to 5-grams.
    """

    facts: Float32
    names: Float32


def describe(
    sources: list[Source],
    scaler: Scaler,
    visibility: Visibility,
    fan_out: dict[str, float],
    task: str,
    similar_columns: Float32,
) -> Descriptions:
    """Describe the kept columns of evidence.

    Args:
        sources: All columns.
        scaler: Fitted to them.
        visibility: What the task shows.
        fan_out: Log of the mean number of children by foreign key.
        task: Name of the task, compared with names of columns.
        similar_columns: float32 [kept columns, 2], see :func:`redundancy`.
    """
    chosen = [sources[index] for index in scaler.kept]
    hidden = {(visibility.entity, column) for column in visibility.hide_entity}
    names = _hash([" ".join([s.table, s.column, *(step.foreign_key.column for step in s.path)]) for s in chosen])
    own = _hash([s.column or s.table for s in chosen])
    asked = _hash([task, *sorted(visibility.hide_entity)])
    similar = own @ asked.T if len(chosen) else np.zeros((0, asked.shape[0]))
    numbers = np.array([_facts(s, visibility, fan_out, hidden) for s in chosen], np.float32).reshape(
        len(chosen), FACTS - 4 - REDUNDANCY
    )
    fitted = np.stack([scaler.missing, scaler.distinct, similar[:, 0], similar[:, 1:].max(1, initial=0)], 1)
    return Descriptions(np.concatenate([numbers, fitted, similar_columns], 1).astype(np.float32), names)


def redundancy(ranks: Float32) -> Float32:
    """Say of each column how many others are like it, and how near the nearest is, from rows without labels.

    Args:
        ranks: float32 [rows, columns], NaN = missing.

    Returns:
        float32 [columns, 2]: the log of the sum of its squared correlations, and the largest with another column.
    """
    if not ranks.size:
        return np.zeros((ranks.shape[1], REDUNDANCY), np.float32)
    known = np.nan_to_num(ranks)
    centred = known - known.mean(0)
    scaled = centred / np.maximum(np.sqrt(np.square(centred).sum(0)), 1e-6)
    squares = np.square(scaled.T @ scaled)
    np.fill_diagonal(squares, 0)
    return np.stack([np.log1p(squares.sum(0)) / 3, squares.max(0, initial=0)], 1).astype(np.float32)


def _hash(texts: list[str]) -> Float32:
    if not texts:
        return np.zeros((0, NAME_BUCKETS), np.float32)
    hashed: Any = _HASHING.transform([text.replace("_", " ") for text in texts])
    return hashed.toarray().astype(np.float32)


def _facts(
    source: Source, visibility: Visibility, fan_out: dict[str, float], hidden: set[tuple[str, str]]
) -> list[float]:
    steps = source.path
    days = float(source.detail) if source.kind == "window" else 1.0
    spread = [
        fan_out[f"{step.foreign_key.table}.{step.foreign_key.column}"] * (1 if step.down else -1) for step in steps
    ]
    return [
        *(float(source.shape == shape) for shape in SHAPES),
        *(float(source.kind == kind) for kind in KINDS),
        *(float(source.aggregate == aggregate) for aggregate in AGGREGATES),
        np.log(days) / 6,
        float(source.minus is not None),
        float((source.table, source.column) in hidden),
        float(source.table == visibility.entity and bool(steps)),
        spread[0] / 5 if steps else 0.0,
        spread[1] / 5 if len(steps) > 1 else 0.0,
        source.share,
        float(visibility.database.time(source.table) is not None),
        float(visibility.database.time(visibility.entity) is not None),
        float(len(steps) == 2 and steps[0].foreign_key == steps[1].foreign_key),
    ]
