"""Grid search."""

from __future__ import annotations

from collections.abc import Sequence

from distgnn import register
from distgnn.search.records import TrialRecord
from distgnn.search.searchers.base import Searcher
from distgnn.search.space import Params, grid


@register.searcher("grid")
class GridSearcher(Searcher):
    """Proposes each point of the space once."""

    @property
    def count(self) -> int:
        """Number of points; raises RequestError if a domain is not finite."""
        return grid(self.context.space)[1]

    def propose(self, number: int, known: Sequence[TrialRecord]) -> Params:  # noqa: ARG002
        """See :class:`Searcher`; the last field varies fastest."""
        points, _ = grid(self.context.space)
        found: Params = {}
        for dotted, values in reversed(points.items()):
            number, place = divmod(number, len(values))
            found[dotted] = values[place]
        return {dotted: found[dotted] for dotted in self.context.space}
