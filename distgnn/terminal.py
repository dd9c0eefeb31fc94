"""Console of standard error, for progress."""

from __future__ import annotations

import sys

from rich.console import Console


def stderr_console() -> Console:
    """Return a console that writes plain lines unless standard error is a terminal.

    Without these arguments, rich writes control characters in notebooks, whose kernels set FORCE_COLOR.
    """
    return Console(stderr=True, highlight=False, force_jupyter=False, force_terminal=sys.stderr.isatty())
