"""A batch of inputs in one process: each has ten seconds of CPU time, and the process a bound on its memory.

``python -m jobs.fuzzing.worker SEEDS SCRATCH SEED FIRST COUNT [TARGET ...]`` prints a JSON line per finding, and one with counts.
Input number N of a seed is a function of (SEED, N) alone.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distgnn import cli
from distgnn.errors import RequestError, WorkError, printable
from distgnn.storage.verified import CHECKSUMS, seal
from jobs.fuzzing.mutate import changed, replaced
from jobs.fuzzing.targets import TARGETS, Target

SECONDS = 10
"""CPU seconds of an input; MAX_WAIT bounds its wall time, on a machine that is shared."""
MAX_WAIT = 60
MEMORY = 1 << 30
"""Bytes that one input may add to the peak of the process."""
_ADDRESS_SPACE = 3 << 30
_MAX_FINDINGS = 200


class Hang(BaseException):
    """An input took longer than SECONDS or MAX_WAIT. No handler of the program under test catches it."""


@dataclass
class Batch:
    """Runs inputs.

    Attributes:
        seeds: Folder of the seeds, with the unmutated ones.
        scratch: Folder for the mutated copies, emptied after each input.
        seed: First part of the key of each input.
        targets: What is fuzzed.
        counts: Number of inputs by outcome.
    """

    seeds: Path
    scratch: Path
    seed: int
    targets: tuple[Target, ...]
    counts: Counter[str] = field(default_factory=Counter)

    def run(self, number: int) -> dict[str, Any] | None:
        """Run input ``number``; returns the finding, if it is one."""
        rng = random.Random(f"{self.seed}-{number}")
        target = rng.choices(self.targets, [target.weight for target in self.targets])[0]
        path, wrong = self._mutated(target, rng)
        at = rng.randrange(len(target.commands) or 1)
        words = target.commands[at](str(path), str(self.scratch / "out"), str(self.seeds)) if target.commands else []
        before, start = _peak(), time.monotonic()
        outcome, detail = _outcome(target, words, path, rng)
        self.counts[outcome] += 1
        self.counts["inputs"] += 1
        if outcome == "accepted" and wrong and at in target.strict:
            outcome, detail = "changed checksum accepted", wrong
        if _peak() - before > MEMORY:
            outcome, detail = "memory", f"{(_peak() - before) >> 20} MiB"
        if outcome in ("accepted", "refused"):
            return None
        told = {"outcome": outcome, "target": target.name, "seed": self.seed, "number": number, "words": words}
        return told | {"seconds": round(time.monotonic() - start, 1), "detail": detail}

    def _mutated(self, target: Target, rng: random.Random) -> tuple[Path, str]:
        """Return the path of a mutated copy, and the file that differs from its checksum ("" if none)."""
        path = _copied(self.seeds / target.seed, self.scratch)
        if path.is_dir() and not target.files:
            return path, ""
        found = sorted(path.glob(rng.choice(target.files))) if target.files else [path]
        found = [file for file in found if file.is_file()]
        file = rng.choice(found)
        before = file.read_bytes()
        if rng.random() < 0.08 and target.lone:
            replaced(rng, file, [other for other in path.parent.rglob("*") if other.is_file()])
            return path, ""
        after = changed(rng, file)
        file.write_bytes(after)
        if target.kind and (file.parent / CHECKSUMS).exists() and file.name != CHECKSUMS and rng.random() < 0.6:
            contents = {name: (file.parent / name).read_bytes() for name in target.kind.files}
            (file.parent / CHECKSUMS).write_bytes(seal(contents, target.kind))
            return path, ""
        covered = (
            file.name not in (CHECKSUMS, "corpus.json", "network.json", "store.json", "tasks.json")
            or target.name == "checkpoint"
        )
        return path, file.name if before != after and covered and file.name != CHECKSUMS else ""


def _outcome(target: Target, words: list[str], path: Path, rng: random.Random) -> tuple[str, str]:
    """Run a command or function; returns (outcome, detail)."""
    out, err = io.StringIO(), io.StringIO()
    _set_timers(SECONDS, MAX_WAIT)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if target.call:
                target.call(path, rng)
                code = 0
            else:
                code = cli.main(words)
    except (RequestError, WorkError):
        code = 2
    except SystemExit as stop:
        code = stop.code
    except Hang:
        return "hang", ""
    except BaseException as error:  # noqa: BLE001 - whatever else escapes is a finding
        lines = traceback.format_exc().strip().splitlines()
        return "traceback", f"{type(error).__name__}: {str(error)[:200]} | {' '.join(lines[-4:-1])[:300]}"
    finally:
        _set_timers(0, 0)
    shown = out.getvalue() + err.getvalue()
    if printable(shown) != shown:
        return "control characters", repr(shown[-200:])
    return ("refused", "") if code else ("accepted", "")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _set_timers(computing: float, waiting: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, computing)
    signal.setitimer(signal.ITIMER_REAL, waiting)


def _on_alarm(*_: object) -> None:
    _set_timers(1, 1)  # once more, should the first be swallowed
    raise Hang


def _warm_up(targets: tuple[Target, ...], seeds: Path, scratch: Path) -> None:
    """Run the commands that import much on whole seeds, so that imports do not count as time or memory of an input."""
    for target in targets:
        if target.name in (
            "corpus",
            "run",
            "model",
            "sweep",
            "checkpoint",
            "molecules",
            "tudataset",
            "ppi",
            "citation",
            "sqlite",
            "tables",
            "store",
            "database model",
        ):
            for at, words in enumerate(target.commands):
                path = _copied(seeds / target.seed, scratch / f"{target.name}-{at}")
                outcome, detail = _outcome(target, words(str(path), f"{path}-out", str(seeds)), path, random.Random(0))
                if outcome != "accepted":
                    raise SystemExit(f"the whole seed is not read: {target.name} {at}: {outcome} {detail}")


def _copied(seed: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return Path((shutil.copytree if seed.is_dir() else shutil.copy)(seed, folder / seed.name))


def main() -> None:
    """Run the batch that the arguments name."""
    seeds, scratch, seed, first, count, *names = sys.argv[1:]
    targets = tuple(target for target in TARGETS if not names or target.name in names)
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, signal.SIG_IGN)
    _warm_up(targets, Path(seeds), Path(scratch))
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, _on_alarm)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + _ADDRESS_SPACE, resource.RLIM_INFINITY))
    batch, found = Batch(Path(seeds), Path(scratch), int(seed), targets), 0
    for number in range(int(first), int(first) + int(count)):
        finding = batch.run(number)
        if finding and (found := found + 1) <= _MAX_FINDINGS:
            print(json.dumps(finding), flush=True)
    shutil.rmtree(scratch, ignore_errors=True)
    print(json.dumps({"counts": batch.counts, "peak_mib": _peak() >> 20}), flush=True)


if __name__ == "__main__":
    main()
