"""Run what only a GPU can show, and write one JSON and one page: python jobs/gpu_check.py [CHECK ...] [--out FOLDER]

Each check runs in a process of its own: a failed one cannot disturb the others. The page is ``gpu.md``, the numbers are in
``gpu.json``. On one GPU it takes a few minutes. ``--device cpu`` tries the checks themselves where there is no GPU.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from benches import gpu_costs, gpu_runs, gpu_values
from benches.gpu_values import Finding

CHECKS = {
    "equality": gpu_values.check_equality,
    "precision": gpu_values.check_precision,
    "training": gpu_runs.check_training,
    "labels": gpu_runs.check_labels,
    "nccl": gpu_runs.check_nccl,
    "synchronisation": gpu_costs.check_synchronisation,
    "copies": gpu_costs.check_copies,
    "memory": gpu_costs.check_memory,
    "speed": gpu_costs.check_speed,
}
_TIMED = ("copies", "memory", "speed")
_TAIL = 1500


@dataclass(frozen=True)
class Options:
    """Which checks to run and where."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Checks; none = all."""
    device: Literal["cuda", "cpu"] = "cuda"
    """Device to check."""
    out: Path = Path("build/gpu")
    """Folder for gpu.json and gpu.md."""
    side_by_side: int = 3
    """Checks that run at once; those that measure time run alone afterwards."""
    seconds: float = 300.0
    """Time limit of a check."""
    only: bool = False
    """Run the named check in this process and print its JSON."""


def run(options: Options) -> int:
    """Run the checks; returns the exit status: 0 if all passed."""
    unknown = set(options.names) - set(CHECKS)
    if unknown or (options.device == "cuda" and not torch.cuda.is_available()):
        reason = f"unknown check {min(unknown)!r}; the checks are {', '.join(CHECKS)}" if unknown else "no usable GPU"
        sys.stderr.write(f"gpu_check: {reason}\n")
        return 2
    names = options.names or tuple(CHECKS)
    if options.only:
        print(json.dumps(asdict(CHECKS[names[0]](options.device))))
        return 0
    with ThreadPoolExecutor(options.side_by_side) as pool:
        beside = {name: pool.submit(_apart, name, options) for name in names if name not in _TIMED}
        results = {name: future.result() for name, future in beside.items()}
    results |= {name: _apart(name, options) for name in names if name in _TIMED}
    record = {"machine": machine(), "checks": {name: results[name] for name in names}}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "gpu.json").write_text(json.dumps(record, indent=1) + "\n")
    (options.out / "gpu.md").write_text(page(record))
    return 1 if any(result["failures"] for result in results.values()) else 0


def _apart(name: str, options: Options) -> dict[str, Any]:
    """The finding of a check that runs in a process of its own, with its duration."""
    started = time.perf_counter()
    words = [sys.executable, __file__, name, "--only", "--device", options.device]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=options.seconds, check=False)
        output, errors, status = done.stdout, done.stderr, f"exit status {done.returncode}"
    except subprocess.TimeoutExpired as error:
        output, errors, status = "", (error.stderr or b"").decode(), f"over {options.seconds:g} s"
    lines = output.strip().splitlines()
    try:
        found = json.loads(lines[-1])
    except (IndexError, ValueError):
        found = asdict(Finding(failures=[f"{status}: {errors[-_TAIL:]}"]))
    found["seconds"] = round(time.perf_counter() - started, 1)
    print(f"{name}: {'; '.join(found['failures']) or 'passed'} ({found['seconds']} s)", flush=True)
    return found


def machine() -> dict[str, Any]:
    """Hardware and versions."""
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    packages = {name: version(name) for name in ("torch", "torch-geometric", "ray", "numpy")}
    python = platform.python_version()
    return {"gpus": gpus, "cpus": os.cpu_count(), "cuda": torch.version.cuda, "python": python, **packages}


def page(record: dict[str, Any]) -> str:
    """The findings in Markdown."""
    facts = ", ".join(
        f"{name} {', '.join(value) if isinstance(value, list) else value}" for name, value in record["machine"].items()
    )
    failed = [name for name, check in record["checks"].items() if check["failures"]]
    verdict = f"Failed: {', '.join(failed)}." if failed else "All checks passed."
    parts = ["# GPU check", f"{verdict} Written by `python jobs/gpu_check.py` ({facts})."]
    for name, check in record["checks"].items():
        doc = (CHECKS[name].__doc__ or "").strip()
        parts += [f"## {name.capitalize()}", f"{doc} {' '.join(check['notes'])}".strip(), _table(check["rows"])]
        parts += [f"**Failed:** {failure}" for failure in check["failures"]]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([_cell(row.get(name, "")) for name in head] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


if __name__ == "__main__":
    sys.exit(run(tyro.cli(Options, description=__doc__)))
