"""docs/architecture.md lists every module and the actual call path from the command to the loss."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import distgnn.cli
from tests.helpers.flow import files_on_stack

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
START, END = "<!-- files -->\n", "<!-- /files -->"


def file_map() -> str:
    """One line for each module: its path and the first line of its docstring."""
    paths = [*sorted((ROOT / "distgnn").rglob("*.py")), *sorted((ROOT / "jobs").glob("*.py"))]
    lines = []
    for path in paths:
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        if text:
            lines.append(f"- `{path.relative_to(ROOT)}` - {text.splitlines()[0]}")
    return "\n".join(lines) + "\n"


def split_page() -> tuple[str, str, str]:
    before, rest = PAGE.read_text().split(START)
    found, after = rest.split(END)
    return before, found, after


def test_file_map_is_current() -> None:
    """Regenerate it with: python -m tests.test_architecture"""
    assert split_page()[1] == file_map()


def test_way_from_command_to_loss(corpus: str, tmp_path: Path) -> None:
    """The documented files are those on the call stack of the first loss, in this order."""
    named = re.findall(r"^\d+\. `(\S+\.py)`", split_page()[0], re.M)
    words = ["pretrain", "--corpus", corpus, "--out", str(tmp_path), "--train.max-steps", "1", "--train.device", "cpu"]
    small = ["--encoder.layers", "1", "--encoder.width", "4", "--train.streams", "2", "--train.graphs-per-stream", "4"]
    stack = files_on_stack(lambda: distgnn.cli.main([*words, *small]), "L2P.losses", ROOT / "distgnn")
    assert [f"distgnn/{name}" for name in stack] == named


if __name__ == "__main__":
    before, _, after = split_page()
    PAGE.write_text(before + START + file_map() + END + after)
    sys.stdout.write("docs/architecture.md written\n")
