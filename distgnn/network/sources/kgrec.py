"""Ratings with a knowledge graph whose first entities are the items: Last-FM and Book-Crossing of KGCN, RippleNet, MCCLK."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from distgnn import register
from distgnn.config import InputNetworkConfig
from distgnn.config.fields import setting
from distgnn.corpus.account import Account
from distgnn.corpus.sources.edges.lines import line_blocks, meaningful
from distgnn.errors import RequestError
from distgnn.network.csr import Edges, both_ways, build_network
from distgnn.network.network import Network, Relation
from distgnn.network.paths import PAPER_PATHS
from distgnn.network.sources.reading import Rows, check_ids, count_ids, edge_account, exists, find, id_table, provenance
from distgnn.storage.uri import base_name, join

_RATINGS = ("ratings.txt", "ratings_final.npy", "ratings_final.txt")
_TRIPLES = ("kg.txt", "kg_final.npy", "kg_final.txt")
_COLUMNS = {"hrt": ("head", "relation", "tail"), "htr": ("head", "tail", "relation")}
_ENDS = ("item", "entity")
_MOST_RELATIONS, _USUAL_RELATIONS = 4096, 256


@dataclass(frozen=True, kw_only=True)
class KgrecConfig(InputNetworkConfig):
    """Ratings of items that are entities of a knowledge graph, as KGCN and RippleNet publish them: user, item and label in
    ratings.txt or ratings_final.npy, triples in kg.txt or kg_final.npy, names in relation-list.txt if it exists. Item i is
    entity i. Networks named last-fm or book-crossing include the meta-paths of AUX-TS.

    Example: distgnn network build kgrec --input kgrec/last-fm --columns htr --out data/last-fm
    """

    columns: Literal["hrt", "htr"] = setting("hrt")
    """Order of the columns of the triples: head, relation, tail, or head, tail, relation (KGCN's Last-FM)."""


@register.network_source("kgrec", KgrecConfig)
def build_kgrec(config: KgrecConfig) -> Network:
    """Build a network with types item, entity (entities that are not items, numbered from 0) and user.

    Triples pass messages in both directions; a relation of the data becomes one relation per pair of end types. Ratings
    pass no messages: they are the tables rating.user, rating.item and rating.label (0 or 1), from which training ratings
    can be added with :func:`~distgnn.network.csr.with_messages`.
    """
    folder = config.input.rstrip("/")
    files = find(folder, _RATINGS), find(folder, _TRIPLES)
    ratings = id_table(files[0], ("user", "item", "label"))
    check_ids(files[0], "label", ratings["label"], 2)
    triples = id_table(files[1], _COLUMNS[config.columns])
    _check_order(files[1], triples)
    names = _relation_names(folder, files[1], triples["relation"])
    items, users = (count_ids(files[0], name, ratings[name]) for name in ("item", "user"))
    entities = count_ids(files[1], "head or tail", triples["head"], triples["tail"]) - items
    edges = [way for found in _typed(triples, names, items) for way in both_ways(found)]
    accounts = [
        Account(base_name(files[0]), "user, item, label", len(ratings["user"]), {"ratings": len(ratings["user"])}),
        edge_account(files[1], ", ".join(_COLUMNS[config.columns]), list(triples.values())),
    ]
    meta = provenance("kgrec", folder, config.name, files, accounts, columns=config.columns)
    return build_network(
        {"item": items, "entity": max(entities, 0), "user": users},
        edges,
        tables={f"rating.{name}": column for name, column in ratings.items()},
        meta=meta | {"paths": list(PAPER_PATHS.get(meta["name"], ()))},
    )


def _typed(triples: dict[str, Rows], names: dict[int, str], items: int) -> list[Edges]:
    """Group triples by relation and end types, with ids local to those types."""
    head, tail = triples["head"], triples["tail"]
    kind = (triples["relation"] * 2 + (head >= items)) * 2 + (tail >= items)
    order = np.argsort(kind, kind="stable")
    found, first = np.unique(kind[order], return_index=True)
    edges = []
    for code, rows in zip(found.tolist(), np.split(order, first[1:]), strict=True):
        relation = Relation(names[code // 4], _ENDS[code // 2 % 2], _ENDS[code % 2])
        edges.append(Edges(relation, head[rows] - items * (code // 2 % 2), tail[rows] - items * (code % 2)))
    return edges


def _check_order(uri: str, triples: dict[str, Rows]) -> None:
    """Refuse triples whose relation column has more values than their tail column, as after a swap."""
    relations, tails = (len(np.unique(triples[name])) for name in ("relation", "tail"))
    if relations > max(tails, _USUAL_RELATIONS):
        raise RequestError(
            f"{uri}: {relations:,} relations but {tails:,} tails; are the columns in another order? give columns"
        )


def _relation_names(folder: str, triples: str, relation: Rows) -> dict[int, str]:
    """Return the name of each relation from relation-list.txt, or the number as text if there is no such file."""
    used = np.unique(relation)
    if len(used) > _MOST_RELATIONS or used[-1] >= 1 << 20:
        raise RequestError(
            f"{triples}: {len(used):,} relations up to number {used[-1]}, more than {_MOST_RELATIONS:,}; are the columns in"
            " another order? give columns"
        )
    uri = join(folder, "relation-list.txt")
    if not exists(uri):
        return {number: str(number) for number in used.tolist()}
    names = _listed(uri)
    check_ids(triples, "relation", relation, len(names))
    return dict(enumerate(names))


def _listed(uri: str) -> list[str]:
    """Return the names of a file with a number from 0 on and a name a line."""
    names: dict[str, None] = {}
    for lines in line_blocks(uri):
        lines = meaningful(lines)
        for row, text in zip(lines.number.tolist(), lines.text.to_pylist(), strict=True):
            number, name = (*text.split(), "", "")[:2]
            if len(text.split()) != 2 or number != str(len(names)) or name in names:
                raise RequestError(
                    f"{uri}, row {row}: must hold the number {len(names)} and a unique name; fix the row"
                )
            names[name] = None
    return list(names)
