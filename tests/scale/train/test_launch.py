"""Start of ranks on Ray Train: what the controller gets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import ray.cloudpickle
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from distgnn.scale.train.datasets import Numbers, ReadBlock, UnitConfig, one_row
from distgnn.scale.train.launch import RanksConfig, run_rank
from distgnn.scale.train.recovery import RecoveryCallback, ResizeCallback


def test_the_controller_imports_no_torch(tmp_path: Path) -> None:
    """Which takes 1.5 CPU seconds, before any rank starts."""
    callbacks = RecoveryCallback("run", 1.0), ResizeCallback("run")
    data = UnitConfig.__new__(UnitConfig), one_row, Numbers(range(2), 2), ReadBlock.__new__(ReadBlock)
    file = tmp_path / "pickled"
    sent = DataParallelTrainer, run_rank, RanksConfig(), *callbacks, *data
    file.write_bytes(ray.cloudpickle.dumps(sent))  # pyright: ignore[reportPrivateImportUsage]
    code = "import sys, ray.cloudpickle as c; c.loads(open(sys.argv[1], 'rb').read()); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_ranks_see_all_gpus_of_their_node() -> None:
    assert RanksConfig().backend_cls().share_cuda_visible_devices
