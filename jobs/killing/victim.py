"""A command in a fork of this process, which tells of each write before it makes it and can be killed at any of them."""

from __future__ import annotations

import importlib
import json
import os
import random
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distgnn import cli

PATIENCE = 120.0
_CRASHED = 70
_CHANGES = {"os.rename", "os.remove", "os.link", "os.rmdir", "os.mkdir"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass
class Victim:
    """A forked process.

    Attributes:
        pid: Its process id.
        log: What it has said on stdout and stderr.
        events: Read end of a pipe with one byte per write.
        start: Time of the fork (``time.monotonic``).
        seen: Number of writes so far.
        code: Exit code; -9 after SIGKILL, None before the end.
    """

    pid: int
    log: Path
    events: int
    start: float = field(default_factory=time.monotonic)
    seen: int = 0
    code: int | None = None

    @classmethod
    def run(cls, words: Sequence[str], root: Path, log: Path) -> Victim:
        """Start the command line ``words``; writes below ``root`` and to S3 are told."""
        return cls.call(lambda: cli.main(list(words)), root, log)

    @classmethod
    def call(cls, work: Callable[[], int], root: Path, log: Path) -> Victim:
        """Start ``work`` in a fork. Call it while this process has one thread."""
        reading, telling = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            _child(work, str(root), log, telling)
        os.close(telling)
        return cls(pid, log, reading)

    def wait_writes(self, count: int) -> bool:
        """Wait until the process is at its write number ``count``; False if it ended before."""
        while self.seen < count:
            ready, _, _ = select.select([self.events], [], [], PATIENCE)
            told = len(os.read(self.events, count - self.seen)) if ready else 0
            if not told:
                return False
            self.seen += told
        return True

    def kill(self) -> bool:
        """SIGKILL; returns whether the process was still running."""
        os.kill(self.pid, signal.SIGKILL)  # it is not waited for yet, so the id is still its own
        return self.wait() == -signal.SIGKILL

    def wait(self) -> int:
        """Wait for the end, for PATIENCE seconds at most; returns the exit code."""
        if self.code is None:
            if not self._ends():
                os.kill(self.pid, signal.SIGKILL)
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self.events)
        return self.code

    def _ends(self) -> bool:
        """Read the rest of the pipe, which is closed at the end of the process."""
        until = time.monotonic() + PATIENCE
        while (left := until - time.monotonic()) > 0:
            ready, _, _ = select.select([self.events], [], [], left)
            told = len(os.read(self.events, 4096)) if ready else 0
            if ready and not told:
                return True
            self.seen += told
        return False

    @property
    def said(self) -> str:
        """What it has said."""
        return self.log.read_text(errors="replace")


def _child(work: Callable[[], int], root: str, log: Path, telling: int) -> None:
    code = _CRASHED
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(file, stream)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", 1)
        sys.addaudithook(_teller(root, telling))
        code = work()
    except BaseException:  # noqa: BLE001 - told by the exit code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _teller(root: str, telling: int) -> Callable[[str, tuple[Any, ...]], None]:
    """Return an audit hook that writes a byte to ``telling`` before each change of a file below ``root`` or of an object."""

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = args
            writes = any(letter in mode for letter in "wax+") if isinstance(mode, str) else bool(flags & _WRITES)
            tells = writes and str(path).startswith(root)
        elif event in _CHANGES:
            tells = str(args[0]).startswith(root)
        else:
            tells = event == "http.client.send" and not bytes(args[1][:5]).startswith((b"GET ", b"HEAD "))
        if tells:
            os.write(telling, b".")

    return hook


def ask(question: Callable[[], Any], root: Path, log: Path) -> Any:
    """Return the answer of ``question``, a JSON value, from a fork, so that this process starts no threads."""

    def work() -> int:
        log.with_suffix(".answer").write_text(json.dumps(question()))
        return 0

    victim = Victim.call(work, root, log)
    if victim.wait() != 0:
        raise SystemExit(f"the drill itself failed:\n{victim.said[-3000:]}")
    return json.loads(log.with_suffix(".answer").read_text())


def warm_up(work: Callable[[], object], root: Path, log: Path) -> None:
    """Import here what ``work`` imports in a fork, so that later forks need not."""
    before = set(sys.modules)

    def imported() -> list[str]:
        work()
        return [name for name in sys.modules if name not in before]

    for name in ask(imported, root, log):
        if not name.startswith(("ray", "__")):
            try:
                importlib.import_module(name)
            except ImportError:  # made by a program, not found by name
                continue


def pause(rng: random.Random) -> None:
    """Wait for 0 to 4 ms; in every third case not at all."""
    if rng.random() > 1 / 3:
        time.sleep(rng.random() * 0.004)
