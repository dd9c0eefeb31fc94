# %% [markdown]
# # Quickstart
#
# From SMILES to a fine-tuned table in 30 lines. Needs RDKit (`pip install 'distgnn[chem]'`). Give your own two files instead of those that are made up here.

# %%
import itertools
import os
from pathlib import Path

import distgnn as dg

folder = Path(os.environ.get("DISTGNN_EXAMPLES", "build/examples")) / "quickstart"
folder.mkdir(parents=True, exist_ok=True)
heads, linkers = ["O", "N", "F", "CS", "OC(=O)", "N#C", "Cl", "NC(=O)"], ["C", "CC", "COC", "CC=C", "CNC", "COCC"]
rings = ["c1ccccc1", "C1CCCCC1", "c1ccsc1", "C1CC1", "c1ccncc1", "C1CCOC1"]
smiles = ["".join(choice) for choice in itertools.product(heads, linkers, rings)]
(folder / "unlabelled.smi").write_text("\n".join(smiles) + "\n")
(folder / "labelled.csv").write_text(
    "smiles,one_oxygen\n" + "".join(f"{text},{int(text.count('O') == 1)}\n" for text in smiles)
)

dg.build_corpus("molecules", input=folder / "unlabelled.smi", out=folder / "unlabelled", unit_rows=32, overwrite=True)
dg.build_corpus(
    "molecules", input=folder / "labelled.csv", labels="one_oxygen", out=folder / "labelled", overwrite=True
)
small = dg.EncoderConfig(layers=3, width=32)
run = dg.pretrain(corpus=folder / "unlabelled", out=folder / "runs", encoder=small, train={"epochs": 10})
results = dg.finetune(
    corpus=folder / "labelled", checkpoint=run, out=folder / "finetune", seeds=3, epochs=10, split={"method": "random"}
)
print(results)  # results.table is a pandas table
results.plot().savefig(folder / "scores.png")
