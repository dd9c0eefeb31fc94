"""Which files of the package a call enters."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType


def files_called(call: Callable[[], object], root: Path) -> list[str]:
    """Files below ``root`` whose functions run in this thread during ``call``, in the order in which they are first entered."""
    found: dict[str, None] = {}

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_name != "<module>":
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(root):
                found.setdefault(str(path.relative_to(root)))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(before)
    return list(found)
