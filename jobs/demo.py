"""Demo (``make demo``): build corpora, pre-train with L2P, fine-tune and compare with the control; under ten minutes on two cores.

Uses real molecules and protein networks from DISTGNN_DATA (default ../shared/data) if available, else synthetic motif graphs.
Lines that start with '$' are the commands.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from pathlib import Path

from distgnn.cli import main

OUT = Path("build/demo")
SMALL = "--encoder.layers 4 --encoder.width 64 --train.validate-every 0"
MOUSE = "--split.method group --split.ood-groups MMusculus"


def distgnn(command: str) -> None:
    """Print a command line and run it in this process; exits if it fails."""
    sys.stdout.write(f"\n$ distgnn {command}\n")
    sys.stdout.flush()
    code = main(shlex.split(command))
    if code:
        raise SystemExit(code)


def molecules(data: Path) -> None:
    """Pre-train on unlabelled molecules; fine-tune on blood-brain barrier and enzyme inhibition, split by scaffold."""
    arrays, smiles = data / "molecules/arrays", data / "molecules/smiles"
    pool = " ".join(str(path) for path in sorted(arrays.glob("pretrain_*.npz")))
    distgnn(f"corpus build arrays --input {pool} --limit 12288 --unit-rows 256 --out {OUT}/molecules")
    distgnn(f"pretrain --corpus {OUT}/molecules --out {OUT}/runs --name molecules --train.epochs 4 {SMALL}")
    for name, label in (("bbbp", "p_np"), ("bace", "Class")):
        distgnn(
            f"corpus build molecules --input {smiles}/{name}.csv --smiles smiles --labels {label} --out {OUT}/{name}"
        )
        finetune(name, "molecules", "--epochs 20 --split.method scaffold")


def proteins(data: Path) -> None:
    """Pre-train on ego networks of four species; fine-tune on human GO terms; test on held-out human and on mouse proteins."""
    grid = data / "ppi/biogrid"
    pool = " ".join(f"{grid}/{name}-3.4.164.el.xz" for name in ("DMelanogaster", "SPombe", "CElegans", "RNorvegicus"))
    distgnn(f"corpus build ppi --input {pool} --unit-rows 256 --out {OUT}/proteins")
    distgnn(f"pretrain --corpus {OUT}/proteins --out {OUT}/runs --name proteins --train.epochs 2 {SMALL}")
    pair = f"{grid}/HSapiens-3.4.164.el.xz {grid}/MMusculus-3.4.164.el.xz"
    terms = f"--labels {grid}/go_human_mouse.npz --label-groups HSapiens=human MMusculus=mouse --min-positives 100"
    distgnn(f"corpus build ppi --input {pair} {terms} --labelled-only --out {OUT}/go")
    finetune("go", "proteins", f"--epochs 5 --max-labels 40 {MOUSE}")


def motifs() -> None:
    """The same steps on synthetic graphs, without data."""
    distgnn(f"corpus build motifs --graphs 8192 --unit-rows 256 --labelled 0 --out {OUT}/motifs")
    distgnn(f"corpus build motifs --graphs 1500 --seed 1 --out {OUT}/labelled")
    distgnn(f"pretrain --corpus {OUT}/motifs --out {OUT}/runs --name motifs --train.epochs 4 {SMALL}")
    finetune("labelled", "motifs", "--epochs 30 --split.method random --split.fractions 0.1 0.1 0.8")


def finetune(corpus: str, run: str, options: str) -> None:
    """Fine-tune the pre-trained encoder and the control with three seeds, two jobs at a time."""
    common = "--seeds 3 --workers 2"
    distgnn(
        f"finetune --corpus {OUT}/{corpus} --checkpoint {OUT}/runs/{run} --out {OUT}/runs/{run}-{corpus} {common} {options}"
    )


def run() -> None:
    """Run the demo in an empty folder."""
    start = time.monotonic()
    data = Path(os.environ.get("DISTGNN_DATA", "../shared/data"))
    shutil.rmtree(OUT, ignore_errors=True)
    if (data / "molecules/arrays").is_dir() and (data / "ppi/biogrid").is_dir():
        molecules(data)
        proteins(data)
    else:
        sys.stdout.write(f"no data at {data} (set DISTGNN_DATA); using synthetic graphs\n")
        motifs()
    sys.stdout.write(f"\ndone in {time.monotonic() - start:.0f} s; runs and tables are in {OUT}/runs\n")


if __name__ == "__main__":
    run()
