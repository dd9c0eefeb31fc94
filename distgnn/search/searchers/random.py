"""Random search."""

from __future__ import annotations

from collections.abc import Sequence

from distgnn import register
from distgnn.graph.keyed import key
from distgnn.graph.purposes import SearchDraw
from distgnn.search.proposals import sample_params
from distgnn.search.records import TrialRecord
from distgnn.search.searchers.base import Searcher
from distgnn.search.space import Params


@register.searcher("random")
class RandomSearcher(Searcher):
    """Samples each field independently."""

    def propose(self, number: int, known: Sequence[TrialRecord]) -> Params:  # noqa: ARG002
        """See :class:`Searcher`."""
        return sample_params(self.context.space, key(self.context.seed, SearchDraw.RANDOM, number))
