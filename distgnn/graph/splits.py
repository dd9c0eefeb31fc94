"""How labelled graphs become train, val, test and (out of distribution) ood parts. No graph is ever in two parts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from distgnn.config import SplitConfig
from distgnn.errors import RequestError
from distgnn.graph.keyed import draw, key
from distgnn.graph.purposes import LabelDraw

Rows = npt.NDArray[np.int64]
PARTS = ("train", "val", "test")


def make_split(
    config: SplitConfig,
    graph_ids: npt.NDArray[np.int64],
    groups: npt.NDArray[np.object_] | None = None,
    column: npt.NDArray[np.object_] | None = None,
    usable: npt.NDArray[np.bool_] | None = None,
) -> dict[str, Rows]:
    """Ascending int64 rows of each part: train, val, test, and ood where ``config`` names ood groups.

    graph_ids: int64 [G], key of random splits. groups: str or None [G], for scaffold and group. column: 0 train, 1 val,
    2 test or None [G], for column. usable: bool [G], False leaves a graph out of every part (default: all are usable).
    Raises RequestError where a part stays empty, a group is unknown or the corpus lacks what the method needs.
    """
    rows = np.arange(len(graph_ids)) if usable is None else np.flatnonzero(usable)
    if config.method == "column":
        parts = _by_column(_needed(column, "column", "split"), rows)
    elif config.method == "scaffold":
        parts = _by_size(_needed(groups, "scaffold", "group"), rows, config.fractions)
    elif config.method == "group":
        parts = _by_group(_needed(groups, "group", "group"), rows, graph_ids, config)
    else:
        parts = _at_random(rows, graph_ids, config)
    empty = [name for name, part in parts.items() if len(part) == 0]
    if empty:
        raise RequestError(
            f"split.method={config.method}: part {empty[0]!r} is empty ({len(rows)} graphs have a known label); "
            "choose another method or other fractions"
        )
    return {name: np.sort(part).astype(np.int64) for name, part in parts.items()}


def _needed(values: npt.NDArray[np.object_] | None, method: str, name: str) -> npt.NDArray[np.object_]:
    if values is None:
        raise RequestError(
            f"split.method={method} needs a {name!r} column, which the corpus lacks; choose another method"
        )
    return values


def _cut(count: int, fractions: tuple[float, float, float]) -> tuple[int, int]:
    """Where val and test begin among ``count`` graphs."""
    return round(fractions[0] * count), round((fractions[0] + fractions[1]) * count)


def _at_random(rows: Rows, graph_ids: npt.NDArray[np.int64], config: SplitConfig) -> dict[str, Rows]:
    words = draw(key(config.seed, LabelDraw.SPLIT), graph_ids[rows])
    parts = np.split(rows[np.argsort(words, kind="stable")], _cut(len(rows), config.fractions))
    return dict(zip(PARTS, parts, strict=True))


def _by_column(column: npt.NDArray[np.object_], rows: Rows) -> dict[str, Rows]:
    numbers = np.asarray(column, dtype=np.float64)[rows]
    return {name: rows[numbers == number] for number, name in enumerate(PARTS)}


def _by_group(
    groups: npt.NDArray[np.object_], rows: Rows, graph_ids: npt.NDArray[np.int64], config: SplitConfig
) -> dict[str, Rows]:
    known = sorted({str(group) for group in groups if group is not None})
    unknown = [group for group in config.ood_groups if group not in known]
    if unknown:
        listed = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
        raise RequestError(f"split.ood_groups: the corpus has no group {unknown[0]!r}; it has {listed}")
    outside = np.isin(groups[rows].astype(str), config.ood_groups)
    return _at_random(rows[~outside], graph_ids, config) | {"ood": rows[outside]}


def _by_size(groups: npt.NDArray[np.object_], rows: Rows, fractions: tuple[float, float, float]) -> dict[str, Rows]:
    """Whole groups, largest first, fill train, then val, then test, as the scaffold split of Hu et al. (ICLR 2020).

    Equal sizes: the group that appears last comes first, as in their code. A graph of unknown group is a group of its own.
    """
    unknown = np.array([group is None for group in groups[rows]], dtype=bool)
    _, found = np.unique(groups[rows][~unknown].astype(str), return_inverse=True)
    number = np.arange(len(rows)) + len(rows)
    number[~unknown] = found
    _, first, number, sizes = np.unique(number, return_index=True, return_inverse=True, return_counts=True)
    part_of, filled = np.zeros(len(sizes), dtype=np.int64), [0, 0, 0]
    limits = fractions[0] * len(rows), (fractions[0] + fractions[1]) * len(rows)
    for group in np.lexsort((first, sizes))[::-1]:
        size = int(sizes[group])
        fits = filled[0] + size <= limits[0], filled[0] + filled[1] + size <= limits[1]
        part = 0 if fits[0] else 1 if fits[1] else 2
        filled[part] += size
        part_of[group] = part
    return {name: rows[part_of[number] == part] for part, name in enumerate(PARTS)}
