"""The command ``distgnn report``."""

from __future__ import annotations

from distgnn.api.report import write_report
from distgnn.commands.output import Output
from distgnn.options import ReportOptions


def report(options: ReportOptions, output: Output) -> int:
    """Write one page about the folders."""
    uri = write_report(options.folders, options.out)
    output.emit({"report": uri, "folders": list(options.folders)}, uri)
    return 0
