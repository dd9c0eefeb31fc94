"""The command ``distgnn demo``: what pre-training gives with few labels, and AUX-TS on a network.

It builds a corpus from SMILES and pre-trains on it for half a minute, so that one sees it run. Then it takes a shipped model and
draws its learning curves against no pre-training on two sets of molecules that it has not seen, trains recommendations with
auxiliary tasks from a knowledge graph, and predicts in a database. Without real data, all runs on synthetic graphs. Lines that
start with '$' are the commands.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path

from distgnn.api.report import write_report
from distgnn.cli import main
from distgnn.commands.output import Output
from distgnn.errors import RequestError, WorkError
from distgnn.options import DemoOptions
from distgnn.report.folders import section_of

_SMALL = "--encoder.layers 3 --encoder.width 64 --train.validate-every 0"
_FEW = "--train-labels 100 --updates 10 30 100 --draws 15 --workers 2"
_QUICK = "--train-labels 30 --updates 5 20 --draws 3 --test-graphs 100 --norm-graphs 32"


def demo(options: DemoOptions, output: Output) -> int:
    """Run the demo in an empty folder."""
    start, out = time.monotonic(), Path(options.out)
    if "://" in options.out or (out.exists() and any(out.iterdir())):
        raise RequestError(
            f"out={options.out}: the demo needs a local folder that is empty; remove it or choose another"
        )
    data = Path(options.data or os.environ.get("DISTGNN_DATA", "../shared/data"))
    if (data / "molecules/smiles").is_dir():
        folders = [*_molecules(data, options), *_network(data, options), *_databases(data, options)]
    elif options.data:
        raise RequestError(f"data={options.data}: there is no molecules/smiles; leave it out to use synthetic graphs")
    else:
        _say(f"no real data at {data} (--data or DISTGNN_DATA); using synthetic graphs\n")
        folders = _motifs(options)
    page = write_report(folders, f"{out}/report.html")
    for folder in folders[1:]:
        if found := section_of(folder).verdicts:
            _say("\n".join(["", f"{folder}:", *found]))
    seconds = time.monotonic() - start
    told = f"done in {seconds:.0f} s; pictures: {page} and {out}/*-few/pictures/*.png"
    if options.quick:
        told += "\n--quick shows that everything runs; what pre-training gives is shown by the demo without --quick"
    output.emit({"report": page, "folders": folders, "seconds": seconds}, told)
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _distgnn(command: str) -> None:
    """Print a command line and run it in this process; raises WorkError if it fails."""
    _say(f"\n$ distgnn {command}")
    code = main(shlex.split(command))
    if code:
        raise WorkError(f"the demo ends here, since this command failed: distgnn {command}")


def _molecules(data: Path, options: DemoOptions) -> list[str]:
    """Pre-train on SMILES for half a minute; compare the shipped model with no pre-training. Returns folders for the report."""
    smiles, out = shlex.quote(f"{data}/molecules/smiles"), shlex.quote(options.out)
    seconds, few = (5, _QUICK) if options.quick else (30, _FEW)
    _distgnn(f"corpus build molecules --input {smiles}/tox21.csv --smiles smiles --unit-rows 256 --out {out}/tox21")
    _distgnn(f"pretrain --corpus {out}/tox21 --out {out}/runs --name tox21 --train.max-cpu-seconds {seconds} {_SMALL}")
    folders = [f"{options.out}/runs/tox21"]
    for name, label in (("bace", "Class"), ("bbbp", "p_np")):
        _distgnn(
            f"corpus build molecules --input {smiles}/{name}.csv --smiles smiles --labels {label} --out {out}/{name}"
        )
        _distgnn(f"finetune --corpus {out}/{name} --checkpoint shipped=zoo:molecules --out {out}/{name}-few {few}")
        folders.append(f"{options.out}/{name}-few")
    return folders


def _network(data: Path, options: DemoOptions) -> list[str]:
    """Train recommendations with auxiliary tasks from a knowledge graph (AUX-TS). Returns folders for the report."""
    ratings, out = data / "kgrec/last-fm", shlex.quote(options.out)
    if not ratings.is_dir():
        return []
    _distgnn(
        f"network build kgrec --input {shlex.quote(str(ratings))} --columns htr --name last-fm --out {out}/last-fm"
    )
    size = "--seeds 1 --epochs 1 --pretrain-epochs 1" if options.quick else "--seeds 2 --epochs 4 --pretrain-epochs 4"
    _distgnn(
        f"transfer --data {out}/last-fm --encoders gcn --methods none auxts_all {size} --batch 2048 --lr 1e-2"
        f" --network.fan-out 0 --workers 2 --out {out}/auxts"
    )
    return [f"{options.out}/auxts"]


def _databases(data: Path, options: DemoOptions) -> list[str]:
    """Predict whether a customer orders again, from 64 labels, by a model of many databases. Returns folders for the report."""
    northwind, out = data / "databases/northwind", shlex.quote(options.out)
    if not northwind.is_dir():
        return []
    _distgnn(f"database build --input {shlex.quote(str(northwind))} --out {out}/northwind")
    common = f"--database {out}/northwind --task customer-reorder-60d --context 64 --out {out}/reorder"
    _distgnn(f"predict {common} --model zoo:databases")
    _say("The model has been pre-trained on this database, too, but not on its test rows.")
    return [f"{options.out}/northwind", f"{options.out}/reorder"]


def _motifs(options: DemoOptions) -> list[str]:
    """The same steps on synthetic graphs, without data, with the model that was just trained."""
    out, graphs = shlex.quote(options.out), 1024 if options.quick else 8192
    seconds, few = (5, _QUICK) if options.quick else (60, _FEW)
    _distgnn(f"corpus build motifs --graphs {graphs} --unit-rows 256 --labelled 0 --out {out}/motifs")
    _distgnn(f"corpus build motifs --graphs {graphs // 5} --seed 1 --out {out}/labelled")
    _distgnn(
        f"pretrain --corpus {out}/motifs --out {out}/runs --name motifs --train.max-cpu-seconds {seconds} {_SMALL}"
    )
    _distgnn(f"finetune --corpus {out}/labelled --checkpoint {out}/runs/motifs --out {out}/labelled-few {few}")
    return [f"{options.out}/runs/motifs", f"{options.out}/labelled-few"]
