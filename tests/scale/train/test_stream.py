"""Units read through Ray Data equal those of the reader, bit for bit and in order, and so do errors."""

from __future__ import annotations

import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pyarrow as pa
import pytest
import ray
from ray._private.label_utils import validate_label_selector
from ray.exceptions import WorkerCrashedError

from distgnn.corpus.payload import decode, encode
from distgnn.corpus.plan import Plan, RankReads
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.stream import Prepare, local_units, threaded_units
from distgnn.errors import RequestError, WorkError
from distgnn.graph.batch import GraphBatch
from distgnn.monitor.sink import NULL_SINK
from distgnn.scale.train import placement, stream
from distgnn.scale.train.datasets import UnitConfig
from distgnn.scale.train.stream import Rounds, UnitSource, ray_units, window_steps
from tests.helpers.graphs import BARE, MOLECULE, random_graphs
from tests.helpers.units import assert_same, parts

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside Ray itself


@pytest.fixture(autouse=True)
def _no_thread_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ray is shut down in this process, which Ray ends (a crash or exit code 1) where a thread is in one of its calls then.

    Our own thread waits for Ray Data, which may take longer to start than a rank would wait. Ray Data's thread asks for one block
    more than is taken.
    """
    monkeypatch.setattr(stream, "_CLOSE_SECONDS", 60.0)
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("map_tp_"):
            thread.join(60)
            assert not thread.is_alive(), thread.name


@pytest.mark.parametrize("schema", [MOLECULE, BARE])
def test_payload(schema, corpus: str) -> None:
    graphs = random_graphs([3, 1, 40, 300], schema)
    assert_same(decode(*encode(graphs)), graphs)
    reader, plan, prepare = parts(corpus)
    for unit in local_units(reader, plan, prepare, list(plan.reads(0, 2, 0, 1))):
        assert_same(decode(*encode(unit)), unit)
        assert unit.extras


def test_threads_give_the_units_of_the_local_reader(corpus: str) -> None:
    reader, plan, prepare = parts(corpus)
    reads = RankReads(plan, 3, 5 * plan.steps_per_epoch, 1, 2)
    found, expected = (list(units(reader, plan, prepare, reads)) for units in (threaded_units, local_units))
    assert len(found) == len(expected) > 16
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


def test_threads_report_a_damaged_unit_at_its_position(corpus: str, tmp_path: Path) -> None:
    reader, plan, prepare, reads, bad = damaged(corpus, tmp_path)
    units = threaded_units(reader, plan, prepare, reads)
    for _ in range(bad):
        next(units)
    with pytest.raises(RequestError, match=r"shard-00001\.parquet: truncated or changed"):
        next(units)


def damaged(corpus: str, tmp_path: Path) -> tuple[CorpusReader, Plan, Prepare, RankReads, int]:
    copy = Path(shutil.copytree(corpus, tmp_path / "copy"))
    (copy / "shard-00001.parquet").write_bytes(b"PAR1")
    reader, plan, prepare = parts(str(copy))
    reads = RankReads(plan, 0, 40, 0, 1)
    bad = next(number for number, read in enumerate(reads) if reader.manifest.locate(read.unit)[0] == 1)
    return reader, plan, prepare, reads, bad


@pytest.mark.parametrize(("streams", "world_size"), [(3, 1), (3, 2), (5, 3), (20, 2)])
def test_rounds_have_every_read_once(streams: int, world_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_UNITS_PER_WINDOW", 10)
    plan = Plan(300, 16, streams, 8)
    total = 5 * plan.steps_per_epoch - 2
    rounds = Rounds(plan, total, world_size)
    for rank in range(world_size):
        found = [read for number in range(-(-total // rounds.steps)) for read in rounds.reads(number, rank)]
        assert found == list(plan.reads(0, total, rank, world_size))
    windows = range(-(-total // window_steps(plan)))
    assert len(windows) > 2
    every = [number for window in windows for number in rounds.of_window(window, 0)]
    assert every == list(range(-(-total // rounds.steps)))
    first = rounds.steps + 1
    assert [number for window in windows for number in rounds.of_window(window, first)] == every[2:]


def split_units(source: UnitSource, first: int, ranks: int) -> list[list[GraphBatch] | Exception]:
    """The units of each rank, or what it raised."""
    names = sorted(source.datasets(), key=lambda name: int(name.removeprefix("units-")))
    config = UnitConfig(ray.put(source))
    shards = {name: config.configure({name: source.datasets()[name]()}, ranks) for name in names}

    def read(rank: int) -> list[GraphBatch] | Exception:
        reads = RankReads(source.plan, first, source.total, rank, ranks)
        units = ray_units(source.reader, source.plan, source.prepare, reads, lambda name: shards[name][rank][name])
        try:
            return list(units)
        except (RequestError, WorkError) as error:
            return error

    with ThreadPoolExecutor(ranks) as pool:
        return list(pool.map(read, range(ranks)))


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_ray_data_gives_each_rank_the_units_of_the_local_reader(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_UNITS_PER_WINDOW", 90)
    monkeypatch.setattr(stream, "_PATIENCE_SECONDS", 300.0)  # every unit that Ray Data can give comes from it
    taken, take = [], stream._Arrivals.take
    monkeypatch.setattr(
        stream._Arrivals, "take", lambda self, number, **_: (taken.append(number), take(self, number, True))[1]
    )
    reader, plan, prepare = parts(corpus)
    source = UnitSource(str(tmp_path), reader, plan, prepare, 9 * plan.steps_per_epoch)
    assert len(source.datasets()) == 2
    found = split_units(source, 5, 2)
    for rank, units in enumerate(found):
        expected = list(local_units(reader, plan, prepare, plan.reads(5, source.total, rank, 2)))
        assert isinstance(units, list)
        assert len(units) == len(expected)
        for one, other in zip(units, expected, strict=True):
            assert_same(one, other)
    assert len(taken) > 10


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_ray_data_reports_a_damaged_unit(corpus: str, tmp_path: Path) -> None:
    reader, plan, prepare, _, _ = damaged(corpus, tmp_path)
    (error,) = split_units(UnitSource(str(tmp_path), reader, plan, prepare, 80), 0, 1)
    assert isinstance(error, RequestError)
    assert "shard-00001.parquet: truncated or changed" in str(error)


def test_units_in_another_order_are_refused(corpus: str) -> None:
    reader, plan, prepare = parts(corpus)
    rounds = Rounds(plan, 40, 1)
    expected = [read.unit for read in rounds.reads(1, 0)]
    block = stream.BlockReader(rounds, corpus, False, reader.manifest.digest(), prepare, NULL_SINK)(
        pa.table({"round": [1], "rank": [0]})
    ).to_pylist()[0]
    assert len(list(stream._units(block, rounds, 0))) == len(expected)
    block["unit"] = expected[::-1]
    with pytest.raises(WorkError, match=r"round 1: Ray Data gave rank 0 of 1 the units .* --reading rank"):
        next(stream._units(block, rounds, 0))


def test_tasks_refuse_another_corpus(corpus: str) -> None:
    with pytest.raises(RequestError, match="the corpus has changed since the run started"):
        stream._reader(corpus, False, "0" * 64)


def test_a_block_is_taken_once_it_has_caught_up() -> None:
    rows = [{"round": number} for number in (2, 3, 5)]

    class Part:
        def iter_batches(self, **_: object) -> Iterator[pa.Table]:
            return iter([pa.Table.from_pylist([row]) for row in rows])

    arrivals = stream._Arrivals(iter([Part()]))  # pyright: ignore[reportArgumentType]
    assert arrivals.take(3, wait=True) == {"round": 3}  # 2 came too late
    assert arrivals.take(4, wait=True) is None  # the rank reads it
    assert arrivals.take(5, wait=True) == {"round": 5}
    with pytest.raises(WorkError, match=r"reading with Ray Data failed \(it ended\)"):
        arrivals.take(6, wait=True)


LATE = 6
HEAD = {placement.HEAD: 1.0}


def patch_nodes(monkeypatch: pytest.MonkeyPatch, *resources: dict[str, float]) -> None:
    """Nodes 0, 1, ... with these resources, and a dead one."""
    nodes = [{"NodeID": f"{n:x}", "Alive": True, "Resources": found} for n, found in enumerate(resources)]
    monkeypatch.setattr(
        stream.ray, "nodes", lambda: [*nodes, {"NodeID": "d", "Alive": False, "Resources": {"CPU": 9.0}}]
    )


@pytest.mark.parametrize(
    ("resources", "kept_off"),
    [
        ([HEAD | {"CPU": 2.0}], None),  # one machine
        ([HEAD, {"CPU": 1.0}], "!in(0)"),
        ([{"CPU": 1.0}, HEAD | {"CPU": 2.0}], "!in(1)"),
        ([HEAD, {"driver": 4.0}, {"CPU": 1.0}], "!in(0, 1)"),  # KubeRay's node for drivers
        ([HEAD, {"driver": 4.0}], None),  # no other
        ([{"CPU": 1.0}, {"CPU": 1.0}], None),
    ],
)
def test_nothing_is_read_on_the_head(
    monkeypatch: pytest.MonkeyPatch, resources: list[dict[str, float]], kept_off: str | None
) -> None:
    patch_nodes(monkeypatch, *resources)
    selector = stream._off_the_head()
    assert selector == (kept_off and {"ray.io/node-id": kept_off})
    assert validate_label_selector(selector) is None


def test_both_stages_are_kept_off_the_head(corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patch_nodes(monkeypatch, HEAD, {"CPU": 2.0})
    monkeypatch.setattr(stream.ray, "put", lambda _: None)
    dataset = MagicMock()
    dataset.map_batches.return_value = dataset
    reader, plan, prepare = parts(corpus)
    stream.split_window("units-0", dataset, UnitSource(str(tmp_path), reader, plan, prepare, 80), 2)
    selectors = [call.kwargs["label_selector"] for call in dataset.map_batches.call_args_list]
    assert selectors == [{"ray.io/node-id": "!in(0)"}] * 2


def test_cpus_of_the_head_are_not_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_nodes(monkeypatch, HEAD | {"CPU": 4.0}, {"CPU": 3.0}, {"driver": 4.0}, {"CPU": 3.0})
    assert stream.spare_cpus(4, 1.0) == 2.0
    patch_nodes(monkeypatch, HEAD | {"CPU": 4.0})
    assert stream.spare_cpus(2, 0.5) == 3.0


def test_ray_data_catches_up_with_a_rank_that_is_ahead() -> None:
    """Its first block comes late; the others follow faster than the rank takes them."""
    given = threading.Event()

    class Part:
        def iter_batches(self, **_: object) -> Iterator[pa.Table]:
            for number in range(2, 100):
                given.set()
                yield pa.Table.from_pylist([{"round": number}])

    arrivals = stream._Arrivals(iter([Part()]))  # pyright: ignore[reportArgumentType]
    assert given.wait(10)
    found = None
    for number in range(40, 43):
        time.sleep(0.3)
        found = found or arrivals.take(number, wait=False)
    arrivals.close()
    assert found is not None
    assert found["round"] >= 41


def test_no_thread_waits_for_ray_after_the_end() -> None:
    entered, windows = threading.Event(), [0]

    class Part:
        def iter_batches(self, **_: object) -> Iterator[pa.Table]:
            windows[0] += 1
            entered.set()
            time.sleep(0.3)  # a call of Ray
            yield pa.Table.from_pylist([{"round": 0}])

    arrivals = stream._Arrivals(iter([Part(), Part()]))  # pyright: ignore[reportArgumentType]
    assert entered.wait(10)
    arrivals.close()
    assert not arrivals._thread.is_alive()
    assert windows == [1]


def test_a_reader_that_dies_is_one_line_with_a_remedy() -> None:
    """Ray raises in the rank when the process of a task was lost too often."""

    class Part:
        def iter_batches(self, **_: object) -> Iterator[pa.Table]:
            raise WorkerCrashedError

    arrivals = stream._Arrivals(iter([Part()]))  # pyright: ignore[reportArgumentType]
    with pytest.raises(
        WorkError, match=r"^reading with Ray Data failed \(.*worker died.*\); resume with --reading rank$"
    ):
        arrivals.take(0, wait=True)


@dataclass
class Lateness:
    """A run of one rank beside a Ray Data that is late.

    Attributes:
        corpus: The corpus.
        before: Called in the thread of Ray Data before it gives a round.
        own_seconds: How long the rank reads a round.
        own: Rounds that the rank has read itself.
        reached: Set for each round that the rank reads itself, by round.
        waits: Number of rounds for which the rank has waited.
        sink: The metrics sink.
    """

    corpus: str
    before: Callable[[int], object]
    own_seconds: float = 0.1
    own: list[int] = field(default_factory=list)
    reached: dict[int, threading.Event] = field(default_factory=lambda: defaultdict(threading.Event))
    waits: int = 0
    sink: MagicMock = field(default_factory=MagicMock)

    def check(self, monkeypatch: pytest.MonkeyPatch) -> int:
        """Read all units, compare them with those of the local reader, and return the number of rounds."""
        reader, plan, prepare = parts(self.corpus)
        reads = RankReads(plan, 0, 4 * plan.steps_per_epoch, 0, 1)
        rounds = Rounds(plan, reads.stop, 1)
        last = -(-reads.stop // rounds.steps)
        read = stream.BlockReader(rounds, self.corpus, False, reader.manifest.digest(), prepare, NULL_SINK)
        blocks = [read(pa.table({"round": [number], "rank": [0]})) for number in range(last)]
        first = {next(rounds.reads(number, 0)): number for number in range(last)}

        def given(**_: object) -> Iterator[pa.Table]:
            for number in range(stream._ROUNDS_BY_RANK, last):
                self.before(number)
                yield blocks[number]

        def own(*args: Any) -> Iterator[GraphBatch]:
            *_, units = args
            units = list(units)
            self.own.append(first[units[0]])
            self.reached[self.own[-1]].set()
            time.sleep(self.own_seconds)
            return local_units(reader, plan, prepare, units)

        patience = stream._Arrivals._patience

        def counted(arrivals: stream._Arrivals) -> float:
            self.waits += 1
            return patience(arrivals)

        monkeypatch.setattr(stream, "threaded_units", own)
        monkeypatch.setattr(stream._Arrivals, "_patience", counted)
        part: Any = SimpleNamespace(iter_batches=given)
        found = list(ray_units(reader, plan, prepare, reads, lambda _: part, self.sink))
        for one, other in zip(found, local_units(reader, plan, prepare, reads), strict=True):
            assert_same(one, other)
        return last


def test_a_rank_reads_a_late_block_itself(corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The units stay the same, and the next blocks come from Ray Data again."""
    monkeypatch.setattr(stream, "_PATIENCE_SECONDS", 0.5)
    run = Lateness(corpus, lambda number: number == LATE and run.reached[LATE].wait(60))
    rounds = run.check(monkeypatch)
    assert rounds > LATE + 3
    assert run.own[-1] == LATE
    assert len(run.own) < LATE
    assert run.sink.note.call_args_list[-1].args == ("distgnn_late_rounds_total", 1)
    assert run.sink.note.call_count == len([number for number in run.own if number >= stream._ROUNDS_BY_RANK])


