# %% [markdown]
# # A cluster on one machine, and a killed worker
#
# Two training processes under Ray Train; one of them is killed with SIGKILL. Ray starts a new group of workers, which continues from the newest checkpoint, and the losses are
# those of a run without the kill. On a real cluster only the address differs (docs/cluster.md).

# %%
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import ray

import distgnn as dg
from distgnn.scale.pool import start_ray

folder = Path(os.environ.get("DISTGNN_EXAMPLES", "build/examples")) / "cluster"
dg.build_corpus("motifs", graphs=600, unit_rows=32, out=folder / "corpus", overwrite=True)
start_ray(4)

# %% [markdown]
# A thread waits for step 20 and then kills a worker. It finds the workers in /proc: those of this Ray whose title names Ray Train's worker.

# %%
name = f"killed-{time.strftime('%H%M%S')}"


def workers() -> list[int]:
    """Process ids of training workers below this process."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if b"TrainWorker" in (process / "cmdline").read_bytes() and os.getpid() in parents(int(process.name)):
                found.append(int(process.name))
        except (OSError, ValueError):
            continue
    return found


def parents(number: int) -> list[int]:
    """Process ids above a process."""
    above = int((Path("/proc") / str(number) / "stat").read_text().rpartition(")")[2].split()[1])
    return [above, *parents(above)] if above > 1 else []


def kill_one() -> None:
    """Kill a worker after step 20."""
    while True:
        time.sleep(0.1)
        try:
            if dg.Run.open(str(folder / "runs" / name)).progress["step"] >= 20:
                break
        except dg.RequestError:
            continue
    victim = workers()[-1]
    print("kills process", victim)
    os.kill(victim, signal.SIGKILL)


killer = threading.Thread(target=kill_one, daemon=True)
killer.start()

# %%
train = {
    "epochs": 6,
    "streams": 2,
    "checkpoint_every": 10,
    "validate_every": 0,
    "log_seconds": 0.0,
    "device": "cpu",
    "exact": True,
}
options = {"corpus": folder / "corpus", "out": folder / "runs", "encoder": {"layers": 3, "width": 32}, "train": train}
run = dg.pretrain(name=name, workers=2, max_failures=2, **options)
ray.shutdown()
print(run.status, "after step", run.progress["step"], "- repeated steps:", run.progress["lost"])

# %% [markdown]
# The same run in this process, without a kill. Order, tasks and samples are functions of (seed, epoch, graph), and `train.exact` sums in float64, stream by stream: the curves are the same for any number of workers.

# %%
alone = dg.pretrain(name=f"{name}-alone", **options)
both = run.table.merge(alone.table, on="step", suffixes=("", "_alone"))
difference = np.abs(both["loss"] / both["loss_alone"] - 1).max()
print(f"largest relative difference of a loss: {difference:.1e}")
assert killer.is_alive() is False
assert difference < 1e-9
