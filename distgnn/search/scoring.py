"""The score of a checkpoint: validation after a short fine-tuning. What the search sees of a labelled corpus has no test labels."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from distgnn.checkpoint.format import load_saved_encoder
from distgnn.checkpoint.load import encoder_of
from distgnn.config import FinetuneConfig, LabelChoice
from distgnn.corpus.manifest import read_manifest
from distgnn.distributed import choose_device
from distgnn.finetuning.job_cache import Kept
from distgnn.finetuning.trainer import Method, RunJob
from distgnn.labels.dataset import LabelledSet, read_labelled
from distgnn.storage.folder import Folder, open_folder

SEEN = ("train", "val")
_CHOICE = tuple(LabelChoice.__dataclass_fields__)


def search_data(config: FinetuneConfig) -> LabelledSet:
    """The labelled corpus of ``config`` as a search may see it: parts train and val, every other label unknown.

    A process reads a corpus once.
    """
    choice = LabelChoice(**{name: getattr(config, name) for name in _CHOICE})
    return _search_data(config.corpus, read_manifest(open_folder(config.corpus)).digest(), choice)


@lru_cache(maxsize=2)
def _search_data(corpus: str, digest: str, choice: LabelChoice) -> LabelledSet:  # noqa: ARG001 - another corpus, another key
    return seen(read_labelled(corpus, choice))


def seen(data: LabelledSet) -> LabelledSet:
    """``data`` without the parts that a search must not see; the labels of their graphs are unknown."""
    parts = {part: data.parts[part] for part in SEEN}
    hidden = torch.ones(len(data.y), dtype=torch.bool)
    hidden[torch.from_numpy(np.concatenate(list(parts.values())))] = False
    return replace(data, parts=parts, y=data.y.masked_fill(hidden[:, None], float("nan")))


def method_of(checkpoint: str, name: str) -> Method:
    """The encoder of the checkpoint at ``checkpoint`` (a URI) as something to fine-tune."""
    found = load_saved_encoder(checkpoint)
    return Method(name, found.encoder, encoder_of(found).state_dict(), found.schema)


def validation_score(config: FinetuneConfig, checkpoint: str, seeds: int, folder: Folder) -> float:
    """Mean over seeds 0..seeds-1 of the validation metric after fine-tuning ``checkpoint``; jobs done are kept in ``folder``.

    Raises RequestError where corpus and checkpoint do not fit, WorkError where training diverges.
    """
    data, method = search_data(config), method_of(checkpoint, "trial")
    if method.schema is not None:
        method.schema.check_features(data.schema, f"{checkpoint} cannot read {config.corpus}")
    run = RunJob(config, data, (method,), choose_device(config.device).type)
    kept = Kept.of(config, folder.sub("jobs"))
    scores = []
    for seed in range(seeds):
        outcome = kept.load(method, seed)
        if outcome is None:
            outcome = run((seed, 0))
            kept.save(method, outcome)
        scores.append(outcome.scores["val"].value)
    return float(np.mean(scores))
