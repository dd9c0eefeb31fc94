"""Few-label evaluation for :func:`distgnn.finetune`: its results and their files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from distgnn.api.output import write_config
from distgnn.api.progress import JobProgress
from distgnn.api.results import Results
from distgnn.auxiliary.data_source import InitialEncoder
from distgnn.checkpoint.cost import pretraining_cost
from distgnn.config import FewLabelConfig, FinetuneConfig
from distgnn.config.few_labels import checkpoint_groups
from distgnn.corpus.writer import Mapper
from distgnn.distributed import choose_device
from distgnn.finetuning.few_label_jobs import Method
from distgnn.finetuning.few_labels import FewLabelScores, evaluate_few_labels
from distgnn.finetuning.results import RESULTS
from distgnn.loading import load_function
from distgnn.report import few_labels
from distgnn.report.png import png
from distgnn.report.table import TABLE
from distgnn.storage.folder import Folder, open_folder

TSV, SCORES = "table.tsv", "scores.tsv"
CURVES, DIFFERENCES = "pictures/curves.png", "pictures/differences.png"


@dataclass(frozen=True)
class FewLabelResults(Results):
    """Result of a few-label evaluation: every method and its control, over draws.

    Attributes:
        folder: Folder with table.md, table.tsv, scores.tsv, results.json and pictures/.
        comparison: The scores, as arrays.
    """

    folder: Folder
    comparison: FewLabelScores = field(repr=False)

    @property
    def table(self) -> pd.DataFrame:
        """One row for each number of labels and updates and each method, with the difference to the control."""
        return self.against()

    def against(self, reference: str = "") -> pd.DataFrame:
        """Compare with another method than the control.

        Args:
            reference: Name of the method; empty = the control.

        Returns:
            The rows of :attr:`table`, with differences to ``reference``.

        Raises:
            RequestError: There is no such method.
        """
        return pd.DataFrame(few_labels.summary(self.comparison, reference))

    @property
    def records(self) -> pd.DataFrame:
        """One row for each score: method, pre-training seed, draw, labels and updates."""
        return pd.DataFrame(few_labels.records(self.comparison))

    def plot(self, difference: bool = False) -> Figure:
        """Draw learning curves against updates and against labels, with 95 % confidence bands.

        Args:
            difference: Draw differences to the control, whose bands are those of the tests in the table.

        Returns:
            The figure.
        """
        return few_labels.figure(self.comparison, difference)

    def to_json(self) -> dict[str, Any]:
        """Return the content of results.json."""
        return few_labels.to_values(self.comparison)

    def __str__(self) -> str:
        return few_labels.terminal(self.comparison)


def load_methods(config: FewLabelConfig) -> list[Method]:
    """Load the encoders that ``config.checkpoint`` names: one method for each name, or for each checkpoint.

    Raises:
        RequestError: A checkpoint cannot be loaded, or an option of ``config`` has no meaning beside them or others.
    """
    groups = checkpoint_groups(config.checkpoint)
    loaded = iter(InitialEncoder.load_all([uri for _, uris in groups for uri in uris]))
    methods = []
    for name, uris in groups:
        starts = tuple(replace(next(loaded), cost=pretraining_cost(uri)) for uri in uris)
        methods.append(Method(name or starts[0].name, starts))
    config.refuse_unused({method.name: method.starts[0].encoder for method in methods})
    return methods


def with_named_checkpoints(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of an API call; a dictionary ``checkpoint`` becomes NAME=URI texts, as on the command line."""
    given = options.get("checkpoint")
    if not isinstance(given, Mapping):
        return options
    uris = {name: [value] if isinstance(value, str | PathLike) else value for name, value in given.items()}
    return options | {"checkpoint": [f"{name}={fspath(uri)}" for name, found in uris.items() for uri in found]}


def execution(config: FinetuneConfig) -> tuple[Mapper, str]:
    """Return the map over jobs, on Ray for several workers, and the device of the trainings."""
    if config.workers == 1:
        return map, choose_device(config.device).type
    return load_function("distgnn.scale.pool:ordered_map")(config.workers), choose_device("cpu").type


def single_encoders(methods: Sequence[Method]) -> list[InitialEncoder]:
    """Return the encoder of each method, called after it."""
    return [replace(method.starts[0], name=method.name) for method in methods]


def compare_with_few_labels(
    config: FewLabelConfig, methods: Sequence[Method], progress: JobProgress
) -> FewLabelResults:
    """Evaluate ``methods`` and write the files of the evaluation to ``config.out``."""
    mapper, device = execution(config)
    folder = open_folder(config.out)
    write_config(folder, config, "finetune")
    found = evaluate_few_labels(config, methods, folder.sub("jobs"), mapper, device, progress)
    results = FewLabelResults(folder, found)
    folder.write(TABLE, few_labels.markdown(found).encode())
    folder.write(TSV, few_labels.tsv(found).encode())
    folder.write(SCORES, results.records.to_csv(sep="\t", index=False).encode())
    folder.write(CURVES, png(results.plot()))
    if found.controls:
        folder.write(DIFFERENCES, png(results.plot(difference=True)))
    folder.write(RESULTS, (json.dumps(results.to_json(), indent=1) + "\n").encode())
    return results
