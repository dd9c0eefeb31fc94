"""Run the benchmarks: python jobs/bench.py [NAME ...] [--json] [--quick] [--device cuda]

Both sides of a comparison do the same work in the same run, interleaved; results are medians. One JSON object per line:
{"bench", "case", "metric", "value", "unit", "baseline", "baseline_value", "ratio", "runs"} with ratio = value / baseline_value.
Real data of DISTGNN_DATA is used if available, else synthetic motif graphs (see "case").
Results are also written to build/bench/NAME.json.
Names: corpus_build tasks stream l2p_step l2p_variants objectives sampler scaling world simulate plan reading recovery
weighting_step tuner peers.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch
import tyro
from benches.corpus_build import bench_corpus_build
from benches.l2p_step import bench_l2p_step
from benches.l2p_variants import bench_l2p_variants
from benches.measure import Options
from benches.objectives import bench_objectives
from benches.peers import bench_peers
from benches.plan import bench_plan
from benches.reading import bench_reading
from benches.recovery import bench_recovery
from benches.sampler import bench_sampler
from benches.scaling import bench_scaling
from benches.simulate import bench_simulate
from benches.stream import bench_stream
from benches.tasks import bench_tasks
from benches.tuner import bench_tuner
from benches.weighting_step import bench_weighting_step
from benches.world import bench_world
from rich.console import Console
from rich.table import Table

OUT = Path("build/bench")
BENCHES = {
    "corpus_build": bench_corpus_build,
    "tasks": bench_tasks,
    "stream": bench_stream,
    "l2p_step": bench_l2p_step,
    "l2p_variants": bench_l2p_variants,
    "objectives": bench_objectives,
    "sampler": bench_sampler,
    "scaling": bench_scaling,
    "world": bench_world,
    "simulate": bench_simulate,
    "plan": bench_plan,
    "reading": bench_reading,
    "recovery": bench_recovery,
    "weighting_step": bench_weighting_step,
    "peers": bench_peers,
    "tuner": bench_tuner,
}


def run(options: Options) -> None:
    """Run the selected benchmarks and print their results."""
    unknown = set(options.names) - set(BENCHES)
    if unknown:
        sys.stderr.write(f"bench: unknown name {min(unknown)!r}; the names are: {', '.join(BENCHES)}\n")
        raise SystemExit(2)
    OUT.mkdir(parents=True, exist_ok=True)
    table = Table("bench", "case", "metric", "value", "unit", "baseline", "its value", "ratio", "runs")
    for name in options.names or BENCHES:
        lines = []
        for result in BENCHES[name](options):
            lines.append(result)
            table.add_row(
                *(f"{v:,.3g}" if isinstance(v, float) else "" if v is None else str(v) for v in result.values())
            )
            if options.json:
                print(json.dumps(result), flush=True)
        (OUT / f"{name}.json").write_text(json.dumps({"machine": machine(), "lines": lines}, indent=1) + "\n")
    if not options.json:
        Console(width=170).print(table)


def machine() -> dict[str, Any]:
    """Return a description of the hardware and the version of torch."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpus": os.cpu_count(), "processor": platform.processor(), "torch": torch.__version__, "gpu": gpu}


if __name__ == "__main__":
    run(tyro.cli(Options, description=__doc__))
