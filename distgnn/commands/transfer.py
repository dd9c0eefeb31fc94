"""The command ``distgnn transfer``."""

from __future__ import annotations

from distgnn.api.transfer import transfer as run_comparison
from distgnn.commands.output import Output
from distgnn.config import TransferConfig


def transfer(config: TransferConfig, output: Output) -> int:
    """Compare weighting methods and print the tables."""
    results = run_comparison(config)
    output.emit(results.to_json(), f"{results}\nwritten to {results.uri}")
    return 0
