"""Checkpoints are written beside training: never half of one, errors come out, the right ones are kept and found after a crash."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distgnn.checkpoint.format import FOLDER, load_checkpoint, newest, seal, step_name
from distgnn.config import PretrainConfig, TrainConfig
from distgnn.corpus.stream import local_units
from distgnn.distributed import ProcessGroup
from distgnn.errors import RequestError, WorkError
from distgnn.pretraining import checkpointing
from distgnn.pretraining.background import Background
from distgnn.pretraining.history import Snapshot, read_history, read_progress
from distgnn.pretraining.loop import Hooks, train
from distgnn.pretraining.retention import CheckpointRetention, kept_steps, open_retention
from distgnn.pretraining.run import Run, new_run, open_corpus
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.verified import CHECKSUMS, publish
from tests.helpers.training import CPU, StopAfter, continue_small, ignore, losses, small, train_small, validations


class CrashError(BaseException):
    """The process dies here: nobody cleans up."""


class Publishing:
    """Stands for publish: waits until ``release`` is set, and counts how many are under way at once."""

    def __init__(self) -> None:
        self.release, self.lock = threading.Event(), threading.Lock()
        self.active = self.most = 0

    def __call__(self, folder: Folder, files: dict[str, bytes], sealed: bytes) -> None:
        with self.lock:
            self.active += 1
            self.most = max(self.most, self.active)
        assert self.release.wait(30)
        publish(folder, files, sealed)
        with self.lock:
            self.active -= 1


def hooks(
    show: Callable[[Snapshot], None] = ignore, warned: Callable[[], bool] = lambda: False, stop: int = 0
) -> Hooks:
    return Hooks(local_units, StopAfter(stop), show, warned=warned)


def run_with(config: PretrainConfig, settings: Hooks) -> Run:
    run = new_run(config)
    train(run, open_corpus(config), ProcessGroup.single_process(CPU), settings)
    return run


def steps_there(run: Run) -> list[int]:
    return [int(name.removeprefix("step-")) for name in run.folder.sub(FOLDER).names()]


def test_training_goes_on_while_a_checkpoint_is_written(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publishing, seen = Publishing(), list[int]()

    def show(snapshot: Snapshot) -> None:
        seen.append(snapshot["step"])
        if snapshot["step"] == 5 and snapshot["status"] == "running":
            assert publishing.active == 1  # that of step 2, which waits for us
            assert snapshot["checkpoint"] == ""
            publishing.release.set()

    monkeypatch.setattr(checkpointing, "publish", publishing)
    config = small(corpus, tmp_path, max_steps=7, validate_every=0, checkpoint_every=2, keep=9)
    config = replace(config, train=replace(config.train, checkpoint_every=0, checkpoint_minutes=0))
    monkeypatch.setattr(
        checkpointing.CheckpointSaver, "due", lambda _, state, *, node_loss: state.step == 2 or node_loss
    )
    run = run_with(config, hooks(show))
    assert steps_there(run) == [2, 7]
    assert load_checkpoint(run.folder.at(f"{FOLDER}/{step_name(2)}")).step == 2
    rows = [row["checkpoint"] for row in read_history(run.folder) if "checkpoint" in row]
    assert [row["of"] for row in rows] == [2, 7]
    assert all(row["bytes"] > 1000 and row["write_seconds"] > 0 and row["stall_seconds"] > 0 for row in rows)
    assert rows[0]["stall_seconds"] < rows[0]["write_seconds"]  # three steps were made meanwhile
    assert read_progress(run.folder)["checkpoint"] == f"{FOLDER}/{step_name(7)}"
    assert seen[-1] == 7


def test_a_checkpoint_holds_the_state_of_its_step_though_training_went_on(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publishing = Publishing()
    threading.Timer(0.5, publishing.release.set).start()
    config = small(corpus, tmp_path, max_steps=6, checkpoint_every=3, keep=9)
    plain = train_small(replace(config, name="plain"))
    monkeypatch.setattr(checkpointing, "publish", publishing)
    run = train_small(config)
    assert publishing.most == 1
    for step in (3, 6):
        found, expected = (load_checkpoint(one.folder.at(f"{FOLDER}/{step_name(step)}")) for one in (run, plain))
        assert found.state.step == step
        for mine, theirs in ((found.model, expected.model), (found.optimiser, expected.optimiser)):
            assert all((mine[name] == theirs[name]).all() for name in theirs)


def test_what_goes_wrong_in_the_thread_is_raised(corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise WorkError("disk full")

    monkeypatch.setattr(checkpointing, "publish", full)
    with pytest.raises(WorkError, match="disk full"):
        train_small(small(corpus, tmp_path, checkpoint_every=1))
    with pytest.raises(WorkError, match="disk full"):  # at the end
        train_small(small(corpus, tmp_path, "end", max_steps=2))


def test_background_hands_over_results_and_errors_once() -> None:
    work: Background[int] = Background("test")
    assert work.take() is None
    work.start(lambda: 3)
    assert [work.take(), work.take()] == [3, None]
    work.start(lambda: 1 // 0)
    work.wait()
    assert not work.busy
    with pytest.raises(ZeroDivisionError):
        work.take()
    assert work.take() is None
    assert work.busy is False


@given(
    st.dictionaries(st.integers(0, 30), st.none() | st.floats(0, 9), min_size=1), st.integers(1, 4), st.integers(0, 3)
)
def test_which_checkpoints_are_kept(scores: dict[int, float | None], newest_kept: int, best: int) -> None:
    kept = kept_steps(scores, newest_kept, best)
    assert set(sorted(scores)[-newest_kept:]) <= kept <= set(scores)
    scored = {step: score for step, score in scores.items() if score is not None}
    ranked = sorted(scored, key=lambda step: (scored[step], step))
    assert set(ranked[:best]) <= kept
    assert len(kept) <= newest_kept + best
    assert len(kept) >= min(len(scores), newest_kept)


@given(st.lists(st.floats(0, 9), max_size=6), st.floats(0, 9), st.integers(0, 3))
def test_wants_exactly_what_would_be_kept(before: list[float], score: float, best: int) -> None:
    scores: dict[int, float | None] = dict(enumerate(before))
    kept = kept_steps(scores, 1, best)
    retention = CheckpointRetention(open_folder("unused"), 1, best, {step: scores[step] for step in kept})
    later = {**retention.scores, 50: score, 99: None}
    assert retention.wants(score) == (50 in kept_steps(later, 1, best))


def test_keep_best(corpus: str, tmp_path: Path) -> None:
    config = small(corpus, tmp_path, max_steps=11, validate_every=2, keep=1, keep_best=2, lr=0.02)
    run = train_small(config, stop_after=6)
    continue_small(run)
    measured = {step: means["loss"] for step, means in validations(run).items()}
    best = sorted(measured, key=lambda step: measured[step])[:2]
    assert steps_there(run) == sorted({*best, 11})
    assert read_progress(run.folder)["best"] == f"{FOLDER}/{step_name(best[0])}"
    for step in best:
        assert load_checkpoint(run.folder.at(f"{FOLDER}/{step_name(step)}")).state.score == measured[step]
    without = train_small(replace(config, name="without", train=replace(config.train, keep_best=0)))
    assert steps_there(without) == [11]
    assert losses(run) == pytest.approx(losses(without), rel=1e-6)


def test_keep_best_needs_a_validation() -> None:
    with pytest.raises(RequestError, match=r"train\.keep_best=1 needs held-out graphs"):
        TrainConfig(keep_best=1, validation_fraction=0)


def test_a_node_about_to_go_asks_for_a_checkpoint(corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = iter(range(1, 99))
    monkeypatch.setattr(checkpointing, "_NODE_LOSS_SECONDS", 0.0)
    config = small(corpus, tmp_path, max_steps=9, validate_every=0, keep=9)
    run = run_with(config, hooks(warned=lambda: next(steps) == 4))
    assert steps_there(run) == [4, 9]
    monkeypatch.setattr(checkpointing, "_NODE_LOSS_SECONDS", 60.0)
    assert steps_there(run_with(replace(config, name="again"), hooks(warned=lambda: True))) == [9]


def crash_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The process dies instead of its ``number``-th write, or move into place, from now on."""
    left, write = iter(range(number)), Folder.write

    def dying(folder: Folder, name: str, data: bytes) -> None:
        if next(left, None) is None:
            raise CrashError
        write(folder, name, data)

    monkeypatch.setattr(Folder, "write", dying)


