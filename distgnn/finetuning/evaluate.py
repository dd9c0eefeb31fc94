"""Evaluation of fine-tuned models on a labelled corpus with the metrics of fine-tuning, without training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from distgnn.auxiliary.label_target import EVALUATION_BATCH
from distgnn.config import EvaluateConfig
from distgnn.corpus.manifest import read_manifest
from distgnn.corpus.reader import CorpusReader
from distgnn.errors import RequestError
from distgnn.finetuning.saved_model import FineTunedModel, ModelInfo
from distgnn.graph.batch import select_graphs
from distgnn.labels.dataset import LabelledSet, check_defined, labelled_graphs, read_labelled
from distgnn.labels.scores import METRIC_OF, Floats, Score, score
from distgnn.labels.target import check_known_classes, task_labels
from distgnn.storage.folder import open_folder

ALL = "all"
_UNSEEN = ("test", "ood")


class ModelScores(NamedTuple):
    """Scores of one fine-tuned model (method and seed) by part, and its predictions, float32 [rows of the part, T]."""

    method: str
    seed: int
    scores: dict[str, Score]
    predictions: dict[str, Floats]


@dataclass(frozen=True)
class Evaluation:
    """Scores of fine-tuned models.

    Attributes:
        data: The evaluated graphs, by part.
    """

    config: EvaluateConfig
    data: LabelledSet
    models: tuple[ModelScores, ...]

    @property
    def metric(self) -> str:
        """Name of the metric."""
        return METRIC_OF[self.data.target.task]


def evaluate(config: EvaluateConfig, models: Sequence[FineTunedModel], device: str = "cpu") -> Evaluation:
    """Evaluate every model on the part of ``config.corpus`` that the config selects.

    With part=auto, this is the held-out data (test and ood) of the corpus that the models were fine-tuned on, and all
    labelled graphs of any other corpus.

    Raises:
        RequestError: The models predict different labels, or do not fit the corpus.
    """
    about = _common([model.about for model in models])
    digest = read_manifest(open_folder(config.corpus)).digest()
    known = {model.about.digest for model in models} == {digest}
    part = ("unseen" if known else ALL) if config.part == "auto" else config.part
    data = (_all_graphs if part == ALL else _part)(config.corpus, models[0], part)
    scored = []
    for model in models:
        found = {name: _predict(model.to(device), data, name) for name in data.parts}
        scores = {name: score(about.task, data.labels(name), values) for name, values in found.items()}
        scored.append(ModelScores(model.about.method, model.about.seed, scores, found))
    return Evaluation(config, data, tuple(scored))


def _common(models: list[ModelInfo]) -> ModelInfo:
    """Return what all models predict. Raises RequestError naming a model that differs from the first."""
    first = models[0]
    for other in models[1:]:
        for name in ("task", "labels", "outputs", "use_center", "choice"):
            if getattr(first, name) != getattr(other, name):
                raise RequestError(
                    f"model: {first.method} and {other.method} differ in {name}; evaluate them one after the other"
                )
    return first


def _all_graphs(corpus: str, model: FineTunedModel, part: str) -> LabelledSet:
    about = model.about
    reader = CorpusReader(corpus, labels=True)
    schema = reader.manifest.schema
    about.schema.check_features(schema, f"the model cannot read {corpus}")
    if about.use_center and not schema.center:
        raise RequestError(f"{corpus}: the corpus has no centre nodes, which the model needs")
    about.schema.check_classes(schema, about.labels, f"the model cannot be evaluated on {corpus}")
    graphs, y = labelled_graphs(reader, about.labels, corpus)
    _, y, note = task_labels(y, about.task, corpus)
    check_known_classes(model.target, y, corpus)
    parts = {part: np.flatnonzero(np.any(~np.isnan(y), axis=1))}
    check_defined(about.task, y, parts, corpus)
    y = torch.from_numpy(np.ascontiguousarray(y))
    return LabelledSet(schema, graphs, y, model.target, parts, about.use_center, reader.manifest.digest(), note)


def _part(corpus: str, model: FineTunedModel, part: str) -> LabelledSet:
    """Return part(s) of a corpus, split as in the model's training; the labels must be selected in the same way."""
    about = model.about
    data = read_labelled(corpus, about.choice)
    about.schema.check_features(data.schema, f"the model cannot read {corpus}")
    about.schema.check_classes(data.schema, about.labels, f"the model cannot be evaluated on {corpus}")
    found = (data.target.names, data.target.task, data.use_center)
    if found != (about.labels, about.task, about.use_center):
        raise RequestError(
            f"{corpus}: the model's choice of labels gives {data.target.task} of {', '.join(data.target.names[:5])} here, not"
            f" {about.task} of {', '.join(about.labels[:5])}; use part=all"
        )
    check_known_classes(model.target, data.y.numpy(), corpus)
    names = [name for name in _UNSEEN if name in data.parts] if part == "unseen" else [part]
    if names[0] not in data.parts:
        raise RequestError(f"part={part}: the model's split has only {', '.join(data.parts)}")
    parts = {name: data.parts[name] for name in names}
    return replace(data, target=model.target, parts=parts)


@torch.no_grad()
def _predict(model: FineTunedModel, data: LabelledSet, part: str) -> Floats:
    """Return float32 [rows of the part, T]."""
    rows = torch.from_numpy(data.parts[part])
    return torch.cat([model(select_graphs(data.graphs, some)) for some in rows.split(EVALUATION_BATCH)]).cpu().numpy()
