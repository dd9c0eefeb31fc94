"""The README's file map names every module once, with the first line of its docstring."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- files -->\n", "<!-- /files -->"


def file_map() -> str:
    """What the map must be: one line per module."""
    paths = [*sorted((ROOT / "distgnn").rglob("*.py")), *sorted((ROOT / "jobs").glob("*.py"))]
    lines = []
    for path in paths:
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        if text:
            lines.append(f"- `{path.relative_to(ROOT)}` - {text.splitlines()[0]}")
    return "\n".join(lines) + "\n"


def split_readme() -> tuple[str, str, str]:
    before, rest = (ROOT / "README.md").read_text().split(START)
    found, after = rest.split(END)
    return before, found, after


def test_the_file_map_is_true() -> None:
    """Write it again with: python -m tests.test_readme"""
    assert split_readme()[1] == file_map()


if __name__ == "__main__":
    before, _, after = split_readme()
    (ROOT / "README.md").write_text(before + START + file_map() + END + after)
    sys.stdout.write("README.md written\n")
