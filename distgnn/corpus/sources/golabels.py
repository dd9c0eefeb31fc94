"""Label tables of proteins: the GO terms of each protein, per group (species)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from distgnn.corpus.sources.edges.columns import tab_columns
from distgnn.corpus.sources.files import cached_reads
from distgnn.corpus.sources.npz import load_npz
from distgnn.errors import RequestError
from distgnn.graph.checked import whole
from distgnn.graph.ragged import Ints
from distgnn.storage.uri import base_name

_MOST_GROUPS = 1000
Names = npt.NDArray[Any]


@dataclass(frozen=True)
class Labels:
    """Labels per group.

    Attributes:
        uri: the table.
        terms: sorted names of the terms.
        groups: for each labelled group, sorted node names [n] and a 0/1 matrix [n, terms].
    """

    uri: str
    terms: Names
    groups: dict[str, tuple[Names, csr_array]]

    def rows(self, group: str, names: Names) -> Ints:
        """Return the row of each name in its group's matrix, int64 [len(names)], -1 if the table does not list it."""
        known = self.groups[group][0].astype(object) if group in self.groups else np.array([], dtype=object)
        if not len(known):
            return np.full(len(names), -1)
        found = np.minimum(np.searchsorted(known, names), len(known) - 1)
        return np.where(known[found] == names, found, -1)

    def table(self, group: str, names: Names, terms: tuple[str, ...]) -> npt.NDArray[np.float32]:
        """Return labels float32 [len(names), len(terms)]: 1 positive, 0 negative, NaN if the table does not list the node."""
        rows = self.rows(group, names)
        y = np.full((len(names), len(terms)), np.nan, np.float32)
        if (rows >= 0).any():
            columns = np.searchsorted(self.terms.astype(object), np.array(terms, dtype=object))
            y[rows >= 0] = self.groups[group][1][rows[rows >= 0]][:, columns].toarray()
        return y

    def chosen(self, names: Mapping[str, Names], minimum: int) -> tuple[str, ...]:
        """Select the terms with at least ``minimum`` positives in each labelled group.

        Args:
            names: node names of each network, by group.
            minimum: smallest number of positives.

        Raises:
            RequestError: no term qualifies, or a labelled group has no network.
        """
        unknown = set(self.groups) - set(names)
        if unknown:
            raise RequestError(
                f"{self.uri}: labels the unknown group {min(unknown)!r}; the networks are {', '.join(names)}"
            )
        frequent = np.ones(len(self.terms), bool)
        for group, (_, matrix) in self.groups.items():
            rows = self.rows(group, names[group])
            frequent &= np.asarray(matrix[rows[rows >= 0]].sum(axis=0)).reshape(-1) >= minimum
        if not frequent.any():
            raise RequestError(f"{self.uri}: no term has min_positives={minimum} positives in every group; lower it")
        return tuple(map(str, self.terms[frequent]))


@cached_reads(1)
def read_labels(uri: str, prefixes: tuple[str, ...]) -> Labels:
    """Read a label table.

    Args:
        uri: an .npz file, or a tab-separated table with columns group, node, term.
        prefixes: for .npz files, the array prefix of each group, such as "HSapiens=human".
    """
    if base_name(uri).endswith(".npz"):
        if not prefixes:
            raise RequestError(f"{uri}: set label_groups to the species of each prefix, such as HSapiens=human")
        return _from_npz(uri, dict(item.split("=", 1) for item in prefixes))
    if prefixes:
        raise RequestError(f"label_groups: {uri} has a group column; use label_groups with .npz tables only")
    return _from_text(uri)


def _from_npz(uri: str, prefixes: Mapping[str, str]) -> Labels:
    fields = ("entrez", "indptr", "indices")
    data = load_npz(uri, ["terms", *(f"{prefix}_{field}" for prefix in prefixes.values() for field in fields)])
    order = np.argsort(data["terms"].astype(str))
    groups = {}
    for group, prefix in prefixes.items():
        names = data[f"{prefix}_entrez"]
        if names.ndim != 1 or names.dtype.kind not in "iuU" or len(np.unique(names)) < len(names):
            raise RequestError(
                f"{uri}: {prefix}_entrez must hold distinct integers or texts, found {names.dtype} {names.shape}"
            )
        indptr, indices = (
            whole(data[f"{prefix}_{name}"], f"{uri}, {prefix}_{name}", shape=(None,)) for name in fields[1:]
        )
        consistent = len(indptr) == len(names) + 1 and indptr[-1] == len(indices)
        if not consistent or (len(indices) and not 0 <= indices.min() <= indices.max() < len(order)):
            raise RequestError(
                f"{uri}: {prefix}_indptr and {prefix}_indices do not match {prefix}_entrez and terms; rebuild the file"
            )
        ones = np.ones(len(indices), np.float32)
        matrix = csr_array((ones, indices, indptr), shape=(len(names), len(order)))
        rows = np.argsort(names.astype(str))
        groups[group] = names.astype(str)[rows], matrix[rows][:, order]
    return Labels(uri, data["terms"].astype(str)[order], groups)


def _from_text(uri: str) -> Labels:
    group, node, term = tab_columns(
        uri, (), "needs the tab-separated columns group, node, term", ("group", "node", "term")
    )
    terms, column = np.unique(term, return_inverse=True)
    groups, found = {}, np.unique(group).tolist()
    if len(found) > _MOST_GROUPS:
        raise RequestError(
            f"{uri}: {len(found):,} groups, more than {_MOST_GROUPS:,}; the column group names the network"
        )
    for name in found:
        in_group = group == name
        names, row = np.unique(node[in_group], return_inverse=True)
        matrix = csr_array((np.ones(len(row), np.float32), (row, column[in_group])), shape=(len(names), len(terms)))
        groups[name] = names, matrix.minimum(1)
    return Labels(uri, terms, groups)
