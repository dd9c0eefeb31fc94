"""A checkpoint: a folder people can read, whose checksums.json is written last. Nothing in it is ever unpickled.

model.safetensors (weights: encoder.*, objective.*), state.safetensors (Adam), config.json (encoder, features, the run's whole
config), state.json (step, epoch, seed, metrics), corpus.json (manifest it was trained on), card.md (for people).
"""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import safetensors.torch
from pyarrow import fs as pafs
from safetensors import SafetensorError
from torch import Tensor

from distgnn.config import EncoderConfig, from_json
from distgnn.corpus.storage import Folder, open_folder, storage_errors
from distgnn.errors import RequestError, WorkError
from distgnn.graph.schema import Schema

CHECKSUMS = "checksums.json"
FOLDER = "checkpoints"
FORMAT = "distgnn-checkpoint"
VERSION = 1
FILES = ("model.safetensors", "state.safetensors", "config.json", "state.json", "corpus.json", "card.md")


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
    """checksums.json of ``files``."""
    entries = {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in files.items()}
    return json.dumps({"format": FORMAT, "version": VERSION, "files": entries}, indent=1, sort_keys=True).encode()


def publish(folder: Folder, files: dict[str, bytes], seal_bytes: bytes) -> None:
    """Write a checkpoint to ``folder`` so that it is whole or no checkpoint: renamed into place, or checksums.json put last.

    What lies there must not be a whole checkpoint; the remains of an unfinished one are replaced.
    """
    local = isinstance(folder.filesystem, pafs.LocalFileSystem)
    target = _beside(folder) if local else folder
    try:
        for name, data in files.items():
            target.write(name, data)
        target.write(CHECKSUMS, seal_bytes)
    except (RequestError, WorkError):
        if local and target.names():
            target.filesystem.delete_dir(target.path)
        raise
    if local:
        with storage_errors("write", folder.uri):
            if folder.names():
                folder.filesystem.delete_dir(folder.path)
            folder.filesystem.move(target.path, folder.path)


def _beside(folder: Folder) -> Folder:
    path, tail = folder.path, f".tmp-{uuid.uuid4().hex[:8]}"
    return Folder(folder.filesystem, f"{path}{tail}", f"{folder.uri}{tail}")


def read_verified(folder: Folder) -> tuple[dict[str, bytes], bytes]:
    """(files by name, checksums.json) of a checkpoint, every byte checked; RequestError naming what is missing or changed."""
    if folder.size(CHECKSUMS) is None:
        raise RequestError(f"{folder.uri}: not a whole checkpoint ({CHECKSUMS} is missing)")
    raw = folder.read(CHECKSUMS)
    where = f"{folder.uri}/{CHECKSUMS}"
    try:
        sealed = json.loads(raw)
        kind, version, entries = sealed["format"], sealed["version"], dict(sealed["files"])
        wanted = {name: str(entry["sha256"]) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{where}: not a list of checksums ({error}); pull the checkpoint again") from error
    if (kind, version) != (FORMAT, VERSION):
        raise RequestError(
            f"{where}: {kind} version {version} is unknown; this distgnn reads {FORMAT} version {VERSION}"
        )
    if set(wanted) != set(FILES):
        odd = min(set(wanted) ^ set(FILES))
        raise RequestError(f"{where}: lists other files than a checkpoint has ({odd!r}); refusing it")
    files = {name: _read_one(folder, name, digest) for name, digest in sorted(wanted.items())}
    return files, raw


def _read_one(folder: Folder, name: str, digest: str) -> bytes:
    if folder.size(name) is None:
        raise RequestError(f"{folder.uri}/{name}: missing from the checkpoint; pull it again")
    data = folder.read(name)
    if hashlib.sha256(data).hexdigest() != digest:
        raise RequestError(
            f"{folder.uri}/{name}: wrong checksum, the file was changed or damaged; pull the checkpoint again"
        )
    return data


def parse(files: dict[str, bytes], uri: str) -> Checkpoint:
    """The Checkpoint in verified ``files``; raises RequestError where they are not what they should be."""
    try:
        config, state = json.loads(files["config.json"]), json.loads(files["state.json"])
        model, optimiser = (safetensors.torch.load(files[name]) for name in ("model.safetensors", "state.safetensors"))
        schema, encoder = Schema.from_json(config["schema"]), from_json(EncoderConfig, config["encoder"], "encoder")
        return Checkpoint(
            uri, schema, encoder, dict(config["run"]), {"step": int(state["step"]), **state}, model, optimiser
        )
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise RequestError(f"{uri}: the checkpoint's files do not parse ({type(error).__name__}: {error})") from error


def newest(run: Folder) -> Folder | None:
    """The newest whole checkpoint of a run folder (checked byte by byte; damaged or unfinished ones are passed over)."""
    folder = run.sub(FOLDER)
    for name in reversed(_step_names(folder)):
        try:
            read_verified(folder.sub(name))
        except RequestError:
            continue
        return folder.sub(name)
    return None


def prune(run: Folder, keep: int) -> None:
    """Delete all but the ``keep`` newest checkpoints of a run, and what unfinished writes left behind."""
    folder = run.sub(FOLDER)
    whole = [name for name in _step_names(folder) if folder.sub(name).size(CHECKSUMS) is not None]
    for name in set(folder.names()) - set(whole[-keep:]):
        folder.delete_folder(name)


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


def _step_names(folder: Folder) -> list[str]:
    return [name for name in folder.names() if name.startswith("step-") and not PurePosixPath(name).suffix]
