"""Building corpora and networks through the Python API, and results of sweeps."""

from __future__ import annotations

from pathlib import Path

import pytest

import distgnn as dg
from tests.helpers.sweeps import planted, view, write


def test_build_corpus(tmp_path: Path) -> None:
    corpus = dg.build_corpus("motifs", graphs=40, unit_rows=16, shard_rows=32, out=tmp_path / "corpus")
    assert isinstance(corpus, dg.Corpus)
    assert len(corpus) == 40
    assert "40" in corpus._repr_html_()


def test_unknown_source_names_the_closest(tmp_path: Path) -> None:
    with pytest.raises(dg.RequestError, match="did you mean 'motifs'"):
        dg.build_corpus("motif", out=tmp_path)


def test_wrong_option_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unit_row: unknown field") as error:
        dg.build_corpus("motifs", out=tmp_path, unit_row=3)
    assert "\n" not in str(error.value)


def test_build_network(tmp_path: Path) -> None:
    manifest = dg.build_network("made", nodes=50, edges=200, out=tmp_path / "net")
    assert sum(count for _, count in manifest.types) == 50
    with pytest.raises(dg.RequestError, match="already exists"):
        dg.build_network("made", nodes=50, edges=200, out=tmp_path / "net")


def test_sweep(tmp_path: Path) -> None:
    sweep = dg.SweepResults.open(write(tmp_path, view(planted(6))))
    assert len(sweep.table) == 6
    assert sweep.best_params
    assert sweep.to_json()["winner"]["params"] == sweep.best_params
    assert sweep.plot().axes
    assert dg.SweepResults.open(sweep) == dg.SweepResults.open(Path(sweep.uri)) == sweep
    with pytest.raises(dg.RequestError, match=r"^resume: .* differs from the sweep"):
        dg.resume_sweep(sweep, seed=99)
