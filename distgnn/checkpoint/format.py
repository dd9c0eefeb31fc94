"""A checkpoint: a folder people can read, whose checksums.json is written last. Nothing in it is ever unpickled.

model.safetensors (weights: encoder.*, objective.*), state.safetensors (Adam), config.json (encoder, features, the run's whole
config), state.json (step, epoch, seed, metrics), corpus.json (manifest it was trained on), card.md (for people).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from distgnn.checkpoint.compatibility import check_fits
from distgnn.checkpoint.training_state import strip
from distgnn.config import EncoderConfig, from_json
from distgnn.config.base import read_json
from distgnn.errors import RequestError
from distgnn.graph.schema import Schema
from distgnn.storage import verified
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.verified import CHECKSUMS, Kind

FOLDER = "checkpoints"
FILES = ("model.safetensors", "state.safetensors", "config.json", "state.json", "corpus.json", "card.md")
KIND = Kind("checkpoint", "distgnn-checkpoint", 1, FILES)


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint.

    schema, encoder: what the encoder is made of. run: the whole PretrainConfig as JSON. state: step, epoch, seed, metrics,
    corpus. model, optimiser: tensors by name (CPU).
    """

    uri: str
    schema: Schema
    encoder: EncoderConfig
    run: dict[str, Any]
    state: dict[str, Any]
    model: dict[str, Tensor]
    optimiser: dict[str, Tensor]

    @property
    def step(self) -> int:
        """The step that comes next."""
        return int(self.state["step"])


def step_name(step: int) -> str:
    """Folder name of a step's checkpoint; names sort by step."""
    return f"step-{step:09d}"


def seal(files: dict[str, bytes]) -> bytes:
    """checksums.json of a checkpoint's ``files``."""
    return verified.seal(files, KIND)


def read_verified(folder: Folder) -> tuple[dict[str, bytes], bytes]:
    """(files by name, checksums.json) of a checkpoint, every byte checked; RequestError naming what is missing or changed."""
    return verified.read_verified(folder, KIND)


def parse(files: dict[str, bytes], uri: str) -> Checkpoint:
    """The Checkpoint in verified ``files``; raises RequestError where they are not what they should be."""
    try:
        config, state = read_json(files["config.json"]), read_json(files["state.json"])
        model, optimiser = (safetensors.torch.load(files[name]) for name in ("model.safetensors", "state.safetensors"))
        schema, encoder = Schema.from_json(config["schema"]), from_json(EncoderConfig, config["encoder"], "encoder")
        check_fits(schema, encoder, strip(model, "encoder"), uri)
        return Checkpoint(
            uri, schema, encoder, dict(config["run"]), {"step": int(state["step"]), **state}, model, optimiser
        )
    except RequestError:
        raise
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise RequestError(f"{uri}: the checkpoint's files do not parse ({type(error).__name__}: {error})") from error


def read_newest(run: Folder) -> tuple[Folder, dict[str, bytes]] | None:
    """The newest whole checkpoint of a run folder and its files, every byte checked; damaged or unfinished ones are passed over."""
    folder = run.sub(FOLDER)
    for name in reversed(step_names(folder)):
        try:
            return folder.sub(name), read_verified(folder.sub(name))[0]
        except RequestError:
            continue
    return None


def newest(run: Folder) -> Folder | None:
    """The newest whole checkpoint of a run folder."""
    found = read_newest(run)
    return found and found[0]


def resolve(uri: str) -> Folder:
    """The checkpoint folder that ``uri`` names: itself, or the newest one of a run folder; RequestError where there is none."""
    folder = open_folder(uri)
    if folder.size(CHECKSUMS) is not None:
        return folder
    found = newest(folder)
    if found is None:
        raise RequestError(f"{uri}: no whole checkpoint here; give a checkpoint or the folder of a run that has one")
    return found


def load_checkpoint(uri: str) -> Checkpoint:
    """Verify, then parse, the checkpoint at ``uri`` (or the newest one of the run at ``uri``); raises RequestError."""
    folder = resolve(uri)
    files, _ = read_verified(folder)
    return parse(files, folder.uri)


def step_names(folder: Folder) -> list[str]:
    """Names in ``folder`` that may be checkpoints of steps, by step."""
    return [name for name in folder.names() if name.startswith("step-") and not PurePosixPath(name).suffix]
