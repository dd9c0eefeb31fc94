"""Checkpoint format: a verified folder of safetensors and JSON files. Nothing is unpickled.

model.safetensors (weights: encoder.*, objective.*), state.safetensors (Adam), config.json (encoder, features, config of the
run), state.json (step, epoch, seed, metrics), corpus.json (manifest of the training corpus), card.md (model card) and
checksums.json, which is written last.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from distgnn.checkpoint.compatibility import check_compatible
from distgnn.checkpoint.training_state import not_finite, strip
from distgnn.config import EncoderConfig, from_json
from distgnn.errors import RequestError
from distgnn.graph.schema import Schema
from distgnn.storage import hub, verified
from distgnn.storage.cache import read_cached
from distgnn.storage.folder import Folder, absence, open_folder
from distgnn.storage.records import Count, Finite, Name, parse_record
from distgnn.storage.uri import HUB, join, text_of
from distgnn.storage.verified import CHECKSUMS, Checksums, Kind, parse_checksums, read_checksums, read_files

_T = TypeVar("_T")
_WEIGHTS = (".weight", ".bias", ".running_mean", ".running_var")
_STEP = re.compile("step-[0-9]{9}")

FOLDER = "checkpoints"
FILES = ("model.safetensors", "state.safetensors", "config.json", "state.json", "corpus.json", "card.md")
ENCODER_FILES = ("config.json", "model.safetensors")
KIND = Kind("checkpoint", "distgnn-checkpoint", 1, FILES)
DATABASE_MODEL = Kind(
    "checkpoint of a database model",
    "distgnn-database-model",
    1,
    ("model.safetensors", "state.safetensors", "config.json", "state.json", "card.md"),
)


@dataclass(frozen=True)
class SavedEncoder:
    """The part of a checkpoint that defines its encoder, verified.

    Attributes:
        uri: The checkpoint.
        schema: Node and edge features that the encoder reads.
        encoder: The encoder's config.
        run: The PretrainConfig of the run as JSON.
        model: Weights by name (``encoder.*``, ``objective.*``), on the CPU.
    """

    uri: str
    schema: Schema
    encoder: EncoderConfig
    run: dict[str, Any]
    model: dict[str, Tensor]


@dataclass(frozen=True)
class SavedState:
    """Contents of state.json.

    Attributes:
        step: Index of the next step.
        skipped: Number of consecutive steps that were not finite.
        metrics: Last metrics, "train" and "validation", by name.
        epoch: Index of the epoch.
        seed: Seed of the run.
        score: Validation loss of exactly this state; None if it was not measured.
        corpus: Digest of the training corpus.
    """

    step: Count
    skipped: Count
    metrics: dict[Name, dict[Name, float]]
    epoch: Count = 0
    seed: int = 0
    score: Finite | None = None
    corpus: Name = ""


@dataclass(frozen=True)
class _SavedConfig:
    schema: dict[str, Any]
    encoder: dict[str, Any]
    run: dict[str, Any]


@dataclass(frozen=True)
class Checkpoint(SavedEncoder):
    """A verified checkpoint.

    Attributes:
        state: Contents of state.json.
        optimiser: Adam's tensors by name, on the CPU.
    """

    state: SavedState
    optimiser: dict[str, Tensor]

    @property
    def step(self) -> int:
        """Index of the next step."""
        return self.state.step


def step_name(step: int) -> str:
    """Folder name of the checkpoint of a step; names sort by step."""
    return f"step-{step:09d}"


def seal(files: dict[str, bytes]) -> bytes:
    """Contents of checksums.json for a checkpoint's ``files``."""
    return verified.seal(files, KIND)


def read_verified(folder: Folder) -> tuple[dict[str, bytes], bytes]:
    """Read and verify all files of a checkpoint.

    Returns:
        The contents by file name, and the contents of checksums.json.

    Raises:
        RequestError: If a file is missing or its checksum is wrong.
    """
    return verified.read_verified(folder, KIND)


def parse(files: dict[str, bytes], uri: str) -> Checkpoint:
    """Parse the verified ``files`` of the checkpoint at ``uri``.

    Raises:
        RequestError: If a file is malformed, or the weights do not fit the config.
    """
    saved = parse_encoder(files, uri)
    state = parse_record(files["state.json"], SavedState, join(uri, "state.json"), "the state of a checkpoint")
    optimiser = load_tensors(files["state.safetensors"], uri, "checkpoint")
    return Checkpoint(**vars(saved), state=state, optimiser=optimiser)


def parse_encoder(files: dict[str, bytes], uri: str) -> SavedEncoder:
    """Parse the encoder from verified ``files``, which hold at least :data:`ENCODER_FILES`.

    Raises:
        RequestError: If a file is malformed, or the weights do not fit the config.
    """
    where = join(uri, "config.json")
    saved = parse_record(files["config.json"], _SavedConfig, where, "the config of a checkpoint")
    with parsing(uri, "checkpoint"):
        model = load_tensors(files["model.safetensors"], uri, "checkpoint")
        schema, encoder = Schema.from_json(saved.schema), from_json(EncoderConfig, saved.encoder, "encoder")
        check_compatible(schema, encoder, strip(model, "encoder"), uri)
        check_finite_weights(model, uri)
        return SavedEncoder(uri, schema, encoder, saved.run, model)


def check_finite_weights(tensors: dict[str, Tensor], where: str) -> None:
    """Raise RequestError if a weight, or the running statistic of a norm, is not finite; earlier versions wrote such files."""
    weights = {name: tensor for name, tensor in tensors.items() if name.endswith(_WEIGHTS)}
    if found := not_finite(weights):
        raise RequestError(
            f"{where}: weight {found} is not finite, the training diverged; choose an earlier checkpoint"
        )


