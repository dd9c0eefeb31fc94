"""Pages made for the site: the start page and the changes from the repository, the Python API, and all options."""

import ast
import inspect
import itertools
import re
import textwrap
from collections import defaultdict
from pathlib import Path
from typing import Any

import mkdocs_gen_files

import distgnn
from distgnn.commands.dispatch import COMMANDS
from distgnn.register import REGISTRIES, Registry

ROOT = Path(__file__).resolve().parents[2]


def write(name: str, text: str) -> None:
    """Write a generated page."""
    with mkdocs_gen_files.open(name, "w") as file:
        file.write(text)


def start_page() -> str:
    """README.md with its links to docs/ as links within the site."""
    text = (ROOT / "README.md").read_text()
    text = re.sub(r"\]\(docs/([^)]*)\)", r"](\1)", text)
    text = text.replace("](CHANGELOG.md)", "](changes.md)")
    return re.sub(r"(?<!!)\[([^\]]+)\]\((?![a-z]+\.(?:md|svg)|https?:|#)[^)]*\)", r"\1", text)


def python_page() -> str:
    """Every public name, by the module that defines it."""
    homes: dict[str, list[str]] = defaultdict(list)
    for name in distgnn.__all__:
        value = getattr(distgnn, name)
        homes["distgnn.register" if inspect.ismodule(value) else value.__module__].append(name)
    parts = ["# Python\n\n`import distgnn as dg`. Names are imported when they are first used.\n"]
    for module, names in sorted(homes.items()):
        if module == "distgnn.register":
            parts.append("\n::: distgnn.register\n    options:\n      members: false\n")
            continue
        parts += [f"\n::: {module}.{name}\n    options:\n      heading: dg.{name}\n" for name in names]
    return "".join(parts)


def options_page() -> str:
    """A table of fields for each command and each registered part."""
    parts = ["# Options\n\nEvery option of every command: `--NAME VALUE`; groups are written `--GROUP.NAME VALUE`.\n"]
    for path, command in COMMANDS.items():
        parts.append(f"\n## distgnn {' '.join(path)}\n\n{table(command.options)}")
    for kind, registry in REGISTRIES.items():
        parts += [f"\n## {kind.replace('_', ' ')}: names\n\n", entries(registry)]
        for entry in registry.entries():
            if entry.config is not None:
                parts.append(f"\n### {kind.replace('_', ' ')}: {entry.name}\n\n{table(entry.config)}")
    return "".join(parts)


def entries(registry: Registry) -> str:
    """A table of all names of a registry."""
    lines = (f"| `{row.name}` | {row.summary.replace('|', '&#124;')} | `{row.source}` |\n" for row in registry.table())
    return "| name | what it is | module |\n|---|---|---|\n" + "".join(lines)


def table(config: type, prefix: str = "") -> str:
    """Name, type, default and meaning of each field of a config class, with those of its groups."""
    return (
        "| option | default | meaning |\n|---|---|---|\n" + "".join(rows(config, prefix))
        if fields(config)
        else "No options.\n"
    )


def fields(config: type) -> dict[str, Any]:
    """Fields of a dataclass by name."""
    return getattr(config, "__dataclass_fields__", {})


def rows(config: type, prefix: str) -> list[str]:
    """Lines of a table."""
    told, found = documentation(config), []
    for name, field in fields(config).items():
        default = field.default_factory() if callable(field.default_factory) else field.default
        if hasattr(type(default), "__dataclass_fields__"):
            found += rows(type(default), f"{prefix}{name}.")
            continue
        if name == "options":
            continue
        option = f"`--{(prefix + name).replace('_', '-')}`"
        found.append(
            f"| {option} | {shown(default)} | {' '.join(told.get(name, '').split()).replace('|', '&#124;')} |\n"
        )
    return found


def shown(default: object) -> str:
    """Text of a default."""
    if type(default).__name__ == "_MISSING_TYPE":
        return "required"
    value = " ".join(map(str, default)) if isinstance(default, tuple) else default
    return "" if value in ("", None) else f"`{value}`"


def documentation(config: type) -> dict[str, str]:
    """Docstrings of the fields of a class and of its bases."""
    found: dict[str, str] = {}
    for base in reversed(config.__mro__):
        if base.__module__.startswith("distgnn."):
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
            for field, told in itertools.pairwise(tree.body if isinstance(tree, ast.ClassDef) else []):
                if (
                    isinstance(field, ast.AnnAssign)
                    and isinstance(told, ast.Expr)
                    and isinstance(told.value, ast.Constant)
                ):
                    found[ast.unparse(field.target)] = str(told.value.value)
    return found


write("index.md", start_page())
write("changes.md", (ROOT / "CHANGELOG.md").read_text().replace("](docs/", "]("))
write("reference/python.md", python_page())
write("reference/options.md", options_page())
