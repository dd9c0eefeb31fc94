"""Properties of the plan: each graph once per epoch, batches independent of the number of ranks, resumption."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from itertools import chain, islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distgnn.corpus.plan import Plan, UnitRef
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.stream import assemble, local_units
from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch
from distgnn.graph.keyed import first_of_permutation, permutation
from distgnn.objectives.base import no_extras

PLANS = st.builds(
    Plan,
    graphs=st.integers(1, 400),
    unit_rows=st.sampled_from([1, 4, 16, 64]),
    streams=st.integers(1, 6),
    per_stream=st.sampled_from([1, 3, 8, 40]),
    seed=st.integers(0, 5),
    validation_fraction=st.sampled_from([0.0, 0.1, 0.5]),
)


def step_graphs(plan: Plan, step: int, rank: int = 0, world_size: int = 1) -> list[int]:
    """Global graph indices of a rank's share of a step, in order."""
    found = []
    for stream in range(rank, plan.streams, world_size):
        for take in plan.takes(step, stream):
            rows = plan.row_order(take.read)[take.low : take.high]
            found += (take.read.unit * plan.unit_rows + rows).tolist()
    return found


@settings(max_examples=60, deadline=None)
@given(PLANS, st.integers(0, 3))
def test_every_training_graph_exactly_once_per_epoch(plan: Plan, epoch: int) -> None:
    steps = range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
    met = Counter(graph for step in steps for graph in step_graphs(plan, step))
    train, held = plan.split_units()
    expected = {unit * plan.unit_rows + row for unit in train.tolist() for row in range(plan.rows_of(unit))}
    assert set(met) == expected
    assert set(met.values()) == {1}
    assert len(expected) == plan.graphs_per_epoch
    assert not set(train.tolist()) & set(held.tolist())
    assert len(train) + len(held) == plan.units


@settings(max_examples=60, deadline=None)
@given(PLANS, st.integers(0, 40), st.sampled_from([1, 2, 3, 4]))
def test_global_batches_are_the_same_for_any_world_size(plan: Plan, step: int, world_size: int) -> None:
    shares = [step_graphs(plan, step, rank, world_size) for rank in range(world_size)]
    assert sorted(chain.from_iterable(shares)) == sorted(step_graphs(plan, step))
    assert len(step_graphs(plan, step)) <= plan.streams * plan.per_stream


@settings(max_examples=40, deadline=None)
@given(PLANS, st.integers(0, 20), st.integers(1, 20), st.sampled_from([1, 2, 3]))
def test_reads_list_the_units_of_all_takes_in_order(plan: Plan, start: int, count: int, world_size: int) -> None:
    for rank in range(min(world_size, plan.streams)):
        needed, last = [], {}
        for step in range(start, start + count):
            for stream in range(rank, plan.streams, world_size):
                for take in plan.takes(step, stream):
                    if last.get(stream) != take.read:
                        needed.append(take.read)
                        last[stream] = take.read
        assert list(plan.reads(start, start + count, rank, world_size)) == needed


def test_order_depends_on_epoch_and_seed() -> None:
    plan = Plan(graphs=64 * 16, unit_rows=16, streams=2, per_stream=8)
    assert not np.array_equal(plan.epoch_order(0), plan.epoch_order(1))
    other = Plan(graphs=64 * 16, unit_rows=16, streams=2, per_stream=8, seed=1)
    assert not np.array_equal(plan.epoch_order(0), other.epoch_order(0))
    assert step_graphs(plan, 0) != step_graphs(plan, plan.steps_per_epoch)


def test_balanced_steps_are_equally_large_and_have_every_row_once() -> None:
    plan = Plan(1000, 256, 2, 16, seed=5, balanced=True)
    sizes = np.random.default_rng(0).lognormal(3, 0.6, 256).astype(np.int64)
    read = UnitRef(0, 0, 1)
    order, plain = plan.balanced_order(read, sizes), plan.row_order(read)
    assert sorted(order) == list(range(256))
    spread = [float(np.std(sizes[rows].reshape(-1, 16).sum(1)) / (16 * sizes.mean())) for rows in (order, plain)]
    assert spread[0] < 0.25 * spread[1]
    assert order.tolist() == plan.balanced_order(read, sizes).tolist()
    for other in (plan.balanced_order(UnitRef(1, 0, 1), sizes), plain):
        assert order.tolist() != other.tolist()
    together = {frozenset(rows) for rows in order.reshape(-1, 16).tolist()}
    again = {frozenset(rows) for rows in plan.balanced_order(UnitRef(1, 0, 1), sizes).reshape(-1, 16).tolist()}
    assert not together & again
    last = plan.balanced_order(UnitRef(0, 0, 3), sizes[:232])  # 14 steps and 8 rows
    assert sorted(last) == list(range(232))
    assert last[224:].tolist() == plan.row_order(UnitRef(0, 0, 3))[224:].tolist()
    assert (
        Plan(1000, 256, 2, 200).balanced_order(read, sizes).tolist() == Plan(1000, 256, 2, 200).row_order(read).tolist()
    )


def test_empty_corpus_is_rejected() -> None:
    with pytest.raises(RequestError, match="no graphs"):
        Plan(graphs=0, unit_rows=4, streams=1, per_stream=1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(1, 300), st.data())
def test_first_of_permutation_equals_the_permutation_prefix(key: int, size: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, size - 1))
    assert set(first_of_permutation(key, size, count)) == set(permutation(key, size)[:count])


def test_plan_of_a_billion_graphs_uses_little_memory() -> None:
    tracemalloc.start()
    plan = Plan(graphs=10**9, unit_rows=1000, streams=4096, per_stream=16, seed=3, validation_fraction=0.001)
    step = 2 * plan.steps_per_epoch + 5000
    (read,) = islice(plan.reads(step, step + 1, 4095, 4096), 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read == plan.takes(step, 4095)[0].read
    assert read.epoch == 2
    assert peak < 100e6


@pytest.mark.parametrize(("streams", "each", "world_size"), [(4, 8, 1), (3, 10, 2), (2, 40, 1)])
def test_step_batches_are_the_rows_of_the_plan(corpus: str, streams: int, each: int, world_size: int) -> None:
    reader = CorpusReader(corpus)
    plan = Plan(reader.manifest.graphs, reader.manifest.unit_rows, streams, each)
    start, stop = 1, 2 * plan.steps_per_epoch + 1
    for rank in range(world_size):
        units = local_units(reader, plan, no_extras, plan.reads(start, stop, rank, world_size))
        for step, batch in assemble(plan, start, stop, rank, world_size, units):
            takes = [plan.takes(step, stream) for stream in range(rank, streams, world_size)]
            expected = [
                [
                    int(reader.unit(take.read.unit).graph_id[row])
                    for take in slices
                    for row in plan.row_order(take.read)[take.low : take.high]
                ]
                for slices in takes
                if slices
            ]
            found = [] if batch is None else batch.graph_id.split(stream_sizes(batch))
            assert [ids.tolist() for ids in found] == expected


def stream_sizes(batch: GraphBatch) -> list[int]:
    assert batch.stream_ptr is not None
    return batch.stream_ptr.diff().tolist()
