"""Parts of a small run that reading needs, and comparison of units."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor

from distgnn.corpus.plan import Plan
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.stream import Prepare
from distgnn.graph.batch import GraphBatch
from distgnn.objectives.build import build_objective
from distgnn.pretraining.run import make_plan
from tests.helpers.training import small


def parts(corpus: str) -> tuple[CorpusReader, Plan, Prepare]:
    """Reader, plan and transform of a small run."""
    config, reader = small(corpus, "unused"), CorpusReader(corpus)
    objective = build_objective(config, reader.manifest.schema)
    assert objective is not None
    return reader, make_plan(config, reader), objective.prepare


def assert_same(found: GraphBatch, expected: GraphBatch) -> None:
    """Assert that two units are equal, bit for bit."""
    for item in fields(expected):
        one, other = getattr(found, item.name), getattr(expected, item.name)
        if isinstance(other, Tensor):
            assert one.dtype == other.dtype, item.name
            assert torch.equal(one, other), item.name
        elif item.name != "extras":
            assert one == other, item.name
    assert found.extras.keys() == expected.extras.keys()
    for name, ragged in expected.extras.items():
        for one, other in ((found.extras[name].values, ragged.values), (found.extras[name].ptr, ragged.ptr)):
            assert one.dtype == other.dtype, name
            assert torch.equal(one, other), name
