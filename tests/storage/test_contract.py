"""The whole way on S3 under a rain of faults: nothing is lost, and every number is what it is on a quiet disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from distgnn.checkpoint import push_pull
from distgnn.checkpoint.format import load_checkpoint, newest
from distgnn.corpus.inspect import verify
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.stream import local_units
from distgnn.distributed import ProcessGroup
from distgnn.pretraining.loop import Hooks, train
from distgnn.pretraining.run import Run, new_run, open_corpus
from distgnn.storage import retry
from distgnn.storage.folder import open_folder
from tests.helpers.corpora import contents, motifs
from tests.helpers.faulty import ALL, Faulty, faulty
from tests.helpers.servers import S3Server
from tests.helpers.training import CPU, continue_small, ignore, losses, small, train_small, validations


@pytest.fixture(scope="module")
def undisturbed(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_small(small(corpus, tmp_path_factory.mktemp("undisturbed")))


def through(proxy: Faulty, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket's URI; the environment leads through the proxy, and pauses are short."""
    for name, value in server.variables(proxy.address).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(retry, "_FIRST_PAUSE", 0.002)
    return f"s3://{server.bucket()}"


@pytest.mark.parametrize("server", ["moto", pytest.param("rclone", marks=pytest.mark.slow)], indirect=True)
def test_200_faults_from_corpus_to_pulled_checkpoint(
    corpus: str, undisturbed: Run, server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faulty(server.address) as proxy:
        base = through(proxy, server, monkeypatch)
        proxy.inject(ALL, every=2, limit=200)
        motifs(f"{base}/corpus")
        folder = open_folder(f"{base}/corpus")
        shards = {
            shard.name: folder.read_checked(shard.name, shard.sha256)
            for shard in CorpusReader(folder.uri).manifest.shards
        }
        assert shards | {"corpus.json": folder.read("corpus.json")} == contents(Path(corpus))
        assert folder.files() == sorted(contents(Path(corpus)))
        assert verify(folder.uri).ok
        run = train_small(small(folder.uri, f"{base}/runs", checkpoint_every=2, keep=2), stop_after=7)
        assert continue_small(run) == "finished"
        assert losses(run) == losses(undisturbed)
        assert validations(run) == validations(undisturbed)
        there = push_pull.push(run.folder.uri, f"{base}/model")
        back = Path(push_pull.pull(there, str(tmp_path / "home")))
        assert proxy.injected.total() == 200
        assert set(proxy.injected) == set(ALL)
        proxy.inject(())
        last = newest(run.folder)
        assert last is not None
        assert contents(back) == {name: last.read(name) for name in last.files()}
        assert run.folder.sub("checkpoints").names() == ["step-000000010", "step-000000012"]
    here, ours = load_checkpoint(undisturbed.folder.uri), load_checkpoint(str(back))
    assert all(ours.model[name].equal(here.model[name]) for name in here.model)


@pytest.mark.parametrize("seconds", [2.0, pytest.param(60.0, marks=pytest.mark.slow)])
def test_storage_gone_while_training(
    undisturbed: Run, moto: S3Server, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    with faulty(moto.address) as proxy:
        base = through(proxy, moto, monkeypatch)
        motifs(f"{base}/corpus")
        run = new_run(small(f"{base}/corpus", f"{base}/runs", checkpoint_every=3))
        steps = iter(range(100))

        def fault_at_step_5() -> bool:
            if next(steps) == 5:
                proxy.gone_for(seconds)
            return False

        hooks = Hooks(local_units, fault_at_step_5, ignore)
        assert train(run, open_corpus(run.config), ProcessGroup.single_process(CPU), hooks) == "finished"
        assert proxy.injected["gone"] > 2
        assert losses(run) == losses(undisturbed)


def test_no_list_while_training(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty(moto.address) as proxy:
        base = through(proxy, moto, monkeypatch)
        motifs(f"{base}/corpus")
        lists: list[int] = []

        def note() -> bool:
            lists.append(proxy.counts["list"])
            return False

        run = new_run(small(f"{base}/corpus", f"{base}/runs", checkpoint_every=2, keep=1, keep_best=1))
        assert (
            train(run, open_corpus(run.config), ProcessGroup.single_process(CPU), Hooks(local_units, note, ignore))
            == "finished"
        )
        assert len(lists) == 12
        assert lists[-1] == lists[0]


def test_a_unit_is_few_requests(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty(moto.address) as proxy:
        base = through(proxy, moto, monkeypatch)
        motifs(f"{base}/corpus")
        reader = CorpusReader(f"{base}/corpus")
        reader.unit(0)
        proxy.counts.clear()
        reader.unit(1)
        assert proxy.counts == {}  # it came with the footer
        reader.unit(5)  # of another shard
        assert proxy.counts == {"get": 1}
