"""The control of learning to weigh: AUX-TS's model as it was drawn."""

from __future__ import annotations

from distgnn import register
from distgnn.auxiliary.weighting.auxts import AllSimilarities


@register.weighting("frozen")
class Frozen(AllSimilarities):
    """AUX-TS (all similarities) whose model is never trained; what the published code in effect ran (algorithms.md 3.2)."""

    learns = "nothing"
