# %% [markdown]
# # Molecules, end to end
#
# From two files of SMILES to an encoder, a comparison with no pre-training, predictions and a report. Needs RDKit (`pip install 'distgnn[chem]'`).
# The molecules are made up, so nothing is downloaded. `DISTGNN_EXAMPLES` names the output folder.

# %%
import itertools
import os
from pathlib import Path

import distgnn as dg

folder = Path(os.environ.get("DISTGNN_EXAMPLES", "build/examples")) / "molecules"
folder.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# A molecule is a head, a linker and a ring. The label says whether the ring is aromatic.

# %%
heads = ["O", "N", "OC(=O)", "F", "Cl", "N#C", "NC(=O)", "S", "COC(=O)", "CS"]
linkers = ["C", "CC", "CCC", "COC", "CNC", "CC=C", "CC(C)", "CSC"]
rings = ["c1ccccc1", "C1CCCCC1", "c1ccncc1", "C1CCNCC1", "c1ccc2ccccc2c1", "C1CCOC1", "c1ccsc1", "C1CC1"]
smiles = ["".join(parts) for parts in itertools.product(heads, linkers, rings)]
(folder / "pool.smi").write_text("\n".join(smiles) + "\n")
labelled = [f"{text},{int('c' in text)}" for text in smiles[::3]]
_ = (folder / "labelled.csv").write_text("smiles,aromatic\n" + "\n".join(labelled) + "\n")

# %% [markdown]
# Build a corpus without labels and one with labels.

# %%
dg.build_corpus("molecules", input=folder / "pool.smi", out=folder / "pool", unit_rows=64, overwrite=True)
dg.build_corpus("molecules", input=folder / "labelled.csv", labels="aromatic", out=folder / "labelled", overwrite=True)
print(len(dg.Corpus(folder / "pool")), "graphs without labels")

# %% [markdown]
# Pre-train with L2P-GNN. A dry run first says how long that takes.

# %%
small = dg.EncoderConfig(layers=3, width=32)
config = dg.PretrainConfig(
    str(folder / "pool"), out=str(folder / "runs"), encoder=small, train=dg.TrainConfig(epochs=5)
)
print(f"about {dg.dry_run(config).seconds:.0f} s")
run = dg.pretrain(config)
run.table.tail(3)

# %% [markdown]
# Fine-tune over three seeds, beside the same encoder without pre-training.

# %%
results = dg.finetune(
    corpus=folder / "labelled",
    checkpoint={"l2p": [run.uri]},
    out=folder / "finetune",
    seeds=3,
    epochs=10,
    split={"method": "random"},
    save_models=True,
)
results.plot().savefig(folder / "scores.png")
print(results)

# %% [markdown]
# Predict with one of the fine-tuned models, and write everything on one page.

# %%
model = dg.load_model(results.models[0])
print(model.predict(["OCc1ccccc1", "OCC1CCCCC1"]))
print(dg.write_report([run.uri, folder / "finetune"], str(folder / "report.html")))
