"""Write the parts of the shared data on which the candidates for shipped models are chosen and reported.

DISTGNN_DATA=../shared/data python jobs/zoo_parts.py corpus

corpus/tables/{pretrain,choose,report}: the tables of dblp4area, split by venue, so that they share no paper.
corpus/human-{choose,report}.npz: two random halves of the human genes, with the GO terms that have 1,500 positives in all.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

VENUES = {
    "pretrain": "VLDB ICDE KDD PAKDD IJCAI AAAI SIGIR WSDM",
    "choose": "PODS PKDD CVPR WWW",
    "report": "SIGMOD EDBT ICDM SDM ICML ECML CIKM ECIR",
}
LABELS = "conf_label"
POSITIVES = 1500


def papers(source: Path, out: Path) -> None:
    """Write the tables of each group of venues; those of pretrain have no labels."""
    tables = {
        name: pd.read_csv(source / f"{name}.txt", sep="\t", header=None, dtype=str, keep_default_na=False)
        for name in ("paper_author", "paper_term", "paper_conf", "conf", "term", LABELS)
    }
    names = tables["conf"].set_index(0)[1].str.strip()
    for part, venues in VENUES.items():
        of_part = tables["paper_conf"][1].map(names).isin(venues.split())
        kept = tables["paper_conf"].loc[of_part, 0].tolist()
        (out / part).mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            rows = table[0].isin(kept) if name.startswith("paper") else table[0] != ""
            if (part, name) != ("pretrain", LABELS):
                table.loc[rows, [0, 1]].to_csv(out / part / f"{name}.txt", sep="\t", header=False, index=False)


def human(source: Path, out: Path) -> None:
    """Write the two halves of the label table of human genes."""
    table = np.load(source, allow_pickle=False)
    genes, terms = table["human_entrez"], table["terms"]
    ones = np.ones(len(table["human_indices"]), np.int64)
    labels = csr_array((ones, table["human_indices"], table["human_indptr"]), shape=(len(genes), len(terms)))
    frequent = np.flatnonzero(labels.sum(axis=0) >= POSITIVES)
    halves = np.array_split(np.random.default_rng(0).permutation(len(genes)), 2)
    for part, rows in zip(("choose", "report"), halves, strict=True):
        kept = labels[rows][:, frequent]
        indices, indptr = kept.indices, kept.indptr
        named = {"terms": terms[frequent], "human_entrez": genes[rows]}
        np.savez(out / f"human-{part}.npz", human_indptr=indptr, human_indices=indices, **named)


if __name__ == "__main__":
    data, target = Path(os.environ["DISTGNN_DATA"]), Path(sys.argv[1])
    papers(data / "hetero/dblp4area", target / "tables")
    human(data / "ppi/biogrid/go_human_mouse.npz", target)
