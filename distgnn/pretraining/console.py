"""Console progress of a run on stderr: one live line on a terminal, plain lines otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from distgnn.errors import printable
from distgnn.pretraining.history import Snapshot
from distgnn.terminal import notebook_line, stderr_console

_SHOWN = (("loss", "loss", "{:.4f}"), ("link_accuracy", "link acc", "{:.3f}"), ("adaptation_gain", "gain", "{:+.4f}"))


def describe(snapshot: Snapshot) -> str:
    """One line: step, loss, metrics of the objective, throughput, share of time waiting for data, memory, time left."""
    metrics, validation = snapshot["metrics"], snapshot["validation"]
    parts = [f"step {snapshot['step']}/{snapshot['total']}"]
    parts += [f"{label} {style.format(metrics[name])}" for name, label, style in _SHOWN if name in metrics]
    if "loss" in validation:
        parts.append(f"val loss {validation['loss']:.4f}")
    counted = snapshot.get("counted", "graphs")
    if (rate := metrics.get(f"{counted}_per_s")) is not None:
        parts.append(f"{rate:,.0f} {counted}/s")
    if "data_wait" in metrics:
        parts.append(f"data wait {metrics['data_wait']:.0%}")
    if "peak_memory_mb" in metrics:
        parts.append(f"peak {metrics['peak_memory_mb']:,.0f} MB")
    if metrics.get("skipped_steps"):
        parts.append(f"{metrics['skipped_steps']:.0f} steps skipped")
    if snapshot["status"] != "running":
        parts.append(snapshot["status"])
    elif snapshot["seconds_left"] is not None:
        parts.append(f"{timedelta(seconds=round(snapshot['seconds_left']))} left")
    return " | ".join(parts)


class Screen:
    """Console on stderr with an optional live line; a context manager that restores the terminal.

    Attributes:
        console: The rich console.
        live: The live line; None if stderr is not a terminal.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or stderr_console()
        self.live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None

    def __enter__(self) -> Self:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()

    def say(self, line: str) -> None:
        """Print a line above the live line."""
        self.console.print(printable(line), soft_wrap=True, markup=False)


class Display(Screen):
    """Shows snapshots of a run: on a terminal and in a notebook in one place, elsewhere as lines."""

    _line: Callable[[str], None] | None = None

    def __enter__(self) -> Self:
        self._line = notebook_line()
        return super().__enter__()

    def show(self, snapshot: Snapshot) -> None:
        """Show a snapshot."""
        line = describe(snapshot)
        if self._line:
            self._line(f"{time.strftime('%H:%M:%S')} {printable(line)}")
        elif self.live:
            # Text wraps on a narrow terminal, so the time left stays visible.
            self.live.update(Text(printable(line)), refresh=True)
        else:
            self.say(f"{time.strftime('%H:%M:%S')} {line}")
