"""Output of commands: text or JSON on stdout."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

from distgnn.errors import printable


@dataclass(frozen=True)
class Output:
    """Writes results to stdout: text, or one JSON value per line (--json). Progress is written to stderr."""

    json: bool

    def emit(self, value: Any, text: str) -> None:
        """Write a result: ``value`` as JSON, or ``text`` with control characters escaped."""
        sys.stdout.write((json.dumps(value) if self.json else printable(text)) + "\n")
        sys.stdout.flush()
