"""Molecules from SMILES, with the features of Hu et al., "Strategies for pre-training graph neural networks" (ICLR 2020)."""

from __future__ import annotations

import csv
import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from distgnn import register
from distgnn.config import InputBuildConfig
from distgnn.config.fields import setting
from distgnn.corpus.shard import Piece
from distgnn.corpus.sources.base import Rejected, rejected
from distgnn.corpus.sources.files import described, input_errors, open_text, suffix_free
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
_SPLITS = {"train": 0, "valid": 1, "val": 1, "test": 2, "0": 0, "1": 1, "2": 2, "": None}
_ROWS = 2048


class MoleculesPart(NamedTuple):
    """Rows of one file.

    Attributes:
        file: name of the file.
        first: graph id of the first row.
        lines: line number of each row.
        fields: fields of each row (SMILES, labels..., split); empty if the row is too short.
    """

    file: str
    first: int
    lines: list[int]
    fields: list[list[str]]


class _Columns(NamedTuple):
    """Column numbers of the required fields (SMILES, labels..., split)."""

    indices: list[int]

    def of(self, row: list[str]) -> list[str]:
        """Return the required fields, or none if the row is too short."""
        return [row[i].strip() for i in self.indices] if len(row) > max(self.indices) else []


@dataclass(frozen=True, kw_only=True)
class MoleculesConfig(InputBuildConfig):
    """Molecules from SMILES text (csv, tsv, smi); needs RDKit (the extra 'chem').

    Example: distgnn corpus build molecules --input bbbp.csv --labels p_np --out data/bbbp
    """

    smiles: str = setting("smiles")
    """Column with the SMILES: its name in the header, or its number from 0 for files without a header (.smi: always 0)."""
    labels: tuple[str, ...] = setting(())
    """Columns with labels (names, or numbers in files without a header); an empty field is an unknown label."""
    split: str = setting("")
    """Column with the split: train, val (or valid), test, or 0, 1, 2; empty = the input has none."""


