"""The command line with missing resources: one line and an exit code, never a traceback."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from distgnn import cli
from distgnn.errors import explain
from distgnn.interrupts import exit_on_interrupt
from distgnn.storage.uri import local_path
from tests.helpers.training import command


def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command in a new process."""
    return subprocess.run(command(*words), text=True, stderr=subprocess.PIPE, check=False, timeout=120, **options)  # pyright: ignore


@pytest.fixture
def progress(tmp_path: Path) -> str:
    """Folder of a run that has written its progress."""
    shot = {
        "run": "r",
        "status": "finished",
        "step": 2,
        "total": 2,
        "first": 0,
        "metrics": {"loss": 3.7},
        "validation": {},
    }
    rest = {"checkpoint": "", "best": "", "seconds_left": 0.0, "started": 1.0, "updated": 2.0}
    (tmp_path / "progress.json").write_text(json.dumps(shot | rest))
    return str(tmp_path)


def test_stdout_that_is_full_or_closed(progress: str) -> None:
    with open("/dev/full", "w") as full:
        found = run("status", progress, stdout=full)
        assert (found.returncode, found.stderr.count("\n")) == (1, 1), found.stderr
        assert "cannot write the result to stdout: No space left on device" in found.stderr
    found = run("status", progress, preexec_fn=lambda: os.close(1))
    assert (found.returncode, found.stderr) == (
        1, "distgnn: error: stdout is closed; redirect it, for example to /dev/null\n",
    )  # fmt: skip
    found = run("status", "/nowhere", preexec_fn=lambda: os.close(2), stdout=subprocess.PIPE)
    assert (found.returncode, found.stdout) == (2, "")


def test_a_reader_that_leaves_is_no_error(corpus: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    found = run("corpus", "cat", corpus, "--count", "300", stdout=writer)
    assert (found.returncode, found.stderr) == (0, "")
    found = run("--help", stdout=writer)
    assert (found.returncode, found.stderr) == (141, "")
    os.close(writer)


def test_an_error_is_reported_when_the_reader_of_stdout_has_exited(progress: str) -> None:
    (Path(progress) / "progress.json").write_text("{")
    reader, writer = os.pipe()
    os.close(reader)
    found = run("status", progress, stdout=writer)
    os.close(writer)
    assert found.returncode == 2


@pytest.mark.parametrize("seconds", [0.2, 0.5])
def test_ctrl_c_while_modules_are_imported(seconds: float) -> None:
    words = [sys.executable, "-c", "import time, distgnn.cli as c, importlib as i, sys\n"
             "def slow(name):\n"
             "    try:\n        print('importing', flush=True); time.sleep(60)\n"
             "    except KeyboardInterrupt:\n        raise ImportError('interrupted in C')\n"
             "i.import_module = slow; sys.exit(c.main(['--help']))"]  # fmt: skip
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == "distgnn: error: interrupted\n"
    assert process.returncode == 130


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with exit_on_interrupt():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_starting_imports_few_modules() -> None:
    code = "import distgnn.cli, sys; print(sorted({'tyro', 'numpy', 'dataclasses', 'distgnn.register'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout == "[]\n"


def raising(error: BaseException) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "out of memory (MemoryError)"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory (CUDA out of memory."),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), "out of memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out of memory"),
        (RuntimeError("can't start new thread"), "no further thread or process can be started"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "no further thread or process"),
        (OSError(errno.EMFILE, "Too many open files", "x"), "too many open files"),
        (ImportError("libtorch.so: cannot open shared object file: Too many open files"), "too many open files"),
        (ImportError("no such thing", name="lost"), "cannot import lost (no such thing); check the installation"),
        (OSError(errno.EIO, "Input/output error", "/x"), "[Errno 5] Input/output error: '/x'"),
    ],
)
def test_missing_resources_are_one_line(error: Exception, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.guarded(raising(error)) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"distgnn: error: {says}")
    assert err.count("\n") == 1


def test_bugs_are_not_hidden() -> None:
    assert explain(RuntimeError("shape mismatch")) is None
    with pytest.raises(RuntimeError, match="shape mismatch"):
        cli.guarded(raising(RuntimeError("shape mismatch")))


def test_arguments_that_are_not_utf8(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["corpus", "stat", os.fsdecode(b"\xff")]) == 2
    assert capsys.readouterr().err == "distgnn: error: '\\udcff': not valid UTF-8; rename the file\n"


def test_no_home(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert cli.main(["corpus", "stat", "~/x"]) == 2
    assert "~/x: there is no such home folder; set HOME, or give an absolute path" in capsys.readouterr().err
    assert local_path("./~x") == os.path.abspath("~x")


def test_following_runs_needs_no_torch() -> None:
    code = "import distgnn.commands.status, distgnn.commands.board, sys; print(sorted({'torch', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout == "[]\n"
