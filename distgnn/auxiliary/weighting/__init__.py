"""Ways to weigh auxiliary losses, one file each behind one signature."""

from distgnn.auxiliary.weighting.methods import METHODS, build_weighting
from distgnn.auxiliary.weighting.signals import Signals, Weighting

__all__ = ["METHODS", "Signals", "Weighting", "build_weighting"]
