"""The target's training rows in fixed folds, each met in a keyed order of its own, over and over."""

from __future__ import annotations

import numpy as np

from distgnn.auxiliary.problem import Rows
from distgnn.errors import RequestError
from distgnn.graph.keyed import key, permutation
from distgnn.graph.purposes import AuxiliaryDraw


class Folds:
    """Which rows a step takes: a pure function of (seed, step), the same on every rank.

    strata: int64 [rows], the class of each row. With ``folds`` of 2 or more the rows are split once into that many folds, which
    hold the same number of each class, give or take one: of few rows, a class that is frequent in some folds would be rare in
    the others, and a fold would judge against what the others teach. A step takes ``batch // folds`` rows of each fold. With
    one fold a step's rows are halved by position. Each pass over a fold is a new order of it;
    what a pass leaves over is dropped, so a step never holds a row twice. A fold smaller than its share is taken whole.
    Raises RequestError where there are fewer rows, or a smaller batch, than parts.
    """

    def __init__(self, strata: Rows, folds: int, batch: int, seed: int) -> None:
        self.parts, self.seed = max(folds, 2), seed
        for value, what in ((len(strata), "training rows"), (batch, "rows in a batch")):
            if value < self.parts:
                raise RequestError(
                    f"weighting.folds={folds} needs at least {self.parts} {what}, found {value}; lower folds or raise batch"
                )
        order = permutation(key(seed, AuxiliaryDraw.FOLD_SPLIT), len(strata))
        order = order[np.argsort(strata[order], kind="stable")]
        self._members = [order[fold::folds] for fold in range(folds)]
        self._share = batch // folds
        self._orders: dict[int, tuple[int, Rows]] = {}

    @property
    def judges(self) -> tuple[int, ...]:
        """Parts of a step that judge a look-ahead on the others."""
        return tuple(range(self.parts)) if len(self._members) > 1 else (1,)

    def rows(self, step: int) -> list[Rows]:
        """The rows of each part of a step, int64."""
        taken = [self._of_fold(fold, step) for fold in range(len(self._members))]
        return taken if len(taken) > 1 else np.array_split(taken[0], self.parts)

    def _of_fold(self, fold: int, step: int) -> Rows:
        members = self._members[fold]
        share = min(self._share, len(members))
        cycle, place = divmod(step, len(members) // share)
        if self._orders.get(fold, (-1,))[0] != cycle:
            self._orders[fold] = (
                cycle,
                members[permutation(key(self.seed, AuxiliaryDraw.FOLD_ORDER, fold, cycle), len(members))],
            )
        return self._orders[fold][1][place * share : (place + 1) * share]
