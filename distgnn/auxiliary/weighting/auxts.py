"""AUX-TS's weighting (Eq. 5-6): the model also sees how alike the tasks' gradients are."""

from __future__ import annotations

from torch import Tensor

from distgnn import register
from distgnn.auxiliary.weighting.model import WeightModel
from distgnn.auxiliary.weighting.signals import Signals, WeightingContext


@register.weighting("auxts_one")
class OneSimilarity(WeightModel):
    """Sees loss, type and the cosine of the row's own task, the target's being 1 (the paper's "one sim")."""

    reads = "cosines"

    def __init__(self, config: None, context: WeightingContext) -> None:
        super().__init__(config, context, extra=1)

    def see(self, signals: Signals) -> Tensor:
        """The cosine [R, 1]."""
        return signals.cosines[signals.task].unsqueeze(1)


@register.weighting("auxts_all")
class AllSimilarities(WeightModel):
    """Sees loss, type and the cosines of all auxiliary tasks (the paper's "all sims")."""

    reads = "cosines"

    def __init__(self, config: None, context: WeightingContext) -> None:
        super().__init__(config, context, extra=context.tasks - 1)

    def see(self, signals: Signals) -> Tensor:
        """The cosines [R, K], the same for every row."""
        return signals.cosines[1:].expand(len(signals.task), -1)
