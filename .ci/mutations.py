"""The changes that .ci/mutants makes: cosmic-ray's, and the removal of statements that are only a call or a raise."""

from __future__ import annotations

import ast
import hashlib
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator, operator_names
from parso.python.tree import Keyword

ROOT = Path(__file__).resolve().parent.parent


class RemoveStatement(Operator):
    """Replaces a call, or the raising of an exception, by ``pass``."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        """Statements that are only a call or a raise."""
        if node.type == "simple_stmt":
            first = node.children[0]
            call = first.type == "atom_expr" and getattr(first.children[-1], "children", [""])[0] == "("
            if call or first.type == "raise_stmt":
                yield first.start_pos, first.end_pos

    def mutate(self, node: Any, index: int) -> Any:  # noqa: ARG002
        """Put ``pass`` in its place."""
        leaf = node.get_first_leaf()
        node.children[0] = Keyword("pass", leaf.start_pos, leaf.prefix)
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        """None."""
        return ()


OPERATORS: dict[str, Any] = {
    **{name: get_operator(name) for name in operator_names() if not get_operator(name).arguments()},
    "RemoveStatement": RemoveStatement,
}


@dataclass(frozen=True)
class Mutant:
    """One change. occurrence: which of the places of the module where the operator can make it; digest: of the module."""

    module: str
    operator: str
    occurrence: int
    line: int
    digest: str


def annotations(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Places of annotations, which are not evaluated."""
    nodes = [
        found
        for node in ast.walk(ast.parse(source))
        for found in (getattr(node, "annotation", None), getattr(node, "returns", None))
        if found is not None
    ]
    return [((n.lineno, n.col_offset), (n.end_lineno or 0, n.end_col_offset or 0)) for n in nodes]


def makes(operator: Operator, source: str, occurrence: int) -> bool:
    """Whether cosmic-ray can make the change; it cannot replace the exception in ``except module.Error``."""
    try:
        return mutate_code(source, operator, occurrence) is not None
    except AttributeError:
        return False


def mutants_of(module: Path, seed: int) -> list[Mutant]:
    """One mutant for each operator and place of ``module``: of the replacements of an operator or number, one is drawn."""
    source, choose = module.read_text(), random.Random(f"{seed} {module.name}")
    nodes, unread = list(ast_nodes(get_ast(source))), annotations(source)
    digest, at = hashlib.sha256(source.encode()).hexdigest()[:8], defaultdict[Any, list[Mutant]](list)
    for name, kind in OPERATORS.items():
        operator = kind()
        places = [place for node in nodes for place in operator.mutation_positions(node)]
        for occurrence, (start, _) in enumerate(places):
            if "BinaryOperator" in name and any(low <= start <= high for low, high in unread):
                continue
            if "Exception" in name and not makes(operator, source, occurrence):
                continue
            mutant = Mutant(str(module.relative_to(ROOT)), name, occurrence, start[0], digest)
            at[name.partition("_")[0], start].append(mutant)
    return [choose.choice(found) for found in at.values()]


def statement(source: str, line: int) -> range:
    """Lines of the innermost statement at ``line``; of a compound one, its head."""
    best = range(line, line + 1)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or 0):
            body = getattr(node, "body", None)
            end = max(body[0].lineno, node.lineno + 1) if isinstance(body, list) else (node.end_lineno or 0) + 1
            best = range(node.lineno, end) if line < end else best
    return best
