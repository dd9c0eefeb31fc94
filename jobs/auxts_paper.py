"""Draw Figures 1 and 3 to 6 and Table 4 of AUX-TS from trainings on one network with two auxiliary tasks.

python jobs/auxts_paper.py --data data/acm --out runs/auxts-paper --seeds 3 --workers 2

Figure 1: the target's test score for every pair of constant weights. Figures 3 to 5: validation scores, losses, weights and
gradient similarities, the pictures of ``distgnn transfer``. Table 4 and Figure 6: test scores and learned weights for every
pair of scales of the auxiliary losses. All other options are those of ``distgnn transfer`` (--epochs 60, --network.width 64).
Finished trainings are kept; repeating the command continues.
"""

from __future__ import annotations

import json
import signal
import sys
import warnings
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from distgnn.api.progress import JobProgress
from distgnn.auxiliary.comparison import Comparison, Row, compare_methods
from distgnn.auxiliary.data_source import NetworkDataSource
from distgnn.auxiliary.jobs import RunJob
from distgnn.cli import guarded
from distgnn.commands.output import Output
from distgnn.config import TransferConfig, to_json
from distgnn.config.base import check
from distgnn.config.transfer import CONTROL
from distgnn.finetuning.results import RESULTS
from distgnn.loading import load_function
from distgnn.options import parse, split_globals
from distgnn.register import import_modules
from distgnn.report.auxiliary import markdown
from distgnn.report.curves import PICTURES, smoothed, write_curves, write_pictures
from distgnn.report.png import png
from distgnn.report.table import TABLE, markdown_table, spread
from distgnn.storage.folder import Folder, open_folder

Pair = tuple[float, float]
GROUPS = ("weights", "scales", "scaled", "out")
SCALED = ("selar", "auxts_all")


@dataclass(frozen=True)
class PaperConfig:
    """Draw the figures and Table 4 of AUX-TS for one network.

    Example: python jobs/auxts_paper.py --data data/acm --seeds 3 --workers 2
    """

    transfer: TransferConfig
    out: str = "runs/auxts-paper"
    """Output folder (URI)."""
    weights: tuple[float, ...] = (0.0, 0.3, 1.0, 3.0)
    """Constant weights of each auxiliary task, relative to the target's (Figure 1)."""
    scales: tuple[float, ...] = (1.0, 5.0)
    """Factors of each auxiliary loss (Table 4, Figure 6)."""
    scaled: tuple[str, ...] = SCALED
    """Weighting methods that are trained with every pair of scales."""

    def __post_init__(self) -> None:
        for name in ("weights", "scales", "scaled"):
            check(bool(getattr(self, name)), f"{name} must name at least one")
        taken = bool(self.transfer.loss_scales or self.transfer.weighting.fixed)
        check(not taken, "loss_scales and weighting.fixed are set by this command; use scales and weights")
        check(len(self.transfer.encoders) < 2, "encoders: the figures are of one encoder")

    @property
    def plain(self) -> TransferConfig:
        """Config of the trainings with learned weights, without scheme auto, which trains nothing."""
        return replace(self.transfer, schemes=self.transfer.trained_schemes)

    def with_weights(self, pair: Pair) -> TransferConfig:
        """Config of the trainings with constant weights."""
        weighting = replace(self.transfer.weighting, method="fixed", fixed=(1.0, *pair))
        return replace(self.plain, methods=("fixed",), weighting=weighting)

    def with_scales(self, pair: Pair) -> TransferConfig:
        """Config of the trainings with scaled losses."""
        return replace(self.plain, methods=self.scaled, loss_scales=() if pair == (1.0, 1.0) else pair)


def compared(config: TransferConfig, folder: Folder, title: str) -> Comparison[TransferConfig]:
    """Run the trainings of ``config``, with one folder of finished trainings for all configs.

    Options that only other trainings of the command read are not warned of.
    """
    run = RunJob(NetworkDataSource.read(config), folder.sub("jobs"), "cpu")
    mapper = load_function("distgnn.scale.pool:ordered_map")(config.workers) if config.workers > 1 else map
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "without effect")
        return compare_methods(run, mapper, JobProgress(f"{title}: "))


def figure_1(found: dict[Pair, Comparison[TransferConfig]], weights: tuple[float, ...]) -> Figure:
    """Draw the test score of every pair of weights minus that of none, one panel for each scheme."""
    first = next(iter(found.values()))
    rows = [row for row in first.rows if row.method == "fixed"]
    figure = Figure(figsize=(5.2 * len(rows), 4.4), layout="constrained")
    names = first.tasks[1:]
    for axes, row in zip(np.ravel(figure.subplots(1, len(rows))), rows, strict=True):
        gains = np.array([[_gain(found, row, (a, b)) for b in weights] for a in weights])
        limit = max(float(np.abs(gains).max()), 1e-9)
        image = axes.imshow(gains, cmap="RdBu", vmin=-limit, vmax=limit, origin="lower")
        for place, value in np.ndenumerate(gains):
            color = "white" if abs(value) > 0.6 * limit else "black"
            axes.text(place[1], place[0], f"{value:+.1f}", color=color, ha="center", va="center", fontsize="small")
        ticks = [f"{weight:g}" for weight in weights]
        axes.set_xticks(range(len(weights)), ticks)
        axes.set_yticks(range(len(weights)), ticks)
        axes.set(xlabel=f"weight of {names[1]}", ylabel=f"weight of {names[0]}", title=row.scheme)
        figure.colorbar(image, ax=axes, label=f"test {first.metric} x 100, minus none")
    return figure


