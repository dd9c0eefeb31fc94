"""Splits: known answers, disjoint parts, independence of row order, and invalid requests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distgnn.config import SplitConfig
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.sources.molecules import MoleculesConfig
from distgnn.errors import RequestError
from distgnn.graph.splits import make_split
from tests.helpers.corpora import build, real

IDS = np.arange(100, 200)


def objects(values: list[str | int | None]) -> np.ndarray:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


def test_random_split_depends_on_graph_ids_not_row_order() -> None:
    config = SplitConfig("random")
    split = make_split(config, IDS)
    assert {name: len(rows) for name, rows in split.items()} == {"train": 80, "val": 10, "test": 10}
    shuffled = np.random.default_rng(0).permutation(IDS)
    again = make_split(config, shuffled)
    assert all(set(IDS[split[name]]) == set(shuffled[again[name]]) for name in split)
    other = make_split(SplitConfig("random", seed=1), IDS)
    assert not np.array_equal(split["test"], other["test"])


def test_fractions_set_part_sizes() -> None:
    split = make_split(SplitConfig("random", fractions=(0.5, 0.2, 0.3)), IDS)
    assert [len(rows) for rows in split.values()] == [50, 20, 30]


def test_scaffold_split_of_a_small_example() -> None:
    """Ten graphs: a (4), b (2), c (2), one each of d and e. Train takes up to 6: a, then c (last seen first), then no room."""
    groups = objects(["b", "a", "a", "d", "c", "a", "b", "e", "a", "c"])
    split = make_split(SplitConfig("scaffold", fractions=(0.6, 0.2, 0.2)), np.arange(10), groups)
    assert {name: rows.tolist() for name, rows in split.items()} == {
        "train": [1, 2, 4, 5, 8, 9],
        "val": [0, 6],
        "test": [3, 7],
    }


def test_scaffold_split_equals_the_published_algorithm() -> None:
    """The loop of Hu et al.'s released splitter, on random groups of skewed sizes."""
    rng = np.random.default_rng(0)
    names = [f"s{int(number)}" for number in rng.zipf(1.5, 300) % 60]
    sets: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        sets.setdefault(name, []).append(row)
    expected: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for rows in sorted(sets.values(), key=lambda rows: (len(rows), rows[0]), reverse=True):
        if len(expected["train"]) + len(rows) <= 0.8 * 300:
            expected["train"] += rows
        elif len(expected["train"]) + len(expected["val"]) + len(rows) <= 0.9 * 300:
            expected["val"] += rows
        else:
            expected["test"] += rows
    split = make_split(SplitConfig("scaffold"), np.arange(300), objects(list(names)))
    assert {name: rows.tolist() for name, rows in split.items()} == {k: sorted(v) for k, v in expected.items()}


@given(st.lists(st.one_of(st.none(), st.sampled_from("abcdefghij")), min_size=1, max_size=60), st.data())
def test_scaffold_parts_are_disjoint(names: list[str | None], data: st.DataObject) -> None:
    usable = np.array(data.draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names))))
    groups, config = objects(list(names)), SplitConfig("scaffold", fractions=(0.5, 0.25, 0.25))
    try:
        split = make_split(config, np.arange(len(names)), groups, usable=usable)
    except RequestError:
        return
    together = np.concatenate(list(split.values()))
    assert sorted(together) == np.flatnonzero(usable).tolist()
    parts_of: dict[str, set[str]] = {}
    for part, rows in split.items():
        for row in rows.tolist():
            parts_of.setdefault(names[row] or f"unknown {row}", set()).add(part)
    assert all(len(parts) == 1 for parts in parts_of.values())


def test_group_split_puts_ood_groups_in_the_ood_part() -> None:
    groups = objects(["human", "mouse", "fly", None] * 25)
    split = make_split(SplitConfig("group", ood_groups=("mouse",)), IDS, groups)
    assert set(groups[split["ood"]]) == {"mouse"}
    assert {len(split[part]) for part in ("val", "test")} == {7, 8}
    assert "mouse" not in set(groups[np.concatenate([split[part] for part in ("train", "val", "test")])])


def test_column_split_uses_the_split_column() -> None:
    column = objects([0, 1, 2, None, 0])
    split = make_split(SplitConfig("column"), np.arange(5), column=column)
    assert {name: rows.tolist() for name, rows in split.items()} == {"train": [0, 4], "val": [1], "test": [2]}


def test_unusable_graphs_are_excluded() -> None:
    usable = np.arange(100) % 2 == 0
    split = make_split(SplitConfig("random"), IDS, usable=usable)
    assert [len(rows) for rows in split.values()] == [40, 5, 5]
    assert usable[np.concatenate(list(split.values()))].all()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SplitConfig("scaffold"), "needs a 'group' column"),
        (SplitConfig("column"), "needs a 'split' column"),
        (SplitConfig("group", ood_groups=("x",)), "needs a 'group' column"),
        (SplitConfig("random", fractions=(0.98, 0.01, 0.01)), "part 'val' is empty"),
    ],
)
def test_invalid_splits_are_rejected(config: SplitConfig, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        make_split(config, np.arange(4))


def test_unknown_group_error_lists_known_groups() -> None:
    with pytest.raises(RequestError, match="no group 'rat'; choose from human, mouse"):
        make_split(SplitConfig("group", ood_groups=("rat",)), np.arange(2), objects(["mouse", "human"]))


@pytest.mark.parametrize(
    "wrong",
    [{"method": "group"}, {"ood_groups": ("a",)}, {"fractions": (0.5, 0.5)}, {"fractions": (1.0, 0.5, -0.5)}],
)
def test_invalid_configs_are_rejected(wrong: dict) -> None:
    with pytest.raises(RequestError, match=r"split\."):
        SplitConfig(**wrong)


@pytest.mark.data
def test_scaffold_split_of_bbbp_equals_the_published_one(tmp_path: Path) -> None:
    pytest.importorskip("rdkit", reason="needs the extra 'chem'")
    text, arrays_file = real("molecules/smiles/bbbp.csv", "molecules/arrays/bbbp.npz")
    build("molecules", MoleculesConfig(input=(text,), labels=("p_np",), out=str(tmp_path)))
    reader = CorpusReader(str(tmp_path))
    rows = reader.load().graph_id.numpy()
    split = make_split(SplitConfig("scaffold"), rows, reader.column("group"))
    with np.load(arrays_file, allow_pickle=False) as arrays:
        published = dict(zip(arrays["row"].tolist(), arrays["scaffold_split"].tolist(), strict=True))
    for number, part in enumerate(("train", "val", "test")):
        assert {published[row] for row in rows[split[part]].tolist()} == {number}
