"""The files of the package through which a call goes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType


def files_on_the_way(call: Callable[[], object], root: Path, last: str) -> list[list[str]]:
    """For every function of the file ``last`` that runs in this thread during ``call``: the files below ``root`` that are on the
    stack, outermost first."""
    found: dict[tuple[str, ...], None] = {}

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename == str(root / last):
            paths = [path for path in map(Path, _stack(frame)) if path.is_relative_to(root)]
            found.setdefault(tuple(dict.fromkeys(str(path.relative_to(root)) for path in paths)))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(before)
    return [list(way) for way in found]


def _stack(frame: FrameType | None) -> list[str]:
    files = []
    while frame is not None:
        files.append(frame.f_code.co_filename)
        frame = frame.f_back
    return files[::-1]