@pytest.fixture
def files(corpus: str, tmp_path: Path) -> dict[str, bytes]:
    """A checkpoint's, but for its checksums."""
    source = newest(train_small(small(corpus, tmp_path, "source", max_steps=2)).folder)
    assert source is not None
    return {name: source.read(name) for name in source.names() if name != CHECKSUMS}


@pytest.fixture(params=["local", "s3"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where runs lie: on disk, and in a bucket."""
    return request.getfixturevalue("s3") if request.param == "s3" else str(tmp_path / "runs")


def test_a_crash_at_any_write_of_a_checkpoint_loses_nothing(
    base: str, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(len(files) + 1):
        run = open_folder(base).sub(f"crash-{number}")
        old, new = (run.sub(FOLDER).sub(step_name(step)) for step in (1, 2))
        publish(old, files, seal(files))
        with monkeypatch.context() as context:
            crash_at(context, number)
            with pytest.raises(CrashError):
                publish(new, files, seal(files))
        found = newest(run)
        assert found is not None
        assert found.uri == old.uri
        assert open_retention(run, 1, newest=2, best=0).scores.keys() == {1}
        assert run.sub(FOLDER).names() == [step_name(1)]
        publish(new, files, seal(files))
        found = newest(run)
        assert found is not None
        assert found.uri == new.uri


def test_a_crash_while_deleting_leaves_no_half_checkpoint(
    base: str, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_folder(base).sub("deleting")
    for step in (1, 2):
        publish(run.sub(FOLDER).sub(step_name(step)), files, seal(files))
    retention, delete, calls = open_retention(run, 2, newest=1, best=0), Folder.delete, iter(range(2))

    def dying(folder: Folder, name: str) -> None:
        if next(calls, None) is None:
            raise CrashError
        delete(folder, name)

    if base.startswith("s3:"):
        with monkeypatch.context() as context:
            context.setattr(Folder, "delete", dying)
            with pytest.raises(CrashError):
                retention.remove(step_name(1))
        with pytest.raises(RequestError, match="no complete checkpoint"):
            load_checkpoint(run.sub(FOLDER).at(step_name(1)))
    retention.remove(step_name(1))
    assert open_retention(run, 2, newest=1, best=0).scores.keys() == {2}
    assert run.sub(FOLDER).names() == [step_name(2)]
    retention.remove(step_name(1))  # what is gone is gone


def test_damaged_later_checkpoints_are_written_again(corpus: str, tmp_path: Path) -> None:
    run = train_small(small(corpus, tmp_path, max_steps=6, checkpoint_every=3, keep=9))
    whole = load_checkpoint(run.folder.uri)
    (Path(whole.uri) / "model.safetensors").write_bytes(b"damaged")
    assert continue_small(run) == "finished"
    again = load_checkpoint(run.folder.uri)
    assert again.step == 6
    assert all((again.model[name] == whole.model[name]).all() for name in whole.model)


def test_an_error_of_training_waits_for_the_checkpoint_under_way(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publishing = Publishing()
    monkeypatch.setattr(checkpointing, "publish", publishing)
    threading.Timer(0.5, publishing.release.set).start()
    asked = iter(range(99))

    def failing() -> bool:
        if next(asked) == 4:
            raise WorkError("a rank was lost")
        return False

    config = small(corpus, tmp_path, checkpoint_every=3)
    run, start = new_run(config), time.monotonic()
    with pytest.raises(WorkError, match="a rank was lost"):
        train(run, open_corpus(config), ProcessGroup.single_process(CPU), Hooks(local_units, failing, ignore))
    assert time.monotonic() - start >= 0.4
    assert steps_there(run) == [3]
