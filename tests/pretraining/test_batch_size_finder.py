"""train.graphs_per_stream=0: the batch size is found once and saved with the run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from distgnn.corpus.reader import CorpusReader
from distgnn.errors import RequestError
from distgnn.pretraining import batch_size_finder
from distgnn.pretraining.batch_size_finder import Trial, fastest, largest_that_fits, with_batch_size
from distgnn.pretraining.run import new_run, run_config
from tests.helpers.training import continue_small, small


@pytest.mark.parametrize(
    ("share", "most", "found"), [(0.01, 1000, 64), (0.01, 20, 16), (0.8, 9, 1), (0.81, 9, 0), (0.4, 9, 2)]
)
def test_the_largest_below_80_percent(share: float, most: int, found: int) -> None:
    assert largest_that_fits(lambda size: Trial(1.0, share * size), most) == found


@pytest.mark.parametrize("limit", [0, 1, 9])
def test_running_out_of_memory_ends_the_search(limit: int) -> None:
    assert largest_that_fits(lambda size: Trial(1.0, 0.1) if size <= limit else None, 100) == {0: 0, 1: 1, 9: 8}[limit]


def test_the_search_stops_after_two_doublings_without_gain() -> None:
    tried: list[int] = []
    rates = {1: 10.0, 2: 18.0, 4: 18.5, 8: 30.0, 16: 31.0, 32: 31.2, 64: 100.0}

    def trial(size: int) -> Trial:
        tried.append(size)
        return Trial(1e-3 * size / rates[size], 0.0)

    assert fastest(trial, 256) == 8
    assert tried == [1, 2, 4, 8, 16, 32]
    assert fastest(trial, 2) == 2


def test_the_search_ends_in_time() -> None:
    assert fastest(lambda _: Trial(5.0, 0.0), 256) == 1


def test_the_batch_size_found_is_saved_with_the_run(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = batch_size_finder._try

    def noted(config, state, batch, device):
        sizes.append(batch.num_graphs)
        assert batch.stream_ptr is not None
        assert batch.stream_ptr.diff().unique().numel() == 1
        before = {name: tensor.clone() for name, tensor in state.model_tensors().items() if "running" not in name}
        done = real(config, state, batch, device)
        assert all(torch.equal(tensor, state.model_tensors()[name]) for name, tensor in before.items())
        return replace(done, seconds=1e-3 if batch.num_graphs < 7 else 1.0)

    monkeypatch.setattr(batch_size_finder, "_try", noted)
    run = new_run(small(corpus, tmp_path, graphs_per_stream=0, max_steps=2))
    assert sizes == [3, 6, 12, 24]
    assert run.config.train.graphs_per_stream == run_config(run.folder.uri).train.graphs_per_stream == 2
    assert continue_small(run) == "finished"


def test_a_given_batch_size_is_kept(corpus: str) -> None:
    config = small(corpus, "unused")
    assert with_batch_size(config, CorpusReader(corpus)) is config


def test_nothing_to_train_needs_no_search(corpus: str) -> None:
    config = small(corpus, "unused", objective="none", graphs_per_stream=0)
    assert with_batch_size(config, CorpusReader(corpus)).train.graphs_per_stream == 1


def test_too_little_memory_for_one_graph_is_an_error(corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(batch_size_finder, "outer_step", full)
    with pytest.raises(RequestError, match=r"train\.streams=3 graphs does not fit"):
        with_batch_size(small(corpus, "unused", graphs_per_stream=0), CorpusReader(corpus))


def test_several_workers_are_refused(corpus: str) -> None:
    config = replace(small(corpus, "unused", graphs_per_stream=0), workers=2)
    with pytest.raises(RequestError, match="workers=2"):
        with_batch_size(config, CorpusReader(corpus))
