"""Headless Chromium for tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt-get install chromium)")
_WORDS = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom")


def opened(url: str, profile: Path, milliseconds: int = 8000) -> str:
    """The document of a page after so many milliseconds of its own time; fails if its console says anything."""
    words = [str(CHROMIUM), *_WORDS, f"--virtual-time-budget={milliseconds}", f"--user-data-dir={profile}", url]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not said, said
    return done.stdout
