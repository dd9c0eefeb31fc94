"""Output of commands: text or JSON on stdout."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

from distgnn.cli import drop_stdout
from distgnn.errors import WorkError, printable


@dataclass(frozen=True)
class Output:
    """Writes results to stdout: text, or one JSON value per line (--json). Progress is written to stderr."""

    json: bool

    def emit(self, value: Any, text: str) -> bool:
        """Write a result: ``value`` as JSON, or ``text`` with control characters escaped.

        Returns:
            Whether the reader is still there; if not (head, less), further output is discarded.

        Raises:
            WorkError: stdout cannot be written to, such as on a full disk. What the command has done is not undone.
        """
        try:
            sys.stdout.write((json.dumps(value) if self.json else printable(text)) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            drop_stdout()
            return False
        except OSError as error:
            drop_stdout()
            raise WorkError(
                f"cannot write the result to stdout: {error.strerror}; the command itself has finished"
            ) from error
        return True
