"""Scores a checkpoint on validation data after a short fine-tuning. A search never sees test labels."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from distgnn.auxiliary.data_source import InitialEncoder
from distgnn.auxiliary.jobs import RunJob, run_jobs
from distgnn.config import FinetuneConfig, LabelChoice
from distgnn.corpus.manifest import read_manifest
from distgnn.distributed import choose_device
from distgnn.finetuning.comparison import CHOICE, finetune_job, finetune_source
from distgnn.labels.dataset import LabelledSet, read_labelled
from distgnn.storage.folder import Folder, open_folder

SEEN = ("train", "val")


def search_data(config: FinetuneConfig) -> LabelledSet:
    """Read the labelled corpus of ``config`` without its test part. A process reads a corpus once."""
    choice = LabelChoice(**{name: getattr(config, name) for name in CHOICE})
    return _search_data(config.corpus, read_manifest(open_folder(config.corpus)).digest(), choice)


@lru_cache(maxsize=2)
def _search_data(corpus: str, digest: str, choice: LabelChoice) -> LabelledSet:  # noqa: ARG001 - another corpus, another key
    return seen(read_labelled(corpus, choice))


def seen(data: LabelledSet) -> LabelledSet:
    """Return ``data`` with the parts train and val only; all other labels are NaN."""
    parts = {part: data.parts[part] for part in SEEN}
    hidden = torch.ones(len(data.y), dtype=torch.bool)
    hidden[torch.from_numpy(np.concatenate(list(parts.values())))] = False
    return replace(data, parts=parts, y=data.y.masked_fill(hidden[:, None], float("nan")))


def validation_score(config: FinetuneConfig, checkpoint: str, seeds: int, folder: Folder) -> float:
    """Fine-tune a checkpoint and return the mean of the validation metric over seeds 0..seeds-1.

    Args:
        config: Config of the fine-tuning.
        checkpoint: URI of the checkpoint.
        seeds: Number of seeds.
        folder: Folder for the cache of finished jobs.

    Raises:
        RequestError: Corpus and checkpoint do not fit each other.
        WorkError: Training diverged.
    """
    source = finetune_source(config, search_data(config), [InitialEncoder.load(checkpoint, "trial")])
    run = RunJob(source, folder.sub("jobs"), choose_device(config.device).type)
    results = run_jobs(run, [finetune_job(source, seed, 0) for seed in range(seeds)])
    return float(np.mean([found.scores["val"][found.metrics[0]] for found in results.values()]))
