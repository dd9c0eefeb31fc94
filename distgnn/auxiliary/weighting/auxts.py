"""Weighting by AUX-TS (Eq. 5-6): a weighting model that reads loss, task and gradient similarity."""

from __future__ import annotations

from torch import Tensor

from distgnn import register
from distgnn.auxiliary.weighting.model import MODEL_OPTIONS, WeightModel
from distgnn.auxiliary.weighting.signals import Signals, WeightingContext


@register.weighting("auxts_one")
class OneSimilarity(WeightModel):
    """AUX-TS with the cosine of a task's own gradient with the target's (the paper's "one sim").

    Reads loss, task and cosine; the target's cosine is 1.
    """

    reads = "cosines"
    own_options = MODEL_OPTIONS | {"start"}

    def __init__(self, config: None, context: WeightingContext) -> None:
        super().__init__(config, context, extra=1, start=context.options.start)

    def see(self, signals: Signals) -> Tensor:
        """Return the cosine [R, 1]."""
        return signals.cosines[signals.task].unsqueeze(1)


@register.weighting("auxts_all")
class AllSimilarities(WeightModel):
    """AUX-TS with the cosines of all auxiliary tasks' gradients with the target's (the paper's "all sims")."""

    reads = "cosines"
    own_options = MODEL_OPTIONS | {"start"}

    def __init__(self, config: None, context: WeightingContext) -> None:
        super().__init__(config, context, extra=context.tasks - 1, start=context.options.start)

    def see(self, signals: Signals) -> Tensor:
        """Return the cosines [R, K], the same for every row."""
        return signals.cosines[1:].expand(len(signals.task), -1)
