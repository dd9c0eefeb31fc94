"""Headers of published edge tables: which columns hold the two ends, the score and the kind of an interaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from distgnn.errors import RequestError


class Header(NamedTuple):
    """Columns by number; -1 = none."""

    format: str
    source: int
    target: int
    score: int = -1
    kind: int = -1


class _Known(NamedTuple):
    format: str
    source: str
    target: str
    score: tuple[str, ...] = ()
    kind: str = ""


_SCORES = ("weight", "score", "combined_score", "confidence")
_PAIRS = (
    "source target", "from to", "src dst", "node1 node2", "node_1 node_2", "node_a node_b", "protein_a protein_b",
    "gene1 gene2", "gene_1 gene_2", "gene_a gene_b", "interactor_a interactor_b", "head tail", "subject object",
    "source_id target_id", "start end", "fromnodeid tonodeid",
)  # fmt: skip
_KNOWN = (
    _Known("string", "protein1", "protein2", ("combined_score",)),
    _Known("string", "item_id_a", "item_id_b", ("score",), "mode"),
    _Known("biogrid", "entrez gene interactor a", "entrez gene interactor b", ("score",), "experimental system"),
    _Known("mitab", "id interactor a", "id interactor b"),
    _Known("mitab", "id(s) interactor a", "id(s) interactor b"),
    *(_Known("", pair[0], pair[1], _SCORES) for pair in map(str.split, _PAIRS)),
)


def is_number(name: str) -> bool:
    """Return whether a name given as a column is the number of one."""
    return name.isascii() and name.isdigit() and len(name) < 5


def known_header(uri: str, names: Sequence[str], wanted: str) -> Header | None:
    """Return the columns of a header that is known; None if it is not.

    Raises:
        RequestError: the header has two pairs of end columns, or a column twice.
    """
    lower = [name.lower() for name in names]
    found = [item for item in _KNOWN if item.source in lower and item.target in lower]
    found = [item for item in found if item.format or wanted in ("auto", "csv", "tsv")][:3]
    if not found:
        return None
    if found[0].format:
        found = found[:1]
    if len(found) > 1:
        pairs = " and ".join(f"{item.source}, {item.target}" for item in found)
        raise RequestError(f"{uri}: the columns {pairs} could be the ends of an edge; give columns SOURCE TARGET")
    item = found[0]
    score = next((lower.index(name) for name in item.score if name in lower), -1)
    kind = lower.index(item.kind) if item.kind in lower else -1
    header = Header(item.format, lower.index(item.source), lower.index(item.target), score, kind)
    _check_unique(uri, lower, header)
    return header


def column_of(uri: str, names: Sequence[str], wanted: Sequence[str]) -> Header | None:
    """Return the columns named by the option; None if the header lacks one."""
    if any(name not in names for name in wanted):
        return None
    header = Header("", *(names.index(name) for name in wanted))
    known = next((item for item in _KNOWN if {item.source, item.target} <= {name.lower() for name in names}), None)
    if known and known.format in ("biogrid", "mitab"):
        header = header._replace(format=known.format)
    _check_unique(uri, names, header)
    return header


def _check_unique(uri: str, names: Sequence[str], header: Header) -> None:
    twice = [names[column] for column in header[1:] if column >= 0 and names.count(names[column]) > 1]
    if twice:
        raise RequestError(f"{uri}: the header has the column {twice[0]!r} twice; rename one")


def missing_columns(uri: str, wanted: Sequence[str], names: Sequence[str]) -> RequestError:
    """Return the error for columns that the header lacks."""
    missing = next((name for name in wanted if name not in [found.strip() for found in names]), wanted[0])
    known = ", ".join(name.strip() for name in names)[:300]
    return RequestError(f"{uri}: no column {missing!r} in its first line; the columns are {known}")