def _gain(found: dict[Pair, Comparison[TransferConfig]], row: Row, pair: Pair) -> float:
    """Return 100 times the mean test score of a pair of weights minus that of none; 0 for weights of 0."""
    if pair not in found:
        return 0.0
    values, control = found[pair].values(row), found[pair].values(row._replace(method=CONTROL))
    return 100 * float((values - control).mean())


def table_4(found: dict[Pair, Comparison[TransferConfig]]) -> dict[str, list[list[str]]]:
    """Return the cells of Table 4 by scheme: scales, test scores of none and of each method."""
    first = next(iter(found.values()))
    tables: dict[str, list[list[str]]] = {}
    for pair, result in found.items():
        scales = ", ".join(f"{task}={scale:g}" for task, scale in zip(first.tasks[1:], pair, strict=True))
        for scheme in dict.fromkeys(row.scheme for row in result.rows):
            rows = [row for row in result.rows if row.scheme == scheme]
            cells = [spread(result.metric, result.values(row)) for row in rows]
            tables.setdefault(scheme, []).append([scales, *cells])
    return tables


def figure_6(found: dict[Pair, Comparison[TransferConfig]], methods: tuple[str, ...]) -> Figure:
    """Draw the weights of the auxiliary tasks by step for every pair of scales: one column for each scheme and method."""
    first = next(iter(found.values()))
    rows = [row for row in first.rows if row.method in methods]
    figure = Figure(figsize=(4.2 * len(rows), 3 * len(first.tasks[1:])), layout="constrained")
    panels = np.reshape(figure.subplots(len(first.tasks) - 1, len(rows), sharex="col"), (len(first.tasks) - 1, -1))
    for (place, column), axes in np.ndenumerate(panels):
        for pair, result in found.items():
            axes.plot(_weights(result, rows[column], place + 1), label=" ".join(f"{scale:g}" for scale in pair))
        axes.grid(alpha=0.3)
        axes.set(ylabel=f"weight of {first.tasks[place + 1]}")
        if not place:
            axes.set(title=f"{rows[column].method}, {rows[column].scheme}")
    for axes in panels[-1]:
        axes.set(xlabel="step")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), title="loss scales", loc="outside right upper")
    return figure


def _weights(result: Comparison[TransferConfig], row: Row, task: int) -> npt.NDArray[np.float64]:
    """Return [steps], weight of a task divided by the target's: mean over seeds, smoothed."""
    curves = [one.curves["weights"] for one in result.of(row)]
    steps = min(map(len, curves))
    mean = np.mean([curve[:steps, task] / curve[:steps, 0] for curve in curves], axis=0)
    return np.asarray(smoothed(pd.DataFrame(mean)))[:, 0]


def run(config: PaperConfig, output: Output) -> int:
    """Train, and write tables and pictures to the output folder."""
    import_modules(config.transfer.imports)
    folder = open_folder(config.out)
    main = compared(config.plain, folder, "Figures 3 to 5")
    check(len(main.tasks) == 3, f"{len(main.tasks) - 1} auxiliary tasks; name two by network.auxiliary")
    pairs: list[Pair] = [(a, b) for a, b in product(config.weights, config.weights) if a or b]
    grid = {pair: compared(config.with_weights(pair), folder, f"Figure 1, weights {pair}") for pair in pairs}
    pairs = list(product(config.scales, config.scales))
    scaled = {pair: compared(config.with_scales(pair), folder, f"Table 4, scales {pair}") for pair in pairs}
    write_curves(main, folder)
    write_pictures(main, folder)
    pictures = folder.sub(PICTURES)
    pictures.write("figure-1.png", png(figure_1(grid, config.weights)))
    pictures.write("figure-6.png", png(figure_6(scaled, config.scaled)))
    titles = ["loss scales", CONTROL, *(method for method in config.scaled if method != CONTROL)]
    tables = [f"{scheme}:\n\n{markdown_table(titles, body)}" for scheme, body in table_4(scaled).items()]
    text = "\n\n".join(["Loss scales (as Table 4): test " + main.metric + " x 100", *tables])
    folder.write(TABLE, f"{markdown(main)}\n{text}\n".encode())
    value = {
        "config": to_json(config.transfer),
        "weights": [_result(pair, result) for pair, result in grid.items()],
        "scales": [_result(pair, result) for pair, result in scaled.items()],
    }
    folder.write(RESULTS, (json.dumps(value, indent=1) + "\n").encode())
    output.emit(value, f"{text}\n\nwritten to {folder.uri}")
    return 0


def _result(pair: Pair, result: Comparison[TransferConfig]) -> dict[str, Any]:
    return {"pair": pair, "summary": result.summary()}


def main(words: list[str]) -> int:
    """Parse the command line and run the trainings; returns the exit code."""
    options, rest = split_globals([_grouped(word) for word in words])
    return run(parse(PaperConfig, "jobs/auxts_paper.py", rest, options), Output(options.json))


def _grouped(word: str) -> str:
    """Return an option of ``distgnn transfer`` as one of the group ``transfer``."""
    own = word.removeprefix("--").partition("=")[0] in (*GROUPS, "help", "json", "config", "verbose")
    return word if own or not word.startswith("--") else f"--transfer.{word.removeprefix('--')}"


if __name__ == "__main__":
    # Background jobs of a shell ignore SIGINT by default; clusters send SIGTERM.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.exit(guarded(lambda: main(sys.argv[1:])))
