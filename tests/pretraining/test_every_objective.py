"""Every pair of encoder and objective: finite losses and gradients, no skipped steps, and the loss decreases."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import pytest
import torch

from distgnn import register
from distgnn.checkpoint.training_state import make_state
from distgnn.config import EncoderConfig, PretrainConfig
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.stream import assemble, local_units
from distgnn.distributed import ProcessGroup
from distgnn.pretraining.run import make_plan
from distgnn.pretraining.step import outer_step
from tests.helpers.training import CPU, SMALL_TRAIN

PAIRS = [(name, kind) for name in register.objective.names() for kind in ("gin", "gcn", "sage", "gat")]
# The slow tests train every pair for 200 steps; the others every objective with one encoder, and every encoder with one objective.
CELLS = [
    *(pytest.param(*pair, 60) for pair in PAIRS if "gin" in pair or "l2p" in pair),
    *(pytest.param(*pair, 200, marks=pytest.mark.slow) for pair in PAIRS),
]


@pytest.mark.parametrize(("objective", "kind", "steps"), CELLS)
def test_an_objective_trains_an_encoder(corpus: str, objective: Any, kind: Any, steps: int) -> None:
    train = replace(SMALL_TRAIN, graphs_per_stream=4, schedule="constant")
    config = PretrainConfig(
        corpus=corpus, objective=objective, encoder=EncoderConfig(kind=kind, layers=2, width=8), train=train
    )
    reader = CorpusReader(corpus, labels=objective == "supervised")
    state, plan, group = (
        make_state(config, reader.manifest.schema, CPU),
        make_plan(config, reader),
        ProcessGroup.single_process(CPU),
    )
    assert state.objective is not None
    count = plan.steps_per_epoch
    units = local_units(reader, plan, state.objective.prepare, plan.reads(0, count, 0, 1))
    batches = [batch for _, batch in assemble(plan, 0, count, 0, 1, units)]
    state.encoder.train()
    losses = []
    for batch in islice(cycle(batches), steps):
        result = outer_step(state, batch, train, group, epoch=0, lr=1e-2)
        assert result.applied
        total, weight = result.sums["loss"]
        losses.append(total / weight)
    assert all(torch.isfinite(p).all() for _, p in state.named_parameters())
    assert sum(losses[-count:]) < sum(losses[:count])
