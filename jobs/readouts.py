"""Compare linear probes on plain and on adapted embeddings of the pre-trained encoders of a study (docs/results/adapted.md).

OMP_NUM_THREADS=1 python jobs/readouts.py --study runs/core --domain molecules --sets bace bbbp --out runs/adapted

The folder of the study (jobs/study.py) has the runs and corpora. Finished trainings are kept: the same command continues.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from distgnn.api.few_labels import load_methods
from distgnn.auxiliary.label_target import EVALUATION_BATCH
from distgnn.checkpoint.load import load_encoder
from distgnn.cli import guarded
from distgnn.commands.output import Output
from distgnn.config import FewLabelConfig
from distgnn.config.base import check
from distgnn.config.fields import reads, setting, writes
from distgnn.corpus.reader import CorpusReader
from distgnn.finetuning.few_label_jobs import Method
from distgnn.finetuning.few_labels import FewLabelScores, evaluate_few_labels
from distgnn.finetuning.readouts import named, read_out
from distgnn.graph.batch import GraphBatch, slice_graphs
from distgnn.models.heads import plain_readout
from distgnn.options import parse, split_globals
from distgnn.report import study as report
from distgnn.report.study import Study
from distgnn.report.table import markdown_table
from distgnn.storage.folder import Folder, open_folder

COMPARISONS = (
    ("l2p adapted", "l2p"), ("l2p adapted 3", "l2p"), ("paper adapted", "paper"), ("joint adapted 1", "joint"),
    ("l2p adapted", "joint adapted 1"), ("l2p adapted", "joint"), ("l2p adapted", "none"), ("l2p", "none"),
)  # fmt: skip
STEPS = {"l2p": (0, 3), "paper": (0,), "joint": (1,)}
"""Inner steps of the adapted readouts of each method; 0 = those of its pre-training."""
PROBE = FewLabelConfig("", frozen=True, lr=0.01, train_labels=(100,), updates=(30, 100, 300), draws=10)


@dataclass(frozen=True)
class ReadoutsConfig:
    """Compare linear probes on plain and on adapted embeddings of the pre-trained encoders of a study.

    Example: python jobs/readouts.py --study runs/core --sets bace bbbp
    """

    study: str = reads("runs/core")
    """Folder of the study, with runs/ and corpora/."""
    out: str = writes("runs/adapted")
    """Folder of the finished trainings, DOMAIN.md and DOMAIN.json."""
    domain: str = setting("molecules")
    """Domain of the pre-training."""
    sets: tuple[str, ...] = setting(("bace", "bbbp", "tox21", "sider", "clintox"))
    """Labelled sets."""
    methods: tuple[str, ...] = setting(("l2p", "joint"))
    """Methods of the study: l2p, joint or paper."""
    seeds: int = setting(5)
    """Pre-training seeds."""

    def __post_init__(self) -> None:
        check(bool(self.sets), "sets: name one or more labelled sets")
        unknown = [name for name in self.methods if name not in STEPS]
        check(not unknown, f"methods: {unknown[:1]} is not one of {', '.join(STEPS)}")
        check(self.seeds >= 1, f"seeds must be at least 1, found {self.seeds}")

    def corpus(self, name: str) -> str:
        """URI of a labelled set."""
        return open_folder(self.study).sub("corpora").sub(name).uri


def methods_of(config: ReadoutsConfig) -> list[Method]:
    """Return every method, read out plainly and by adapted weights."""
    runs, found = open_folder(config.study).sub("runs"), []
    for method in config.methods:
        uris = [runs.sub(f"{config.domain}-{method}-{seed}").uri for seed in range(config.seeds)]
        (plain,) = load_methods(replace(PROBE, checkpoint=tuple(f"{method}={uri}" for uri in uris)))
        found += [plain, *(_adapted(plain, steps) for steps in STEPS[method])]
    return found


def _adapted(plain: Method, steps: int) -> Method:
    options = replace(PROBE, readout=("adapted",), readout_steps=steps)
    return Method(named(plain.name, "adapted") + (f" {steps}" if steps else ""), tuple(read_out(options, plain.starts)))


def evaluate(config: ReadoutsConfig, methods: Sequence[Method], name: str, folder: Folder) -> FewLabelScores:
    """Evaluate all methods on a labelled set."""
    return evaluate_few_labels(replace(PROBE, corpus=config.corpus(name)), methods, folder.sub("jobs"))


@torch.no_grad()
def changes(config: ReadoutsConfig, methods: Sequence[Method]) -> list[dict[str, object]]:
    """Return how far adaptation moves the embeddings of each set's first graphs, for the first pre-training seed.

    The measure is the mean distance of adapted and plain embeddings in units of the root mean square distance of the plain
    ones to their mean. Labels are not read.
    """
    found: list[dict[str, object]] = []
    for name in config.sets:
        batch = _first_graphs(CorpusReader(config.corpus(name)))
        for method in (one for one in methods if one.starts[0].adapted):
            start, run = method.starts[0], method.name.split()[0]
            uri = open_folder(config.study).sub("runs").sub(f"{config.domain}-{run}-0").uri
            encoder = load_encoder(uri).encoder
            plain = plain_readout(encoder, batch)[1]
            moved = (start.readout(0)(encoder, batch)[1] - plain).norm(dim=1).mean()
            spread = (plain - plain.mean(0)).norm(dim=1).square().mean().sqrt()
            found.append({"set": name, "method": method.name, "change": float(moved / spread)})
    return found


def _first_graphs(reader: CorpusReader) -> GraphBatch:
    batch = reader.unit(0)
    return slice_graphs(batch, 0, min(EVALUATION_BATCH, batch.num_graphs))


def markdown(study: Study, moved: list[dict[str, object]]) -> str:
    """Return the comparisons, and a table of :func:`changes`."""
    names, methods = list(study.sets), list(dict.fromkeys(row["method"] for row in moved))
    value = {(row["method"], row["set"]): f"{row['change']:.3f}" for row in moved}
    body = [[str(method), *(value[method, name] for name in names)] for method in methods]
    table = markdown_table(["change of embeddings", *names], body)
    return f"{report.markdown(study)}\n## How far adaptation moves embeddings\n\n{table}\n"


def main(words: list[str]) -> int:
    """Parse the command line, evaluate and write the report; returns the exit code."""
    options, rest = split_globals(words)
    config = parse(ReadoutsConfig, "jobs/readouts.py", rest, options)
    folder, methods = open_folder(config.out), methods_of(config)
    sets = {name: evaluate(config, methods, name, folder) for name in config.sets}
    having = {method.name for method in methods} | {report.CONTROL}
    pairs = tuple(pair for pair in COMPARISONS if set(pair) <= having)
    study = Study(f"Linear probes on adapted embeddings: {config.domain}", sets, pairs, {})
    moved, records = changes(config, methods), report.records(study)
    folder.write(f"{config.domain}.md", markdown(study, moved).encode())
    values = {"records": records, "changes": moved}
    folder.write(f"{config.domain}.json", (json.dumps(values, indent=1) + "\n").encode())
    Output(options.json).emit(values, markdown(study, moved))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))
