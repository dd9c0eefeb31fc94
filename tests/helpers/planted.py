"""A synthetic MultiTaskProblem on tensors: a teacher, a target that follows it, helpful and harmful auxiliary tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distgnn.auxiliary.problem import PartEvaluation, Rows, Samples
from distgnn.config import WeightingConfig
from distgnn.graph.keyed import below, draw, key, unit_interval
from distgnn.labels.influence import on_rmse

WIDTH, VALIDATION = 6, 400
_INPUT, _NOISE, _HEAD = 901, 902, 903


@dataclass(frozen=True)
class Options:
    """Options that MultiTaskStep reads."""

    batch: int = 24
    lr: float = 0.01
    weight_decay: float = 0.0
    weighting: WeightingConfig = field(default_factory=WeightingConfig)


@dataclass(frozen=True)
class Kind:
    """An auxiliary task. label: teacher = what the target learns too, random = noise anew in each step, opposite = minus the
    teacher (harmful only where ``fixed`` keeps a head from turning it round), leak = the target's training rows with their
    noisy labels, those held out for a judge included. summed: gives its loss as one sum. scale: of
    its loss. fixed: no head. rows: a step's samples."""

    label: str = "teacher"
    summed: bool = False
    scale: float = 1.0
    fixed: bool = False
    rows: int = 9


def uniform(*parts: int, shape: tuple[int, ...]) -> Tensor:
    """float64 in [-1, 1), a function of ``parts``."""
    words = draw(key(*parts), np.arange(int(np.prod(shape))))
    return torch.from_numpy(2 * unit_interval(words) - 1).view(shape)


def teacher(x: Tensor) -> Tensor:
    """[n, WIDTH] -> [n]."""
    return torch.tanh(2 * x[:, 0] - x[:, 1]) + 0.5 * x[:, 2] * x[:, 3]


