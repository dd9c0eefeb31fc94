"""The figures and the table of AUX-TS from small trainings: pairs of weights and scales, shared trainings, and refused options."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from distgnn.config import TransferConfig
from tests.helpers.transfers import write_network

JOB = Path(__file__).resolve().parents[2] / "jobs/auxts_paper.py"
OPTIONS = (
    *(
        "--network.auxiliary",
        "attribute_generation",
        "edge_generation",
        "--network.width",
        "8",
        "--network.aux-batch",
        "8",
    ),
    *("--network.negatives", "4", "--weighting.hidden", "8", "--weighting.judge", "folds", "--device", "cpu"),
    *("--weighting.start", "0", "--weighting.lookahead", "gradient", "--weighting.moments", "joint"),
    *("--methods", "auxts_all", "--schemes", "auto", "--seeds", "1", "--epochs", "2", "--batch", "18"),
    *("--pretrain-epochs", "1", "--weights", "0", "1", "--scales", "1", "5"),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("paper")
    network = write_network(str(folder / "n"))
    spec = importlib.util.spec_from_file_location(JOB.stem, JOB)
    assert spec
    assert spec.loader
    job = importlib.util.module_from_spec(spec)
    sys.modules[JOB.stem] = job  # where the types of its config are looked up
    spec.loader.exec_module(job)

    def command(*more: str) -> Path:
        assert job.main(["--data", network, "--out", str(folder / "out"), *OPTIONS, *more]) == 0
        return folder / "out"

    command.job, command.network = job, network  # pyright: ignore[reportFunctionMemberAccess]
    return command


def test_every_pair_is_trained_once(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run()
    found = json.loads((folder / "results.json").read_text())
    assert [one["pair"] for one in found["weights"]] == [[0, 1], [1, 0], [1, 1]]
    assert [one["pair"] for one in found["scales"]] == [[1, 1], [1, 5], [5, 1], [5, 5]]
    pictures = {path.name for path in (folder / "pictures").iterdir()}
    assert {"figure-1.png", "figure-6.png", "scratch-gcn-auxts_all.png", "pretrained-gcn-validation.png"} <= pictures
    assert "attribute_generation=5, edge_generation=1" in (folder / "table.md").read_text()
    jobs = sorted((folder / "jobs").iterdir())
    # By scheme: none, auxts_all, selar; three pairs of weights; none and two methods with each of three scales. And the
    # pre-trainings with each pair of scales.
    assert len(jobs) == 2 * (3 + 3 + 3 * 3) + 4
    capsys.readouterr()
    run()
    assert sorted((folder / "jobs").iterdir()) == jobs
    assert "1/" not in capsys.readouterr().err


def test_weights_and_scales_of_the_trainings(run: Any) -> None:
    results = {}
    for pair in ((0.0, 1.0), (1.0, 1.0)):
        settings = run.job.PaperConfig(TransferConfig(run.network)).with_weights(pair)
        results[pair] = settings.weighted("fixed").fixed
        assert settings.weighted("none").fixed == ()
    assert results == {(0.0, 1.0): (1.0, 0.0, 1.0), (1.0, 1.0): (1.0, 1.0, 1.0)}
    scaled = run.job.PaperConfig(TransferConfig(run.network)).with_scales((1.0, 5.0))
    assert scaled.loss_scales == (1.0, 5.0)
    assert scaled.methods == ("selar", "auxts_all")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--network.auxiliary", "attribute_generation"), "1 auxiliary tasks; name two"),
        (("--loss-scales", "1", "2"), "are set by this command"),
        (("--encoders", "gcn", "gin"), "of one encoder"),
    ],
)
def test_refused_options(run: Any, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(*words)
