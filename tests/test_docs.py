"""The modules shown in docs/extending.md and the commands of docs/tutorial.md work unchanged."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from distgnn.cli import main
from distgnn.pretraining.run import run_config

PAGE = Path(__file__).resolve().parents[1] / "docs" / "extending.md"
SMALL = ["--encoder.layers=1", "--encoder.width=8", "--train.max-steps=2", "--train.streams=2", "--train.device=cpu"]


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every Python block of the page that begins with a file name, as that file on the path."""
    names = []
    for name, code in re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE.read_text(), re.S):
        (tmp_path / f"{name}.py").write_text(code)
        names.append(name)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(
    "words",
    [
        ["--imports", "my_objectives", "--objective", "length", "--length.length", "2.0"],
        ["--imports", "my_encoders", "--encoder.kind", "two"],
    ],
)
def test_shown_module(corpus: str, tmp_path: Path, words: list[str]) -> None:
    assert main(["pretrain", "--corpus", corpus, "--out", str(tmp_path), "--name", "run", *SMALL, *words]) == 0
    assert run_config(str(tmp_path / "run")).corpus == corpus


@pytest.mark.slow
def test_tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for language, block in re.findall(r"```(python|bash)\n(.*?)```", (PAGE.parent / "tutorial.md").read_text(), re.S):
        if language == "python":
            exec(compile(block, "tutorial.md", "exec"), {})
            continue
        for line in block.splitlines():
            program, *words = shlex.split(line)
            assert program == "distgnn"
            assert main(words) == 0, line
    assert (tmp_path / "report.html").stat().st_size > 100_000


def test_every_page_is_in_the_navigation() -> None:
    config = (PAGE.parents[1] / "mkdocs.yml").read_text()
    missing = [path.name for path in PAGE.parent.glob("*.md") if f" {path.name}\n" not in config]
    assert not missing