@contextmanager
def parsing(uri: str, what: str) -> Iterator[None]:
    """Context manager that turns what a damaged file raises into a RequestError about the ``what`` at ``uri``."""
    try:
        yield
    except RequestError:
        raise
    except (ValueError, TypeError, SafetensorError) as error:
        raise RequestError(f"{uri}: the {what}'s files do not parse ({type(error).__name__}: {error})") from error


def load_tensors(data: bytes, uri: str, what: str) -> dict[str, Tensor]:
    """Parse the contents of a safetensors file; raises RequestError about the ``what`` at ``uri`` if they are damaged."""
    with parsing(uri, what):
        return safetensors.torch.load(data)


def load_checkpoint(uri: str | os.PathLike[str]) -> Checkpoint:
    """Load a checkpoint with its optimiser state. Every file is read once.

    Args:
        uri: A checkpoint, or a run (its newest complete checkpoint is loaded); as for :func:`distgnn.load_encoder`.

    Returns:
        Weights, optimiser state, and the config of the run.

    Raises:
        RequestError: If there is no complete checkpoint, or a file is malformed.
    """
    folder, files = first_whole(uri, _read_all)
    return parse(files, folder.uri)


def load_saved_encoder(uri: str | os.PathLike[str]) -> SavedEncoder:
    """Like :func:`load_checkpoint`, but read only config.json and model.safetensors, through the local cache."""
    folder, files = first_whole(uri, _read_encoder)
    return parse_encoder(files, folder.uri)


def load_state(uri: str) -> SavedState:
    """Load only the state.json of the checkpoint at ``uri``, or of the newest complete one of the run at ``uri``.

    Raises:
        RequestError: If there is no complete checkpoint, or the file is malformed.
    """
    folder, files = first_whole(uri, _read_state)
    return parse_record(files["state.json"], SavedState, folder.at("state.json"), "the state of a checkpoint")


def resolve(uri: str) -> Folder:
    """Folder of the checkpoint at ``uri``, or of the newest readable checkpoint of the run at ``uri``.

    Raises:
        RequestError: If there is no checkpoint whose encoder files are complete.
    """
    return first_whole(uri, _read_encoder)[0]


def read_newest(run: Folder) -> tuple[Folder, dict[str, bytes]] | None:
    """Read and verify the newest complete checkpoint of a run. Damaged and incomplete checkpoints are skipped.

    Returns:
        The checkpoint's folder and the contents by file name, or None if there is no complete checkpoint.
    """
    return _newest_readable(run, _read_all)


def newest(run: Folder) -> Folder | None:
    """Folder of the newest checkpoint of a run that has a checksums.json. No file is read."""
    folder = run.sub(FOLDER)
    finished = (name for name in reversed(step_names(folder)) if folder.sub(name).size(CHECKSUMS) is not None)
    name = next(finished, None)
    return None if name is None else folder.sub(name)


def step_of(checkpoint: Folder) -> int:
    """Step of a checkpoint in the folder of a run, from its name."""
    return int(checkpoint.path.rpartition("step-")[2])


def first_whole(
    uri: str | os.PathLike[str], read: Callable[[Folder, Checksums], _T], kinds: Sequence[Kind] = (KIND,)
) -> _T:
    """Apply ``read`` to the checkpoint at ``uri``, or to the newest checkpoint of the run at ``uri`` that it can read.

    Args:
        uri: A checkpoint or a run.
        read: Reads a checkpoint, given its folder and checksums; raises RequestError if it is incomplete.
        kinds: Formats that it may have.

    Raises:
        RequestError: If ``read`` fails for the checkpoint, or for all checkpoints of the run.
    """
    uri = text_of(uri)
    if uri.startswith(HUB):
        with hub.repository(uri) as folder:
            return _read_repository(folder, read, kinds)
    folder = open_folder(uri)
    raw = folder.read_if_there(CHECKSUMS)
    if raw is not None:
        return read(folder, parse_checksums(raw, folder.at(CHECKSUMS), *kinds))
    found = _newest_readable(folder, read, kinds)
    if found is None:
        raise RequestError(
            f"{uri}: no complete checkpoint here; give a checkpoint or the folder of a run that has one{absence(folder)}"
        )
    return found


def _read_repository(folder: Folder, read: Callable[[Folder, Checksums], _T], kinds: Sequence[Kind]) -> _T:
    raw = folder.read_if_there(CHECKSUMS)
    if raw is None:
        raise RequestError(
            f"{folder.uri}: no such repository, none that you may read, or one without a checkpoint of distgnn"
        )
    return read(folder, parse_checksums(raw, folder.at(CHECKSUMS), *kinds))


def _newest_readable(
    run: Folder, read: Callable[[Folder, Checksums], _T], kinds: Sequence[Kind] = (KIND,)
) -> _T | None:
    checkpoints = run.sub(FOLDER)
    for name in reversed(step_names(checkpoints)):
        folder = checkpoints.sub(name)
        try:
            return read(folder, read_checksums(folder, *kinds))
        except RequestError:
            continue
    return None


def _read_all(folder: Folder, checksums: Checksums) -> tuple[Folder, dict[str, bytes]]:
    return folder, read_files(folder, KIND, checksums, FILES)


def _read_encoder(folder: Folder, checksums: Checksums) -> tuple[Folder, dict[str, bytes]]:
    return folder, read_cached(folder, KIND, checksums, ENCODER_FILES)


def _read_state(folder: Folder, checksums: Checksums) -> tuple[Folder, dict[str, bytes]]:
    return folder, read_files(folder, KIND, checksums, ("state.json",))


def step_names(folder: Folder) -> list[str]:
    """Names of the checkpoint folders in ``folder``, sorted by step. They may be incomplete; other names are ignored."""
    return [name for name in folder.names() if _STEP.fullmatch(name)]
