"""Imports on first use, in which the garbage collector rests."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest

from distgnn.loading import load_function

_MODULE = "module_imported_on_use"


@pytest.fixture
def entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Entry point of a function that tells whether the collector was at work while its module was imported."""
    (tmp_path / f"{_MODULE}.py").write_text("import gc\nSEEN = gc.isenabled()\ndef collected(): return SEEN\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, _MODULE, raising=False)
    return f"{_MODULE}:collected"


@pytest.mark.parametrize("enabled", [True, False])
def test_no_collection_during_an_import(entry_point: str, enabled: bool) -> None:
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        assert load_function(entry_point)() is False
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_objects_are_frozen_by_a_first_import_on_request(entry_point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = list[bool]()
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(True))
    load_function(entry_point)
    assert not frozen
    sys.modules.pop(_MODULE)
    for _ in range(2):
        load_function(entry_point, freeze=True)
    assert frozen == [True]
