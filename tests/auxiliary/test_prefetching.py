"""Data of steps are fetched ahead by a thread: with the same results, once each, and the thread ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from distgnn.auxiliary import trainer
from distgnn.auxiliary.trainer import CURVES, Trainer, pretrain_auxiliary
from distgnn.config import TransferConfig, WeightingConfig
from distgnn.distributed import ProcessGroup
from tests.helpers.networks import films, problem_of
from tests.helpers.planted import Kind, Planted
from tests.helpers.training import CPU

ALONE = ProcessGroup.single_process(CPU)
CONFIG = TransferConfig("x", epochs=3, batch=24, lr=0.02, pretrain_epochs=2)
OPTIONS: dict[str, dict[str, Any]] = {
    "folds": {"judge": "folds"},
    "heldout": {},
    "horizon": {"horizon": 4},
}
THREAD = "distgnn-prefetch"


class Watched(Planted):
    """Records the threads that fetch; fetching fails at step ``broken``."""

    def __init__(self, broken: int = -1) -> None:
        super().__init__((Kind(), Kind("random")))
        self.threads, self.broken, self.steps = set[str](), broken, list[int]()

    def fetch(self, folds: Any, step: int, auxiliary: bool = True) -> Any:
        self.threads.add(threading.current_thread().name)
        if step == self.broken:
            raise ValueError("no data")
        if auxiliary:
            self.steps.append(step)
        return super().fetch(folds, step, auxiliary)


class Plain:
    """In place of Prefetch: the same data without a thread."""

    def __init__(self, source: Iterator[Any], _: int) -> None:
        self.source = source

    def __enter__(self) -> Iterator[Any]:
        return self.source

    def __exit__(self, *_: object) -> None:
        pass


def fit(problem: Any, **options: Any) -> Any:
    config = replace(CONFIG, weighting=WeightingConfig(hidden=16, lr=1e-3, **options))
    return Trainer(problem, config, "auxts_all", 0, ALONE).run()


def alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == THREAD]


@pytest.mark.parametrize(
    "made", [lambda: Planted((Kind(), Kind("random"))), lambda: problem_of(films(), auxiliary=PATHS)]
)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_results_have_equal_bits_with_and_without_the_thread(
    made: Any, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead, weights = fit(made(), **options), pretrain_auxiliary(made(), CONFIG, 0, ALONE)
    monkeypatch.setattr(trainer, "Prefetch", Plain)
    plain, same = fit(made(), **options), pretrain_auxiliary(made(), CONFIG, 0, ALONE)
    assert ahead.validation == plain.validation
    for name in CURVES:
        np.testing.assert_array_equal(ahead.curves[name], plain.curves[name])
    assert all(bool((weights[name] == same[name]).all()) for name in weights)


PATHS = ("user rated item rated^-1 user",)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_everything_is_fetched_by_the_thread_and_once(options: dict[str, Any]) -> None:
    """With a horizon, the steps that are unrolled are those that follow."""
    problem: Any = Watched()
    steps = len(fit(problem, **options).meta_loss)
    assert problem.threads == {THREAD}
    assert len(problem.steps) == len(set(problem.steps))
    assert set(range(steps)) <= set(problem.steps)
    problem: Any = Watched()
    pretrain_auxiliary(problem, CONFIG, 0, ALONE)
    assert problem.threads == {THREAD}


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_the_thread_ends_with_an_interrupt_or_an_error(error: type[BaseException]) -> None:
    """Of the step, and of fetching, which is raised where the data are used."""

    class Stopping(Watched):
        def losses(self, batch: Any) -> Any:  # noqa: ARG002
            raise error

    for train in (fit, lambda problem: pretrain_auxiliary(problem, CONFIG, 0, ALONE)):
        with pytest.raises(error):
            train(Stopping())
        assert not alive()
        with pytest.raises(ValueError, match="no data"):
            train(Watched(broken=2))
        assert not alive()
