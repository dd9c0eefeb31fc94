"""Sampling of the training rows of each step: keyed permutations split into batches, and folds or held-out rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from distgnn.auxiliary.problem import JUDGE, Rows
from distgnn.config import WeightingConfig
from distgnn.errors import RequestError
from distgnn.graph.keyed import key, permutation
from distgnn.graph.purposes import AuxiliaryDraw

FEWEST = 10
"""Smallest number of held-out rows, of training sets with twice as many rows."""


class Batches:
    """Training rows of each step: a pure function of (seed, step), identical on all ranks.

    An epoch visits each row once, in a new order, in batches whose sizes differ by at most one row. The rows of a step
    do not depend on ``folds``, so that methods with and without folds train on the same rows in the same order. With
    held-out rows the steps and the order of the other rows remain the same; the batches are smaller.

    Args:
        strata: Class of each row, int64 [rows].
        batch: Maximum number of rows of a step.
        seed: Key of the orders.
        folds: Number of folds of each batch. With 2 or more, the folds are stratified by class, so that no fold
            evaluates what the others do not contain. With 1, the batch is halved and the second half is the validation
            fold. With 0, the batch is not split.
        heldout: Share of the rows that are never in a batch, stratified by class; at least FEWEST rows, at most half.
        judges: Number of rows outside of training that evaluate look-ahead steps; 0 = the held-out rows do.

    Attributes:
        held: int64, held-out rows, ascending.
        judging: int64, rows that evaluate look-ahead steps, for ``MultiTaskProblem.fetch_unseen``; none with folds.
        parts: Number of folds in a batch.

    Raises:
        RequestError: A batch would have fewer rows than folds, or no row could be held out.
    """

    def __init__(
        self, strata: Rows, batch: int, seed: int, folds: int = 0, heldout: float = 0.0, judges: int = 0
    ) -> None:
        self.strata, self.seed, self.folds, self.batch = strata, seed, folds, batch
        self.parts = max(folds, 2) if folds else 1
        self.steps_per_epoch = max(1, -(-len(strata) // batch))
        smallest = len(strata) // self.steps_per_epoch
        for value, what in ((len(strata), "training rows"), (smallest, "rows in a batch")):
            if folds and value < self.parts:
                raise RequestError(
                    f"weighting.folds={folds} needs at least {self.parts} {what}, found {value}; lower folds or raise batch"
                )
        self.held = held_out(strata, heldout, seed) if heldout else strata[:0]
        self.judging: Rows = np.arange(judges) if judges else self.held
        self._order: tuple[int, Rows] = -1, strata

    @classmethod
    def of(cls, strata: Rows, batch: int, seed: int, options: WeightingConfig, judges: int = 0) -> Batches:
        """Return the batches of a method with look-ahead steps, according to ``options.judge``."""
        if options.judge == "folds":
            return cls(strata, batch, seed, options.folds)
        if options.judge == "heldout":
            return cls(strata, batch, seed, heldout=options.heldout)
        return cls(strata, batch, seed, judges=judges)

    @property
    def judges(self) -> tuple[int, ...]:
        """Folds of a step on which a look-ahead step is evaluated."""
        return tuple(range(self.folds)) if self.folds > 1 else (1,) if self.folds else ()

    def rows(self, step: int) -> list[Rows]:
        """Return the rows of each fold of a step, int64."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if self._order[0] != epoch:
            order = permutation(key(self.seed, AuxiliaryDraw.ROW_ORDER, epoch), len(self.strata))
            self._order = epoch, order[~np.isin(order, self.held)] if len(self.held) else order
        rows, steps = len(self._order[1]), self.steps_per_epoch
        chosen = self._order[1][place * rows // steps : (place + 1) * rows // steps]
        if self.folds < 2:
            return np.array_split(chosen, self.parts)
        fold = np.empty(len(chosen), np.int64)
        fold[np.argsort(self.strata[chosen], kind="stable")] = np.arange(len(chosen)) % self.folds
        return [chosen[fold == number] for number in range(self.folds)]

    def judge_rows(self, step: int) -> Rows:
        """Return the rows that evaluate the look-ahead of a step: half as many as a batch has, if there are more."""
        count, every = max(self.batch // 2, FEWEST), self.judging
        if len(every) <= count:
            return every
        return np.sort(every[permutation(key(self.seed, AuxiliaryDraw.JUDGE_ORDER, step), len(every))[:count]])


def held_out(strata: Rows, share: float, seed: int) -> Rows:
    """Return the held-out rows, ascending: a share of every class, a function of the arguments.

    Raises:
        RequestError: There are too few rows.
    """
    rows = len(strata)
    count = min(max(round(share * rows), FEWEST), rows // 2)
    if count < 1:
        raise RequestError(f"weighting.judge needs at least 2 rows to take some from, found {rows}; use judge=folds")
    order = permutation(key(seed, AuxiliaryDraw.HELD_OUT), rows)
    order = order[np.argsort(strata[order], kind="stable")]
    return np.sort(order[(2 * np.arange(count) + 1) * rows // (2 * count)])


def without_judge(parts: Mapping[str, Rows], strata: Rows, seed: int) -> dict[str, Rows]:
    """Return the parts with half of the rows of "val" moved to the part JUDGE, stratified; strata: class of each row of "val".

    Raises:
        RequestError: There are too few rows.
    """
    taken = held_out(strata, 0.5, seed)
    return {**parts, "val": np.delete(parts["val"], taken), JUDGE: parts["val"][taken]}
