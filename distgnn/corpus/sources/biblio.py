"""Paper-centred subgraphs from bibliographic tables (papers, authors, terms, venues), the setting of PreDBLP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from distgnn.config import InputBuildConfig
from distgnn.config.base import check
from distgnn.config.fields import SEED, setting
from distgnn.corpus.shard import Piece
from distgnn.corpus.sources.base import Rejected
from distgnn.corpus.sources.edges.columns import tab_columns
from distgnn.corpus.sources.ego import Csr, Hop, csr, ego_networks, upward
from distgnn.corpus.sources.files import cached_reads, described, new_reading
from distgnn.errors import RequestError
from distgnn.graph.keyed import key
from distgnn.graph.ragged import packed
from distgnn.graph.schema import Feature, Schema
from distgnn.storage.uri import join

NODE_TYPE = Feature("type", "categorical", 4, "0 paper, 1 author, 2 term, 3 venue")
_AUTHOR, _TERM, _VENUE = 1, 2, 3
_LINKS = (("paper_author.txt", _AUTHOR), ("paper_term.txt", _TERM), ("paper_conf.txt", _VENUE))
_WORDS = "term.txt"
_CENTERS = 2048
Names = npt.NDArray[Any]


class Bibliography(NamedTuple):
    """All nodes in one id space: papers, then authors, terms and venues.

    Attributes:
        type: uint8 [N], codes of ``NODE_TYPE``.
        word: int64 [N], class of the word of a term, 0 = no word (see :func:`word_class`).
        around: links from a paper to its authors, terms and venue.
        written: links from an author to their papers.
        up: every link once (see :func:`~distgnn.corpus.sources.ego.upward`).
        venue: int64 [papers], index into ``venue_names``, -1 = unknown.
        area: int64 [papers], class of the venue, -1 = unknown.
        venue_names: names from conf.txt.
    """

    type: npt.NDArray[np.uint8]
    word: npt.NDArray[np.int64]
    around: Csr
    written: Csr
    up: Csr
    venue: npt.NDArray[np.int64]
    area: npt.NDArray[np.int64]
    venue_names: list[str]


def _table(folder: str, name: str, widths: Sequence[int] = (2,)) -> tuple[Names, Names]:
    """Return the first two columns of a tab-separated table as text."""
    left, right = tab_columns(
        join(folder, name), widths, f"needs {' to '.join(map(str, widths))} tab-separated columns"
    )
    return left, right


def _mapping(folder: str, name: str, widths: Sequence[int] = (2,)) -> tuple[Names, Names]:
    """Return a table whose first column must not repeat."""
    left, right = _table(folder, name, widths)
    values, counts = np.unique(left, return_counts=True)
    if (counts > 1).any():
        twice = values[np.argmax(counts > 1)]
        raise RequestError(
            f"{join(folder, name)}: {str(twice)!r} is in the first column twice; are the columns swapped?"
        )
    return left, right


def _check_papers(folder: str, tables: Sequence[tuple[Names, Names]]) -> None:
    """Check that the first columns of the tables of links name the same kind of thing."""
    first = tables[0][0]
    for (left, _), (name, _) in zip(tables[1:], _LINKS[1:], strict=True):
        if len(left) and len(first) and not pd.Index(left).isin(first).any():
            raise RequestError(
                f"{join(folder, name)}: none of its papers (the first column) is in {_LINKS[0][0]}; are the columns swapped?"
            )


def _areas(folder: str, venues: pd.Index) -> npt.NDArray[np.int64]:
    """Return the area of each venue, -1 if conf_label.txt does not list it."""
    names, areas = _mapping(folder, "conf_label.txt", (2, 3, 4))
    invalid = [area for area in areas if not (area.isascii() and area.isdigit() and len(area) < 5)]
    if invalid:
        raise RequestError(
            f"{join(folder, 'conf_label.txt')}: the area {str(invalid[0])!r} is not an integer from 0 to 9999; fix the line"
        )
    known = dict(zip(names, map(int, areas), strict=True))
    return np.array([known.get(venue, -1) for venue in venues])


def word_class(words: Names, classes: int) -> npt.NDArray[np.int64]:
    """Return a class in 1..classes-1 of each word, object [W]: a hash of the word in lower case, the same in every corpus."""
    digests = b"".join(blake2b(word.lower().encode(), digest_size=8).digest() for word in words)
    return (1 + np.frombuffer(digests, "<u8") % np.uint64(classes - 1)).astype(np.int64)


def _words(folder: str, terms: pd.Index, classes: int) -> npt.NDArray[np.int64]:
    """Return the word class of each term, 0 if term.txt does not list it."""
    names, words = _mapping(folder, _WORDS)
    if len(terms) and not terms.isin(names).any():
        raise RequestError(
            f"{join(folder, _WORDS)}: none of the terms of paper_term.txt is in its first column; are the columns swapped?"
        )
    return np.append(word_class(words, classes), 0)[pd.Index(names).get_indexer(terms)]


@cached_reads(1)
def load_bibliography(folder: str, drop_venue: bool, labelled: bool, words: int) -> Bibliography:
    """Read the tables of a folder. Papers are ordered by id (as text).

    Args:
        folder: path or URI.
        drop_venue: leave out venue nodes.
        labelled: whether to read conf_label.txt.
        words: number of word classes; 0 = term.txt is not read.
    """
    tables = [(_mapping if kind == _VENUE else _table)(folder, name) for name, kind in _LINKS]
    _check_papers(folder, tables)
    papers = pd.Index(np.unique(np.concatenate([left for left, _ in tables])))
    names = [pd.Index(np.unique(right)) for _, right in tables]
    start, types, links = len(papers), [np.zeros(len(papers), np.uint8)], []
    for (left, right), found, (_, kind) in zip(tables, names, _LINKS, strict=True):
        if kind == _VENUE and drop_venue:
            continue
        links.append(np.stack([papers.get_indexer(left), start + found.get_indexer(right)], axis=1))
        types.append(np.full(len(found), kind, np.uint8))
        start += len(found)
    node_type = np.concatenate(types)
    word = np.zeros(start, np.int64)
    if words:
        word[node_type == _TERM] = _words(folder, names[1], words)
    paper, other = np.unique(np.concatenate(links).astype(np.int64), axis=0).T
    edge = np.arange(len(paper))
    by_author = node_type[other] == _AUTHOR
    venues = names[-1]
    venue = np.full(len(papers), -1)
    venue[papers.get_indexer(tables[-1][0])] = venues.get_indexer(tables[-1][1])
    known = dict(zip(*_mapping(folder, "conf.txt"), strict=True))
    area = np.append(_areas(folder, venues) if labelled else np.full(len(venues), -1), -1)[venue]
    return Bibliography(
        node_type,
        word,
        csr(paper, other, edge, start),
        csr(other[by_author], paper[by_author], edge[by_author], start),
        upward(paper, other, start),
        venue,
        area,
        [str(known.get(name, name)) for name in venues],
    )


@dataclass(frozen=True, kw_only=True)
class BiblioConfig(InputBuildConfig):
    """Paper-centred sub-graphs of a bibliography: the paper, its authors, terms and venue, and other papers of its authors.

    Example: distgnn corpus build biblio --input hetero/dblp4area --drop-venue --out data/papers
    """

    format: Literal["tables", "predblp"] = setting("tables")
    """tables: a folder with paper_author.txt, paper_term.txt, paper_conf.txt, conf.txt (and conf_label.txt for labels);
    predblp: PreDBLP's JSON lines, one sub-graph a line."""
    drop_venue: bool = setting(False)
    """Leave the venue nodes out, where the label follows from the venue."""
    papers_per_author: int = setting(5, most=1 << 20)
    """Most papers followed from each author of the centre paper (tables only)."""
    fan_out: int = setting(50, most=1 << 20)
    """Most authors, terms and venues taken around the centre paper (tables only)."""
    seed: int = setting(0, most=SEED)
    """Key of the draw of neighbours (tables only)."""
    words: int = setting(0, most=1 << 20)
    """Node feature: the word of a term from term.txt, as one of this many classes (a hash of the word, so that all corpora with
    the same number share them; class 0 = no word); 0 = without. Without it, all terms have the same input (tables only)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(
            self.words == 0 or 2 <= self.words <= 1 << 20, f"words must be 0 or lie in 2..1048576, found {self.words}"
        )
        check(not self.words or self.format == "tables", "words needs format=tables: PreDBLP's lines hold no words")
        for name in ("papers_per_author", "fan_out"):
            value = getattr(self, name)
            check(1 <= value <= 1000, f"{name} must lie in 1..1000, found {value}")
        check(self.format == "predblp" or len(self.input) == 1, "input must be one folder of tables (format=tables)")


def _word_feature(classes: int) -> Feature:
    meaning = "word of a term: 1 + the hash of its lower case (BLAKE2b, 8 bytes) modulo (size - 1); 0 = no word"
    return Feature("word", "categorical", classes, meaning)


class BiblioSource:
    """Paper-centred subgraphs of a folder of tables.

    A subgraph holds the paper, its authors, terms and venue, at most papers_per_author other papers of each author, and
    all links among them. The type of a link follows from the types of its end nodes. y is the area of the venue (a class
    number) where conf_label.txt gives one. The group is the venue's name, even if drop_venue removes the node. graph_id
    is the rank of the paper's id.
    """

    def __init__(self, config: BiblioConfig) -> None:
        self.config = config
        self._folder, self._reading = config.input[0].rstrip("/"), new_reading()
        required = [name for name, _ in _LINKS] + ["conf.txt"] + [_WORDS] * bool(config.words)
        self._files = described([join(self._folder, name) for name in required])
        self._labelled = self._has_labels()
        if self._labelled:
            self._files += described([join(self._folder, "conf_label.txt")])
        self._papers = len(self._tables().venue)
        reach = 1 + config.fan_out * (1 + config.papers_per_author)
        labels = ("area",) if self._labelled else ()
        meta = {"domain": "bibliography"}
        node = (NODE_TYPE, *([_word_feature(config.words)] if config.words else []))
        self._schema = Schema(node, labels=labels, center=True, group="venue", max_nodes=reach, meta=meta)

    def _has_labels(self) -> bool:
        try:
            described([join(self._folder, "conf_label.txt")])
        except RequestError:
            return False
        return True

    def _tables(self) -> Bibliography:
        config = self.config
        return load_bibliography(self._reading, self._folder, config.drop_venue, self._labelled, config.words)

    @property
    def schema(self) -> Schema:
        """Node type, words where asked for, centre, venue as group, and the area where known."""
        return self._schema

    def parts(self) -> Iterator[tuple[int, int]]:
        """Iterate over slices low:high of the papers."""
        return ((low, min(low + _CENTERS, self._papers)) for low in range(0, self._papers, _CENTERS))

    def total_parts(self) -> int:
        """Return the number of slices."""
        return -(-self._papers // _CENTERS)

    def rows(self, part: tuple[int, int]) -> int:
        """Return the number of papers of a slice."""
        return part[1] - part[0]

    def read(self, part: tuple[int, int]) -> tuple[Piece, list[Rejected]]:
        """Return the subgraphs of a slice of papers."""
        tables, config, centers = self._tables(), self.config, np.arange(*part)
        hops = [Hop(tables.around, config.fan_out), Hop(tables.written, config.papers_per_author)]
        egos = ego_networks(centers, hops, tables.up, key(config.seed))
        area = tables.area[centers].astype(np.float32)
        features = (tables.type, tables.word) if config.words else (tables.type,)
        graphs = packed(
            centers,
            egos.node_ptr,
            egos.edge_ptr,
            np.stack([egos.src, egos.dst]),
            node_cat=np.stack([feature[egos.node] for feature in features], axis=1),
            center=egos.center,
            y=np.where(area < 0, np.nan, area)[:, None] if self._labelled else None,
        )
        return Piece(graphs, group=[tables.venue_names[v] if v >= 0 else None for v in tables.venue[centers]]), []

    def provenance(self) -> dict[str, Any]:
        """Return input files and options."""
        names = ("drop_venue", "papers_per_author", "fan_out", "seed", "words")
        return {
            "source": "biblio",
            "files": self._files,
            "options": {name: getattr(self.config, name) for name in names},
        }
