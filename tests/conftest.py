"""Shared by all tests: quiet processes, a small corpus, one local Ray, and the order of the files."""

from __future__ import annotations

import gc
import importlib
import os
import signal
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import settings

from distgnn import register
from tests.helpers.servers import moto, rclone, s3, server

__all__ = ["moto", "rclone", "s3", "server"]

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ["OMP_NUM_THREADS"] = "1"  # torch is not imported yet; the process that starts the workers never imports it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell; what tests start must see Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("tests", deadline=None)  # a busy machine is no failure
settings.load_profile("tests")
_SHARED: list[ModuleType] = []  # Ray, while a shared one runs


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Objects of the imported modules live to the end: the garbage collector, which takes a second for them, leaves them out."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@cache
def _starts_ray(file: Path) -> bool:
    return "pytest.mark.ray" in file.read_text()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first: those that start Ray, which they share where they can, then those of whole commands."""

    def order(item: pytest.Item) -> tuple[bool, bool, bool]:
        whole = item.path.parent == Path(__file__).parent
        return not _starts_ray(item.path), not whole, item.get_closest_marker("ray") is None

    items.sort(key=order)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Whole files per process, as ``--dist loadfile``, but all that start Ray in one: it starts once, not once per process."""
    load_file = importlib.import_module("xdist.scheduler").LoadFileScheduling

    class Scheduler(load_file):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return "ray" if _starts_ray(config.rootpath / file) else file

    return Scheduler(config, log)


@pytest.hookimpl(tryfirst=True)  # before any fixture of the test
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Stop the shared Ray where the next test does not ask for it."""
    if _SHARED and "local_ray" not in getattr(item, "fixturenames", ()):
        _stop_shared_ray()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    """Leave no Ray behind."""
    _stop_shared_ray()


def _stop_shared_ray() -> None:
    while _SHARED:
        _SHARED.pop().shutdown()


@pytest.fixture
def local_ray() -> None:
    """A local Ray with 2 CPUs, shared by consecutive tests that ask for it."""
    if not _SHARED:
        _SHARED.append(importlib.import_module("ray"))
        importlib.import_module("distgnn.scale.pool").start_ray(2)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """300 motif graphs in 19 units of 16 (the last one shorter)."""
    folder = tmp_path_factory.mktemp("corpus") / "motifs"
    importlib.import_module("tests.helpers.corpora").motifs(folder)
    return str(folder)


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests never use the user's cache of checkpoints."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTGNN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _free_names() -> Iterator[None]:
    """No test sees the encoders another one registered."""
    yield
    for registry in register.REGISTRIES.values():
        registry.forget_users()
