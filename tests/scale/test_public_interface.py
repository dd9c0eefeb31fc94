"""distgnn uses the public interface of Ray only, but for what scale/private.py lists: no private module or member, no override of
a private method."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SCALE = Path(__file__).parents[2] / "distgnn" / "scale"
FILES = sorted(set(SCALE.rglob("*.py")) - {SCALE / "private.py"})
NAMEDTUPLE = {"_asdict", "_replace", "_fields", "_make"}
"""Public in spite of the underscore (documentation of collections.namedtuple)."""


def private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__")) and name not in NAMEDTUPLE


def ray_names(tree: ast.AST) -> set[str]:
    """Names in a module that were imported from Ray."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names if _of_ray(alias.name)}
        elif isinstance(node, ast.ImportFrom) and _of_ray(node.module or ""):
            found |= {alias.asname or alias.name for alias in node.names}
    return found


def _of_ray(module: str) -> bool:
    return module.split(".")[0] == "ray"


def violations(source: str) -> Iterator[str]:
    """Return the uses of private names of Ray in a module.

    Whether an object is Ray's cannot be seen from the text. So private attributes are for ``self`` and ``cls`` only, not even for
    these in a subclass of a class of Ray's, which defines no private method either.
    """
    tree = ast.parse(source)
    known = ray_names(tree)
    yield from _imports(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(_root(base) in known for base in node.bases):
            yield from _of_subclass(node)
        elif isinstance(node, ast.Attribute) and private(node.attr) and _root(node) not in ("self", "cls"):
            yield f"line {node.lineno}: attribute {node.attr}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _private_path(node.value):
            yield f"line {node.lineno}: {node.value!r}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "setattr"):
            name = node.args[1]
            if isinstance(name, ast.Constant) and private(str(name.value)):
                yield f"line {node.lineno}: {node.func.id} of {name.value}"


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            modules = [f"{node.module}.{name}" for name in modules]
        yield from (f"imports {module}" for module in modules if _private_path(module))


def _private_path(text: str) -> bool:
    parts = text.split(".")
    return parts[0] == "ray" and any(part.startswith("_") for part in parts)


def _of_subclass(node: ast.ClassDef) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and private(inner.name):
            yield f"{node.name} defines {inner.name}, which may override a method of Ray's"
        elif isinstance(inner, ast.Attribute) and private(inner.attr) and _root(inner) in ("self", "cls", "super"):
            yield f"{node.name} uses {inner.attr}, which may be Ray's"


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SCALE)))
def test_no_private_name_of_ray(path: Path) -> None:
    assert not list(violations(path.read_text()))


@pytest.mark.parametrize(
    "source",
    [
        "from ray._private import state",
        "import ray._private.state",
        "from ray import _private",
        "import ray\nray._private.state.state.nodes()",
        "import ray\ngetattr(ray, '_private')",
        "CONTEXT = 'ray.train.v2._internal.execution.context'",
        "def f(scheduler):\n    return scheduler._results",
        "def f(controller):\n    return controller.pool[0]._actors()",
        "from ray.tune.schedulers import FIFOScheduler\nclass A(FIFOScheduler):\n    def _exploit(self): ...",
        "from ray.tune.schedulers import FIFOScheduler\nclass A(FIFOScheduler):\n    def on(self):\n        self._results = 1",
        "from ray import tune\nclass A(tune.Callback):\n    def on(self):\n        super()._save()",
    ],
)
def test_violations_are_found(source: str) -> None:
    assert list(violations(source))


@pytest.mark.parametrize(
    "source",
    [
        "class A:\n    def _own(self):\n        return self._x",
        "def f(row):\n    return row._asdict()",
        "from ray.tune import Callback\nclass A(Callback):\n    def __init__(self):\n        self.store = super().__init__()",
    ],
)
def test_public_uses_are_not_violations(source: str) -> None:
    assert not list(violations(source))
