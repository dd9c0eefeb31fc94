"""Weighting methods of auxiliary losses, one file each; see :data:`distgnn.register.weighting`."""

from distgnn.auxiliary.weighting.build import build_weighting
from distgnn.auxiliary.weighting.signals import Signals, Weighting, WeightingContext

__all__ = ["Signals", "Weighting", "WeightingContext", "build_weighting"]