@register.corpus_source("molecules", MoleculesConfig)
class MoleculesSource:
    """Tables of SMILES. graph_id is the row number over all files, rejected rows included.

    A file is tab-separated if its first line contains a tab, space-separated ("SMILES ID") if its extension is .smi, and
    comma-separated otherwise; quoted fields are supported. The group of a molecule is its Bemis-Murcko scaffold.
    """

    def __init__(self, config: MoleculesConfig) -> None:
        if importlib.util.find_spec("rdkit") is None:
            raise RequestError("reading SMILES needs RDKit, which is not installed: pip install 'distgnn[chem]'")
        self.config = config
        self._files = described(config.input)
        meta = {"domain": "molecule"}
        split = bool(config.split)
        self._schema = Schema(ATOM_FEATURES, BOND_FEATURES, config.labels, group="scaffold", split=split, meta=meta)

    @property
    def schema(self) -> Schema:
        """Atoms and bonds as in Hu et al., scaffold groups, and the labels and split of the config."""
        return self._schema

    def parts(self) -> Iterator[MoleculesPart]:
        """Iterate over chunks of rows in order; one chunk is in memory at a time."""
        first = 0
        for uri in self.config.input:
            for lines, fields in self._chunks(uri):
                yield MoleculesPart(base_name(uri), first, lines, fields)
                first += len(lines)

    def _chunks(self, uri: str) -> Iterator[tuple[list[int], list[list[str]]]]:
        with input_errors(uri), open_text(uri) as text:
            first_line = text.readline()
            text.seek(0)
            reader = csv.reader(text, **_dialect(uri, first_line))
            columns = self._columns(uri, reader)
            rows = ((reader.line_num, columns.of(row)) for row in _rows(uri, reader) if row)
            while chunk := list(islice(rows, _ROWS)):
                yield [line for line, _ in chunk], [fields for _, fields in chunk]

    def _columns(self, uri: str, reader: Any) -> _Columns:
        config = self.config
        columns = [config.smiles, *config.labels, *([config.split] if config.split else [])]
        if suffix_free(uri) == ".smi":
            columns[0] = "0"
        if columns[0].isdigit():
            names = [name for name in columns if not name.isdigit()]
            if names:
                raise RequestError(
                    f"{uri}: has no header (smiles={columns[0]}), so column {names[0]!r} must be given as a number"
                )
            return _Columns([int(name) for name in columns])
        header = [name.strip() for name in next(_rows(uri, reader), [])]
        missing = [name for name in columns if name not in header]
        if missing:
            known = ", ".join(header[:20]) + (", ..." if len(header) > 20 else "")
            raise RequestError(
                f"{uri}: no column {missing[0]!r}; its columns are {known[:400] or 'none (the file is empty)'}"
            )
        return _Columns([header.index(name) for name in columns])

    def total_parts(self) -> None:
        """Return None: counting rows would read every file in advance."""
        return

    def read(self, part: MoleculesPart) -> tuple[Piece | None, list[Rejected]]:
        """Parse the molecules of a chunk."""
        parse = importlib.import_module("distgnn.corpus.smiles").parse
        molecules = parse([fields[0] if fields else "" for fields in part.fields])
        refused = []
        for number, reason in molecules.reasons.items():
            fields = part.fields[number]
            message = reason if fields else "too few fields"
            refused.append(rejected(part.file, part.lines[number], message, fields[0] if fields else ""))
        if not molecules.kept:
            return None, refused
        graphs = packed(
            part.first + np.array(molecules.kept),
            pointers(molecules.atoms),
            pointers(molecules.bonds),
            molecules.bond_uv.T,
            node_cat=molecules.atom,
            edge_cat=molecules.bond,
            y=self._labels(part, molecules.kept) if self.config.labels else None,
        )
        split = self._split(part, molecules.kept) if self.config.split else None
        return Piece(graphs, group=molecules.scaffold, split=split), refused

    def _labels(self, part: MoleculesPart, kept: Sequence[int]) -> npt.NDArray[np.float32]:
        last = 1 + len(self.config.labels)
        texts = np.array([part.fields[row][1:last] for row in kept], dtype=object)
        texts[texts == ""] = "nan"
        try:
            return texts.astype(np.float32)
        except ValueError as error:
            row, column = next(
                (r, c) for r, line in enumerate(texts) for c, text in enumerate(line) if not _is_number(text)
            )
            where = f"{part.file}, line {part.lines[kept[row]]}, column {self.config.labels[column]}"
            raise RequestError(
                f"{where}: the label {texts[row, column]!r} is not a number; leave unknown labels empty"
            ) from error

    def _split(self, part: MoleculesPart, kept: Sequence[int]) -> list[int | None]:
        names = [part.fields[row][-1].lower() for row in kept]
        unknown = [(row, name) for row, name in zip(kept, names, strict=True) if name not in _SPLITS]
        if unknown:
            where = f"{part.file}, line {part.lines[unknown[0][0]]}, column {self.config.split}"
            raise RequestError(f"{where}: {unknown[0][1]!r} is not a valid split; use train, val, test or 0, 1, 2")
        return [_SPLITS[name] for name in names]

    def provenance(self) -> dict[str, Any]:
        """Return input files and options."""
        config = self.config
        options = {"smiles": config.smiles, "labels": list(config.labels), "split": config.split}
        return {"source": "molecules", "files": self._files, "options": options}


def _dialect(uri: str, first_line: str) -> dict[str, Any]:
    if "\t" in first_line:
        return {"delimiter": "\t"}
    if suffix_free(uri) == ".smi":
        return {"delimiter": " ", "skipinitialspace": True, "quoting": csv.QUOTE_NONE}
    return {"delimiter": ","}


def _rows(uri: str, reader: Any) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise RequestError(f"{uri}, line {reader.line_num}: not readable as a table ({error})") from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
