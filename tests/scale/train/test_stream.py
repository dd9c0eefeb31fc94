"""Units read through Ray Data equal those of the reader, bit for bit and in order, and so do errors."""

from __future__ import annotations

import shutil
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch import Tensor

from distgnn.corpus.payload import decode, encode
from distgnn.corpus.plan import Plan
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.stream import Prepare, local_units
from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch
from distgnn.objectives.build import build_objective
from distgnn.pretraining.run import make_plan
from distgnn.scale.train import stream
from distgnn.scale.train.stream import ray_units
from tests.helpers.graphs import BARE, MOLECULE, random_graphs
from tests.helpers.training import small

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside Ray itself


def parts(corpus: str) -> tuple[CorpusReader, Plan, Prepare]:
    config, reader = small(corpus, "unused"), CorpusReader(corpus)
    objective = build_objective(config, reader.manifest.schema)
    assert objective is not None
    return reader, make_plan(config, reader), objective.prepare


def assert_same(found: GraphBatch, expected: GraphBatch) -> None:
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


@pytest.mark.parametrize("schema", [MOLECULE, BARE])
def test_payload(schema, corpus: str) -> None:
    graphs = random_graphs([3, 1, 40, 300], schema)
    assert_same(decode(*encode(graphs)), graphs)
    reader, plan, prepare = parts(corpus)
    for unit in local_units(reader, plan, prepare, list(plan.reads(0, 2, 0, 1))):
        assert_same(decode(*encode(unit)), unit)
        assert unit.extras


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_same_units_as_the_local_reader(corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_WINDOW", 20)  # several datasets, each of several tasks
    reader, plan, prepare = parts(corpus)
    reads = list(plan.reads(0, 2 * plan.steps_per_epoch, 0, 1))
    assert len(reads) > 20
    found, expected = (list(units(reader, plan, prepare, reads)) for units in (ray_units, local_units))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_a_damaged_unit_is_reported_at_its_position(corpus: str, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(corpus, tmp_path / "copy"))
    (copy / "shard-00001.parquet").write_bytes(b"PAR1")
    reader, plan, prepare = parts(str(copy))
    reads = list(plan.reads(0, plan.steps_per_epoch, 0, 1))
    bad = next(number for number, read in enumerate(reads) if reader.manifest.locate(read.unit)[0] == 1)
    units = ray_units(reader, plan, prepare, reads)
    for _ in range(bad):
        next(units)
    with pytest.raises(RequestError, match=r"shard-00001\.parquet: truncated or changed"):
        next(units)
