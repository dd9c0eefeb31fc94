"""Kill the commands that write, at seeded moments, and check that nothing is lost: python jobs/kills.py [--kills 200] [--seed 0]

Each command is killed by SIGKILL up to three times in a row, mostly at its writes, or while a second one starts; then it runs to
the end and is compared with an undisturbed run. On this machine's disk and on an S3 server of its own. A problem names the round
that repeats it: --seed S --scene NAME --round N. Exit code 1 if there are problems.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from jobs.benches.server import environment, s3_server
from jobs.killing.drill import Drill, Tally, quotas
from jobs.killing.scenes import Scene, build_given, scenes
from jobs.killing.sweeps import SweepDrill
from jobs.killing.victim import ask

_COLUMNS = ("kills", "writing", "pairs", "refused", "finished", "reruns")


def main() -> int:
    """Run the drill, print its table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scene", default="", help="only scenes whose name starts with this")
    parser.add_argument("--round", type=int, default=-1, help="only this round")
    parser.add_argument("--sweep-kills", type=int, default=4, help="kills of tune, which starts Ray each time")
    parser.add_argument("--json", default="", help="file for the counts and problems")
    asked, start = parser.parse_args(), time.monotonic()
    with _place() as (work, chosen):
        chosen = [scene for scene in chosen if scene.name.startswith(asked.scene)]
        counts = quotas(chosen, asked.kills)
        tallies = [_run(scene, work, asked.seed, counts[scene.name], asked.round) for scene in chosen]
        if asked.sweep_kills and "tune".startswith(asked.scene):
            tallies.append(SweepDrill(work, asked.seed).run(asked.sweep_kills))
    if asked.json:
        told = {
            "seed": asked.seed,
            "seconds": round(time.monotonic() - start),
            "scenes": [asdict(one) for one in tallies],
        }
        Path(asked.json).write_text(json.dumps(told, indent=1) + "\n")
    print(_table(tallies))
    return int(any(tally.problems for tally in tallies))


@contextmanager
def _place() -> Iterator[tuple[Path, list[Scene]]]:
    """A folder and an S3 server with what the commands read."""
    with tempfile.TemporaryDirectory() as scratch, s3_server() as bucket:
        work = Path(scratch).resolve()
        (work / "tmp").mkdir()
        names = {
            "DISTGNN_CACHE": str(work / "scenes" / "cache" / "entries"),
            "TMPDIR": str(work / "tmp"),
            "OMP_NUM_THREADS": "1",
        }
        with environment(**names):
            ask(lambda: build_given(work, bucket), work, work / "given.log")
            yield work, scenes(work, bucket)


def _run(scene: Scene, work: Path, seed: int, kills: int, only: int) -> Tally:
    drill, start = Drill(scene, work, seed), time.monotonic()
    drill.measure()
    if only >= 0:
        drill.round(only)
    else:
        drill.run(kills)
    for problem in drill.tally.problems:
        print(f"{scene.name}: {problem}", file=sys.stderr, flush=True)
    left = os.listdir(work / "tmp")
    drill.tally.problems += [f"left in the folder of temporary files: {name}" for name in left]
    spent, about = time.monotonic() - start, f"{drill.seconds:.2f} s and {drill.writes} writes undisturbed"
    print(f"{scene.name}: {drill.tally.kills} kills in {spent:.0f} s ({about})", file=sys.stderr, flush=True)
    return drill.tally


def _table(tallies: list[Tally]) -> str:
    titles = (
        "command",
        "kills",
        "while writing",
        "of two writers",
        "told who writes",
        "ended before",
        "run again",
        "problems",
    )
    rows = [(one.scene, *(str(getattr(one, name)) for name in _COLUMNS), str(len(one.problems))) for one in tallies]
    totals = [sum(int(row[place]) for row in rows) for place in range(1, len(titles))]
    lines = [titles, *rows, ("all", *map(str, totals))]
    widths = [max(len(line[place]) for line in lines) for place in range(len(titles))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


if __name__ == "__main__":
    sys.exit(main())
