# %% [markdown]
# # Papers: the area of a paper from its authors and terms
#
# Sub-graphs around papers: authors, terms, venue, and other papers of the authors. The area follows from the venue, so the venue nodes are left out (`drop_venue`).
# The bibliography is made up, in the format of DBLP's four-area tables.

# %%
import os
from pathlib import Path

import numpy as np

import distgnn as dg

folder = Path(os.environ.get("DISTGNN_EXAMPLES", "build/examples")) / "papers"
tables = folder / "tables"
tables.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# Four areas of two venues each, which differ in how many authors write a paper, and how often they write again.

# %%
rng = np.random.default_rng(0)
papers = 400
area = rng.integers(0, 4, papers)
venue = 2 * area + rng.integers(0, 2, papers)


def drawn(counts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Pairs of a paper and ``counts`` authors or terms out of ``sizes`` of its area."""
    paper = np.repeat(np.arange(papers), counts)
    return np.unique(
        np.stack([paper, 4 * (rng.integers(0, 1 << 30, len(paper)) % sizes[paper]) + area[paper]], 1), axis=0
    )


def write(name: str, rows: np.ndarray) -> None:
    """Write a table with tabs."""
    (tables / name).write_text("\n".join("\t".join(map(str, row)) for row in rows.tolist()) + "\n")


write("paper_author.txt", drawn(np.array([1, 2, 3, 5])[area], np.array([90, 60, 40, 20])[area]))
write("paper_term.txt", drawn(rng.integers(2, 6, papers), np.full(papers, 30)))
write("paper_conf.txt", np.stack([np.arange(papers), venue], 1))
(tables / "conf.txt").write_text("".join(f"{number}\tVenue {number}\n" for number in range(8)))
_ = (tables / "conf_label.txt").write_text("".join(f"{number}\t{number // 2}\tVenue {number}\n" for number in range(8)))

# %%
dg.build_corpus("biblio", input=tables, drop_venue=True, out=folder / "corpus", unit_rows=64, overwrite=True)
run = dg.pretrain(
    corpus=folder / "corpus", out=folder / "runs", encoder={"layers": 2, "width": 32}, train={"epochs": 10}
)

# %% [markdown]
# What does pre-training give with 20 and 60 labels, after 10 and 30 updates? Every draw is a new split.

# %%
results = dg.finetune(
    corpus=folder / "corpus",
    checkpoint={"l2p": [run.uri]},
    train_labels=[20, 60],
    updates=[10, 30],
    draws=4,
    test_graphs=150,
    out=folder / "few",
)
print(results)
