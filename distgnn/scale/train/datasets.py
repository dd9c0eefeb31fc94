"""What Ray holds of the datasets that :mod:`distgnn.scale.train.stream` reads.

The controller of Ray Train and the processes of Ray Data unpickle these classes. They import no torch: the controller needs none,
and reading tasks import it faster by entry point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa
import ray
from ray.data import DataIterator, Dataset
from ray.train import DataConfig

from distgnn.loading import load_function

_WINDOW = "units-"


def window_name(window: int) -> str:
    """Name of a window's dataset."""
    return f"{_WINDOW}{window}"


def window_number(name: str) -> int:
    """Number of the window whose dataset is called ``name``."""
    return int(name.removeprefix(_WINDOW))


def one_row() -> Dataset:
    """The dataset of a window before :class:`UnitConfig` completes it."""
    # Unlike those of other sources, the blocks of from_items take no task, and so no CPU.
    return ray.data.from_items([{"window": 0}], override_num_blocks=1)


class UnitConfig(DataConfig):
    """Makes the dataset of a window, and splits it among the ranks. Ray Train calls it for every group of workers.

    Args:
        source: Reference to the :class:`~distgnn.scale.train.stream.UnitSource`.
    """

    def __init__(self, source: ray.ObjectRef[Any]) -> None:
        super().__init__()
        self.source = source

    def configure(
        self,
        datasets: dict[str, Dataset],
        world_size: int,
        worker_handles: Any = None,  # noqa: ARG002
        worker_node_ids: Any = None,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> list[dict[str, DataIterator]]:
        """Return the datasets of each rank."""
        split, source = load_function("distgnn.scale.train.stream:split_window"), ray.get(self.source)
        splits = {name: split(name, dataset, source, world_size) for name, dataset in datasets.items()}
        return [{name: parts[rank] for name, parts in splits.items()} for rank in range(world_size)]


@dataclass(frozen=True)
class Numbers:
    """Yields the round and the rank of each block of a window.

    Attributes:
        rounds: Rounds of the window.
        world_size: Number of ranks.
    """

    rounds: range
    world_size: int

    def __call__(self, _: pa.Table) -> Iterator[pa.Table]:
        """Yield a table of one row for each block."""
        for number in self.rounds:
            for rank in range(self.world_size):
                yield pa.table({"round": [number], "rank": [rank]})


@dataclass(frozen=True)
class ReadBlock:
    """Reads the units of a block.

    Attributes:
        reader: Reference to the :class:`~distgnn.scale.train.stream.BlockReader`.
    """

    reader: ray.ObjectRef[Any]

    def __call__(self, blocks: pa.Table) -> pa.Table:
        """Return the units of the one block in ``blocks``."""
        return _block_reader(self.reader)(blocks)


@lru_cache(maxsize=2)
def _block_reader(reader: ray.ObjectRef[Any]) -> Callable[[pa.Table], pa.Table]:
    load_function("distgnn.scale.train.stream:BlockReader", freeze=True)
    return ray.get(reader)
