"""The parts of the shared data for the choice of shipped models (jobs/zoo_parts.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jobs import zoo_parts
from tests.helpers.corpora import real


def first_column(path: Path) -> set[str]:
    return {line.split("\t")[0] for line in path.read_text().splitlines()}


@pytest.mark.data
def test_parts_share_no_paper_and_no_gene(tmp_path: Path) -> None:
    tables, genes = real("hetero/dblp4area", "ppi/biogrid/go_human_mouse.npz")
    zoo_parts.papers(Path(tables), tmp_path / "tables")
    folders = {part: tmp_path / "tables" / part for part in zoo_parts.VENUES}
    papers = {part: first_column(folder / "paper_conf.txt") for part, folder in folders.items()}
    assert {part: len(found) for part, found in papers.items()} == {"pretrain": 8873, "choose": 1316, "report": 4187}
    assert len(set.union(*papers.values())) == 14_376
    assert all(first_column(folders[part] / "paper_term.txt") <= found for part, found in papers.items())
    assert not (folders["pretrain"] / "conf_label.txt").exists()
    zoo_parts.human(Path(genes), tmp_path)
    halves = [np.load(tmp_path / f"human-{part}.npz") for part in ("choose", "report")]
    assert not np.intersect1d(*(half["human_entrez"] for half in halves)).size
    assert [(len(half["human_entrez"]), len(half["terms"])) for half in halves] == [(3173, 59)] * 2
