"""What Ray Train's controller knows of the ranks of a training on CPUs.

TorchTrainer imports torch in the controller too, before it starts any rank. Here the controller imports this module, and the ranks
import torch and what they train, by its entry point, and form the process group themselves.
"""

from __future__ import annotations

from typing import Any

from distgnn.loading import load_function


def run_rank(settings: dict[str, Any]) -> None:
    """Run one rank; see :func:`distgnn.scale.train.rank.run`."""
    load_function("distgnn.scale.train.rank:run", freeze=True)(**settings)
