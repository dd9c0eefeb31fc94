"""Initial encoders: read from the encoder files alone, with names that tell checkpoints apart."""

from pathlib import Path

from distgnn.auxiliary.data_source import InitialEncoder
from tests.helpers.training import small, train_small


def test_checkpoints_are_named_after_runs_and_steps(corpus: str, tmp_path: Path) -> None:
    folder = Path(train_small(small(corpus, tmp_path, "run", epochs=1, checkpoint_every=4)).folder.path)
    steps = sorted((folder / "checkpoints").iterdir())
    names = [found.name for found in InitialEncoder.load_all(list(map(str, steps)))]
    assert names == [f"run@{int(step.name[5:])}" for step in steps]
    assert len(set(names)) == 2
    for step in steps:  # one checkpoint of a run needs neither the optimizer's state nor the counters
        (step / "state.safetensors").unlink()
        (step / "state.json").unlink()
    (alone,) = InitialEncoder.load_all([str(folder)])
    assert alone.name == "run"
