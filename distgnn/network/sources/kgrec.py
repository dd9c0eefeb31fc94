"""Ratings with a knowledge graph whose first entities are the items: Last-FM and Book-Crossing of KGCN, RippleNet, MCCLK."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from distgnn import register
from distgnn.config import InputNetworkConfig
from distgnn.config.fields import setting
from distgnn.corpus.sources.files import input_errors, open_binary
from distgnn.errors import RequestError
from distgnn.network.csr import Edges, both_ways, build_network
from distgnn.network.network import Network, Relation
from distgnn.network.paths import PAPER_PATHS
from distgnn.network.sources.reading import Rows, check_ids, exists, find, id_table, provenance
from distgnn.storage.uri import join

_RATINGS = ("ratings.txt", "ratings_final.npy", "ratings_final.txt")
_TRIPLES = ("kg.txt", "kg_final.npy", "kg_final.txt")
_COLUMNS = {"hrt": ("head", "relation", "tail"), "htr": ("head", "tail", "relation")}
_ENDS = ("item", "entity")


@dataclass(frozen=True, kw_only=True)
class KgrecConfig(InputNetworkConfig):
    """Ratings of items that are entities of a knowledge graph, as KGCN and RippleNet publish them: user, item and label in
    ratings.txt or ratings_final.npy, triples in kg.txt or kg_final.npy, names in relation-list.txt if it is there. Item i is
    entity i. A network named last-fm or book-crossing brings the meta-paths of AUX-TS with it.

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
    names = _relation_names(folder, files[1], triples["relation"])
    items = int(ratings["item"].max()) + 1
    entities = max(int(triples["head"].max()), int(triples["tail"].max())) + 1 - items
    edges = [way for found in _typed(triples, names, items) for way in both_ways(found)]
    meta = provenance("kgrec", folder, config.name, files, columns=config.columns)
    return build_network(
        {"item": items, "entity": max(entities, 0), "user": int(ratings["user"].max()) + 1},
        edges,
        tables={f"rating.{name}": column for name, column in ratings.items()},
        meta=meta | {"paths": list(PAPER_PATHS.get(meta["name"], ()))},
    )


def _typed(triples: dict[str, Rows], names: list[str], items: int) -> list[Edges]:
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


def _relation_names(folder: str, triples: str, relation: Rows) -> list[str]:
    """Return relation names from relation-list.txt, or the numbers as text if there is no such file."""
    uri = join(folder, "relation-list.txt")
    if not exists(uri):
        return [str(number) for number in range(int(relation.max()) + 1)]
    with input_errors(uri), open_binary(uri) as file:
        try:
            table = pd.read_csv(file, sep=r"\s+", header=None, names=["number", "name"], dtype=str)
        except RequestError:
            raise
        except ValueError as error:  # pandas' own parser errors are ValueErrors
            raise RequestError(f"{uri}: needs two columns, number and name ({error})") from error
    wrong = table["number"].to_numpy() != np.arange(len(table)).astype(str)
    wrong = wrong | table["name"].isna().to_numpy() | table["name"].duplicated().to_numpy()
    if wrong.any():
        row = int(np.argmax(wrong))
        raise RequestError(f"{uri}, row {row + 1}: must hold the number {row} and a unique name; fix the row")
    check_ids(triples, "relation", relation, len(table))
    return [str(name) for name in table["name"]]
