"""Fuzz all readers and commands with mutated real files: python jobs/fuzz.py [--inputs 10000] [--seed 0] [--workers 2]

Each batch runs in a process of its own with a bound on its memory; each input has ten seconds. Findings are tracebacks, hangs,
growth of memory by more than 1 GiB, control characters in the output, and files that differ from their checksum and are
accepted. A finding names (seed, number): --seed S --first N --inputs 1 repeats it. Exit code 1 if there are findings.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BATCH = 250
_MINUTES = 40


def main() -> int:
    """Build the seeds, run the batches, print findings and counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", default="", help="folder of seeds to keep and use again")
    asked = parser.parse_args()
    start, counts = time.monotonic(), Counter[str]()
    with tempfile.TemporaryDirectory() as work:
        seeds = Path(asked.seeds or f"{work}/seeds")
        if not seeds.exists():
            seeds.mkdir(parents=True)
            code = "import sys, pathlib; from jobs.fuzzing.seeds import build_seeds; build_seeds(pathlib.Path(sys.argv[1]))"
            subprocess.run(
                [sys.executable, "-c", code, str(seeds)], check=True, env=_environment(), capture_output=True
            )
        stop = asked.first + asked.inputs
        batches = [(at, min(BATCH, stop - at)) for at in range(asked.first, stop, BATCH)]
        with ThreadPoolExecutor(asked.workers) as pool:
            for lines in pool.map(lambda batch: _run(seeds, Path(work), asked.seed, *batch), batches):
                _note(lines, counts)
    print(json.dumps({**counts, "seconds": round(time.monotonic() - start)}))
    return int(any(name not in ("inputs", "accepted", "refused", "peak_mib") for name in counts))


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_ADDRESS": ""}


def _run(seeds: Path, work: Path, seed: int, first: int, count: int) -> list[dict[str, Any]]:
    """Run a batch; a process that dies is a finding."""
    words = [
        sys.executable,
        "-m",
        "jobs.fuzzing.worker",
        str(seeds),
        str(work / f"batch-{first}"),
        str(seed),
        str(first),
        str(count),
    ]
    try:
        done = subprocess.run(
            words, env=_environment(), capture_output=True, text=True, timeout=60 * _MINUTES, cwd=ROOT
        )
    except subprocess.TimeoutExpired:
        return [{"outcome": "hang", "detail": "the process of the batch", "seed": seed, "number": first}]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode or not lines or "counts" not in lines[-1]:
        detail = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        lines.append({"outcome": "process died", "detail": detail[0], "seed": seed, "number": first})
    return lines


def _note(lines: list[dict[str, Any]], counts: Counter[str]) -> None:
    for line in lines:
        if "counts" in line:
            for name in ("inputs", "accepted", "refused"):
                counts[name] += line["counts"].get(name, 0)
            counts["peak_mib"] = max(counts["peak_mib"], line["peak_mib"])
        else:
            counts[line["outcome"]] += 1
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main())
