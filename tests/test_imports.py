"""Import rules: imports point down, Ray only in scale, torch.distributed only in distributed.py, and no unpickling."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "distgnn"
FLOORS = [
    "storage", "graph", "corpus", "network", "models", "labels", "objectives", "checkpoint", "auxiliary", "finetuning",
    "pretraining", "relational", "search", "report", "doctor", "scale",
]  # fmt: skip
EVERYWHERE = {"errors", "config", "distributed", "loading", "monitor", "register", "terminal"}
TOP = {"api", "cli", "commands", "interrupts", "options", "opened", "__init__", "__main__"}
FILES = sorted(ROOT.rglob("*.py"))
LOADERS = {("torch", "load"), ("numpy", "load"), ("np", "load")}


@cache
def trees() -> dict[Path, ast.Module]:
    """Parse all files; every process of the tests imports this module, and one runs it."""
    return {path: ast.parse(path.read_text()) for path in FILES}


def floor_of(path: Path) -> str:
    part = path.relative_to(ROOT).parts[0]
    return part.removesuffix(".py")


def imported(tree: ast.AST) -> set[str]:
    """Return the dotted names of all imports of a module; ``from a import b`` counts as a.b."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def below(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def test_imports_point_down() -> None:
    for path, tree in trees().items():
        floor = floor_of(path)
        for module in imported(tree):
            parts = module.split(".")
            if parts[0] == "distgnn" and len(parts) > 1 and floor not in TOP:
                allowed = EVERYWHERE | (set() if floor in EVERYWHERE else set(FLOORS[: FLOORS.index(floor) + 1]))
                assert parts[1] in allowed, f"{path.name} on floor {floor} imports {module}"


def test_libraries_stay_where_they_belong() -> None:
    for path, tree in trees().items():
        for module in imported(tree):
            assert not below(module, "ray") or floor_of(path) == "scale", f"{path.name} imports {module}"
            is_distributed = path == ROOT / "distributed.py"
            assert not below(module, "torch.distributed") or is_distributed, f"{path.name} imports {module}"
            assert not below(module, "pickle", "cloudpickle", "dill", "joblib", "shelve"), f"{path} imports {module}"


def test_nothing_unpickles() -> None:
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
            ):
                called = node.func.value.id, node.func.attr
                safe = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
                harmless = called[0] != "torch" and safe.get("allow_pickle") is False
                assert called not in LOADERS or harmless, (path, called)


def test_no_import_inside_a_function() -> None:
    for path, tree in trees().items():
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                late = {name for name in imported(function) if not below(name, "rdkit")}
                assert late <= ({"matplotlib.figure.Figure"} if function.name == "plot" else set()), (
                    path,
                    function.name,
                )


def test_config_is_standard_library_only() -> None:
    for path in (ROOT / "config").glob("*.py"):
        roots = {name.split(".")[0] for name in imported(ast.parse(path.read_text()))}
        assert roots <= {*sys.stdlib_module_names, "distgnn"}


def test_unknown_public_name() -> None:
    import distgnn

    with pytest.raises(AttributeError, match="nothing"):
        _ = distgnn.nothing


ENTRY_POINTS = sorted({name for path in FILES for name in re.findall(r'"(distgnn[\w.]*:\w+)"', path.read_text())})


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_entry_points_that_are_imported_on_use_exist(name: str) -> None:
    """Texts "module:name" are no imports, so that no other tool finds a name that has changed."""
    module, _, attribute = name.partition(":")
    defined = {
        node.name
        for node in ast.parse((ROOT.parent / f"{module.replace('.', '/')}.py").read_text()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    assert attribute in defined


def test_entry_points_are_found() -> None:
    assert len(ENTRY_POINTS) > 20
