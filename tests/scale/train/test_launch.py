"""Start of ranks on Ray Train: what the controller gets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import ray.cloudpickle
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer

from distgnn.scale.private import RankTrainer
from distgnn.scale.train.datasets import Numbers, ReadBlock, UnitConfig, one_row
from distgnn.scale.train.launch import run_rank
from distgnn.scale.train.recovery import RecoveryCallback, ResizeCallback
from distgnn.scale.train.trainer import rank_trainer, run_config
from distgnn.storage.folder import open_folder


def test_the_controller_imports_no_torch(tmp_path: Path) -> None:
    """Which takes 1.5 CPU seconds, before any rank starts."""
    callbacks = RecoveryCallback("run", 1.0), ResizeCallback("run")
    data = UnitConfig.__new__(UnitConfig), one_row, Numbers(range(2), 2), ReadBlock.__new__(ReadBlock)
    file = tmp_path / "pickled"
    sent = RankTrainer, run_rank, *callbacks, *data
    file.write_bytes(ray.cloudpickle.dumps(sent))  # pyright: ignore[reportPrivateImportUsage]
    code = "import sys, ray.cloudpickle as c; c.loads(open(sys.argv[1], 'rb').read()); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_on_gpus_torch_trainer_forms_the_group(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path))
    made = [rank_trainer("m:f", {}, ScalingConfig(use_gpu=gpu), run_config(folder, "run", 0)) for gpu in (True, False)]
    assert [type(trainer) for trainer in made] == [TorchTrainer, RankTrainer]
