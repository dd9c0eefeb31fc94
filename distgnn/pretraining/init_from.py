"""What is checked before a run has a folder, and the first checkpoint of a run that starts from another one's encoder."""

from __future__ import annotations

from dataclasses import asdict

import torch

from distgnn.checkpoint.format import FOLDER, SavedEncoder, load_saved_encoder, seal, step_name
from distgnn.checkpoint.model_card import checkpoint_files
from distgnn.checkpoint.training_state import TrainState, load_weights, make_state, strip
from distgnn.config import PretrainConfig
from distgnn.corpus.manifest import Manifest, read_manifest
from distgnn.errors import RequestError
from distgnn.graph.schema import Schema
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.verified import publish


def load_init(config: PretrainConfig, schema: Schema) -> SavedEncoder | None:
    """The checkpoint ``config.init`` names, or None; raises RequestError unless its encoder is that of config and features."""
    if not config.init:
        return None
    checkpoint = load_saved_encoder(config.init)
    where = f"init {checkpoint.uri}"
    checkpoint.schema.check_features(schema, where)
    there, here = asdict(checkpoint.encoder), asdict(config.encoder)
    odd = [name for name in here if here[name] != there[name]]
    if odd:
        wanted = ", ".join(f"encoder.{name}={there[name]}" for name in odd)
        raise RequestError(f"{where}: trained with another encoder; set {wanted}")
    return checkpoint


def check_objective(config: PretrainConfig) -> None:
    """Raise RequestError where the corpus is none or lacks what the objective needs (labels, features to hide), or where the
    encoder cannot be trained so."""
    make_state(config, read_manifest(open_folder(config.corpus)).schema, torch.device("cpu"))


def write_start(run: Folder, config: PretrainConfig, manifest: Manifest, init: SavedEncoder, state: TrainState) -> None:
    """Load the encoder's weights and running statistics of ``init`` into the fresh ``state``, and write it as step 0.

    Training continues from this checkpoint as from any other, so workers and resumed runs never read ``init`` again.

    Raises:
        RequestError: If the run has checkpoints already.
    """
    folder = run.sub(FOLDER)
    if folder.names():
        raise RequestError(f"{folder.uri}: not empty, though no run is here; remove it or choose another name")
    load_weights(state.encoder, strip(init.model, "encoder"), init.uri)
    files = checkpoint_files(state.freeze(), config, manifest, epoch=0, metrics={})
    publish(folder.sub(step_name(0)), files, seal(files))
