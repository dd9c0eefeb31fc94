"""A corpus for PyTorch code: single graphs by number, and an IterableDataset of PyG batches."""

from __future__ import annotations

import copy
import operator
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from distgnn.corpus.manifest import Manifest
from distgnn.corpus.plan import Plan
from distgnn.corpus.reader import CorpusReader
from distgnn.distributed import ProcessGroup
from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch, concat_graphs, select_graphs, slice_graphs
from distgnn.graph.keyed import key, permutation
from distgnn.graph.purposes import PretrainDraw
from distgnn.graph.pyg import to_pyg
from distgnn.graph.schema import Schema
from distgnn.storage.uri import text_of

if TYPE_CHECKING:
    from torch_geometric.data import Batch, Data

_WINDOW_UNITS = 8
_HELD_BYTES = 64 << 20
"""Most bytes of the units that a :class:`Corpus` keeps, except that it always keeps the last one."""


class Corpus:
    """A corpus as a sequence of PyG graphs.

    Units are read whole, and the last ones are kept (64 MB of them). Random access is fast for a corpus of some ten thousand
    graphs; in a larger one it costs a unit for each graph. Use :meth:`to_torch` there.

    Args:
        uri: Folder of the corpus: a path, ``file://`` or ``s3://``.

    Raises:
        RequestError: There is no complete corpus at ``uri``.
    """

    def __init__(self, uri: str | os.PathLike[str]) -> None:
        self.uri = text_of(uri)
        self._reader = CorpusReader(self.uri, labels=True)
        self._units: dict[int, GraphBatch] = {}

    def __fspath__(self) -> str:
        """Return ``uri``, so that a corpus may be given wherever its folder may."""
        return self.uri

    @property
    def manifest(self) -> Manifest:
        """Contents of corpus.json: schema, numbers of graphs and shards, histograms of sizes, provenance."""
        return self._reader.manifest

    @property
    def schema(self) -> Schema:
        """Features and labels of the graphs."""
        return self.manifest.schema

    @cached_property
    def labels(self) -> Tensor:
        """Labels of all graphs in corpus order, NaN where unknown; read once, from the label column only.

        Raises:
            RequestError: The corpus has no labels.

        Shape:
            float32 [graphs, len(schema.labels)].
        """
        return torch.from_numpy(self._reader.labels())

    def __len__(self) -> int:
        return self.manifest.graphs

    def __repr__(self) -> str:
        return f"Corpus({self.uri!r}, graphs={len(self)})"

    def _repr_html_(self) -> str:
        """HTML for notebooks; all text is escaped."""
        names = ", ".join(feature.name for feature in (*self.schema.node, *self.schema.edge))
        rows = {
            "corpus": self.uri,
            "graphs": f"{len(self):,}",
            "features": names,
            "labels": ", ".join(self.schema.labels),
        }
        cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows.items())
        return f"<table>{cells}</table>"

    @overload
    def __getitem__(self, index: int) -> Data: ...
    @overload
    def __getitem__(self, index: slice) -> list[Data]: ...

    def __getitem__(self, index: int | slice) -> Data | list[Data]:
        """Read one graph, or the graphs of a slice.

        Raises:
            IndexError: ``index`` is outside the corpus.
        """
        if isinstance(index, slice):
            return [self._graph(number) for number in range(*index.indices(len(self)))]
        number = operator.index(index)
        if not -len(self) <= number < len(self):
            raise IndexError(f"{self.uri}: graph {number} is out of range for a corpus of {len(self)} graphs")
        return self._graph(number % len(self))

    def __iter__(self) -> Iterator[Data]:
        return (self._graph(number) for number in range(len(self)))

    def _graph(self, number: int) -> Data:
        unit, row = divmod(number, self.manifest.unit_rows)
        return to_pyg(slice_graphs(self._unit(unit), row, row + 1)).get_example(0)  # pyright: ignore[reportReturnType]

    def _unit(self, number: int) -> GraphBatch:
        """Return a unit, and keep it; the ones that were not used for longest are dropped."""
        graphs = self._units.pop(number, None)
        if graphs is None:
            graphs = self._reader.unit(number)
            while self._units and sum(map(_bytes, self._units.values())) + _bytes(graphs) > _HELD_BYTES:
                self._units.pop(next(iter(self._units)))
        self._units[number] = graphs
        return graphs

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_units": {}}

    def to_torch(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        epochs: int = 1,
        shuffle: bool = True,
        drop_last: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> BatchDataset:
        """Make a dataset of PyG batches for ``DataLoader(dataset, batch_size=None, num_workers=...)``.

        Args:
            batch_size: Graphs per batch and process.
            seed: Seed of the shuffling.
            epochs: Epochs in one iteration.
            shuffle: Permute units, and graphs among eight units at a time, by (seed, epoch). False: corpus order.
            drop_last: Drop the last batch where it is smaller than ``batch_size``, and the last batches where
                ``world_size`` does not divide their number. Then all processes yield equally many full batches.
            rank: Number of this process. None: that of torch.distributed where it is initialised, else 0.
            world_size: Number of processes. None: that of torch.distributed where it is initialised, else 1.

        Returns:
            An iterable dataset whose items are PyG ``Batch``; see :class:`BatchDataset`.

        Raises:
            RequestError: A value is out of range, or only one of ``rank`` and ``world_size`` is given.
        """
        if (rank is None) != (world_size is None):
            raise RequestError("to_torch: rank and world_size are given together or not at all")
        if rank is None or world_size is None:
            group = ProcessGroup.detect(torch.device("cpu"))
            rank, world_size = group.rank, group.world_size
        batch_size, seed, epochs = (
            _whole(name, value) for name, value in (("batch_size", batch_size), ("seed", seed), ("epochs", epochs))
        )
        if min(batch_size, epochs, world_size) < 1:
            raise RequestError("to_torch: batch_size, epochs and world_size must be at least 1")
        if not 0 <= rank < world_size:
            raise RequestError(f"to_torch: rank {rank} is not in 0..{world_size - 1}")
        self._reader.check_first()
        settings = BatchSettings(self.manifest.digest(), batch_size, seed, epochs, shuffle, drop_last, world_size)
        return BatchDataset(self._reader, settings, rank)


def _whole(name: str, value: Any) -> int:
    """Return a whole number of Python, NumPy or torch."""
    try:
        return operator.index(value)
    except TypeError as error:
        raise RequestError(f"to_torch: {name} must be a whole number, found {value!r:.80}") from error


def _bytes(graphs: GraphBatch) -> int:
    return sum(value.nbytes for value in vars(graphs).values() if isinstance(value, Tensor))


@dataclass(frozen=True)
class BatchSettings:
    """What decides the batches of an iteration; a saved position is valid for the same settings only."""

    corpus: str
    batch_size: int
    seed: int
    epochs: int
    shuffle: bool
    drop_last: bool
    world_size: int


class BatchDataset(IterableDataset["Batch"]):
    """PyG batches of a corpus; see :meth:`Corpus.to_torch`.

    The graphs of an epoch are put in one order by (seed, epoch) and cut into batches numbered 0..n-1. A process takes a
    contiguous share of the numbers, so that it reads its own part of the corpus. Its DataLoader workers take every
    ``num_workers``-th batch of the share, which the DataLoader puts back in order: the batches and their order are the
    same for any number of workers. (Each worker reads all units of the share; only making batches is divided.)

    Every iteration yields the same batches until :meth:`set_epoch` is called, as with ``DistributedSampler``.
    """

    def __init__(self, reader: CorpusReader, settings: BatchSettings, rank: int) -> None:
        self._reader, self._settings, self._rank = reader, settings, rank
        manifest = reader.manifest
        self._plan = Plan(manifest.graphs, manifest.unit_rows, 1, settings.batch_size, settings.seed)
        self._epoch = self._start = self._position = 0
        self._workers = 0

    def __len__(self) -> int:
        """Batches that this process yields per iteration."""
        return self._settings.epochs * len(self._share())

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        first = self._start if self._workers else self._start + number
        self._start, self._workers, self._position = 0, 0, first
        return self._batches(range(first, len(self), workers))

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration start with ``epoch``; a position within another epoch is forgotten."""
        if epoch < 0:
            raise RequestError(f"set_epoch: epoch must be at least 0, found {epoch}")
        if epoch != self._epoch:
            self._epoch, self._start, self._position, self._workers = epoch, 0, 0, 0

    def state_dict(self) -> dict[str, Any]:
        """Position of the iteration in progress, as plain JSON values.

        ``epoch`` is the first epoch of the iteration and ``batch`` the number of batches yielded in it. A plain DataLoader
        with workers iterates over copies of this object: there, count batches yourself and set ``batch``, or use
        torchdata's StatefulDataLoader, which saves the position of each worker.
        """
        worker = get_worker_info()
        workers = 0 if worker is None else worker.num_workers
        return {"epoch": self._epoch, "batch": self._position, "workers": workers, **asdict(self._settings)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Make the next iteration continue at a position from :meth:`state_dict`.

        Raises:
            RequestError: The state was saved with other settings, or is not such a state.
        """
        worker = get_worker_info()
        for name, mine in asdict(self._settings).items():
            if state.get(name) != mine:
                raise RequestError(f"load_state_dict: saved with {name}={state.get(name)!r}, but here it is {mine!r}")
        epoch, batch, workers = (state.get(name) for name in ("epoch", "batch", "workers"))
        if not (isinstance(epoch, int) and isinstance(batch, int) and epoch >= 0 and batch >= 0):
            raise RequestError(f"load_state_dict: not a position: epoch={epoch!r}, batch={batch!r}")
        if workers not in (0, 0 if worker is None else worker.num_workers):
            raise RequestError(f"load_state_dict: saved by one of {workers} workers; load it with as many")
        self._epoch, self._start, self._position, self._workers = epoch, batch, batch, int(workers)

    def _share(self) -> range:
        """Numbers of the batches of an epoch that this process yields."""
        settings, graphs = self._settings, self._plan.graphs
        whole = settings.drop_last
        count = graphs // settings.batch_size if whole else -(-graphs // settings.batch_size)
        if whole:
            count -= count % settings.world_size
        low, high = (count * place // settings.world_size for place in (self._rank, self._rank + 1))
        return range(low, high)

    def _batches(self, positions: range) -> Iterator[Batch]:
        windows, share = _Windows(copy.copy(self._reader), self._plan, self._settings.shuffle), self._share()
        for position in positions:
            epoch, place = divmod(position, len(share))
            low = share[place] * self._settings.batch_size
            high = min(low + self._settings.batch_size, self._plan.graphs)
            batch = to_pyg(concat_graphs(list(windows.rows(self._epoch + epoch, low, high))))
            self._position = position + positions.step
            yield batch


class _Windows:
    """Rows of an epoch's order, read a window (a few units whose rows are permuted together) at a time."""

    def __init__(self, reader: CorpusReader, plan: Plan, shuffle: bool) -> None:
        self._reader, self._plan, self._shuffle = reader, plan, shuffle
        self._units = _WINDOW_UNITS if shuffle else 1
        self._held: tuple[tuple[int, int], GraphBatch, npt.NDArray[np.int64]] | None = None

    def rows(self, epoch: int, low: int, high: int) -> Iterator[GraphBatch]:
        """Graphs low:high of the epoch's order, in one part per window."""
        size = self._units * self._plan.unit_rows
        while low < high:
            window, start = divmod(low, size)
            stop = min(high - window * size, size)
            graphs, order = self._window(epoch, window)
            yield select_graphs(graphs, torch.from_numpy(order[start:stop]))
            low = window * size + stop

    def _window(self, epoch: int, window: int) -> tuple[GraphBatch, npt.NDArray[np.int64]]:
        if self._held is None or self._held[0] != (epoch, window):
            self._held = None  # frees it before the next one is read
            order = self._plan.epoch_order(epoch) if self._shuffle else np.arange(self._plan.units)
            units = order[window * self._units : (window + 1) * self._units]
            graphs = concat_graphs([self._reader.unit(int(unit)) for unit in units])
            rows = np.arange(graphs.num_graphs)
            if self._shuffle:
                rows = permutation(key(self._plan.seed, PretrainDraw.WINDOW, epoch, window), graphs.num_graphs)
            self._held = (epoch, window), graphs, rows
        return self._held[1], self._held[2]
