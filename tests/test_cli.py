"""The command line: results on stdout, one-line errors, exit codes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from distgnn.checkpoint.format import load_checkpoint
from distgnn.cli import main
from distgnn.commands.dispatch import COMMANDS
from distgnn.errors import RequestError, WorkError
from distgnn.options import split_globals
from tests.helpers.corpora import motifs

SMALL = ["--encoder.layers=2", "--encoder.width=8", "--train.max-steps=3", "--train.streams=3", "--train.device=cpu"]


@pytest.fixture(scope="module")
def run(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of the command."""
    out = tmp_path_factory.mktemp("cli")
    assert main(["pretrain", "--corpus", corpus, "--out", str(out), "--name", "first", *SMALL]) == 0
    return str(out / "first")


def complaint(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> str:
    """Return the one line that a failing command writes."""
    assert main(list(words)) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("distgnn: error: ")
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    return err


WRONG = {
    "frobnicate": "unknown command 'frobnicate'",
    "corpus frobnicate": "unknown command 'corpus frobnicate'",
    "pretain --corpus x": "unknown command 'pretain'; did you mean 'pretrain'? The commands are: corpus build",
    "corpus biuld motifs": "did you mean 'corpus build'?",
    "corpus build molecules --input tests --out x": "tests: is a folder; give its files",
    "corpus build": "the kinds are: arrays, biblio, molecules",
    "corpus build frobnicate": "kind='frobnicate' is unknown (there are arrays",
    "corpus build motifs": "--out",
    "pretrain": "--corpus",
    "pretrain --corpus /nowhere": "/nowhere: no corpus here",
    "pretrain --corpus x --train.lr fast": "--train.lr",
    "pretrain --corpus x --train.epochs 0": "distgnn: error: train.epochs must be at least 1, found 0",
    "pretrain --corpus x --workers 9": "raise train.streams",
    "pretrain --corpus x --objective magic": "objective='magic' is unknown (there are none, attrmasking, contextpred",
    "pretrain --corpus x --set train.lr=1": "--set: was removed; give --train.lr 1 instead",
    "pretrain --corpus x --set": "--set: was removed",
    "pretrain --corpus x --tran.lr 1": "--tran.lr",
    "pretrain --corpus x --epochs 3": "Unrecognized options: --epochs, 3: Perhaps you meant: --train.epochs; see distgnn",
    "pretrain --config /nowhere.json": "--config /nowhere.json: cannot be read",
    "pretrain --resume /nowhere": "/nowhere: no run here",
    "pretrain --resume a --resume b": "--resume: given twice",
    "pretrain --resume a --config b": "leave --config out",
    "status --resume a b": "--resume is an option of pretrain and tune",
    "status": "Run folder",
    "status /nowhere": "no progress.json here",
    "push /nowhere /tmp/x": "/nowhere: no complete checkpoint here",
    "pull /nowhere": "/nowhere: no complete checkpoint here",
    "finetune --corpus /nowhere": "/nowhere: no corpus here",
    "analyse --corpus x": "checkpoint: there is nothing to analyse; give checkpoints or runs",
    "analyse --corpus x --checkpoint /nowhere": "/nowhere: no complete checkpoint here",
    "finetune --corpus x --checkpoint /nowhere": "/nowhere: no complete checkpoint here",
    "corpus verify /nowhere": "/nowhere: no corpus here",
    "corpus stat /nowhere": "/nowhere: no corpus here",
    "corpus cat /nowhere": "/nowhere: no corpus here",
}


@pytest.mark.parametrize(("words", "says"), WRONG.items())
def test_wrong_requests_are_one_line_and_exit_2(capsys: pytest.CaptureFixture[str], words: str, says: str) -> None:
    assert says in complaint(capsys, 2, *words.split())


@pytest.mark.parametrize(
    ("error", "code"), [(RequestError("a\nb"), 2), (WorkError("disk full"), 1), (KeyboardInterrupt(), 130)]
)
def test_exit_codes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("distgnn.checkpoint.push_pull.pull", fail)
    complaint(capsys, code, "pull", "x")


@pytest.mark.parametrize("path", COMMANDS)
def test_every_help_has_an_example(capsys: pytest.CaptureFixture[str], path: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([*path, "--help"])
    text = capsys.readouterr().out
    assert f"usage: distgnn {' '.join(path)}" in text
    assert "Example: distgnn" in text
    assert "--config FILE" in text


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("pretrain", "The graph encoder (psi) and its pooling (omega)."),
        ("finetune", "Encoder of the control if no checkpoint is given; otherwise the checkpoint's encoder is used."),
    ],
)
def test_help_of_a_group_is_the_docstring_of_its_field_or_of_its_class(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str, says: str
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert says in capsys.readouterr().out


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_overview(capsys: pytest.CaptureFixture[str], word: str) -> None:
    assert main([word]) == 0
    assert "For example" in capsys.readouterr().out


def test_no_words_show_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "distgnn corpus build KIND" in capsys.readouterr().out


def test_pretrain_and_status(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = load_checkpoint(run)
    assert checkpoint.step == 3
    assert checkpoint.encoder.width == 8
    assert main(["status", run, "--json"]) == 0
    snapshot = json.loads(capsys.readouterr().out)
    assert (snapshot["run"], snapshot["status"], snapshot["step"]) == ("first", "finished", 3)
    assert snapshot["checkpoint"] == "checkpoints/step-000000003"
    assert main(["status", run]) == 0
    assert "first | step 3/3 | loss" in capsys.readouterr().out


def test_the_status_of_a_killed_run_says_since_when_it_is_silent(
    tmp_path: Path, run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shot = json.loads((Path(run) / "progress.json").read_text()) | {"status": "running", "seconds_left": 60.0}
    for age, says in ((5, False), (600, True)):
        (tmp_path / "progress.json").write_text(json.dumps(shot | {"updated": time.time() - age}))
        assert main(["status", str(tmp_path)]) == 0
        remedy = f"nothing written for 0:10:00; if its process has ended, continue with: distgnn pretrain --resume {tmp_path}"
        assert (remedy in capsys.readouterr().out) == says


def test_a_run_is_not_started_twice(run: str, corpus: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pretrain", "--corpus", corpus, "--out", str(Path(run).parent), "--name", "first", *SMALL]
    assert "continue it with --resume" in complaint(capsys, 2, *words)


def test_a_failed_start_leaves_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    complaint(capsys, 2, "pretrain", "--corpus", str(tmp_path), "--out", str(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_an_unwritable_target(corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    words = ["pretrain", "--corpus", corpus, "--out", str(tmp_path / "file"), *SMALL]
    assert "choose another place" in complaint(capsys, 2, *words)


def test_a_saved_config_gives_the_same_run(run: str, tmp_path: Path) -> None:
    assert main(["pretrain", "--config", f"{run}/config.json", "--out", str(tmp_path)]) == 0
    actual, expected = (load_checkpoint(folder).model for folder in (str(tmp_path / "first"), run))
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


def test_flags_over_a_config_and_json(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pretrain", f"--config={run}/config.json", "--train.seed", "5", "--name=second", "--json"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["status"] == "finished"
    assert value["folder"] == str(tmp_path / "second")
    found = load_checkpoint(value["checkpoint"])
    assert found.run["train"] == load_checkpoint(run).run["train"] | {"seed": 5}


def test_run_ids_are_unique(corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert main(["pretrain", "--corpus", corpus, "--out", str(tmp_path), "--objective", "none", *SMALL]) == 0
    assert len(list(tmp_path.iterdir())) == 2
    capsys.readouterr()


def test_resume_refuses_options_that_change_the_losses(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = complaint(capsys, 2, "pretrain", "--resume", run, "--train.lr", "0.5")
    assert "train.lr=0.5 differs from the run's 0.001" in said
    assert main(["pretrain", "--resume", run, "--train.log-seconds", "1"]) == 0
    assert json.loads(Path(run, "config.json").read_text())["train"]["log_seconds"] == 1


def test_an_invalid_config_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text, says in (("{", "not JSON"), ('{"corpus": "x", "speed": 1}', "unknown field"), ("{}", "corpus")):
        (tmp_path / "c.json").write_text(text)
        assert says in complaint(capsys, 2, "pretrain", "--config", str(tmp_path / "c.json"))


def test_split_globals() -> None:
    options, rest = split_globals(["--json", "a", "--config", "f", "--b", "c"])
    assert (options.json, options.config, options.resume) == (True, "f", "")
    assert rest == ["a", "--b", "c"]


def test_corpus_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uri = str(tmp_path / "c")
    assert main(["corpus", "build", "motifs", "--graphs", "50", "--out", uri, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["graphs"] == 50
    assert "already exists" in complaint(capsys, 2, "corpus", "build", "motifs", "--graphs", "50", "--out", uri)
    assert main(["corpus", "verify", uri]) == 0
    assert "50 graphs, no problems" in capsys.readouterr().out
    assert main(["corpus", "stat", uri, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["graphs"] == 50
    assert main(["corpus", "stat", uri]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"uri: {uri}"
    assert told[1] == "graphs: 50"
    assert any(line.startswith("node features: color (categorical, ") for line in told)
    assert main(["corpus", "cat", uri, "--start", "7", "--count", "2"]) == 0
    assert len([json.loads(line) for line in capsys.readouterr().out.splitlines()]) == 2


def test_kinds_of_builds_have_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", "build", "--help"]) == 0
    assert "  distgnn corpus build motifs        Made graphs: random trees" in capsys.readouterr().out


def test_a_misspelt_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "first").mkdir()
    for command in ("status", "pull", "corpus stat", "report", "pretrain --resume"):
        found = complaint(capsys, 2, *command.split(), str(tmp_path / "frist"))
        assert found.endswith(f" (there is no such folder; did you mean {tmp_path}/first?)\n"), command
        assert "no such folder" not in complaint(capsys, 2, *command.split(), str(tmp_path / "first"))
    assert complaint(capsys, 2, "status", f"{tmp_path}/xyz").endswith(" (there is no such folder)\n")


def test_verify_lists_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    motifs(tmp_path / "c", graphs=40)
    shard = tmp_path / "c" / "shard-00000.parquet"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 255
    shard.write_bytes(data)
    assert main(["corpus", "verify", str(tmp_path / "c")]) == 2
    out, err = capsys.readouterr()
    assert "shard-00000.parquet" in out
    assert "problem" in err


def test_finetune_push_and_pull(
    run: str, corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DISTGNN_CACHE", str(tmp_path / "cache"))
    assert main(["push", run, str(tmp_path / "hub")]) == 0
    assert main(["pull", str(tmp_path / "hub"), "--json"]) == 0
    cached = json.loads(capsys.readouterr().out.splitlines()[-1])["checkpoint"]
    words = ["finetune", "--corpus", corpus, "--checkpoint", cached, run, "--out", str(tmp_path / "ft"), "--seeds", "1"]
    assert main([*words, "--epochs", "1", "--split.method", "random"]) == 2  # the same run and step twice
    assert "names must differ" in capsys.readouterr().err
    words.remove(run)
    assert main([*words, "--epochs", "1", "--split.method", "random", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert {row["method"] for row in value["runs"]} == {"first", "none"}
    assert json.loads((tmp_path / "ft" / "results.json").read_text()) == value
    assert "| none |" in (tmp_path / "ft" / "table.md").read_text()


def test_help_has_no_line_breaks_of_the_source(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["tune", "--help"])
    lines = [line.strip("│ ") for line in capsys.readouterr().out.splitlines()]
    start = lines.index("--retries INT")
    text = lines[start + 1 : lines.index("--concurrency INT")]
    assert " ".join(text).endswith("Trials that diverged or have incompatible parameters are not retried. (default: 1)")
    assert min(map(len, text[:-1])) > 60


def test_help_of_positional_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["push", "--help"])
    out = capsys.readouterr().out
    assert "--source" not in out
    assert "positional arguments" in out
