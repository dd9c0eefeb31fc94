"""The same with distgnn, with checkpoints and a history: python distgnn_pretrain.py OBJECTIVE CORPUS STEPS OUT."""

import json
import sys
import time
from pathlib import Path

import distgnn as dg

(objective, corpus, steps), pretrain = sys.argv[1:4], dg.pretrain
start = time.perf_counter()
run = pretrain(
    corpus=corpus,
    objective=objective,
    out=sys.argv[4],
    encoder={"kind": "gin", "layers": 3, "width": 64, "norm": "batch"},
    train={"max_steps": int(steps), "epochs": 1000, "streams": 4, "graphs_per_stream": 16, "validate_every": 0},
)
seconds = time.perf_counter() - start
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024 / 1e6
print(
    json.dumps({"seconds": seconds, "graphs": int(steps) * 64, "mb": peak, "loss": run.table["loss"].dropna().iloc[-1]})
)
