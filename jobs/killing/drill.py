"""Kills a command at seeded moments, runs it again, and compares the outcome with an undisturbed run."""

from __future__ import annotations

import itertools
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

from distgnn import cli
from jobs.killing import judge
from jobs.killing.scenes import Scene
from jobs.killing.victim import Victim, ask, pause, warm_up

_HELD = ("another command writes here", "a run of that name exists", "a corpus already exists")
_MAX_KILLS = 3
"""Most kills before the command may finish."""


@dataclass
class Tally:
    """What came of a scene.

    Attributes:
        scene: Name of the scene.
        kills: Number of processes that were killed before they had ended.
        writing: How many of them were killed at a write.
        pairs: How many of them were one of two writers.
        refused: How many second writers were told who writes.
        finished: Number of processes that had ended before the kill.
        reruns: Number of runs to the end.
        problems: What went wrong, with the number of the round that repeats it.
    """

    scene: str
    kills: int = 0
    writing: int = 0
    pairs: int = 0
    refused: int = 0
    finished: int = 0
    reruns: int = 0
    problems: list[str] = field(default_factory=list)


class Drill:
    """Rounds of kills of one scene.

    Args:
        scene: The scene.
        work: Folder of everything local.
        seed: First part of the key of each round.
    """

    def __init__(self, scene: Scene, work: Path, seed: int) -> None:
        self.scene, self.work, self.seed = scene, work, seed
        self.log, self.other = work / "command.log", work / "other.log"
        self.tally = Tally(scene.name)
        self.expected: dict[str, str] = {}
        self.seconds, self.writes = 0.0, 0

    def measure(self) -> None:
        """Run the command undisturbed, twice; the second run, in which nothing is imported anew, gives time and writes."""
        self._clear()
        warm_up(lambda: cli.main(list(self.scene.words)), self.work, self.log)
        first = ask(lambda: judge.contents(self.scene.place), self.work, self.log)
        self._clear()
        victim = Victim.run(self.scene.words, self.work, self.log)
        if victim.wait() != 0:
            raise SystemExit(f"{self.scene.name} fails undisturbed:\n{victim.said[-3000:]}")
        self.seconds, self.writes = time.monotonic() - victim.start, victim.seen
        self.expected = ask(lambda: judge.contents(self.scene.place), self.work, self.log)
        if found := judge.difference(first, self.expected):
            raise SystemExit(f"{self.scene.name}: two undisturbed runs differ: {found}")

    def run(self, kills: int) -> Tally:
        """Make rounds until there were ``kills``."""
        for number in range(4 * kills + 4):
            if self.tally.kills >= kills:
                break
            self.round(number)
        return self.tally

    def round(self, number: int) -> None:
        """Kill one to three times, or one of two writers; then run to the end and compare. A function of seed and number."""
        rng = random.Random(f"{self.seed}-{self.scene.name}-{number}")
        self._clear()
        found: list[str] = []
        if self.scene.pairs and rng.random() < 1 / 3:
            found += self._two_writers(rng)
        else:
            for before in range(rng.randint(1, _MAX_KILLS)):
                if not self._killed(rng, self.writes // (1 + before)):
                    break
                found += self._look()
        found += self._finish()
        self.tally.problems += [f"round {number}: {problem}" for problem in found]

    def _killed(self, rng: random.Random, writes: int) -> bool:
        """Start the command and kill it, mostly at one of the first ``writes`` writes; returns whether it was still running."""
        victim = Victim.run(self._words(), self.work, self.log)
        writing = rng.random() < 2 / 3
        if writing:
            victim.wait_writes(rng.randint(1, writes))
            pause(rng)
        else:
            time.sleep(max(0.0, rng.random() * self.seconds))
        killed = victim.kill()
        self.tally.kills += killed
        self.tally.writing += killed and writing
        self.tally.finished += not killed
        return killed

    def _two_writers(self, rng: random.Random) -> list[str]:
        """Start the command twice, the second at a write of the first, which is mostly killed at a later write."""
        first = Victim.run(self.scene.words, self.work, self.log)
        at = rng.randint(1, self.writes)
        first.wait_writes(at)
        second = Victim.run(self.scene.words, self.work, self.other)
        if killing := rng.random() < 0.8:
            first.wait_writes(at + rng.randint(0, self.writes // 2))
            pause(rng)
            killed = first.kill()
            self.tally.kills += killed
            self.tally.writing += killed
            self.tally.pairs += killed
            self.tally.finished += not killed
        return [*self._look(), *self._judged(first, killing), *self._judged(second, False), *self._look()]

    def _judged(self, victim: Victim, killed: bool) -> list[str]:
        code = victim.wait()
        if code == 0 or (killed and code == -9):
            return []
        if code == 2 and any(line in victim.said for line in _HELD):
            self.tally.refused += 1
            return []
        return [f"a writer of two ended with {code}: {victim.said[-600:]}"]

    def _look(self) -> list[str]:
        """What is wrong now, while the command is not finished."""
        place = self.scene.place
        return ask(
            lambda: judge.half_written(place) + judge.missing_strangers(place), self.work, self.work / "look.log"
        )

    def _finish(self) -> list[str]:
        """Run to the end; returns what is wrong then."""
        victim = Victim.run(self._words(), self.work, self.log)
        code, place = victim.wait(), self.scene.place
        self.tally.reruns += 1
        complete = code == 2 and self.scene.complete and self.scene.complete in victim.said
        failed = [] if code == 0 or complete else [f"run again, it ended with {code}: {victim.said[-600:]}"]
        return [*failed, *ask(lambda: self._wrong(place), self.work, self.work / "look.log")]

    def _wrong(self, place: str) -> list[str]:
        other = judge.difference(judge.contents(place), self.expected)
        differs = [f"differs from an undisturbed run: {other}"] if other else []
        return [*differs, *judge.leftovers(place), *judge.half_written(place), *judge.missing_strangers(place)]

    def _words(self) -> tuple[str, ...]:
        return tuple(ask(lambda: list(self.scene.next_words()), self.work, self.work / "look.log"))

    def _clear(self) -> None:
        """Empty the place of the scene but for what others have there, and run the command that comes before."""

        def prepare() -> int:
            self.scene.clear()
            judge.plant(self.scene.place)
            return cli.main(list(self.scene.before)) if self.scene.before else 0

        ask(prepare, self.work, self.work / "look.log")


def quotas(scenes: list[Scene], kills: int) -> dict[str, int]:
    """Return the number of kills of each scene, by its share."""
    shares = [scene.share for scene in scenes]
    ends = [round(kills * total / sum(shares)) for total in itertools.accumulate(shares)]
    return {scene.name: end - start for scene, start, end in zip(scenes, [0, *ends], ends, strict=False)}
