"""Interface of searchers, which propose the parameters of trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distgnn import register
from distgnn.config import TuneConfig
from distgnn.search.records import TrialRecord
from distgnn.search.space import Params, Space


@dataclass(frozen=True)
class SearchContext:
    """Arguments of a searcher besides its own options.

    Attributes:
        space: The domain of each field.
        seed: Random seed.
        mode: "max" or "min": whether the score is maximised or minimised.
        n_startup_trials: Number of random trials before a model is fitted, as in TuneConfig.
        seconds: Whether the duration of trials is a second objective.
    """

    space: Space
    seed: int
    mode: str
    n_startup_trials: int = 8
    seconds: bool = False


class Searcher:
    """Base class of searchers.

    A searcher is stateless: a proposal is a function of (seed, number, known trials). A resumed sweep therefore continues with
    the same proposals.

    Args:
        config: Options of the searcher; None if it has none.
        context: The search space and the objective.
    """

    def __init__(self, config: Any, context: SearchContext) -> None:
        self.config, self.context = config, context

    @property
    def count(self) -> int | None:
        """Number of trials; None if unlimited."""
        return None

    def propose(self, number: int, known: Sequence[TrialRecord]) -> Params:
        """Propose the parameters of a trial.

        Args:
            number: Number of the trial.
            known: The other trials so far, including running ones.
        """
        raise NotImplementedError


def build_searcher(config: TuneConfig, name: str, context: SearchContext) -> Searcher:
    """Build the searcher ``name`` with its options in ``config``.

    Raises:
        RequestError: If there is no such searcher.
    """
    entry = register.searcher.get(name, "searcher", ("auto",))
    return entry.make(getattr(config, entry.name) if entry.config else None, context)
