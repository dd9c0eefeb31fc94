"""Functions that are imported on their first use, by entry point."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def load_function(entry_point: str, freeze: bool = False) -> Callable[..., Any]:
    """Import a function when it is used: commands that need no torch or Ray start without them.

    Args:
        entry_point: ``"module:name"``.
        freeze: Whether the garbage collector leaves out from now on all objects that exist after the import, for processes of our
            own: not for notebooks, whose objects would stay.

    Returns:
        The function.
    """
    module, name = entry_point.split(":")
    known = module in sys.modules
    with collector_paused():
        function = getattr(importlib.import_module(module), name)
        if freeze and not known:
            gc.freeze()
    return function


@contextmanager
def collector_paused() -> Iterator[None]:
    """Context manager in which the garbage collector does not run.

    Imports create many objects and hardly any garbage. Searching all of them, again and again, takes a fifth of the time of an
    import of torch and Ray.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
