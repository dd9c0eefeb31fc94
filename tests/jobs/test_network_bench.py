"""Benchmark sampler: both sides sample the same messages, and result lines have the expected form."""

from __future__ import annotations

import pytest

from distgnn.network.sample import sample_block
from distgnn.network.sources.synthetic import SyntheticNetworkConfig
from jobs.benches.sampler import DRAWS, as_dictionaries, dictionary_block, sampling_lines, size_lines
from tests.network.test_sampling import named, small


@pytest.mark.parametrize("draws", DRAWS)
@pytest.mark.parametrize("fan_out", [2, 99])
def test_dictionaries_sample_the_same_as_arrays(fan_out: int, draws: str) -> None:
    network, seeds = small(2, 25), [3, 3, 14, 0]
    block = sample_block(network, seeds, 2, fan_out, 1)
    nodes, (source, target, relation) = dictionary_block(as_dictionaries(network), seeds, 2, fan_out, DRAWS[draws](0))
    found = sorted(zip(nodes[target].tolist(), relation.tolist(), nodes[source].tolist(), strict=True))
    if fan_out == 99:  # all messages
        assert found == named(block)
        assert sorted(nodes.tolist()) == block.node.tolist()
    received = {message[0]: 0 for message in found}
    for message in found:
        received[message[0]] += 1
    assert max(received.values()) <= fan_out
    assert len(set(found)) == len(found)


def test_lines(tmp_path: str) -> None:
    sizes = list(size_lines("synthetic", SyntheticNetworkConfig(out=str(tmp_path), nodes=50, edges=100)))
    assert [result["unit"] for result in sizes] == ["s", "bytes/message", "GB"]
    both = list(sampling_lines("small", small(), 1))
    assert [result["baseline"] for result in both] == list(DRAWS)
    assert all(result["ratio"] > 0 for result in both)
    (alone,) = sampling_lines("small", small(), 1, dictionaries=False)
    assert alone["baseline"] is None
