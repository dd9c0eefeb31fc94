"""Headless Chromium for tests."""

from __future__ import annotations

import importlib.resources
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

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


@contextmanager
def chromium() -> Iterator[Any]:
    """Playwright's handle of a headless Chromium."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def wrong_by_axe(page: Any) -> dict[str, list[str]]:
    """What axe finds wrong in an open page: elements by rule."""
    page.evaluate(_axe())
    found = page.evaluate("axe.run().then(found => found.violations)")
    return {rule["id"]: [node["html"][:200] for node in rule["nodes"]] for rule in found}


def _axe() -> str:
    return importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()


def opened_with_axe(html: str, folder: Path) -> tuple[str, dict[str, list[str]]]:
    """The document of a page after its scripts have run, and what axe finds wrong in it: elements by rule."""
    axe = _axe()
    run = "axe.run().then(found => document.body.dataset.axe = JSON.stringify(found.violations))"
    page = folder / "axe.html"
    before, body, after = html.rpartition("</body>")
    page.write_text(f"{before}<script>{axe}</script><script>onload = () => {run}</script>{body}{after}")
    dom = opened(page.as_uri(), folder / "profile")
    found = re.search(r'data-axe="([^"]*)"', dom)
    assert found is not None, "axe has not ended"
    return dom, {rule["id"]: [node["html"][:200] for node in rule["nodes"]] for rule in json.loads(unescape(found[1]))}
