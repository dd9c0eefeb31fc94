"""Disjoint train, val, test and out-of-distribution (ood) parts of labelled graphs."""

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
    """Split graphs into disjoint parts.

    Args:
        config: method, fractions, seed and ood groups.
        graph_ids: int64 [G], keys of random splits.
        groups: str or None, [G]; read by methods "scaffold" and "group".
        column: 0 train, 1 val, 2 test or None, [G]; read by method "column".
        usable: bool [G]; False leaves a graph out of every part. None means all are usable.

    Returns:
        Ascending int64 rows of "train", "val", "test" and, if ``config`` names ood groups, "ood".

    Raises:
        RequestError: a part is empty, a group is unknown, or the corpus lacks the column that the method needs.
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
        raise RequestError(f"split.method={method} needs a {name!r} column, which the corpus lacks; take method random")
    return values


def _boundaries(count: int, fractions: tuple[float, float, float]) -> tuple[int, int]:
    """Return the first row of val and of test among ``count`` rows."""
    return round(fractions[0] * count), round((fractions[0] + fractions[1]) * count)


def _at_random(rows: Rows, graph_ids: npt.NDArray[np.int64], config: SplitConfig) -> dict[str, Rows]:
    random_words = draw(key(config.seed, LabelDraw.SPLIT), graph_ids[rows])
    parts = np.split(rows[np.argsort(random_words, kind="stable")], _boundaries(len(rows), config.fractions))
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
        raise RequestError(f"split.ood_groups: the corpus has no group {unknown[0]!r}; choose from {listed}")
    outside = np.isin(groups[rows].astype(str), config.ood_groups)
    return _at_random(rows[~outside], graph_ids, config) | {"ood": rows[outside]}


def _by_size(groups: npt.NDArray[np.object_], rows: Rows, fractions: tuple[float, float, float]) -> dict[str, Rows]:
    """Assign whole groups, largest first, to train, then val, then test: the scaffold split of Hu et al. (ICLR 2020).

    Ties are broken as in their code: the group whose first graph comes last goes first. A graph without a group
    is a group of its own.
    """
    unknown = np.array([group is None for group in groups[rows]], dtype=bool)
    _, known_number = np.unique(groups[rows][~unknown].astype(str), return_inverse=True)
    number = np.arange(len(rows)) + len(rows)
    number[~unknown] = known_number
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
