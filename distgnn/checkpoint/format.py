"""A checkpoint: a folder people can read, whose checksums.json is written last. Nothing in it is ever unpickled.

model.safetensors (weights: encoder.*, objective.*), state.safetensors (Adam), config.json (encoder, features, the run's whole
config), state.json (step, epoch, seed, metrics), corpus.json (manifest it was trained on), card.md (for people).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, TypeVar

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from distgnn.checkpoint.compatibility import check_compatible
from distgnn.checkpoint.training_state import strip
from distgnn.config import EncoderConfig, from_json
from distgnn.config.base import read_json
from distgnn.errors import RequestError
from distgnn.graph.schema import Schema
from distgnn.storage import verified
from distgnn.storage.cache import read_cached
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.verified import CHECKSUMS, Checksums, Kind, parse_checksums, read_checksums, read_files

_T = TypeVar("_T")

FOLDER = "checkpoints"
FILES = ("model.safetensors", "state.safetensors", "config.json", "state.json", "corpus.json", "card.md")
ENCODER_FILES = ("config.json", "model.safetensors")
KIND = Kind("checkpoint", "distgnn-checkpoint", 1, FILES)


@dataclass(frozen=True)
class SavedEncoder:
    """The verified part of a checkpoint from which its encoder is built.

    schema, encoder: what the encoder is made of. run: the whole PretrainConfig as JSON. model: weights by name (CPU).
    """

    uri: str
    schema: Schema
    encoder: EncoderConfig
    run: dict[str, Any]
    model: dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint(SavedEncoder):
    """A verified checkpoint. state: step, epoch, seed, metrics, corpus. optimiser: Adam's tensors by name (CPU)."""

    state: dict[str, Any]
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
    """All files of a checkpoint by name and its checksums.json, every byte verified; raises RequestError."""
    return verified.read_verified(folder, KIND)


def parse(files: dict[str, bytes], uri: str) -> Checkpoint:
    """The checkpoint in verified ``files``; raises RequestError if they do not parse."""
    saved = parse_encoder(files, uri)
    with _parsing(uri):
        state, optimiser = read_json(files["state.json"]), safetensors.torch.load(files["state.safetensors"])
        return Checkpoint(**vars(saved), state={"step": int(state["step"]), **state}, optimiser=optimiser)


def parse_encoder(files: dict[str, bytes], uri: str) -> SavedEncoder:
    """The encoder in verified ``files`` (at least :data:`ENCODER_FILES`); raises RequestError if they do not parse."""
    with _parsing(uri):
        config, model = read_json(files["config.json"]), safetensors.torch.load(files["model.safetensors"])
        schema, encoder = Schema.from_json(config["schema"]), from_json(EncoderConfig, config["encoder"], "encoder")
        check_compatible(schema, encoder, strip(model, "encoder"), uri)
        return SavedEncoder(uri, schema, encoder, dict(config["run"]), model)


@contextmanager
def _parsing(uri: str) -> Iterator[None]:
    try:
        yield
    except RequestError:
        raise
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise RequestError(f"{uri}: the checkpoint's files do not parse ({type(error).__name__}: {error})") from error


def load_checkpoint(uri: str) -> Checkpoint:
    """Verify and parse the checkpoint at ``uri``, or the newest whole one of the run at ``uri``; every byte is read once.

    Raises:
        RequestError: If there is no whole checkpoint, or its files do not parse.
    """
    folder, files = first_whole(uri, _read_all)
    return parse(files, folder.uri)


def load_saved_encoder(uri: str) -> SavedEncoder:
    """As :func:`load_checkpoint`, but only config.json and model.safetensors are read, through the local cache."""
    folder, files = first_whole(uri, _read_encoder)
    return parse_encoder(files, folder.uri)


def resolve(uri: str) -> Folder:
    """The checkpoint that ``uri`` names: itself, or the newest one of a run; raises RequestError if its encoder is not whole."""
    return first_whole(uri, _read_encoder)[0]


def read_newest(run: Folder) -> tuple[Folder, dict[str, bytes]] | None:
    """The newest whole checkpoint of a run and its files, every byte verified; damaged or unfinished ones are skipped."""
    return _newest_readable(run, _read_all)


def newest(run: Folder) -> Folder | None:
    """The newest checkpoint of a run that has its checksums.json. A name only: no other file is read."""
    folder = run.sub(FOLDER)
    finished = (name for name in reversed(step_names(folder)) if folder.sub(name).size(CHECKSUMS) is not None)
    name = next(finished, None)
    return None if name is None else folder.sub(name)


def first_whole(uri: str, read: Callable[[Folder, Checksums], _T]) -> _T:
    """``read`` of the checkpoint at ``uri``, or of the newest checkpoint of the run at ``uri`` that it can read.

    Raises:
        RequestError: If the checkpoint cannot be read, or the run has none that can.
    """
    folder = open_folder(uri)
    raw = folder.read_if_there(CHECKSUMS)
    if raw is not None:
        return read(folder, parse_checksums(raw, folder.at(CHECKSUMS), KIND))
    found = _newest_readable(folder, read)
    if found is None:
        raise RequestError(f"{uri}: no whole checkpoint here; give a checkpoint or the folder of a run that has one")
    return found


def _newest_readable(run: Folder, read: Callable[[Folder, Checksums], _T]) -> _T | None:
    checkpoints = run.sub(FOLDER)
    for name in reversed(step_names(checkpoints)):
        folder = checkpoints.sub(name)
        try:
            return read(folder, read_checksums(folder, KIND))
        except RequestError:
            continue
    return None


def _read_all(folder: Folder, checksums: Checksums) -> tuple[Folder, dict[str, bytes]]:
    return folder, read_files(folder, KIND, checksums, FILES)


def _read_encoder(folder: Folder, checksums: Checksums) -> tuple[Folder, dict[str, bytes]]:
    return folder, read_cached(folder, KIND, checksums, ENCODER_FILES)


def step_names(folder: Folder) -> list[str]:
    """Names in ``folder`` that may be checkpoints of steps, by step."""
    return [name for name in folder.names() if name.startswith("step-") and not PurePosixPath(name).suffix]
