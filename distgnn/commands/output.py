"""Output of commands: text or JSON on stdout."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Output:
    """Writes results to stdout: text, or one JSON value per line (--json). Progress is written to stderr."""

    json: bool

    def emit(self, value: Any, text: str) -> None:
        """Write a result: ``value`` as JSON, or ``text``."""
        sys.stdout.write((json.dumps(value) if self.json else text) + "\n")
        sys.stdout.flush()
