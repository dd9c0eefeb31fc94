"""Where results go, and how a command finds code that is slow to import."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Output:
    """Results on stdout: text for people, or one JSON value a line for machines (--json). Progress goes to stderr."""

    json: bool

    def emit(self, value: Any, text: str) -> None:
        """Print a result: ``value`` as JSON, or ``text``."""
        sys.stdout.write((json.dumps(value) if self.json else text) + "\n")
        sys.stdout.flush()


def load_function(home: str) -> Callable[..., Any]:
    """The function at 'module:name', whose module is imported now."""
    module, name = home.split(":")
    return getattr(importlib.import_module(module), name)
