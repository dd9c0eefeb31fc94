"""Molecules from SMILES, with the features of Hu et al., "Strategies for pre-training graph neural networks" (ICLR 2020)."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from distgnn import register
from distgnn.corpus.shard import Piece
from distgnn.corpus.sources.base import SPLITS, Rejected, rejected
from distgnn.corpus.sources.files import described, input_errors
from distgnn.corpus.sources.molecule_rows import ROWS, MoleculeRows, MoleculesConfig, numbers
from distgnn.errors import RequestError
from distgnn.graph.ragged import packed, pointers
from distgnn.graph.schema import Feature, Schema
from distgnn.storage.uri import base_name

ATOM_FEATURES = (
    Feature("atom", "categorical", 120, "atomic number, 0 = unknown"),
    Feature("chirality", "categorical", 4, "0 none, 1 tetrahedral clockwise, 2 counter-clockwise, 3 other"),
)
BOND_FEATURES = (
    Feature("bond", "categorical", 4, "0 single (or dative), 1 double, 2 triple, 3 aromatic"),
    Feature("direction", "categorical", 3, "0 none, 1 end down right, 2 end up right"),
)


class MoleculesPart(NamedTuple):
    """Rows of one file.

    Attributes:
        file: name of the file.
        first: graph id of the first row.
        lines: line number of each row.
        fields: fields of each row (SMILES or mol block, labels..., split).
        problems: reason by row, for rows that cannot be read; their only field is their text.
        blocks: whether the first fields are mol blocks.
    """

    file: str
    first: int
    lines: list[int]
    fields: list[list[str]]
    problems: dict[int, str]
    blocks: bool


@register.corpus_source("molecules", MoleculesConfig)
class MoleculesSource:
    """Tables of SMILES and SD files. graph_id is the row number over all files, rejected rows included.

    Text is read as :mod:`distgnn.corpus.sources.tables` says; blank lines are no rows. The group of a molecule is its
    Bemis-Murcko scaffold.
    """

    def __init__(self, config: MoleculesConfig) -> None:
        if importlib.util.find_spec("rdkit") is None:
            raise RequestError("reading SMILES needs RDKit, which is not installed: pip install 'distgnn[chem]'")
        self.config = config
        self._files = described(config.input)
        self._labels = MoleculeRows(config.input[0], config).numeric() if config.labels == ("all",) else config.labels
        meta = {"domain": "molecule"}
        split = bool(config.split)
        self._schema = Schema(ATOM_FEATURES, BOND_FEATURES, self._labels, group="scaffold", split=split, meta=meta)

    @property
    def schema(self) -> Schema:
        """Atoms and bonds as in Hu et al., scaffold groups, and the labels and split of the config."""
        return self._schema

    def parts(self) -> Iterator[MoleculesPart]:
        """Iterate over chunks of rows in order; one chunk is in memory at a time."""
        first = 0
        for uri in self.config.input:
            with input_errors(uri):
                reader = MoleculeRows(uri, replace(self.config, labels=self._labels))
                rows = reader.chosen()
                while chunk := list(islice(rows, ROWS)):
                    lines, fields = [row.line for row in chunk], [row.fields for row in chunk]
                    problems = {number: row.problem for number, row in enumerate(chunk) if row.problem}
                    yield MoleculesPart(base_name(uri), first, lines, fields, problems, reader.sdf)
                    first += len(chunk)

    def total_parts(self) -> None:
        """Return None: counting rows would read every file in advance."""
        return

    def rows(self, part: MoleculesPart) -> int:
        """Return the number of rows of a chunk."""
        return len(part.lines)

    def read(self, part: MoleculesPart) -> tuple[Piece | None, list[Rejected]]:
        """Parse the molecules of a chunk."""
        smiles = importlib.import_module("distgnn.corpus.smiles")
        parse = smiles.parse_blocks if part.blocks else smiles.parse
        molecules = parse(["" if row in part.problems else fields[0] for row, fields in enumerate(part.fields)])
        refused = []
        for row, reason in (molecules.reasons | part.problems).items():
            text = part.fields[row][0] if part.fields[row] else ""
            refused.append(rejected(part.file, part.lines[row], reason, text))
        if not molecules.kept:
            return None, refused
        graphs = packed(
            part.first + np.array(molecules.kept),
            pointers(molecules.atoms),
            pointers(molecules.bonds),
            molecules.bond_uv.T,
            node_cat=molecules.atom,
            edge_cat=molecules.bond,
            y=self._y(part, molecules.kept) if self._labels else None,
        )
        split = self._split(part, molecules.kept) if self.config.split else None
        return Piece(graphs, group=molecules.scaffold, split=split), refused

    def _y(self, part: MoleculesPart, kept: Sequence[int]) -> npt.NDArray[np.float32]:
        last = 1 + len(self._labels)
        texts = np.array([part.fields[row][1:last] for row in kept], dtype=object)
        with np.errstate(over="ignore"):
            y = numbers(texts, self.config.decimal).astype(np.float32)
        bad = np.isinf(y)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            where = f"{part.file}, line {part.lines[kept[row]]}, column {self._labels[column]}"
            raise RequestError(f"{where}: the label {texts[row, column]!r} is not a number; leave unknown labels empty")
        return y

    def _split(self, part: MoleculesPart, kept: Sequence[int]) -> list[int | None]:
        names = [part.fields[row][-1].lower() for row in kept]
        unknown = [(row, name) for row, name in zip(kept, names, strict=True) if name not in SPLITS]
        if unknown:
            where = f"{part.file}, line {part.lines[unknown[0][0]]}, column {self.config.split}"
            raise RequestError(f"{where}: {unknown[0][1]!r} is not a valid split; use train, val, test or 0, 1, 2")
        return [SPLITS[name] for name in names]

    def provenance(self) -> dict[str, Any]:
        """Return input files and options."""
        config = self.config
        options = {"smiles": config.smiles, "labels": list(config.labels), "split": config.split}
        changed = {name: getattr(config, name) for name in ("delimiter", "encoding") if getattr(config, name)}
        decimal = {"decimal": config.decimal} if config.decimal != "." else {}
        return {"source": "molecules", "files": self._files, "options": options | changed | decimal}
