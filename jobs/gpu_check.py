"""Run the checks that need a GPU: python jobs/gpu_check.py [CHECK ...] [--out FOLDER]

Each check runs in its own process, so that a failure does not affect the others. The results are ``gpu.md`` and ``gpu.json``.
All checks take a few minutes on one GPU. ``--device cpu`` tests the checks themselves without a GPU.
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
    "gloo": gpu_runs.check_gloo,
    "synchronisation": gpu_costs.check_synchronisation,
    "copies": gpu_costs.check_copies,
    "memory": gpu_costs.check_memory,
    "speed": gpu_costs.check_speed,
}
_TIMED = ("copies", "memory", "speed")
_TAIL = 1500


@dataclass(frozen=True)
class Options:
    """Options of jobs/gpu_check.py."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Checks to run; none = all."""
    device: Literal["cuda", "cpu"] = "cuda"
    """Device to check."""
    out: Path = Path("build/gpu")
    """Folder for gpu.json and gpu.md."""
    side_by_side: int = 3
    """Number of checks that run in parallel; checks that measure time run one at a time afterwards."""
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
        futures = {name: pool.submit(_run_check, name, options) for name in names if name not in _TIMED}
        results = {name: future.result() for name, future in futures.items()}
    results |= {name: _run_check(name, options) for name in names if name in _TIMED}
    record = {"machine": machine(), "checks": {name: results[name] for name in names}}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "gpu.json").write_text(json.dumps(record, indent=1) + "\n")
    (options.out / "gpu.md").write_text(page(record))
    return 1 if any(result["failures"] for result in results.values()) else 0


def _run_check(name: str, options: Options) -> dict[str, Any]:
    """Run a check in its own process; return its finding and duration."""
    started = time.perf_counter()
    command = [sys.executable, __file__, name, "--only", "--device", options.device]
    threads = max((os.cpu_count() or 1) // options.side_by_side, 1)  # checks that share cores would wait for each other
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=options.seconds, check=False, env=environment
        )
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
    """Return hardware and versions."""
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    packages = {name: version(name) for name in ("torch", "torch-geometric", "ray", "numpy")}
    python = platform.python_version()
    return {"gpus": gpus, "cpus": os.cpu_count(), "cuda": torch.version.cuda, "python": python, **packages}


def page(record: dict[str, Any]) -> str:
    """Return the findings as Markdown."""
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
