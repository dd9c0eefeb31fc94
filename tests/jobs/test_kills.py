"""The drill of kills: victims tell their writes, the judge sees what is half-written, and the drill finds nothing wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from distgnn.storage.folder import open_folder
from distgnn.storage.lock import LOCK
from distgnn.storage.verified import CHECKSUMS
from jobs.killing import judge
from jobs.killing.drill import quotas
from jobs.killing.scenes import Scene
from jobs.killing.victim import Victim, ask
from tests.helpers.corpora import motifs

ROOT = Path(__file__).resolve().parents[2]


def _written(place: Path) -> int:
    for number in range(1000):
        (place / str(number)).write_text("x")
    return 0


def test_a_victim_is_killed_at_a_write(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    victim = Victim.call(lambda: _written(place), place, tmp_path / "log")
    assert victim.wait_writes(5)
    assert victim.kill()
    assert 4 <= len(list(place.iterdir())) < 1000
    assert victim.code == -9


def test_a_victim_that_ends_tells_all_writes_and_its_exception(tmp_path: Path) -> None:
    victim = Victim.call(lambda: _written(tmp_path), tmp_path, tmp_path.parent / "log")
    assert victim.wait() == 0
    assert victim.seen == 1000
    failed = Victim.call(lambda: 1 // 0, tmp_path, tmp_path.parent / "log")
    assert failed.wait() == 70
    assert "ZeroDivisionError" in failed.said
    assert ask(lambda: {"a": [1]}, tmp_path, tmp_path.parent / "log") == {"a": [1]}


def test_the_judge(tmp_path: Path) -> None:
    place, corpus = str(tmp_path), tmp_path / "corpus"
    motifs(corpus, graphs=20)
    judge.plant(place)
    whole = judge.contents(place)
    assert not [*judge.half_written(place), *judge.leftovers(place), *judge.missing_strangers(place)]
    shard = corpus / "shard-00000.parquet"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert "corpus/corpus.json is taken for whole" in judge.half_written(place)[0]
    assert judge.difference(judge.contents(place), whole).startswith("corpus/shard-00000.parquet: ")
    (tmp_path / judge.STRANGER).unlink()
    (tmp_path / f"x.distgnn-tmp-{'0' * 8}-1-{'0' * 8}").touch()
    (tmp_path / LOCK).touch()
    assert judge.missing_strangers(place) == [f"{place}/{judge.STRANGER} is gone"]
    assert len(judge.leftovers(place)) == 2


def test_checksums_that_are_wrong_are_half_written(tmp_path: Path) -> None:
    (tmp_path / CHECKSUMS).write_text(json.dumps({"format": "distgnn-checkpoint", "version": 1, "files": {}}))
    assert "checksums.json is taken for whole: " in judge.half_written(str(tmp_path))[0]


def test_times_are_not_compared(tmp_path: Path) -> None:
    for seconds in (1, 2):
        open_folder(f"{tmp_path}/{seconds}").write("results.json", json.dumps({"seconds": seconds, "x": [1]}).encode())
    assert judge.contents(f"{tmp_path}/1") == judge.contents(f"{tmp_path}/2")


def test_quotas_add_up() -> None:
    made = [Scene(name, "", (), share) for name, share in (("a", 3), ("b", 1), ("c", 2))]
    assert quotas(made, 200) == {"a": 100, "b": 33, "c": 67}


@pytest.mark.slow
def test_the_drill(tmp_path: Path) -> None:
    told = tmp_path / "kills.json"
    words = ["--kills", "4", "--scene", "push", "--sweep-kills", "0", "--json", str(told)]
    done = subprocess.run(
        [sys.executable, str(ROOT / "jobs" / "kills.py"), *words], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(told.read_text())["scenes"]
    assert [scene["scene"] for scene in found] == ["push", "push to S3"]
    assert all(scene["kills"] >= 1 and scene["reruns"] >= 1 and not scene["problems"] for scene in found)
