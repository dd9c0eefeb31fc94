"""Output of commands."""

from __future__ import annotations

import json
import sys
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
