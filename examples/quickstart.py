"""From SMILES to a fine-tuned table: python examples/quickstart.py [FOLDER]. Needs RDKit; takes about a minute on two cores."""

import itertools
import sys
from pathlib import Path

import distgnn as dg

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/quickstart")
folder.mkdir(parents=True, exist_ok=True)

# Made-up molecules: a head, a linker and a ring. The label says whether the ring is aromatic.
heads = ["O", "N", "OC(=O)", "F", "Cl", "N#C", "NC(=O)", "S", "COC(=O)", "CS"]
linkers = ["C", "CC", "CCC", "COC", "CNC", "CC=C", "CC(C)", "CSC"]
rings = ["c1ccccc1", "C1CCCCC1", "c1ccncc1", "C1CCNCC1", "c1ccc2ccccc2c1", "C1CCOC1", "c1ccsc1", "C1CC1"]
smiles = ["".join(parts) for parts in itertools.product(heads, linkers, rings)]
(folder / "pool.smi").write_text("\n".join(smiles) + "\n")
labelled = [f"{text},{int('c' in text)}" for text in smiles[::3]]
(folder / "labelled.csv").write_text("smiles,aromatic\n" + "\n".join(labelled) + "\n")

# Build two corpora, pre-train with L2P-GNN, fine-tune beside the same encoder without pre-training.
dg.build_corpus("molecules", input=folder / "pool.smi", out=folder / "pool", overwrite=True)
dg.build_corpus("molecules", input=folder / "labelled.csv", labels="aromatic", out=folder / "labelled", overwrite=True)
small = dg.EncoderConfig(layers=3, width=32)
run = dg.pretrain(corpus=folder / "pool", out=folder / "runs", encoder=small, train={"epochs": 5})
results = dg.finetune(
    corpus=folder / "labelled", checkpoint=run.uri, out=folder / "finetune", seeds=3, epochs=10,
    split={"method": "random"}, save_models=True,
)  # fmt: skip
print(results.table)
results.plot().savefig(folder / "scores.png")

# Predict with one of the fine-tuned models.
model = dg.load_model(results.models[0])
print(model.predict(["OCc1ccccc1", "OCC1CCCCC1"]))
