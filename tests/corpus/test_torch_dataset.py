"""A corpus for PyTorch code: random access, and batches that do not depend on workers, ranks or interruptions."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from torch_geometric.data import Batch

from distgnn.corpus import torch_dataset
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.torch_dataset import BatchDataset, Corpus
from distgnn.errors import RequestError
from tests.helpers.corpora import edit_manifest, motifs

GRAPHS = 300


def ids(batches: Iterable[Any]) -> list[list[int]]:
    return [batch.graph_id.tolist() for batch in batches]


def flat(batches: Iterable[Any]) -> list[int]:
    return [number for batch in ids(batches) for number in batch]


def dataset(corpus: str, batch_size: int = 32, **options: Any) -> BatchDataset:
    return Corpus(corpus).to_torch(batch_size, **options)


def test_sequence_of_graphs(corpus: str) -> None:
    graphs, reader = Corpus(corpus), CorpusReader(corpus, labels=True)
    whole = reader.load()
    assert (len(graphs), graphs.schema, graphs.manifest) == (GRAPHS, reader.manifest.schema, reader.manifest)
    last = graphs[-1]
    assert last.num_nodes == int(whole.node_ptr.diff()[-1])
    assert last.graph_id.tolist() == whole.graph_id[-1:].tolist()
    assert [int(data.graph_id) for data in graphs[14:40:5]] == whole.graph_id[14:40:5].tolist()
    assert graphs[5:5] == []
    assert flat(graphs) == whole.graph_id.tolist()
    for outside in (GRAPHS, -GRAPHS - 1):
        with pytest.raises(IndexError, match=f"graph {outside} is out of range for a corpus of 300 graphs"):
            graphs[outside]


def test_labels(corpus: str, tmp_path: Path) -> None:
    graphs, whole = Corpus(corpus), CorpusReader(corpus, labels=True).load()
    assert whole.y is not None
    torch.testing.assert_close(graphs.labels, whole.y, equal_nan=True)
    batch = next(iter(dataset(corpus)))
    torch.testing.assert_close(batch.y, whole.y[batch.graph_id], equal_nan=True)
    motifs(tmp_path, graphs=4)
    schema = json.loads((tmp_path / "corpus.json").read_text())["schema"]
    edit_manifest(tmp_path, schema=schema | {"labels": []})
    with pytest.raises(RequestError, match="the corpus has no labels"):
        _ = Corpus(str(tmp_path)).labels


def test_an_epoch_holds_every_graph_once(corpus: str) -> None:
    made = dataset(corpus)
    batches = ids(made)
    assert len(made) == len(batches) == 10
    assert [len(batch) for batch in batches] == [32] * 9 + [12]
    assert sorted(flat(made)) == list(range(GRAPHS))
    units = {number // 16 for number in batches[0]}
    assert len(units) > 4, "a batch mixes units"


def test_keyed_by_seed_and_epoch(corpus: str) -> None:
    made = dataset(corpus, seed=3)
    first = ids(made)
    assert ids(made) == first, "the same until set_epoch"
    assert ids(dataset(corpus, seed=4)) != first
    made.set_epoch(1)
    second = ids(made)
    assert second != first
    assert ids(dataset(corpus, seed=3, epochs=2)) == first + second
    with pytest.raises(RequestError, match="epoch must be at least 0"):
        made.set_epoch(-1)


def test_corpus_order(corpus: str) -> None:
    assert flat(dataset(corpus, 100, shuffle=False)) == list(range(GRAPHS))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_the_batches(corpus: str, workers: int) -> None:
    expected = ids(dataset(corpus))
    loader = DataLoader(dataset(corpus), batch_size=None, num_workers=workers)
    assert ids(loader) == expected
    assert len(loader) == len(expected)


def test_pickles_without_open_files(corpus: str) -> None:
    """Spawned workers receive a pickle."""
    made = dataset(corpus, 64)
    next(iter(made))
    again = pickle.loads(pickle.dumps(made))
    assert ids(again) == ids(made)


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_an_epoch(corpus: str, world_size: int) -> None:
    shares = [ids(dataset(corpus, rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert list(chain(*shares)) == ids(dataset(corpus))
    full = [ids(dataset(corpus, rank=rank, world_size=world_size, drop_last=True)) for rank in range(world_size)]
    assert {len(share) for share in full} == {9 // world_size}
    assert {len(batch) for share in full for batch in share} == {32}
    assert len({number for share in full for batch in share for number in batch}) == 9 // world_size * world_size * 32


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("done", [0, 3, 12, 20])
def test_resume(corpus: str, done: int, workers: int) -> None:
    made = dataset(corpus, epochs=2)
    made.set_epoch(4)
    expected, iterator = ids(made), iter(made)
    for _ in range(done):
        next(iterator)
    state = json.loads(json.dumps(made.state_dict()))
    assert (state["epoch"], state["batch"]) == (4, done)
    again = dataset(corpus, epochs=2)
    again.load_state_dict(state)
    again.set_epoch(4)
    assert ids(DataLoader(again, batch_size=None, num_workers=workers)) == expected[done:]
    again.set_epoch(6)
    assert len(ids(again)) == len(expected), "a position belongs to one epoch"


def test_position_is_used_once(corpus: str) -> None:
    made = dataset(corpus)
    made.load_state_dict(made.state_dict() | {"batch": 4})
    assert [len(ids(made)) for _ in range(2)] == [6, 10]


def test_workers_keep_their_own_positions(corpus: str) -> None:
    """As StatefulDataLoader does it: each worker's state is saved in the worker and loaded there."""
    made = dataset(corpus)
    loader = DataLoader(_Positions(made), batch_size=None, num_workers=2)
    saved = list(loader)
    assert [state["batch"] for _, state in saved] == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert {state["workers"] for _, state in saved} == {2}
    resumed = DataLoader(_Positions(made, [saved[4][1], saved[5][1]]), batch_size=None, num_workers=2)
    assert [number for number, _ in resumed] == [number for number, _ in saved[6:]]
    with pytest.raises(RequestError, match="saved by one of 2 workers"):
        made.load_state_dict(saved[0][1])


