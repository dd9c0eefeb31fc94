"""Small sweeps for tests: a corpus that is pre-trained and fine-tuned on in seconds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from distgnn import register
from distgnn.config import (
    CorpusTaskConfig,
    EncoderConfig,
    FinetuneConfig,
    SplitConfig,
    TransferConfig,
    TuneConfig,
    WeightingConfig,
)
from distgnn.config.weighting import PUBLISHED
from distgnn.search.searchers.base import SearchContext, Searcher
from distgnn.search.space import Space
from tests.helpers.training import small

SMALL_ENCODER = EncoderConfig(layers=1, width=6)
SPACE = ("l2p.node_lr=log(1e-4,1e-1)", "finetune.lr=log(1e-3,1e-1)")


def tuning(corpus: str, out: str, **options: Any) -> TuneConfig:
    """Trials of 9 steps on motifs, each scored by a fine-tuning of one epoch; ``options`` change the TuneConfig."""
    pretrain = replace(small(corpus, "", name="", max_steps=0, epochs=1), encoder=SMALL_ENCODER, out="runs")
    finetune = FinetuneConfig(
        corpus, split=SplitConfig(method="random"), epochs=1, seeds=1, batch=64, dropout=0.0, device="cpu"
    )
    usual: dict[str, Any] = {"space": SPACE, "trials": 4, "max_steps": 9, "final_seeds": 1, "cpus_per_trial": 1.0}
    return TuneConfig(out=out, pretrain=pretrain, finetune=finetune, **(usual | options))


def joint_tuning(data: str, out: str, **options: Any) -> TuneConfig:
    """Trials of AUX-TS on a labelled corpus; ``options`` change the TuneConfig."""
    transfer = TransferConfig(
        data,
        methods=("auxts_all",),
        schemes=("scratch",),
        seeds=2,
        epochs=4,
        batch=24,
        lr=0.01,
        device="cpu",
        weighting=WeightingConfig(hidden=8, folds=2, **PUBLISHED),
        corpus=CorpusTaskConfig(auxiliary=("edgepred",), encoder=SMALL_ENCODER, split=SplitConfig(method="random")),
    )
    usual: dict[str, Any] = {"space": ("weighting.lr=log(1e-4,1e-2)",), "trials": 4, "final_seeds": 1}
    return TuneConfig(out=out, transfer=transfer, **(usual | options))


def proposer(space: Space, searcher: str, seed: int, mode: str, **more: Any) -> Searcher:
    """The searcher of that name."""
    return register.searcher.get(searcher).make(None, SearchContext(space, seed, mode, **more))
