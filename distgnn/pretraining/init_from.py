"""Initialization of a new run from another run's encoder, and checks before the run folder exists."""

from __future__ import annotations

from dataclasses import asdict

import torch

from distgnn.checkpoint.format import FILES, FOLDER, SavedEncoder, load_saved_encoder, seal, step_name
from distgnn.checkpoint.model_card import checkpoint_files
from distgnn.checkpoint.training_state import TrainState, load_weights, make_state, strip
from distgnn.config import PretrainConfig
from distgnn.corpus.manifest import Manifest
from distgnn.errors import RequestError
from distgnn.graph.schema import Schema
from distgnn.storage.claim import claim, claimed
from distgnn.storage.folder import Folder
from distgnn.storage.verified import CHECKSUMS, publish


def load_init(config: PretrainConfig, schema: Schema) -> SavedEncoder | None:
    """Load the encoder that ``config.init`` names.

    Returns:
        The saved encoder; None if ``config.init`` is empty.

    Raises:
        RequestError: If its config or features differ from those of the run.
    """
    if not config.init:
        return None
    checkpoint = load_saved_encoder(config.init)
    where = f"init {checkpoint.uri}"
    checkpoint.schema.check_features(schema, where)
    saved, given = asdict(checkpoint.encoder), asdict(config.encoder)
    different = [name for name in given if given[name] != saved[name]]
    if different:
        wanted = ", ".join(f"encoder.{name}={saved[name]}" for name in different)
        raise RequestError(f"{where}: trained with another encoder; set {wanted}")
    return checkpoint


def check_objective(config: PretrainConfig, schema: Schema) -> None:
    """Check that the run's objective can train its encoder on graphs of ``schema``.

    Raises:
        RequestError: If the corpus lacks what the objective needs (such as labels), or the objective does not support the
            encoder.
    """
    make_state(config, schema, torch.device("cpu"))


def write_start(run: Folder, config: PretrainConfig, manifest: Manifest, init: SavedEncoder, state: TrainState) -> None:
    """Load the weights and running statistics of ``init`` into ``state`` and save it as the checkpoint of step 0.

    Training resumes from it as from any checkpoint, so workers and resumed runs never read ``init`` again. The files are
    claimed until the run has its config, see :mod:`distgnn.storage.claim`.

    Args:
        run: Folder of the run.
        config: Config of the run.
        manifest: Manifest of its corpus.
        init: The encoder to start from.
        state: New state of the run, changed in place.

    Raises:
        RequestError: If the run already has checkpoints.
    """
    folder, ours = run.sub(FOLDER), claimed(run)
    wanted = [f"{FOLDER}/{step_name(0)}/{name}" for name in (*FILES, CHECKSUMS)]
    for name in wanted:  # of a command that was killed before the run had its config
        if name in ours and run.size(name) is not None:
            run.delete(name)
    if set(folder.names()) - ({step_name(0)} if ours else set()):
        raise RequestError(f"{folder.uri}: not empty, though no run is here; remove it or choose another name")
    claim(run, wanted, "run")
    load_weights(state.encoder, strip(init.model, "encoder"), init.uri)
    files = checkpoint_files(state.freeze(), config, manifest, epoch=0, metrics={})
    publish(folder.sub(step_name(0)), files, seal(files))
