"""The interface of searchers, which propose the parameters of trials."""

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
    """What a searcher is built from, besides its own options.

    Attributes:
        space: The domain of each field.
        seed: Key of the proposals.
        mode: Whether the score is to be maximised ("max") or minimised ("min").
        n_startup_trials: Trials before a searcher learns, as in TuneConfig.
        seconds: Whether short trials are an objective beside the score.
    """

    space: Space
    seed: int
    mode: str
    n_startup_trials: int = 8
    seconds: bool = False


class Searcher:
    """Proposes parameters. A proposal is a function of (seed, number, known trials): a searcher has no state.

    A stopped sweep therefore continues with the proposals that it would have made.
    """

    def __init__(self, config: Any, context: SearchContext) -> None:
        self.config, self.context = config, context

    @property
    def count(self) -> int | None:
        """How many trials there are; None for any number."""
        return None

    def propose(self, number: int, known: Sequence[TrialRecord]) -> Params:
        """Propose the parameters of trial ``number``, given the other trials so far (running ones among them)."""
        raise NotImplementedError


def build_searcher(config: TuneConfig, name: str, context: SearchContext) -> Searcher:
    """Build the searcher ``name`` with its options in ``config``; RequestError for an unknown one."""
    entry = register.searcher.get(name, "searcher", ("auto",))
    return entry.make(getattr(config, entry.name) if entry.config else None, context)
