"""Pre-training: ``distgnn.pretrain`` and ``distgnn.resume``."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from distgnn import register
from distgnn.api.arguments import build_config
from distgnn.api.output import refuse_names
from distgnn.checkpoint.format import FOLDER, newest
from distgnn.checkpoint.load import PretrainedEncoder, load_encoder
from distgnn.config import PretrainConfig
from distgnn.errors import WorkError
from distgnn.loading import load_function
from distgnn.monitor.loggers.base import check_loggers
from distgnn.pretraining.history import HISTORY, NAME, read_history, read_progress
from distgnn.pretraining.local import pretrain_here
from distgnn.pretraining.run import CONFIG, Start, new_start, resumed_start, run_config, run_name, same_run
from distgnn.storage.claim import claimed
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.lock import locked
from distgnn.storage.uri import text_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Run:
    """A pre-training run in its folder.

    Attributes:
        folder: Folder with config.json, progress.json, history/ and checkpoints/.
        config: The resolved config.
    """

    folder: Folder
    config: PretrainConfig = field(repr=False)

    def __fspath__(self) -> str:
        """Return :attr:`uri`, so that a run may be given wherever its folder may."""
        return self.uri

    @classmethod
    def open(cls, uri: str | os.PathLike[str]) -> Run:
        """Open a run.

        Args:
            uri: Folder of the run.

        Returns:
            The run.

        Raises:
            RequestError: There is no run.
        """
        return cls(open_folder(uri), run_config(text_of(uri)))

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.config.name

    @property
    def uri(self) -> str:
        """URI of the run's folder."""
        return self.folder.uri

    @property
    def progress(self) -> dict[str, Any]:
        """The last snapshot of the run: status, step, metrics, validation, checkpoint, seconds left."""
        return read_progress(self.folder)

    @property
    def status(self) -> str:
        """``running``, ``finished``, ``stopped`` or ``failed``."""
        return str(self.progress["status"])

    @property
    def checkpoint(self) -> str:
        """URI of the newest complete checkpoint."""
        found = newest(self.folder)
        if found is None:
            raise WorkError(f"{self.uri}: there is no complete checkpoint; start a new run")
        return found.uri

    @property
    def table(self) -> pd.DataFrame:
        """Metrics by step: one row for each logging interval; columns of validations begin with ``validation_``."""
        rows = [row for row in read_history(self.folder) if "checkpoint" not in row]
        return pd.DataFrame([_flat(row) for row in rows])

    def load_encoder(self) -> PretrainedEncoder:
        """Load the encoder of the newest checkpoint."""
        return load_encoder(self.uri)

    def plot(self) -> Figure:
        """Draw training and validation loss against the step."""
        from matplotlib.figure import Figure  # takes as long as a tenth of the start of a training, which draws nothing

        figure = Figure(figsize=(7, 4), layout="constrained")
        axes, table = figure.subplots(), self.table
        for column, color in (("loss", "C0"), ("validation_loss", "C1")):
            if column in table:
                known = table.dropna(subset=[column])
                style = "-" if column == "loss" and len(known) > 1 else "o-"  # a line of one point is invisible
                axes.plot(
                    known["step"], known[column], style, color=color, markersize=4, label=column.replace("_", " ")
                )
        axes.set(xlabel="step", ylabel="loss", title=self.name)
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
        return figure

    def _repr_html_(self) -> str:
        """HTML for notebooks; all text is escaped."""
        shown = {"run": self.uri, **{name: self.progress.get(name, "") for name in ("status", "step", "total")}}
        cells = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in shown.items()
        )
        return f"<table>{cells}</table>"


def pretrain(config: PretrainConfig | None = None, **options: Any) -> Run:
    """Pre-train an encoder on a corpus.

    One worker trains in this process, more train under Ray Train. Ctrl-C writes a checkpoint and returns; continue with
    :func:`resume`.

    Args:
        config: Config of the run. Alternatively, its fields as keyword options.
        **options: Fields of :class:`PretrainConfig`. A group is a config object or a dictionary:
            ``train={"epochs": 5}``.

    Returns:
        The run, finished or stopped.

    Raises:
        RequestError: The config is wrong, the corpus cannot serve the objective, a run of that name exists (with
            ``resume_or_new``: one with another config), or another command writes there. Nothing is written. (Labels that
            do not fit ``supervised`` are found in training; then the run is marked as failed.)
        WorkError: Training diverged or storage failed.

    Example:
        >>> run = distgnn.pretrain(corpus="data/zinc", name="zinc", train={"epochs": 5})
        >>> encoder = run.load_encoder()
    """
    chosen = build_config(PretrainConfig, config, options)
    check_options(chosen, chosen.out)
    if chosen.resume_or_new and (same := same_run(chosen)):
        return _continue(open_folder(same.out).sub(same.name).uri, same)
    chosen = replace(chosen, name=run_name(chosen))
    folder = open_folder(chosen.out).sub(chosen.name)
    with locked(folder):
        refuse_foreign_files(folder)
        return _train(new_start(chosen))


def resume(uri: str | os.PathLike[str], config: PretrainConfig | None = None, **options: Any) -> Run:
    """Continue a pre-training run from its newest checkpoint.

    Args:
        uri: Folder of the run.
        config: Config that replaces the saved one; it may only differ in resumable fields. None takes the saved config.
            Modules named in a saved ``imports`` are not imported; name them again.
        **options: Resumable fields to change, such as ``workers``.

    Returns:
        The run, finished or stopped.

    Raises:
        RequestError: There is no run, or a field that may not change differs.
        WorkError: Training diverged or storage failed.
    """
    uri = text_of(uri)
    chosen = build_config(PretrainConfig, config or resumable_config(uri), options)
    check_options(chosen, uri)
    return _continue(uri, chosen)


def resumable_config(uri: str) -> PretrainConfig:
    """Read the saved config of the run at ``uri`` without its ``imports``: a folder never names code to run."""
    return replace(run_config(uri), imports=())


def check_options(config: PretrainConfig, folder: str) -> None:
    """Check the kind of the encoder, and the loggers."""
    register.encoder.get(config.encoder.kind, "encoder.kind")
    check_loggers(config.loggers, open_folder(folder))


def _continue(uri: str, config: PretrainConfig) -> Run:
    with locked(open_folder(uri)):
        return _train(resumed_start(uri, config))


def refuse_foreign_files(folder: Folder) -> None:
    """Raise RequestError if the folder of a new run holds files that distgnn has not written."""
    if folder.size(CONFIG) is None:
        refuse_names(folder, {NAME, HISTORY} if claimed(folder) else {NAME, HISTORY, FOLDER})


def _train(start: Start) -> Run:
    train = (
        pretrain_here
        if start.run.config.workers == 1
        else load_function("distgnn.scale.train.pretrain:pretrain_on_ray")
    )
    train(start)
    return Run(start.run.folder, start.run.config)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    validation = {f"validation_{name}": value for name, value in row.get("validation", {}).items()}
    return {name: value for name, value in row.items() if name != "validation"} | validation
