"""Checkpoints of models of databases: verified folders of safetensors and JSON files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from distgnn.checkpoint.format import DATABASE_MODEL, FOLDER, first_whole, load_tensors, newest, step_name
from distgnn.config import from_json
from distgnn.config.database_model import DatabaseModelConfig
from distgnn.errors import RequestError
from distgnn.relational.ensemble import DatabaseModel
from distgnn.relational.training import State
from distgnn.relational.values import FACTS, REDUNDANCY
from distgnn.storage.folder import Folder
from distgnn.storage.records import Count, Name, parse_record
from distgnn.storage.verified import CHECKSUMS, Checksums, publish, read_files, seal

_TENSORS = ("model.safetensors", "state.safetensors")
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class Facts:
    """config.json of a checkpoint.

    Attributes:
        model: The model's config.
        databases: Names of the databases that it was trained on.
        newest, random: Most children of a row when sub-graphs are sampled.
        run: Config of the run.
    """

    model: dict[str, Any]
    databases: tuple[Name, ...]
    newest: Count
    random: Count
    run: dict[str, Any]


@dataclass(frozen=True)
class _State:
    step: Count
    losses: list[float]


@dataclass(frozen=True)
class SavedModel:
    """A verified checkpoint: where it is, its facts, the model, and the training state's parts."""

    uri: str
    facts: Facts
    model: DatabaseModel
    step: int
    losses: list[float]
    optimiser: dict[str, Tensor]


def save_model(run: Folder, state: State, facts: Facts) -> str:
    """Write the checkpoint ``checkpoints/step-N`` of a run; return its URI."""
    folder = run.sub(FOLDER).sub(step_name(state.step))
    if folder.size(CHECKSUMS) is None:
        files = _files(state, facts)
        publish(folder, files, seal(files, DATABASE_MODEL))
    return folder.uri


def check_free(run: Folder) -> None:
    """Raise RequestError if a folder already has a checkpoint."""
    if newest(run) is not None:
        raise RequestError(f"{run.uri}: already holds a checkpoint; choose another folder")


def _files(state: State, facts: Facts) -> dict[str, bytes]:
    weights = {name: tensor.detach().clone() for name, tensor in state.model.state_dict().items()}
    moments: dict[str, Tensor] = {}
    for name, parameter in state.model.named_parameters():
        kept = state.optimiser.state.get(parameter, {})
        for moment in _MOMENTS:
            moments[f"{moment}.{name}"] = torch.as_tensor(kept.get(moment, torch.zeros(()))).float().clone()
    count = sum(tensor.numel() for tensor in weights.values())
    return {
        "model.safetensors": safetensors.torch.save(weights),
        "state.safetensors": safetensors.torch.save(moments),
        "config.json": (json.dumps(asdict(facts), indent=1) + "\n").encode(),
        "state.json": json.dumps({"step": state.step, "losses": state.losses}).encode(),
        "card.md": _card(state, facts, count).encode(),
    }


def _card(state: State, facts: Facts, count: int) -> str:
    recent = state.losses[-100:]
    loss = f"{sum(recent) / len(recent):.4f}" if recent else "(untrained)"
    return f"""# Model of relational databases

{count:,} parameters, {state.step} steps of episodes; mean query loss of the last {len(recent)} steps: {loss}.
Pre-trained on: {", ".join(facts.databases) or "(nothing)"}. It has not read the test rows of their tasks.

Use: `distgnn predict --database URI --task T --model THIS --context 256`. On a database that it was not trained on, the context
rows are all that it learns from; without context (`--context 0`) it only ranks by what column descriptions suggest.
"""


def load_model(uri: str) -> SavedModel:
    """Load the checkpoint at ``uri``, or the newest complete one of the run there.

    Raises:
        RequestError: There is none, or a file is damaged.
    """
    folder, files = first_whole(uri, _read, (DATABASE_MODEL,))
    facts = parse_record(files["config.json"], Facts, folder.at("config.json"), "the config of a checkpoint")
    state = parse_record(files["state.json"], _State, folder.at("state.json"), "the state of a checkpoint")
    weights, moments = (load_tensors(files[name], folder.uri, "checkpoint") for name in _TENSORS)
    try:
        model = DatabaseModel(from_json(DatabaseModelConfig, facts.model, "model"))
        model.load_state_dict(_present(weights, model))
        optimiser = _present(moments, model, tuple(f"{one}." for one in _MOMENTS))
    except (RuntimeError, KeyError) as error:
        raise RequestError(f"{folder.uri}: the weights do not fit the config ({str(error).splitlines()[0]})") from error
    if not all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values()):
        raise RequestError(f"{folder.uri}: a weight is not finite, the training diverged; choose an earlier checkpoint")
    return SavedModel(folder.uri, facts, model, state.step, state.losses, optimiser)


def _read(folder: Folder, checksums: Checksums) -> tuple[Folder, dict[str, bytes]]:
    return folder, read_files(folder, DATABASE_MODEL, checksums, DATABASE_MODEL.files)


def _present(tensors: dict[str, Tensor], model: DatabaseModel, prefixes: tuple[str, ...] = ("",)) -> dict[str, Tensor]:
    """Tensors of a checkpoint of an earlier version under their present names and in their present shapes.

    Models had one member, without a prefix, and did not read the redundancy of columns: the weights of these inputs are 0.
    """
    found = {}
    for name, tensor in tensors.items():
        prefix = next(one for one in prefixes if name.startswith(one))
        place = name.removeprefix(prefix)
        place = place if place.startswith("members.") else f"members.0.{place}"
        if place.endswith(".entry.weight") and tensor.ndim == 2:
            tensor = _widened(tensor, model.get_parameter(place).shape[1])
        found[f"{prefix}{place}"] = tensor
    return found


def _widened(weight: Tensor, inputs: int) -> Tensor:
    if weight.shape[1] != inputs - REDUNDANCY:
        return weight
    known, rest = weight.split([FACTS - REDUNDANCY, inputs - FACTS], 1)
    return torch.cat([known, weight.new_zeros(weight.shape[0], REDUNDANCY), rest], 1)


def restore(state: State, saved: SavedModel) -> None:
    """Continue ``state`` from a checkpoint.

    Raises:
        RequestError: The checkpoint was copied without the state of the optimiser.
    """
    if not saved.optimiser:
        raise RequestError(f"{saved.uri}: has no state of the optimiser (push --weights-only); continue the run itself")
    state.model.load_state_dict(saved.model.state_dict())
    state.step, state.losses = saved.step, list(saved.losses)
    for name, parameter in state.model.named_parameters():
        found = {moment: saved.optimiser[f"{moment}.{name}"] for moment in _MOMENTS}
        if found["exp_avg"].shape == parameter.shape:
            state.optimiser.state[parameter] = found
