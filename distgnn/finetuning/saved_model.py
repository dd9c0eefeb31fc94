"""Saved fine-tuned models: verified folders with an encoder and its head, and the module to load them without Ray."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import pandas as pd
import safetensors.torch
import torch
from msgspec import Meta
from torch import Tensor, nn

from distgnn.auxiliary.data_source import InitialEncoder
from distgnn.auxiliary.trainer import TrainingResult
from distgnn.checkpoint.compatibility import check_compatible
from distgnn.checkpoint.format import FOLDER, check_finite_weights, load_tensors
from distgnn.checkpoint.training_state import load_weights, strip
from distgnn.config import EncoderConfig, LabelChoice, from_json, to_json
from distgnn.config.transfer import CONTROL
from distgnn.errors import RequestError
from distgnn.finetuning.comparison import CHOICE, FinetuneComparison
from distgnn.finetuning.inputs import Graphs, input_batches
from distgnn.finetuning.results import part_scores
from distgnn.graph.batch import GraphBatch
from distgnn.graph.pyg import from_pyg
from distgnn.graph.schema import Schema
from distgnn.labels.dataset import LabelledSet
from distgnn.labels.scores import Task
from distgnn.labels.target import Target
from distgnn.models.encoder import build_encoder
from distgnn.models.heads import build_head, graph_features
from distgnn.storage.cache import read_cached
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.records import Name, Small, parse_record
from distgnn.storage.verified import CHECKSUMS, Kind, publish_safely, read_checksums, seal

if TYPE_CHECKING:
    from torch_geometric.data import Data

MODELS = "models"
WEIGHTS, CONFIG = "model.safetensors", "config.json"
KIND = Kind("fine-tuned model", "distgnn-model", 1, (WEIGHTS, CONFIG))


@dataclass(frozen=True)
class ModelInfo:
    """Description of a fine-tuned model, without its tensors.

    Attributes:
        schema, encoder: Features and config of the encoder.
        task, labels, outputs: What the head predicts.
        use_center: Whether the head sees the embedding of the centre node.
        choice: Labels and split of the training.
        digest: sha256 of the manifest of the training corpus.
        method, seed, best_epoch: The job that trained the model.
        scores: Metric by part, {"value", "coverage"}.
    """

    schema: Schema
    encoder: EncoderConfig
    task: Task
    labels: tuple[str, ...]
    outputs: int
    use_center: bool
    choice: LabelChoice
    digest: str
    method: str
    seed: int
    best_epoch: int
    scores: dict[str, dict[str, float]]

    def to_bytes(self) -> bytes:
        """Serialise to config.json of the model."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        groups = {"schema": self.schema.to_json(), "encoder": to_json(self.encoder), "choice": to_json(self.choice)}
        return (json.dumps(plain | groups, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_bytes(cls, raw: bytes, where: str) -> ModelInfo:
        """Parse config.json of a model at ``where``; raises RequestError for malformed bytes."""
        saved = parse_record(raw, _SavedInfo, where, "the config of a fine-tuned model")
        choice = from_json(LabelChoice, saved.choice, "choice")
        encoder = from_json(EncoderConfig, saved.encoder, "encoder")
        schema = Schema.from_json(saved.schema)
        return cls(**vars(saved) | {"schema": schema, "encoder": encoder, "choice": choice})


@dataclass(frozen=True)
class _SavedInfo:
    """config.json of a model; see :class:`ModelInfo`."""

    schema: dict[str, Any]
    encoder: dict[str, Any]
    task: Task
    labels: tuple[Name, ...]
    outputs: Annotated[int, Meta(ge=1, le=1 << 24)]
    use_center: bool
    choice: dict[str, Any]
    digest: Name
    method: Name
    seed: Small
    best_epoch: Small
    scores: dict[Name, dict[Name, float]]


class FineTunedModel(nn.Module):
    """A fine-tuned encoder with its head, in evaluation mode, for PyG ``Data`` or ``Batch`` and GraphBatch.

    The head is applied to standardised features of the encoder.
    """

    def __init__(self, about: ModelInfo, tensors: dict[str, Tensor], where: str) -> None:
        super().__init__()
        self.about = about
        check_compatible(about.schema, about.encoder, strip(tensors, "encoder"), where)
        self.encoder = build_encoder(about.schema, about.encoder, seed=0)
        width = self.encoder.width * (2 if about.use_center else 1)
        self.head = build_head(width, about.outputs, seed=0)
        for name, size in (("features", width), ("target", len(about.labels))):
            for kind in ("mean", "std"):
                self.register_buffer(f"{name}_{kind}", torch.zeros(size))
        renamed = {f"{name}_{kind}": f"{name}.{kind}" for name in ("features", "target") for kind in ("mean", "std")}
        missing = [name for name in renamed.values() if name not in tensors]
        if missing:
            raise RequestError(f"{where}: weights do not fit the model (missing {missing})")
        own = {new: tensors[old] for new, old in renamed.items()}
        parts = {f"{part}.{k}": v for part in ("encoder", "head") for k, v in strip(tensors, part).items()}
        load_weights(self, {**parts, **own}, where)
        self.eval()

    @property
    def target(self) -> Target:
        """The prediction target, on the model's device."""
        mean, std = self.get_buffer("target_mean"), self.get_buffer("target_std")
        return Target(self.about.task, self.about.labels, self.about.outputs, mean, std)

    def forward(self, data: Data | GraphBatch) -> Tensor:
        """Predict the labels of a batch.

        Args:
            data: Graphs on any device, which are moved to that of the weights.

        Returns:
            float [G, T]: probabilities (classification), class numbers (multiclass) or values in the labels' units
            (regression) of G graphs and T labels.

        Raises:
            RequestError: The graphs have other features than the model.
        """
        batch = data if isinstance(data, GraphBatch) else from_pyg(data, self.about.schema)
        batch = batch.to(self.encoder.device)
        features = graph_features(self.encoder, batch, self.about.use_center)
        standard = (features - self.get_buffer("features_mean")) / self.get_buffer("features_std")
        return self.target.predictions(self.head(standard))

    @torch.no_grad()
    def predict(self, graphs: Graphs) -> pd.DataFrame:
        """Predict the labels of graphs.

        Args:
            graphs: URI of a corpus, PyG ``Data`` or ``Batch``, a list of ``Data``, or a list of SMILES (needs RDKit).

        Returns:
            One row per graph in order, one column per label: probabilities (classification), class numbers (multiclass;
            ``about.schema.classes`` has what they stand for, where the corpus says so) or values in the labels' units
            (regression). The index is the graph id.

        Raises:
            RequestError: The graphs have other features than the model, or a SMILES string cannot be parsed.
        """
        ids: list[Tensor] = []
        values: list[Tensor] = []
        for batch in input_batches(graphs, self.about.schema):
            ids.append(batch.graph_id)
            values.append(self(batch).cpu())
        if not ids:
            return pd.DataFrame(columns=list(self.about.labels))
        index = pd.Index(torch.cat(ids).numpy(), name="graph_id")
        return pd.DataFrame(torch.cat(values).numpy(), index=index, columns=list(self.about.labels))


class Trained(NamedTuple):
    """A trained model to save.

    Attributes:
        name: Name of its method.
        seed: Training seed.
        encoder: Config of its encoder.
        found: Result with the weights.
    """

    name: str
    seed: int
    encoder: EncoderConfig
    found: TrainingResult


def write_models(result: FinetuneComparison, encoders: Iterable[InitialEncoder], folder: Folder) -> list[str]:
    """Write every model of a fine-tuning with ``save_models``, see :func:`write_trained`; encoders: those of its rows."""
    by_name = {start.name: start.encoder for start in encoders}
    models = [Trained(row.method, seed, by_name[row.method], found) for (row, seed), found in result.results.items()]
    return write_trained(models, result.data, result.config, folder)


def write_trained(models: Sequence[Trained], data: LabelledSet, options: LabelChoice, folder: Folder) -> list[str]:
    """Write models to ``folder``/NAME-seedN; existing models are replaced.

    Args:
        models: The models.
        data: The corpus that they were trained on.
        options: Choice of the labels, or a config that contains it.
        folder: Destination.

    Returns:
        Names of the folders.
    """
    methods, names = tuple(dict.fromkeys(model.name for model in models)), []
    choice, target = LabelChoice(**{name: getattr(options, name) for name in CHOICE}), data.target
    for name, seed, encoder, found in models:
        names.append(f"{_plain(name, methods)}-seed{seed}")
        about = ModelInfo(
            data.schema, encoder, target.task, target.names, target.outputs, data.use_center, choice, data.digest,
            name, seed, found.best_epoch, part_scores(found),
        )  # fmt: skip
        scales = {"target.mean": target.mean, "target.std": target.std}
        tensors = {name: tensor.contiguous() for name, tensor in {**found.weights, **scales}.items()}
        check_finite_weights(tensors, f"{name}, seed {seed}")
        files = {WEIGHTS: safetensors.torch.save(tensors), CONFIG: about.to_bytes()}
        _replace(folder.sub(names[-1]), files)
    return names


def _plain(method: str, methods: tuple[str, ...]) -> str:
    """Return a folder name for ``method``: its letters, digits and ._@-, with a hash suffix if two would collide."""
    plain = {name: "".join(c if c.isalnum() or c in "._@-" else "-" for c in name).strip(".-") for name in methods}
    alike = list(plain.values()).count(plain[method]) > 1 or not plain[method]
    return f"{plain[method]}-{hashlib.sha256(method.encode()).hexdigest()[:6]}" if alike else plain[method]


def _replace(folder: Folder, files: dict[str, bytes]) -> None:
    sealed = seal(files, KIND)
    if folder.read_if_there(CHECKSUMS) != sealed:
        publish_safely(folder, files, sealed, KIND)


def model_uris(uri: str) -> list[str]:
    """Return the URIs of the models at ``uri``: a model itself, or all models in the output folder of a fine-tuning.

    Those of the control (the encoder without pre-training) come last.

    Raises:
        RequestError: There is no model.
    """
    folder = open_folder(uri)
    if folder.size(CHECKSUMS) is not None:
        return [folder.uri]
    inside = folder.sub(MODELS)
    names = sorted((name for name in inside.names() if name.isprintable()), key=_is_control)
    found = [inside.sub(name).uri for name in names if inside.sub(name).size(CHECKSUMS) is not None]
    if not found:
        raise RequestError(
            f"{uri}: no fine-tuned model here; give one, or the output of a fine-tuning with save_models"
        )
    return found


def _check_model(folder: Folder) -> None:
    """Raise RequestError if ``folder`` is that of a fine-tuning or of a pre-training run, which hold models or checkpoints."""
    if folder.size(CHECKSUMS) is not None:
        return
    names = folder.names()
    if MODELS in names:
        raise RequestError(f"{folder.uri}: holds several models; load one of them, such as {model_uris(folder.uri)[0]}")
    if FOLDER in names:
        raise RequestError(
            f"{folder.uri}: is a pre-training run; load it with load_encoder, or fine-tune it with save_models"
        )


def _is_control(name: str) -> bool:
    return re.match(rf"{CONTROL}\b", name) is not None


def load_model(uri: str | os.PathLike[str]) -> FineTunedModel:
    """Load a fine-tuned model, verified against its checksums.json.

    Files from s3:// are cached (see :func:`distgnn.load_encoder`).

    Args:
        uri: Folder of the model, such as one of :attr:`FinetuneResults.models`: a path, file:// or s3:// URI.

    Returns:
        The encoder with its head, in evaluation mode.

    Raises:
        RequestError: There is no complete model at ``uri``, or its files cannot be parsed.
    """
    folder = open_folder(uri)
    uri = folder.uri
    _check_model(folder)
    files = read_cached(folder, KIND, read_checksums(folder, KIND), KIND.files)
    about = ModelInfo.from_bytes(files[CONFIG], folder.at(CONFIG))
    tensors = load_tensors(files[WEIGHTS], uri, "model")
    check_finite_weights(tensors, uri)
    return FineTunedModel(about, tensors, uri)