@pytest.mark.parametrize("back", [4, 10_000])
@pytest.mark.filterwarnings("ignore:Ray Data is late")
def test_a_rank_goes_on_alone_until_ray_data_is_back(corpus: str, monkeypatch: pytest.MonkeyPatch, back: int) -> None:
    """It waits for three late blocks, and for none after that."""
    monkeypatch.setattr(stream, "_PATIENCE_SECONDS", 0.1)
    run = Lateness(corpus, lambda number: number == LATE and run.reached[LATE + back].wait(60))
    rounds = run.check(monkeypatch)
    run.reached[LATE + back].set()
    after = [number for number in run.own if number >= LATE]
    assert after[: back + 1] == list(range(LATE, min(LATE + back + 1, rounds)))
    if back < 10:
        assert rounds - 1 not in after
    else:
        assert run.waits <= LATE + stream._LATE_ROUNDS


def test_a_warning_says_that_ray_data_is_late(corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_PATIENCE_SECONDS", 0.1)
    run = Lateness(corpus, lambda number: number == LATE and run.reached[-1].wait(60))
    with pytest.warns(RuntimeWarning, match="Ray Data is late: this rank reads") as found:
        run.check(monkeypatch)
    run.reached[-1].set()
    assert len([each for each in found if "Ray Data is late" in str(each.message)]) == 1


@pytest.mark.parametrize("together", [1, 3])
def test_nothing_is_read_twice_where_ray_data_is_steadily_slow(
    corpus: str, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    """Also where several blocks come together, and none until the next ones."""
    monkeypatch.setattr(stream, "_PATIENCE_SECONDS", 0.05)
    run = Lateness(corpus, lambda number: number % together or time.sleep(0.3), own_seconds=0.5)
    rounds = run.check(monkeypatch)
    assert run.own == list(range(len(run.own)))  # those of the start
    assert len(run.own) < rounds - 4


def test_patience_follows_the_longest_interval_but_one() -> None:
    arrivals = stream._Arrivals(iter([]))
    assert arrivals._patience() == 2.0
    arrivals._waits.extend([0.1, 30.0])
    assert arrivals._patience() == 60.0
    arrivals._waits.extend([0.1] * 29 + [7.0])
    assert arrivals._patience() == 14.0
