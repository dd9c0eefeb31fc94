"""Inputs of a prediction: a corpus, PyG graphs or SMILES, converted to batches with the model's features."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.sources.molecules import ATOM_FEATURES, BOND_FEATURES
from distgnn.corpus.sources.pyg import collect, single_graphs
from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch
from distgnn.graph.pyg import from_pyg, is_pyg
from distgnn.graph.ragged import packed, pointers
from distgnn.graph.schema import Schema
from distgnn.storage.uri import text_of

if TYPE_CHECKING:
    from torch_geometric.data import Data

_GRAPHS = 256
Graphs = Union[GraphBatch, "Data", Sequence["Data"], Sequence[str], str, os.PathLike[str]]
"""A corpus URI, one PyG graph or batch, a list of PyG graphs (or a DataLoader), or a list of SMILES."""


def input_batches(data: Graphs, schema: Schema) -> Iterator[GraphBatch]:
    """Yield the graphs of ``data`` in order, in batches of a few hundred.

    Args:
        data: URI of a corpus, PyG ``Data`` or ``Batch``, a sequence of ``Data``, or a sequence of SMILES (needs RDKit).
        schema: Features of the model; those of the data must be the same.

    Raises:
        RequestError: The data have other features, or a SMILES string cannot be parsed.
    """
    if isinstance(data, str | os.PathLike):
        yield from _corpus(text_of(data), schema)
    elif isinstance(data, GraphBatch):
        yield data
    elif is_pyg(data):
        yield from_pyg(data, schema)
    else:
        yield from _sequence(data, schema)


def _corpus(uri: str, schema: Schema) -> Iterator[GraphBatch]:
    reader = CorpusReader(uri)
    schema.check_features(reader.manifest.schema, f"the model cannot read {uri}")
    for unit in range(reader.manifest.units):
        yield reader.unit(unit)


def _sequence(data: Iterable[Any], schema: Schema) -> Iterator[GraphBatch]:
    items, first = iter(data), 0
    while chunk := list(islice(items, _GRAPHS)):
        if all(isinstance(item, str) for item in chunk):
            yield _molecules(chunk, schema, first)
            first += len(chunk)
        elif all(is_pyg(item) for item in chunk):
            graphs = list(single_graphs(chunk))
            for low in range(0, len(graphs), _GRAPHS):
                part = graphs[low : low + _GRAPHS]
                yield collect(part, _unlabelled(schema), first).graphs
                first += len(part)
        else:
            kinds = sorted({type(item).__name__ for item in chunk})
            raise RequestError(f"graphs: expected PyG Data or SMILES text, found {', '.join(kinds)}")


def _unlabelled(schema: Schema) -> Schema:
    """Return the schema of graphs to predict: every direction of an edge is kept, as in :func:`from_pyg`."""
    return replace(schema, labels=(), classes={}, group="", split=False, directed=True)


def _molecules(texts: Sequence[str], schema: Schema, first: int) -> GraphBatch:
    if importlib.util.find_spec("rdkit") is None:
        raise RequestError("reading SMILES needs RDKit, which is not installed: pip install 'distgnn[chem]'")
    schema.check_features(Schema(ATOM_FEATURES, BOND_FEATURES), "the model cannot read SMILES")
    found = importlib.import_module("distgnn.corpus.smiles").parse(texts)
    if found.reasons:
        row, reason = next(iter(found.reasons.items()))
        raise RequestError(f"SMILES {first + row}, {texts[row][:80]!r}: {reason}; leave it out")
    return packed(
        first + np.arange(len(texts)),
        pointers(found.atoms),
        pointers(found.bonds),
        found.bond_uv.T,
        node_cat=found.atom,
        edge_cat=found.bond,
    )
