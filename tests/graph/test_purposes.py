"""Purposes of keyed random numbers are unique within an enum, and every key has one."""

from __future__ import annotations

import ast
from enum import IntEnum
from pathlib import Path

import pytest

from distgnn.graph import purposes
from distgnn.graph.keyed import key
from distgnn.graph.purposes import PretrainDraw

ROOT = Path(purposes.__file__).parents[1]
ENUMS = [item for item in vars(purposes).values() if isinstance(item, type) and issubclass(item, IntEnum)][1:]


@pytest.mark.parametrize("enum", ENUMS)
def test_values_are_unique_within_a_subject(enum: type[IntEnum]) -> None:
    assert len(enum.__members__) == len(set(enum.__members__.values())) == len(enum)


def test_a_purpose_is_its_number() -> None:
    assert key(3, PretrainDraw.WEIGHTS, 1) == key(3, 31, 1)


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_key_has_a_bare_number_as_purpose(path: Path) -> None:
    """Neither a literal nor a module's own integer constant; the first part of a key is a seed and may be a literal."""
    tree = ast.parse(path.read_text())
    constants = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("key", "make_key", "graph_keys")
        ):
            for part in node.args[1:]:
                assert not isinstance(part, ast.Constant), ast.unparse(node)
                assert not (isinstance(part, ast.Name) and part.id in constants), ast.unparse(node)
