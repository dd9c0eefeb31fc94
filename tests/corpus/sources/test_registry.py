"""All builders alike: registered, importable without RDKit, and the same bytes from two processes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from distgnn import register
from distgnn.config import BuildConfig
from distgnn.corpus.inspect import verify
from distgnn.corpus.sources.arrays import ArraysConfig
from distgnn.corpus.sources.biblio import BiblioConfig
from distgnn.corpus.sources.molecules import MoleculesConfig
from distgnn.corpus.sources.motifs import MotifsConfig
from distgnn.corpus.sources.ppi import PpiConfig
from distgnn.corpus.sources.tudataset import PygConfig, TuDatasetConfig
from tests.corpus.sources.test_biblio import record, tables
from tests.corpus.sources.test_molecules import CSV, save
from tests.corpus.sources.test_ppi import HUMAN, MOUSE, network, npz
from tests.corpus.sources.test_tudataset import folder
from tests.helpers.corpora import build, contents, two_processes


def inputs(tmp_path: Path, kind: str, out: str) -> BuildConfig:
    """A small build of a kind."""
    if kind == "motifs":
        return MotifsConfig(out=out, graphs=50)
    if kind == "molecules":
        (tmp_path / "m.csv").write_text(CSV)
        return MoleculesConfig(out=out, input=(str(tmp_path / "m.csv"),), labels=("active",), split="part")
    if kind == "arrays":
        return ArraysConfig(out=out, input=(save(tmp_path / "a.npz", 9, in_downstream=np.arange(9) == 4),))
    if kind == "ppi":
        files = network(tmp_path, HUMAN), network(tmp_path, MOUSE, "Mouse-1.el.xz")
        return PpiConfig(out=out, input=files, labels=npz(tmp_path), label_groups=("Human=human", "Mouse=mouse"))
    if kind == "biblio":
        return BiblioConfig(out=out, input=(tables(tmp_path),))
    kinds = {"tudataset": TuDatasetConfig, "pyg": PygConfig}
    return kinds[kind](out=out, input=(folder(tmp_path),))


@pytest.mark.parametrize("kind", register.corpus_source.names())
def test_two_processes_give_the_same_bytes(tmp_path: Path, kind: str) -> None:
    config = inputs(tmp_path, kind, str(tmp_path / "one"))
    assert type(config) is register.corpus_source.get(kind).config
    manifest = build(kind, config)
    build(kind, dataclasses.replace(config, out=str(tmp_path / "two")), two_processes)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert verify(config.out).ok
    assert str(tmp_path) not in (tmp_path / "one" / "corpus.json").read_text()
    assert manifest.provenance["source"] in (kind, "tudataset")


def test_predblp_is_chosen_by_format(tmp_path: Path) -> None:
    (tmp_path / "graph").write_text(json.dumps(record()) + "\n")
    config = BiblioConfig(out=str(tmp_path / "out"), input=(str(tmp_path / "graph"),), format="predblp")
    assert build("biblio", config).provenance["source"] == "predblp"


def test_every_builder_has_an_example() -> None:
    for entry in register.corpus_source.entries():
        assert f"Example: distgnn corpus build {entry.name} " in (entry.config.__doc__ or "")
