"""Initial encoders: read from the encoder files alone, with names that tell checkpoints apart."""

import shutil
from pathlib import Path

from distgnn.auxiliary.data_source import InitialEncoder
from tests.helpers.training import small, train_small


def test_checkpoints_are_named_after_runs_and_steps(corpus: str, tmp_path: Path) -> None:
    folder = Path(train_small(small(corpus, tmp_path, "ours", epochs=1, checkpoint_every=4)).folder.path)
    steps = sorted((folder / "checkpoints").iterdir())
    for step in steps:  # neither the optimizer's state nor the counters are needed
        (step / "state.safetensors").unlink()
        (step / "state.json").unlink()
    shutil.copytree(steps[0], tmp_path / "copy")
    (alone,) = InitialEncoder.load_all([str(folder)])
    assert alone.name == "ours"
    names = [found.name for found in InitialEncoder.load_all([*map(str, steps), str(tmp_path / "copy")])]
    assert names == [*(f"ours@{int(step.name[5:])}" for step in steps), "ours@copy"]
    assert len(set(names)) == len(names) == 3
