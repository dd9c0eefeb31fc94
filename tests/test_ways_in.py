"""Shell completion in real shells, and the demo."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from distgnn.cli import main
from tests.helpers.corpora import DATA, real

SHELLS = ("bash", "zsh", "fish")
CASES = [
    ("distgnn pret", {"pretrain"}),
    ("distgnn corpus b", {"build"}),
    ("distgnn corpus build mo", {"molecules", "motifs"}),
    ("distgnn pretrain --encoder.wid", {"--encoder.width"}),
    ("distgnn pretrain --train.precision ", {"fp32", "tf32", "bf16"}),
    ("distgnn pretrain --objective atr", set[str]()),
    ("distgnn pretrain --objective att", {"attrmasking"}),
    ("distgnn tune --dry", {"--dry-run"}),
    ("distgnn evaluate --mod", {"--model"}),
    ("distgnn evaluate --train-l", {"--train-labels"}),
    ("distgnn pretrain --l2p.supp", {"--l2p.support", "--l2p.support-loss"}),
    ("distgnn finetune --corpus cor", {"corpus-a", "corpus b"}),
]
_ASK = r"""source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )); compopt() { :; }
_distgnn distgnn "${COMP_WORDS[COMP_CWORD]}" ""; printf '%s\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completion")
    for shell in SHELLS:
        with pytest.MonkeyPatch.context() as patch, (folder / shell).open("w") as file:
            patch.setattr("sys.stdout", file)
            assert main(["completion", shell]) == 0
    return folder


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(("line", "expected"), CASES)
def test_bash(scripts: Path, tmp_path: Path, line: str, expected: set[str]) -> None:
    for name in ("corpus-a", "corpus b"):
        (tmp_path / name).mkdir()
    *words, current = line.split(" ")
    done = subprocess.run(
        ["bash", "-c", _ASK, "bash", str(scripts / "bash"), *words, current],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    found = set(done.stdout.splitlines()) - {""}
    assert found == expected
    assert not done.stderr


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh(scripts: Path) -> None:
    words = ["zsh", "-fc", f"source {scripts / 'zsh'}; print $_comps[distgnn]"]
    assert "_bash_complete" in subprocess.run(words, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
@pytest.mark.parametrize(("line", "expected"), CASES[:-1])
def test_fish(scripts: Path, line: str, expected: set[str]) -> None:
    words = ["fish", "--no-config", "-c", f"source {scripts / 'fish'}; complete -C '{line}'"]
    found = set(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split())
    assert expected <= found if expected else True


def test_scripts_of_all_shells_have_the_same_options(scripts: Path) -> None:
    texts = {shell: (scripts / shell).read_text() for shell in SHELLS}
    assert texts["bash"] == texts["zsh"]
    for text in texts.values():
        for part in ("corpus build motifs", "--train.no-exact", "--l2p.node-lr", "attrmasking"):
            assert part in text
        assert "--uri" not in text  # an argument without a name


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "bash" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_demo_without_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTGNN_DATA", str(tmp_path / "none"))
    assert main(["demo", "--quick", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "using synthetic graphs" in err
    assert "$ distgnn pretrain" in err
    value = json.loads(out.splitlines()[-1])
    assert Path(value["report"]).stat().st_size > 100_000
    assert main(["demo", "--quick"]) == 2
    assert "is empty" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.timeout(900)
def test_demo_with_real_data(tmp_path: Path) -> None:
    """All parts in a process of their own, as a user starts it."""
    smiles = [f"molecules/smiles/{name}.csv" for name in ("tox21", "bace", "bbbp")]
    real(*smiles, "kgrec/last-fm", "databases/northwind")
    words = [
        sys.executable,
        "-m",
        "distgnn",
        "demo",
        "--quick",
        "--json",
        "--out",
        str(tmp_path / "demo"),
        "--data",
        str(DATA.resolve()),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=840, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "using synthetic graphs" not in done.stderr
    value = json.loads(done.stdout.splitlines()[-1])
    found = [Path(folder).name for folder in value["folders"]]
    assert found == ["tox21", "bace-few", "bbbp-few", "auxts", "northwind", "reorder"]
    for name in ("bace-few", "bbbp-few"):
        results = json.loads((tmp_path / "demo" / name / "results.json").read_text())
        assert {row["method"] for row in results["summary"]} == {"shipped", "none"}
        assert (tmp_path / "demo" / name / "pictures/curves.png").stat().st_size > 1000
    page = Path(value["report"]).read_text()
    assert all(name in page for name in found)


def test_demo_checks_its_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", "s3://bucket/x"]) == 2
    assert main(["demo", "--out", str(tmp_path / "new"), "--data", str(tmp_path)]) == 2
    assert "there is no molecules/smiles" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
