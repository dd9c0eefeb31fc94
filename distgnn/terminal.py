"""Console of standard error, for progress."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rich.console import Console

from distgnn.loading import load_function


def stderr_console() -> Console:
    """Return a console that writes plain lines unless standard error is a terminal.

    Without these arguments, rich writes control characters in notebooks, whose kernels set FORCE_COLOR.
    """
    return Console(stderr=True, highlight=False, force_jupyter=False, force_terminal=sys.stderr.isatty())


def notebook_line() -> Callable[[str], None] | None:
    """Return a function that shows a text in place of the one before, below the running cell; None outside notebooks."""
    ipython = sys.modules.get("IPython")  # a kernel has imported it
    shell = ipython.get_ipython() if ipython else None
    if getattr(shell, "kernel", None) is None:
        return None
    shown = load_function("IPython.display:display")({"text/plain": ""}, raw=True, display_id=True)
    return None if shown is None else lambda text: shown.update({"text/plain": text}, raw=True)
