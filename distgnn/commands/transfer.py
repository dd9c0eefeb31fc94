"""distgnn transfer: weighting methods on a labelled corpus or a network; tables, curves and pictures, and the files beside them."""

from __future__ import annotations

import json

from distgnn.auxiliary.comparison import compare_methods
from distgnn.auxiliary.data_source import CorpusDataSource, DataSource, NetworkDataSource, is_network
from distgnn.auxiliary.jobs import RunJob
from distgnn.checkpoint.format import load_checkpoint
from distgnn.commands.finetune import JobProgress, initial_encoders
from distgnn.commands.metrics import meters
from distgnn.commands.output import Output, load_function
from distgnn.config import TransferConfig, to_json
from distgnn.corpus.writer import Mapper
from distgnn.distributed import choose_device
from distgnn.finetuning.results import RESULTS
from distgnn.monitor.loggers.base import LoggedRun, check_loggers, flat, open_loggers
from distgnn.register import import_modules
from distgnn.report.auxiliary import markdown, terminal, transfer_summary
from distgnn.report.curves import write_curves, write_pictures
from distgnn.report.table import TABLE
from distgnn.storage.folder import open_folder
from distgnn.storage.uri import base_name

_CELL = ("scheme", "encoder", "method", "metric")


def transfer(config: TransferConfig, output: Output) -> int:
    """Compare, print the tables, and write results.json, table.md, curves.parquet and pictures to ``config.out``.

    Finished jobs are kept there: the same call again goes on where it was stopped.
    """
    import_modules(config.imports)
    folder = open_folder(config.out)
    check_loggers(config.loggers, folder)
    source, logged = _source(config), LoggedRun(base_name(config.out), folder, flat(config))
    folder.write(
        "config.json", (json.dumps(to_json(config), indent=1) + "\n").encode()
    )  # fails now, not after the work
    device = choose_device(config.device if config.workers == 1 else "cpu").type
    with (
        meters(config.metrics, config.out, config.workers > 1 or config.ranks > 1) as (here, work),
        open_loggers(config.loggers, logged, config.metrics) as logs,
    ):
        run = RunJob(source, folder.sub("jobs"), device, work)
        result = compare_methods(run, _mapper(config), JobProgress(meter=here, command="transfer", logs=logs))
        value = transfer_summary(result)
        logs.summary = {"/".join(cell[name] for name in _CELL): cell["mean"] for cell in value["cells"]}
    folder.write(TABLE, markdown(result).encode())
    folder.write(RESULTS, (json.dumps(value, indent=1) + "\n").encode())
    write_curves(result, folder)
    write_pictures(result, folder)
    output.emit(value, f"{terminal(result)}\nwritten to {folder.uri}")
    return 0


def _source(config: TransferConfig) -> DataSource:
    if is_network(config.data):
        return NetworkDataSource.read(config)
    return CorpusDataSource.read(config, initial_encoders([load_checkpoint(uri) for uri in config.checkpoint]))


def _mapper(config: TransferConfig) -> Mapper:
    if config.ranks > 1:
        return load_function("distgnn.scale.train.auxiliary:ranked_map")(config)
    return map if config.workers == 1 else load_function("distgnn.scale.pool:ordered_map")(config.workers)
