"""Demo (``make demo``): what pre-training gives with few labels; under eight minutes on two cores, with the set-up.

It builds a corpus from SMILES and pre-trains on it for half a minute, so that one sees it run. Then it takes a shipped model and
draws its learning curves against no pre-training on two sets of molecules that it has not seen. Real data come from
DISTGNN_DATA (default ../shared/data); without them, all runs on synthetic graphs. Lines that start with '$' are the commands.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from pathlib import Path

from distgnn.api.report import write_report
from distgnn.cli import main
from distgnn.report.folders import section_of

OUT = Path("build/demo")
SMALL = "--encoder.layers 3 --encoder.width 64 --train.validate-every 0"
FEW = "--train-labels 100 --updates 10 30 100 --draws 10 --workers 2"


def distgnn(command: str) -> None:
    """Print a command line and run it in this process; exits if it fails."""
    sys.stdout.write(f"\n$ distgnn {command}\n")
    sys.stdout.flush()
    code = main(shlex.split(command))
    if code:
        raise SystemExit(code)


def molecules(data: Path) -> list[str]:
    """Pre-train on SMILES for half a minute; compare the shipped model with no pre-training. Returns folders for the report."""
    smiles = data / "molecules/smiles"
    distgnn(f"corpus build molecules --input {smiles}/tox21.csv --smiles smiles --unit-rows 256 --out {OUT}/tox21")
    distgnn(f"pretrain --corpus {OUT}/tox21 --out {OUT}/runs --name tox21 --train.max-cpu-seconds 30 {SMALL}")
    folders = [f"{OUT}/runs/tox21"]
    for name, label in (("bace", "Class"), ("bbbp", "p_np")):
        distgnn(
            f"corpus build molecules --input {smiles}/{name}.csv --smiles smiles --labels {label} --out {OUT}/{name}"
        )
        distgnn(f"finetune --corpus {OUT}/{name} --checkpoint shipped=zoo:molecules --out {OUT}/{name}-few {FEW}")
        folders.append(f"{OUT}/{name}-few")
    return folders


def motifs() -> list[str]:
    """The same steps on synthetic graphs, without data, with the model that was just trained."""
    distgnn(f"corpus build motifs --graphs 8192 --unit-rows 256 --labelled 0 --out {OUT}/motifs")
    distgnn(f"corpus build motifs --graphs 1500 --seed 1 --out {OUT}/labelled")
    distgnn(f"pretrain --corpus {OUT}/motifs --out {OUT}/runs --name motifs --train.max-cpu-seconds 60 {SMALL}")
    distgnn(f"finetune --corpus {OUT}/labelled --checkpoint {OUT}/runs/motifs --out {OUT}/labelled-few {FEW}")
    return [f"{OUT}/runs/motifs", f"{OUT}/labelled-few"]


def run() -> None:
    """Run the demo in an empty folder."""
    start = time.monotonic()
    data = Path(os.environ.get("DISTGNN_DATA", "../shared/data"))
    shutil.rmtree(OUT, ignore_errors=True)
    if (data / "molecules/smiles").is_dir():
        folders = molecules(data)
    else:
        sys.stdout.write(f"no data at {data} (set DISTGNN_DATA); using synthetic graphs\n")
        folders = motifs()
    page = write_report(folders, f"{OUT}/report.html")
    for folder in folders[1:]:
        sys.stdout.write("\n".join(["", f"{folder}:", *section_of(folder).verdicts, ""]))
    sys.stdout.write(f"\ndone in {time.monotonic() - start:.0f} s; pictures: {page} and {OUT}/*-few/pictures/*.png\n")


if __name__ == "__main__":
    run()