class Planted:
    """Squared errors of K + 1 tasks over one small network; a MultiTaskProblem.

    kinds: of the auxiliary tasks. fixed: no task has a head, the shared network ends in one number. rank, size: takes every
    size-th row of a step. validated: at most that many validation rows. asked: (step, folds) of every fetch, judged: folds of every
    ``fold_losses``.
    """

    lower_is_better = frozenset({"rmse"})
    metrics = ("rmse",)
    parts = ("val", "test")

    def __init__(
        self,
        kinds: Sequence[Kind] = (Kind(),),
        rows: int = 60,
        seed: int = 0,
        *,
        fixed: bool = False,
        noise: float = 0.0,
        hidden: int = 5,
        rank: int = 0,
        size: int = 1,
        validated: int = VALIDATION,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.kinds, self.rows, self.seed, self.rank, self.size = tuple(kinds), rows, seed, rank, size
        self.strata: Rows = np.zeros(rows, np.int64)
        self.names = ("target", *(f"{kind.label}{number}" for number, kind in enumerate(self.kinds, 1)))
        self.x, self.test = (uniform(seed, _INPUT, part, shape=(n, WIDTH)) for part, n in ((0, rows), (1, VALIDATION)))
        self.y = teacher(self.x) + noise * uniform(seed, _NOISE, shape=(rows,))
        self.x, self.y, self.test, self.dtype = self.x.to(dtype), self.y.to(dtype), self.test.to(dtype), dtype
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key(seed, _HEAD))
            last = [nn.Linear(hidden, 1)] if fixed else []
            self.shared = nn.Sequential(
                nn.Linear(WIDTH, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), *last
            ).to(dtype)
            heads = [nn.Identity() if fixed or kind.fixed else nn.Linear(hidden, 1) for kind in (Kind(), *self.kinds)]
        self.heads = nn.ModuleList(heads).to(dtype)
        self.judges, self.validated, self.validation = 0, validated, min(validated, VALIDATION // 2)
        self.asked: list[tuple[int, list[list[int]]]] = []
        self.judged: list[int] = []

    def split_validation(self, seed: int) -> None:  # noqa: ARG002
        """The judge takes the first half of the validation inputs."""
        self.judges = VALIDATION // 4

    def fetch_unseen(self, rows: Rows, step: int) -> Any:
        """Rows of the judge."""
        if self.judges:
            x = self.test[: self.judges][rows[self.rank :: self.size]]
            return [(x, teacher(x))], []
        return self.fetch([rows], step, auxiliary=False)

    def fetch(self, folds: Sequence[Rows], step: int, auxiliary: bool = True) -> Any:
        """Rows of the folds, and (x, y) of each auxiliary task."""
        self.asked.append((step, [fold.tolist() for fold in folds]))
        mine = slice(self.rank, None, self.size)
        target = [(self.x[fold[mine]], self.y[fold[mine]]) for fold in folds]
        return target, [self._auxiliary(number, step) for number in range(len(self.kinds) if auxiliary else 0)]

    def _auxiliary(self, number: int, step: int) -> tuple[Tensor, Tensor]:
        kind, mine = self.kinds[number], slice(self.rank, None, self.size)
        if kind.label == "leak":
            rows = below(
                draw(key(self.seed, _INPUT, 2 + number, step), np.arange(kind.rows)), np.full(kind.rows, self.rows)
            )
            return self.x[rows[mine]], self.y[rows[mine]]
        x = uniform(self.seed, _INPUT, 2 + number, step, shape=(kind.rows, WIDTH))
        y = {
            "teacher": teacher(x),
            "opposite": -teacher(x),
            "random": 2 * uniform(self.seed, _NOISE, number, step, shape=(kind.rows,)),
        }[kind.label]
        return x[mine].to(self.dtype), y[mine].to(self.dtype)

    def losses(self, batch: Any) -> tuple[list[Samples], list[Samples]]:
        """One forward pass."""
        target, auxiliary = batch
        places = [0] * len(target) + list(range(1, len(auxiliary) + 1))
        found = self._samples([*target, *auxiliary], places)
        return found[: len(target)], found[len(target) :]

    def fold_losses(self, batch: Any, fold: int) -> Samples:
        """A pass over one fold."""
        self.judged.append(fold)
        return self._samples([batch[0][fold]], [0])[0]

    def _samples(self, parts: list[tuple[Tensor, Tensor]], places: list[int]) -> list[Samples]:
        """places: which task each part is of. (Few operations: in forward mode torch is slow where a constant takes part.)"""
        kinds, sizes = [(Kind(), *self.kinds)[place] for place in places], [len(y) for _, y in parts]
        hidden = self.shared(torch.cat([x for x, _ in parts])).split(sizes)
        outputs = torch.cat([self.heads[place](h).mean(1) for place, h in zip(places, hidden, strict=True)])
        scale = torch.cat([y.new_full(y.shape, kind.scale) for kind, (_, y) in zip(kinds, parts, strict=True)])
        errors = (outputs - torch.cat([y for _, y in parts])).square() * scale
        return [
            Samples(each.sum().reshape(1), y.new_zeros(1), y.new_tensor(float(len(y))), summed=True)
            if kind.summed
            else Samples(each, y, y.new_tensor(float(len(y))))
            for kind, each, (_, y) in zip(kinds, errors.split(sizes), parts, strict=True)
        ]

    def evaluate(self, part: str) -> PartEvaluation:
        """Root mean squared error on fresh inputs; validation and test are halves of them."""
        half = VALIDATION // 2
        x = self.test[self.judges : half][: self.validated] if part == "val" else self.test[half:]
        with torch.no_grad():
            error = self.heads[0](self.shared(x)).mean(1) - teacher(x)
        influence = on_rmse(error.numpy(), np.zeros(len(error))) if part == "val" else None
        return PartEvaluation({"rmse": float(error.square().mean().sqrt())}, influence=influence)
