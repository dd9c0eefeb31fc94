"""What loading downloads from an object store, and the local cache: only needed files, once, verified at each use."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from botocore.httpsession import URLLib3Session

from distgnn.checkpoint import push_pull
from distgnn.checkpoint.format import FILES, load_checkpoint, read_verified
from distgnn.checkpoint.load import load_encoder
from distgnn.errors import RequestError
from distgnn.pretraining.run import Run
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.verified import CHECKSUMS
from tests.helpers.corpora import contents
from tests.helpers.training import small, train_small

WEIGHTS = "model.safetensors"


@dataclass
class Traffic:
    """HTTP requests of boto3. files: how often each name was downloaded. bytes: of all bodies of GETs."""

    requests: int = 0
    bytes: int = 0
    files: Counter[str] = field(default_factory=Counter)

    def of(self, work: Callable[[], object]) -> tuple[int, int, dict[str, int]]:
        """(requests, bytes, files) of ``work``."""
        self.requests, self.bytes, self.files = 0, 0, Counter()
        work()
        return self.requests, self.bytes, dict(self.files)


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Traffic:
    found, send = Traffic(), URLLib3Session.send

    def counted(session: URLLib3Session, request: Any) -> Any:
        answer = send(session, request)
        found.requests += 1
        found.bytes += int(answer.headers.get("Content-Length", 0)) if request.method == "GET" else 0
        name = request.url.partition("?")[0].rpartition("/")[2]
        found.files[name] += request.method == "GET" and name in (*FILES, CHECKSUMS) and answer.status_code < 300
        found.files = +found.files
        return answer

    monkeypatch.setattr(URLLib3Session, "send", counted)
    return found


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DISTGNN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def run(corpus: str, s3: str) -> Run:
    return train_small(small(corpus, s3, max_steps=2, checkpoint_every=1, keep=2))


def size_of(run: Run, *names: str) -> int:
    folder = run.folder.sub("checkpoints/step-000000002")
    return sum(folder.size(name) or 0 for name in names)


def test_an_encoder_is_downloaded_once_and_without_the_optimiser(run: Run, traffic: Traffic, cache: Path) -> None:
    needed, listing = size_of(run, "config.json", WEIGHTS, CHECKSUMS), 3000
    requests, size, files = traffic.of(lambda: load_encoder(run.folder.uri))
    assert files == {"config.json": 1, WEIGHTS: 1, CHECKSUMS: 1}
    assert requests == 5, "checksums.json of the run (404), a listing, and three files"
    assert needed < size < needed + listing
    requests, size, files = traffic.of(lambda: load_encoder(run.folder.uri))
    assert files == {CHECKSUMS: 1}
    assert requests == 3
    assert size < size_of(run, CHECKSUMS) + listing
    assert traffic.of(lambda: load_encoder(run.folder.at("checkpoints/step-000000002")))[0] == 1
    assert len(list(cache.iterdir())) == 1


def test_pull_and_load_share_the_cache(run: Run, traffic: Traffic) -> None:
    load_encoder(run.folder.uri)
    files = traffic.of(lambda: push_pull.pull(run.folder.uri))[2]
    assert files == {name: 1 for name in (*FILES, CHECKSUMS) if name not in ("config.json", WEIGHTS)}
    home = push_pull.pull(run.folder.uri)
    assert sorted(contents(Path(home))) == sorted((*FILES, CHECKSUMS))
    assert load_checkpoint(home).step == 2


def test_a_checkpoint_is_downloaded_once(run: Run, traffic: Traffic) -> None:
    assert traffic.of(lambda: load_checkpoint(run.folder.uri))[2] == dict.fromkeys((*FILES, CHECKSUMS), 1)


def test_a_damaged_or_partial_entry_is_fetched_again(run: Run, traffic: Traffic, cache: Path) -> None:
    expected = load_encoder(run.folder.uri).state_dict()
    (entry,) = cache.iterdir()
    (entry / WEIGHTS).write_bytes((entry / WEIGHTS).read_bytes()[:-1])
    (entry / "config.json.tmp-00000000").write_bytes(b"left by a process that was killed")
    found = []
    files = traffic.of(lambda: found.append(load_encoder(run.folder.uri)))[2]
    assert files == {WEIGHTS: 1, CHECKSUMS: 1}
    assert all(torch.equal(found[0].state_dict()[name], tensor) for name, tensor in expected.items())
    assert not (entry / CHECKSUMS).exists(), "an entry with some of the files is not whole"
    with pytest.raises(RequestError, match="not a complete checkpoint"):
        read_verified(open_folder(str(entry)))


def test_without_a_writable_cache_a_warning_is_all(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("DISTGNN_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="is not cached"):
        assert load_encoder(run.folder.uri).width == 12


def test_a_local_checkpoint_is_read_in_place(corpus: str, tmp_path: Path, cache: Path) -> None:
    run = train_small(small(corpus, tmp_path, max_steps=1))
    assert load_encoder(run.folder.uri).width == 12
    assert not cache.exists()


def test_an_older_checkpoint_is_loaded_if_the_newest_has_a_damaged_model(corpus: str, tmp_path: Path) -> None:
    run = train_small(small(corpus, tmp_path, max_steps=2, checkpoint_every=1, keep=2))
    newest = Path(run.folder.path) / "checkpoints/step-000000002"
    shutil.copy(newest / "config.json", newest / WEIGHTS)
    older = load_encoder(run.folder.at("checkpoints/step-000000001")).state_dict()
    assert all(torch.equal(load_encoder(run.folder.uri).state_dict()[name], tensor) for name, tensor in older.items())


def test_reading_a_file_that_is_not_there(s3: str, tmp_path: Path) -> None:
    folders: list[Folder] = [open_folder(s3), open_folder(str(tmp_path)), open_folder(str(tmp_path / "absent"))]
    assert [folder.read_if_there("a") for folder in folders] == [None, None, None]
    folders[1].write("a", b"1")
    assert folders[1].read_if_there("a") == b"1"
    assert open_folder(str(tmp_path / "a")).read_if_there("b") is None
