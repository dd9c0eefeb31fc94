"""Cost of a checkpoint's pre-training."""

from __future__ import annotations

from distgnn.checkpoint.format import load_saved_encoder, load_state
from distgnn.errors import RequestError, WorkError


def pretraining_cost(uri: str) -> dict[str, float]:
    """Return the graphs and CPU seconds of the training steps of a checkpoint, with those of the checkpoint it started from.

    Args:
        uri: The checkpoint or run.

    Returns:
        "graphs" and "cpu_seconds"; only those that are recorded by all runs in the chain of ``init``.

    Raises:
        RequestError: There is no complete checkpoint at ``uri``.
    """
    own, init = load_state(uri).metrics.get("cost", {}), load_saved_encoder(uri).run.get("init")
    if not init:
        return own
    try:
        before = pretraining_cost(str(init))
    except (RequestError, WorkError):  # it has been deleted or cannot be reached
        return {}
    return {name: value + before[name] for name, value in own.items() if name in before}
