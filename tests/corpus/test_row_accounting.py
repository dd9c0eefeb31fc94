"""Rows read = rows stored + rows rejected, checked while building, for every source that counts its rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distgnn import register
from distgnn.cli import main
from distgnn.corpus.shard import Piece
from distgnn.corpus.sources.base import CountsRows, Rejected
from distgnn.corpus.sources.molecules import MoleculesConfig, MoleculesSource
from distgnn.corpus.sources.predblp import PreDblpSource
from distgnn.corpus.sources.pyg import PygSource
from distgnn.corpus.writer import STATE, build_corpus
from distgnn.errors import WorkError
from tests.helpers.corpora import build


class Losing(MoleculesSource):
    """Leaves out the first rejected row."""

    def read(self, part: Any) -> tuple[Piece | None, list[Rejected]]:
        piece, refused = super().read(part)
        return piece, refused[1:]


def config(tmp_path: Path, rows: list[str], **options: Any) -> MoleculesConfig:
    path = tmp_path / "m.csv"
    path.write_text("smiles\n" + "".join(f"{row}\n" for row in rows))
    return MoleculesConfig(input=(str(path),), out=str(tmp_path / "out"), **options)


def test_every_built_in_source_counts_its_rows() -> None:
    kinds = [entry.make for entry in register.corpus_source.entries() if entry.builtin and isinstance(entry.make, type)]
    assert len(kinds) >= 5
    for kind in (*kinds, PygSource, PreDblpSource):
        assert issubclass(kind, CountsRows), kind


def test_a_source_that_loses_a_row_is_found_out(tmp_path: Path) -> None:
    made = config(tmp_path, ["C", "oops", "CC"])
    with pytest.raises(
        WorkError, match=r"part 0: 3 rows read, but 2 stored and 0 rejected; a defect of the corpus source"
    ):
        build_corpus(Losing(made), made.out)
    assert not (tmp_path / "out" / "corpus.json").exists()


def test_a_state_that_lost_count_is_found_out(tmp_path: Path) -> None:
    made = config(tmp_path, ["C"] * 5000, unit_rows=16, shard_rows=1024)
    source = MoleculesSource(made)
    stopped = build_stopped(source, made.out)
    state = json.loads(stopped.read_text())
    assert state["read"] == 2048
    stopped.write_text(json.dumps(state | {"read": 2047}))
    with pytest.raises(WorkError, match="4,999 rows read, but 5,000 stored and 0 rejected; build it again"):
        build("molecules", made)
    stopped.write_text(json.dumps({name: value for name, value in state.items() if name not in ("read", "counted")}))
    assert build("molecules", made).graphs == 5000  # the state of an earlier version, which did not count


def build_stopped(source: MoleculesSource, out: str) -> Path:
    """A build that is interrupted in its second part."""

    def interrupted(function: Any, parts: Any) -> Iterator[Any]:
        yield function(next(iter(parts)))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_corpus(source, out, unit_rows=16, shard_rows=1024, mapper=interrupted)
    return Path(out) / STATE


@settings(max_examples=20, deadline=None)
@given(good=st.lists(st.booleans(), min_size=1, max_size=40), shard=st.sampled_from([1, 2, 8]))
def test_stored_and_rejected_rows_are_all_rows(
    tmp_path_factory: pytest.TempPathFactory, good: list[bool], shard: int
) -> None:
    folder = tmp_path_factory.mktemp("m")
    made = config(folder, ["C" if one else "oops" for one in [*good, True]], unit_rows=1, shard_rows=shard)
    manifest = build("molecules", made)
    assert (manifest.graphs, manifest.rejected) == (sum(good) + 1, len(good) - sum(good))


def test_the_command_prints_the_sum(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = config(tmp_path, ["C", "oops", "CC"])
    arguments = ["corpus", "build", "molecules", "--input", made.input[0], "--out", made.out]
    assert main(arguments) == 0
    assert "; 3 rows read = 2 stored + 1 rejected (see rejected-*.tsv there)" in capsys.readouterr().out
    assert main([*arguments, "--overwrite", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["rows"], value["graphs"], value["rejected"]) == (3, 2, 1)
