"""The command ``distgnn doctor``: one line per check, with a remedy if it fails."""

from __future__ import annotations

from distgnn.commands.output import Output
from distgnn.config import DoctorConfig
from distgnn.loading import load_function


def doctor(config: DoctorConfig, output: Output) -> int:
    """Print each check as it completes; returns 1 if a check failed."""
    failed = 0
    for check in load_function("distgnn.scale.doctor.examine:examine")(config):
        failed += check.status == "fail"
        value = {"check": check.name, "status": check.status, "message": check.message}
        output.emit(value, f"{check.status:<5}{check.name:<14} {check.message}")
    return 1 if failed else 0
