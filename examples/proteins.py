# %% [markdown]
# # Proteins: functions of one species from another
#
# Ego networks of protein interaction networks. The model is pre-trained on all species, learns functions on one, and is tested on another that it has no label of
# (`split.method=group`). The networks are made up; your own are edge lists or files of STRING and BioGRID (docs/formats.md).

# %%
import os
from pathlib import Path

import numpy as np

import distgnn as dg

folder = Path(os.environ.get("DISTGNN_EXAMPLES", "build/examples")) / "proteins"
folder.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# A species has dense complexes and loose pairs. The label `complex` marks the proteins of a complex.

# %%
rng = np.random.default_rng(0)
rows = []
for species in ("human", "mouse", "yeast"):
    names = np.array([f"{species[0].upper()}{number}" for number in range(150)])
    member = rng.random(150) < 0.4
    groups = np.array_split(np.flatnonzero(member), 8)
    dense = [(a, b) for group in groups for a in group for b in group if a < b]
    loose = rng.integers(0, 150, (180, 2))
    pairs = np.concatenate([np.array(dense), loose[loose[:, 0] != loose[:, 1]]])
    (folder / f"{species}.txt").write_text("\n".join(f"{names[a]} {names[b]}" for a, b in pairs) + "\n")
    linked = np.unique(pairs)
    rows += [f"{species}\t{names[number]}\t{'complex' if member[number] else 'other'}" for number in linked]
_ = (folder / "functions.tsv").write_text("group\tnode\tterm\n" + "\n".join(rows) + "\n")

# %%
networks = [str(folder / f"{species}.txt") for species in ("human", "mouse", "yeast")]
dg.build_corpus(
    "ppi", input=networks, labels=folder / "functions.tsv", out=folder / "corpus", unit_rows=64, overwrite=True
)

# %% [markdown]
# Pre-training reads no labels. Then mouse is left out of training and validation; its score is the column `ood`.

# %%
run = dg.pretrain(
    corpus=folder / "corpus", out=folder / "runs", encoder={"layers": 3, "width": 32}, train={"epochs": 3}
)
results = dg.finetune(
    corpus=folder / "corpus",
    checkpoint={"l2p": [run.uri]},
    labels=["complex"],
    split={"method": "group", "ood_groups": ["mouse"]},
    seeds=2,
    epochs=5,
    out=folder / "finetune",
)
print(results)
