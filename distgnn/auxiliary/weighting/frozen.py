"""Control of learned weighting: the weighting model of AUX-TS, untrained."""

from __future__ import annotations

from distgnn import register
from distgnn.auxiliary.weighting.auxts import AllSimilarities


@register.weighting("frozen")
class Frozen(AllSimilarities):
    """AUX-TS (all similarities) with an untrained weighting model: the effective behaviour of the published code.

    See algorithms.md, section 3.2.
    """

    learns = "nothing"