class _Positions(torch.utils.data.IterableDataset):
    """(ids, state) of a dataset whose workers first load a state each."""

    def __init__(self, made: BatchDataset, states: list[dict[str, Any]] | None = None) -> None:
        self.made, self.states = made, states

    def __iter__(self) -> Any:
        worker = torch.utils.data.get_worker_info()
        assert worker is not None
        if self.states is not None:
            self.made.load_state_dict(self.states[worker.id])
        return ((batch.graph_id.tolist(), self.made.state_dict()) for batch in self.made)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 8}, "saved with batch_size=8, but here it is 32"),
        ({"world_size": 2}, "saved with world_size=2, but here it is 1"),
        ({"seed": 1}, "saved with seed=1"),
        ({"corpus": "other"}, "saved with corpus='other'"),
        ({"batch": -1}, "not a position: epoch=0, batch=-1"),
        ({"epoch": "x"}, "not a position"),
    ],
)
def test_states_of_other_settings_are_refused(corpus: str, change: dict[str, Any], message: str) -> None:
    made = dataset(corpus)
    with pytest.raises(RequestError, match=message):
        made.load_state_dict(made.state_dict() | change)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "must be at least 1"),
        ({"epochs": 0}, "must be at least 1"),
        ({"rank": 1}, "rank and world_size are given together"),
        ({"rank": 2, "world_size": 2}, r"rank 2 is not in 0\.\.1"),
    ],
)
def test_bad_requests(corpus: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        dataset(corpus, **options)


def test_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no corpus here"):
        Corpus(str(tmp_path))


def test_batches_are_pyg_batches(corpus: str) -> None:
    graphs, batch = Corpus(corpus), next(iter(dataset(corpus)))
    assert isinstance(batch, Batch)
    for data in batch.to_data_list():
        mine = graphs[int(data.graph_id)]
        assert torch.equal(mine.edge_index, data.edge_index)
        assert torch.equal(mine.x, data.x)


def test_process_group_decides_the_rank(corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 1)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    assert ids(dataset(corpus)) == ids(dataset(corpus, rank=1, world_size=2))


def test_units_are_kept_up_to_a_size(corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs, reads = Corpus(Path(corpus)), list[int]()
    read = CorpusReader.unit
    monkeypatch.setattr(CorpusReader, "unit", lambda reader, number: reads.append(number) or read(reader, number))
    units, rows = graphs.manifest.units, graphs.manifest.unit_rows
    for _ in range(2):
        assert [int(graphs[unit * rows].graph_id) for unit in range(units)] == [unit * rows for unit in range(units)]
    assert reads == list(range(units))
    assert pickle.loads(pickle.dumps(graphs))._units == {}
    monkeypatch.setattr(torch_dataset, "_HELD_BYTES", 1)
    reads.clear()
    other = Corpus(corpus)
    assert [int(other[number].graph_id) for number in (0, 1, rows, 0)] == [0, 1, rows, 0]
    assert reads == [0, 1, 0]
