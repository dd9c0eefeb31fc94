"""The command distgnn transfer: files, output and one-line errors."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from distgnn.cli import main
from distgnn.config import to_json
from tests.helpers.transfers import config, write, write_network

BOTH = ("scratch", "pretrained")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(str(tmp_path_factory.mktemp("transfer") / "corpus"))


def test_files_and_output_of_the_command(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = config(data, str(tmp_path / "out"), schemes=BOTH, methods=("auxts_one",))
    (tmp_path / "config.json").write_text(json.dumps(to_json(settings)))
    words = ["transfer", "--config", str(tmp_path / "config.json"), "--json"]
    assert main(words) == 0
    value, progress = (text.strip() for text in capsys.readouterr())
    lines = progress.splitlines()
    assert lines[0].startswith("4 trainings of at most ")
    assert lines[1].startswith("1/5 auxiliary tasks alone, gin, pretrained, seed 0: done | 0:00:")
    assert lines[-1].startswith("5/5 auxts_one, gin, pretrained, seed 0: test roc_auc 0.")
    assert lines[-1].endswith(" s | 0:00:00 left")
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "config.json", "curves.parquet", "environment.json", "jobs", "pictures", "results.json", "table.md",
    ]  # fmt: skip
    assert json.loads(value) == json.loads((out / "results.json").read_text())
    assert json.loads(value)["tasks"] == ["target", "edgepred", "attrmasking"]
    assert json.loads((out / "config.json").read_text()) == to_json(settings)
    assert pq.read_table(out / "curves.parquet").num_rows == 4 * 4 * 3
    assert main(words) == 0
    again, progress = (text.strip() for text in capsys.readouterr())
    assert (again, progress) == (value, lines[0])


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_network(str(tmp_path_factory.mktemp("network") / "n"))


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["transfer", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


WRONG = {
    "--data /nowhere": "/nowhere: neither a corpus nor a network here",
    "--data x --methods magic": "methods='magic' is unknown (there are auxts_all",
    "--data x --schemes magic": "schemes: ['magic'] is none of scratch, pretrained, auto",
    "--data x --methods fixed fixed": "methods must name each once",
    "--data x --methods": "methods must name at least one",
    "--data x --seeds 0": "seeds must be at least 1",
    "--data x --lr -1": "lr must not be negative",
    "--data x --batch -1": "batch must not be negative",
    "--data x --workers 2 --ranks 2": "workers and ranks",
    "--data x --workers 2 --device cuda": "device=cuda needs workers=1",
    "--data x --checkpoint c --encoders gin": "checkpoints determine the encoder",
    "--data x --checkpoint c --schemes scratch": "checkpoint is only used by scheme pretrained",
    "--data x --pretrain-epochs 0": "needs pretrain_epochs",
    "--data x --weighting.method selar": "set methods instead",
    "--data x --weighting.horizon 0": "weighting.horizon must be at least 1",
    "--data x --weighting.horizon 2 --weighting.judge folds": "weighting.horizon=2 needs lookahead=optimiser",
    "--data x --weighting.method library --weighting.library a:B": "methods lacks library",
    "--data x --methods library": "methods: library needs weighting.method=library",
    "--data x --corpus.auxiliary magic": "corpus.auxiliary='magic' is unknown (there are attrmasking",
    "--data x --imports no.such.module": "imports: 'no.such.module' cannot be imported",
    "--data DATA --corpus.split.method random --ranks 2": "ranks=2 exceeds corpus.streams=1",
    "--data DATA --corpus.split.method random --encoders magic": "encoder.kind='magic' is unknown",
    "--data DATA --corpus.split.method random --corpus.labels magic": "no label column 'magic'",
    "--data DATA --corpus.split.method random --checkpoint /nowhere": "/nowhere: no complete checkpoint here",
    "--data DATA --corpus.split.method random --corpus.auxiliary edgepred@corpus --corpus.aux-corpus /nowhere": "no corpus here",
    "--data DATA --corpus.split.method random --methods fixed --weighting.method fixed --weighting.fixed 1 1": "fixed",
    "--data DATA --corpus.split.method random --schemes auto --corpus.auxiliary": "there is no auxiliary task to train first",
    "--data x --methods fixed --weighting.fixed 0 1 1": "weighting.fixed gives the target, the first task, the weight 0",
    "--data DATA --corpus.split.method random --methods fixed --weighting.method fixed --weighting.fixed 1 1 1 1": "holds 4",
    "--data DATA --corpus.split.method random --corpus.objectives.attrmasking.target edge": "edge",
    "--data NETWORK --encoders magic": "network.encoder='magic' is unknown",
    "--data NETWORK --checkpoint c --schemes pretrained": "is a network",
    "--data NETWORK --network.auxiliary magic": "magic",
    "--data NETWORK --corpus.auxiliary graphcl": "is a network, which no option of corpus applies to; use those of network",
    "--data DATA --network.loss bpr --network.layers 5": "network.layers: DATA is a corpus, which no option of network applies",
}


@pytest.mark.parametrize(("words", "says"), WRONG.items())
def test_wrong_requests_are_one_line(
    data: str, network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, says: str
) -> None:
    arguments = words.replace("DATA", data).replace("NETWORK", network).split()
    assert says.replace("DATA", data) in refused(capsys, *arguments, "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out" / "jobs").exists()
