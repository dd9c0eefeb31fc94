"""Sampling of the training rows of each step: keyed permutations split into batches and folds."""

from __future__ import annotations

import numpy as np

from distgnn.auxiliary.problem import Rows
from distgnn.errors import RequestError
from distgnn.graph.keyed import key, permutation
from distgnn.graph.purposes import AuxiliaryDraw


class Batches:
    """Training rows of each step: a pure function of (seed, step), identical on all ranks.

    An epoch visits each row once, in a new order, in batches whose sizes differ by at most one row. The rows of a step
    do not depend on ``folds``, so that methods with and without folds train on the same rows in the same order.

    Args:
        strata: Class of each row, int64 [rows].
        batch: Maximum number of rows of a step.
        seed: Key of the orders.
        folds: Number of folds of each batch. With 2 or more, the folds are stratified by class, so that no fold
            evaluates what the others do not contain. With 1, the batch is halved and the second half is the validation
            fold. With 0, the batch is not split.

    Raises:
        RequestError: A batch would have fewer rows than folds.
    """

    def __init__(self, strata: Rows, batch: int, seed: int, folds: int = 0) -> None:
        self.strata, self.seed, self.folds = strata, seed, folds
        self.parts = max(folds, 2) if folds else 1
        self.steps_per_epoch = max(1, -(-len(strata) // batch))
        smallest = len(strata) // self.steps_per_epoch
        for value, what in ((len(strata), "training rows"), (smallest, "rows in a batch")):
            if folds and value < self.parts:
                raise RequestError(
                    f"weighting.folds={folds} needs at least {self.parts} {what}, found {value}; lower folds or raise batch"
                )
        self._order: tuple[int, Rows] = -1, strata

    @property
    def judges(self) -> tuple[int, ...]:
        """Folds of a step on which a look-ahead step is evaluated."""
        return tuple(range(self.folds)) if self.folds > 1 else (1,) if self.folds else ()

    def rows(self, step: int) -> list[Rows]:
        """Return the rows of each fold of a step, int64."""
        epoch, place = divmod(step, self.steps_per_epoch)
        rows, steps = len(self.strata), self.steps_per_epoch
        if self._order[0] != epoch:
            self._order = epoch, permutation(key(self.seed, AuxiliaryDraw.ROW_ORDER, epoch), rows)
        chosen = self._order[1][place * rows // steps : (place + 1) * rows // steps]
        if self.folds < 2:
            return np.array_split(chosen, self.parts)
        fold = np.empty(len(chosen), np.int64)
        fold[np.argsort(self.strata[chosen], kind="stable")] = np.arange(len(chosen)) % self.folds
        return [chosen[fold == number] for number in range(self.folds)]
