"""distgnn evaluate: fine-tuned models on a labelled corpus; the table, and the files beside it."""

from __future__ import annotations

import json

from distgnn.commands.output import Output
from distgnn.config import EvaluateConfig
from distgnn.distributed import choose_device
from distgnn.finetuning.evaluate import evaluate as ask
from distgnn.finetuning.results import PREDICTIONS, RESULTS, predictions
from distgnn.finetuning.saved_model import load_model, model_uris
from distgnn.register import import_modules
from distgnn.report.evaluation import summary, terminal
from distgnn.storage.folder import open_folder


def evaluate(config: EvaluateConfig, output: Output) -> int:
    """Ask, print the table, and write results.json and predictions.parquet to ``config.out``."""
    import_modules(config.imports)
    uris = [uri for given in config.model for uri in model_uris(given)]
    result = ask(config, [load_model(uri) for uri in uris], choose_device(config.device).type)
    value, folder = summary(result, uris), open_folder(config.out)
    folder.write(
        PREDICTIONS,
        predictions(result.data, [(model.method, model.seed, model.predictions) for model in result.models]),
    )
    folder.write(RESULTS, (json.dumps(value, indent=1) + "\n").encode())
    output.emit(value, f"{terminal(result)}\nwritten to {folder.uri}")
    return 0
