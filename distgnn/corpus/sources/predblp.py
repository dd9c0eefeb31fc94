"""PreDBLP in its published JSON-lines format (Lu et al., L2P-GNN, AAAI 2021): one paper-centred subgraph per line.

The files are not available offline; the format is taken from the released loader (rootlu/L2P-GNN, commit 84e5441,
code/loader.py, line_to_graph_data_obj_simple). A line is an object with

    center_id {convert_id, n_citation, year, cat}   papers [{convert_id, n_citation, year}] (empty: only the centre)
    authors [{convert_id, org, paper_num}]   venue [{convert_id, sub_cat}]   terms [{convert_id}]
    edges {convert_id: [convert_id, ...]}

The loader's ten raw numbers become the node type, the same feature as in the table source, and three scaled numbers.
The identifiers ``org``, venue id and ``sub_cat`` are left out because they have no meaning as numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, NamedTuple, TextIO

import numpy as np

from distgnn import register
from distgnn.config.values import read_json
from distgnn.corpus.shard import Piece
from distgnn.corpus.sources.base import Rejected, Source, rejected
from distgnn.corpus.sources.biblio import NODE_TYPE, BiblioConfig, BiblioSource
from distgnn.corpus.sources.files import described, input_errors, open_text
from distgnn.errors import RequestError
from distgnn.graph.ragged import each_once, packed, pointers
from distgnn.graph.schema import Feature, Schema
from distgnn.storage.uri import base_name

_NUMBERS = Feature(
    "numbers", "dense", 3, "papers: log(1 + citations), (year - 2000) / 10; authors: log(1 + papers); else 0"
)
_LINES, _LONGEST = 512, 1 << 24
_MAX_NODES = 65_536
_MAX_CATEGORIES = 1 << 24  # exact as float32


class PreDblpPart(NamedTuple):
    """Consecutive lines of one file.

    Attributes:
        file: name of the file.
        line: number of the first line, from 1.
        first: graph id of the first line.
        lines: the text.
    """

    file: str
    line: int
    first: int
    lines: list[str]


class _Record(NamedTuple):
    types: list[int]
    numbers: list[tuple[float, float, float]]
    edges: list[tuple[int, int]]
    center: int
    area: float


def _record(text: str) -> _Record:
    """Parse a line; raises ValueError, TypeError or KeyError if it is not a valid record."""
    line = read_json(text)
    center = line["center_id"]
    nodes = {"paper": line["papers"] or [center], "author": line["authors"], "term": line["terms"]}
    if len(line["venue"]):
        nodes["venue"] = line["venue"]
    types = {"paper": 0, "author": 1, "term": 2, "venue": 3}
    local: dict[int, int] = {}
    kinds, numbers = [], []
    for kind, items in nodes.items():
        for item in items:
            node = _whole(item["convert_id"])
            if node in local:
                raise ValueError(f"node {node} appears twice")
            local[node] = len(kinds)
            kinds.append(types[kind])
            numbers.append(_numbers(kind, item))
    if len(kinds) > _MAX_NODES:
        raise ValueError(f"{len(kinds)} nodes, more than {_MAX_NODES}")
    if not np.isfinite(np.array(numbers, np.float32)).all():
        raise ValueError("a number is not finite")
    edges = [(local[_whole(src)], local[_whole(dst)]) for src, ends in line["edges"].items() for dst in ends]
    return _Record(kinds, numbers, edges, local[_whole(center["convert_id"])], _category(center["cat"]))


def _whole(value: Any) -> int:
    """Return a node id, an integer or its text; int() would also take 1.5."""
    if isinstance(value, bool) or not (isinstance(value, int) or (isinstance(value, str) and value.isdecimal())):
        raise ValueError(f"{str(value)[:40]!r} is not an integer")
    return int(value)


def _category(value: Any) -> float:
    number = float(value)
    if not (0 <= number < _MAX_CATEGORIES and number == int(number)):
        raise ValueError(f"cat {str(value)[:40]!r} is not a class number")
    return number


def _numbers(kind: str, item: dict[str, Any]) -> tuple[float, float, float]:
    if kind == "paper":
        return math.log1p(float(item["n_citation"])), (float(item["year"]) - 2000) / 10, 0.0
    return (0.0, 0.0, math.log1p(float(item["paper_num"]))) if kind == "author" else (0.0, 0.0, 0.0)


def _lines(uri: str, text: TextIO) -> Iterator[str]:
    while line := text.readline(_LONGEST):
        if len(line) == _LONGEST:
            raise RequestError(f"{uri}: a line of more than {_LONGEST >> 20} MiB; this is not PreDBLP's format")
        yield line


class PreDblpSource:
    """PreDBLP subgraphs. y is the ``cat`` of the centre, the published class number; graph_id is the running line number.

    Invalid lines are rejected with a reason. drop_venue removes venue nodes.
    """

    def __init__(self, config: BiblioConfig) -> None:
        self.config = config
        self._files = described(config.input)
        meta = {"domain": "bibliography"}
        self._schema = Schema((NODE_TYPE, _NUMBERS), labels=("area",), center=True, max_nodes=_MAX_NODES, meta=meta)

    @property
    def schema(self) -> Schema:
        """Node type, three dense numbers, centre and area."""
        return self._schema

    def parts(self) -> Iterator[PreDblpPart]:
        """Iterate over chunks of lines in order."""
        first = 0
        for uri in self.config.input:
            with input_errors(uri), open_text(uri) as text:
                line = 1
                while lines := list(islice(_lines(uri, text), _LINES)):
                    yield PreDblpPart(base_name(uri), line, first, lines)
                    line, first = line + len(lines), first + len(lines)

    def total_parts(self) -> None:
        """Return None: counting lines would read every file in advance."""
        return

    def rows(self, part: PreDblpPart) -> int:
        """Return the number of lines that are not blank of a chunk."""
        return sum(bool(line.strip()) for line in part.lines)

    def read(self, part: PreDblpPart) -> tuple[Piece | None, list[Rejected]]:
        """Parse the subgraphs of a chunk."""
        records, kept, refused = [], [], []
        for number, text in enumerate(part.lines):
            if not text.strip():
                continue
            try:
                records.append(_record(text))
                kept.append(number)
            except KeyError as error:
                refused.append(rejected(part.file, part.line + number, f"no field or node {error}", text))
            except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
                refused.append(rejected(part.file, part.line + number, f"not a PreDBLP record: {error}", text))
        return (self._piece(part, kept, records) if records else None), refused

    def provenance(self) -> dict[str, Any]:
        """Return input files and options."""
        return {"source": "predblp", "files": self._files, "options": {"drop_venue": self.config.drop_venue}}

    def _piece(self, part: PreDblpPart, kept: list[int], records: list[_Record]) -> Piece:
        types = np.array(list(chain.from_iterable(record.types for record in records)))
        numbers = np.array(list(chain.from_iterable(record.numbers for record in records)), np.float32)
        counts = np.array([len(record.types) for record in records])
        pairs = np.array(list(chain.from_iterable(record.edges for record in records)), np.int64).reshape(-1, 2)
        owner = np.repeat(np.arange(len(records)), [len(record.edges) for record in records])
        if self.config.drop_venue:
            counts, types, numbers, pairs, owner = _without_venues(counts, types, numbers, pairs, owner)
        rows = each_once(owner, pairs[:, 0], pairs[:, 1])
        return Piece(
            packed(
                part.first + np.array(kept),
                pointers(counts),
                pointers(np.bincount(owner[rows], minlength=len(records))),
                pairs[rows].T,
                node_cat=types[:, None],
                node_dense=numbers,
                center=np.array([record.center for record in records]),
                y=np.array([record.area for record in records])[:, None],
            )
        )


def _without_venues(counts: Any, types: Any, numbers: Any, pairs: Any, owner: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Remove venue nodes; they come last in each graph, so other local ids do not change."""
    venue = types == NODE_TYPE.size - 1
    graph = np.repeat(np.arange(len(counts)), counts)
    counts = counts - np.bincount(graph[venue], minlength=len(counts))
    kept = (pairs < counts[owner, None]).all(axis=1)
    return counts, types[~venue], numbers[~venue], pairs[kept], owner[kept]


@register.corpus_source("biblio", BiblioConfig)
def biblio_source(config: BiblioConfig) -> Source:
    """Paper-centred sub-graphs of a bibliography, from tables or from PreDBLP's JSON lines."""
    return PreDblpSource(config) if config.format == "predblp" else BiblioSource(config)
