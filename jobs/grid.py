"""Pre-train a grid of objectives x encoders, fine-tune each cell and its control, and print one table (as Table 2 of L2P-GNN).

python jobs/grid.py --pretrain data/molecules --finetune data/bace --out runs/grid --workers 2 --seeds 3

--pretrain, --finetune and --seeds are short for --pretrain.corpus, --finetune.corpus and --finetune.seeds; all other options of
``distgnn pretrain`` and ``distgnn finetune`` are available with the group's name as a prefix (--pretrain.train.max-steps 500,
--finetune.epochs 20). Repeating the command resumes the grid; another --finetune corpus reuses the pre-training runs.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from distgnn import register
from distgnn.api.finetune import compare_checkpoints
from distgnn.api.progress import JobProgress
from distgnn.auxiliary.data_source import InitialEncoder
from distgnn.cli import guarded
from distgnn.commands.output import Output
from distgnn.config import EncoderConfig, FinetuneConfig, PretrainConfig, to_json
from distgnn.config.base import check, from_json
from distgnn.config.fields import changed
from distgnn.config.transfer import CONTROL
from distgnn.corpus.manifest import read_manifest
from distgnn.finetuning.comparison import FinetuneComparison
from distgnn.finetuning.results import RESULTS
from distgnn.labels.dataset import load_labelled
from distgnn.options import parse, split_globals
from distgnn.pretraining.parallel_runs import pretrain_cells, run_folder
from distgnn.register import import_modules
from distgnn.report import grid as report
from distgnn.report.grid import Grid
from distgnn.report.table import TABLE
from distgnn.storage.folder import Folder, open_folder

SHORT = {"--pretrain": "--pretrain.corpus", "--finetune": "--finetune.corpus", "--seeds": "--finetune.seeds"}


@dataclass(frozen=True)
class GridConfig:
    """Pre-train each objective with each encoder, fine-tune the results, and print one table.

    Example: python jobs/grid.py --pretrain data/molecules --finetune data/bace --seeds 3 --workers 2
    """

    pretrain: PretrainConfig
    finetune: FinetuneConfig
    out: str = "runs/grid"
    """Output folder (URI): runs/ holds the pre-training runs; each fine-tuning corpus gets a folder of tables, named after it."""
    objectives: tuple[str, ...] = ("none", "edgepred", "infomax", "contextpred", "attrmasking", "graphcl", "l2p")
    """Objectives (rows); the control, none, is always included."""
    encoders: tuple[str, ...] = ("gin", "gcn", "sage", "gat")
    """Encoders (columns)."""
    workers: int = 1
    """Number of parallel processes; each has one thread if there are several."""

    def __post_init__(self) -> None:
        check(self.workers >= 1, f"workers must be at least 1, found {self.workers}")
        for name in ("objectives", "encoders"):
            items = getattr(self, name)
            check(len(set(items)) == len(items) > 0, f"{name} must name each of them once, found {' '.join(items)}")
        sized = self.pretrain.train.graphs_per_stream > 0
        check(sized, "pretrain.train.graphs_per_stream must be at least 1: all cells are trained with one batch size")
        cells = [self.cell(objective, encoder) for objective in self.objectives for encoder in self.encoders]
        _check_free("pretrain", self.pretrain, cells)
        _check_free("finetune", self.finetune, [self.settings(cell.encoder, "") for cell in cells])
        for objective, encoder in ((o, e) for o in self.objectives for e in self.encoders):
            from_json(PretrainConfig, to_json(self.cell(objective, encoder)), "pretrain")

    def cell(self, objective: str, encoder: str) -> PretrainConfig:
        """Config of the pre-training of one cell, with absolute folders."""
        return replace(
            self.pretrain,
            corpus=open_folder(self.pretrain.corpus).uri,
            out=open_folder(self.out).sub("runs").uri,
            name=f"{encoder}-{objective}",
            init="",
            objective=objective,  # pyright: ignore[reportArgumentType]
            encoder=replace(self.pretrain.encoder, kind=encoder),  # pyright: ignore[reportArgumentType]
        )

    def settings(self, encoder: EncoderConfig, out: str) -> FinetuneConfig:
        """Config of the fine-tuning of all cells with ``encoder``, written to ``out``."""
        return replace(
            self.finetune,
            out=out,
            checkpoint=(),
            encoder=encoder,
            workers=self.workers,
            imports=self.pretrain.imports,
        )


def _check_free(group: str, given: PretrainConfig | FinetuneConfig, cells: Sequence[object]) -> None:
    """Raise RequestError if ``given`` sets a field that the grid sets for its ``cells``."""
    usual = changed(to_json(type(given)(corpus=given.corpus)), to_json(given))
    taken = [name for cell in cells for name in changed(to_json(given), to_json(cell)) if name in usual]
    check(
        not taken,
        f"{group}.{'/'.join(dict.fromkeys(taken))}: set by the grid; use out, objectives, encoders, workers and pretrain.imports",
    )


def finetune_encoder(
    config: GridConfig, encoder: str, names: list[str], folder: Folder, later: int
) -> FinetuneComparison:
    """Fine-tune the cells of one encoder and their control.

    Args:
        config: The grid.
        encoder: The encoder.
        names: Objectives of the pre-trained cells.
        folder: Folder of the results.
        later: Number of jobs after these, for the progress display.
    """
    cells = [config.cell(objective, encoder) for objective in names]
    named = [InitialEncoder.load(run_folder(cell).uri, name) for cell, name in zip(cells, names, strict=True)]
    settings = config.settings(config.cell(CONTROL, encoder).encoder, folder.sub(encoder).uri)
    return compare_checkpoints(settings, named, JobProgress(f"fine-tuned {encoder} ", later)).comparison


def run(config: GridConfig, output: Output) -> int:
    """Run the grid; write table.md and results.json to the folder of the fine-tuning corpus."""
    import_modules(config.pretrain.imports)
    for encoder in config.encoders:
        register.encoder.get(encoder, "encoder.kind")
    for objective in config.objectives:
        if objective != CONTROL:
            register.objective.get(objective, "pretrain.objective", (CONTROL,))
    read_manifest(open_folder(config.pretrain.corpus))
    load_labelled(config.finetune)  # reports a wrong split or label before the pre-training
    objectives = tuple(objective for objective in config.objectives if objective != CONTROL)
    places = [(objective, encoder) for encoder in config.encoders for objective in objectives]
    cells = [config.cell(*place) for place in places]
    reasons = pretrain_cells(cells, config.workers)
    refused = {place: reasons[cell.name] for place, cell in zip(places, cells, strict=True) if cell.name in reasons}
    folder = open_folder(config.out).sub(PurePosixPath(config.finetune.corpus).name)
    results: dict[str, FinetuneComparison] = {}
    for number, encoder in enumerate(config.encoders, start=1):
        names = [objective for objective in objectives if (objective, encoder) not in refused]
        later = (len(objectives) + 1) * config.finetune.seeds * (len(config.encoders) - number)
        results[encoder] = finetune_encoder(config, encoder, names, folder, later)
    grid = Grid(objectives, results, refused)
    value = report.grid_summary(grid) | {"pretrain": to_json(config.pretrain)}
    folder.write(TABLE, report.markdown(grid).encode())
    folder.write(RESULTS, (json.dumps(value, indent=1) + "\n").encode())
    output.emit(value, f"{report.terminal(grid)}\nwritten to {folder.uri}")
    return 0


def main(words: list[str]) -> int:
    """Parse the command line and run the grid; returns the exit code."""
    options, rest = split_globals([SHORT.get(word, word) for word in words])
    return run(parse(GridConfig, "jobs/grid.py", rest, options), Output(options.json))


if __name__ == "__main__":
    # Background jobs of a shell ignore SIGINT by default; clusters send SIGTERM.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.exit(guarded(lambda: main(sys.argv[1:])))
