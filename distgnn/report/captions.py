"""Titles and captions of the pictures that commands store, by the names of their files."""

from __future__ import annotations

import re

_KNOWN = {
    "curves": (
        "Learning curves with bands",
        "Mean score over draws with its 95 % band: against updates for each number of labels, and against labels for each number"
        " of updates; the control is dashed.",
    ),
    "differences": (
        "Differences to the control with bands",
        "Mean difference to the control over draws with its 95 % band, against updates and against labels; 0 = no difference.",
    ),
    "cka": (
        "CKA by layer",
        "Similarity of each layer before and after the last update (linear CKA; 1 = unchanged), with 95 % intervals.",
    ),
    "changes": (
        "Changes during fine-tuning",
        "Change of the training loss and of the test score since the start, against updates, with 95 % intervals.",
    ),
    "against": ("Scores against config fields", "Test score of each method against the fields that differ, with 95 % intervals."),
    "scores": (
        "Scores by number of labels",
        "Mean over tasks of each method against the number of labels, for classification and for regression.",
    ),
}  # fmt: skip
_CELL = re.compile(r"(\w+)-labels-(\d+)-updates")


def caption_of(name: str) -> tuple[str, str]:
    """Return title and caption of the picture ``name`` (without its suffix)."""
    if name in _KNOWN:
        return _KNOWN[name]
    if cell := _CELL.fullmatch(name):
        place = f"{cell[1]} labels, {cell[2]} updates"
        return (
            f"Gains by set: {place}",
            "Gain of each comparison on every labelled set and pooled (red), AUC x 100, with 95 % intervals.",
        )
    return name, "A picture in the folder."
