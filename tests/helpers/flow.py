"""The files on the call stack when a function is entered."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType


def files_on_stack(call: Callable[[], object], function: str, root: Path) -> list[str]:
    """Files below ``root`` on the stack, outermost first, when ``call`` first enters the function of that qualified name."""
    found: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and not found and frame.f_code.co_qualname == function:
            inner: FrameType | None = frame
            while inner is not None:
                path = Path(inner.f_code.co_filename)
                if path.is_relative_to(root):
                    found.insert(0, str(path.relative_to(root)))
                inner = inner.f_back

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(before)
    return list(dict.fromkeys(found))
