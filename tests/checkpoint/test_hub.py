"""Checkpoints on the Hugging Face Hub, with its own client and a server on localhost."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from distgnn.checkpoint import push_pull
from distgnn.checkpoint.load import load_encoder
from distgnn.cli import main
from distgnn.errors import RequestError, WorkError
from distgnn.storage import hub
from distgnn.storage.folder import open_folder
from tests.helpers.corpora import contents
from tests.helpers.hub import FakeHub, fake_hub
from tests.helpers.training import small, train_small


@pytest.fixture(scope="module")
def runs(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    out = tmp_path_factory.mktemp("runs")
    return [train_small(small(corpus, out, f"seed{seed}", max_steps=1, seed=seed)).folder.uri for seed in (0, 1)]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    pytest.importorskip("huggingface_hub", reason="the extra 'hub' is not installed")
    with fake_hub() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.endpoint)
        monkeypatch.setenv("HF_TOKEN", served.token)
        monkeypatch.setenv("DISTGNN_CACHE", str(tmp_path / "cache"))
        yield served


def test_push_and_pull_are_one_commit_and_the_same_bytes(
    runs: list[str], server: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", runs[0], "hf:lab/molecules"]) == 0
    assert capsys.readouterr().out.strip() == "hf:lab/molecules"
    assert len(server.repositories["lab/molecules"]) == 2
    local = push_pull.pull(runs[0], str(tmp_path / "local"))
    assert main(["pull", "hf:lab/molecules", str(tmp_path / "pulled")]) == 0
    assert contents(tmp_path / "pulled") == contents(Path(local))
    push_pull.push(runs[0], "hf:lab/molecules")
    assert len(server.repositories["lab/molecules"]) == 2
    readme = server.repositories["lab/molecules"][-1]["README.md"].decode()
    assert readme.startswith("---\nlibrary_name: distgnn\n")
    assert readme.endswith((tmp_path / "pulled" / "card.md").read_text())


def test_an_encoder_needs_three_files_once(runs: list[str], server: FakeHub) -> None:
    push_pull.push(runs[0], "hf:lab/molecules")
    server.requests.clear()
    width = load_encoder(runs[0]).width
    assert load_encoder("hf:lab/molecules").width == width
    read = [path.rpartition("/")[2] for path in server.requests if "/resolve/" in path]
    assert sorted(read) == ["checksums.json", "config.json", "model.safetensors"]
    server.requests.clear()
    assert load_encoder("hf:lab/molecules").width == width
    assert [path for path in server.requests if "/resolve/" in path] == [
        "GET /lab/molecules/resolve/main/checksums.json"
    ]


@pytest.mark.usefixtures("server")
def test_an_older_checkpoint_stays_in_the_history(runs: list[str], tmp_path: Path) -> None:
    for run in runs:
        push_pull.push(run, "hf:lab/molecules")
    old = push_pull.pull(f"hf:lab/molecules@{1:040x}", str(tmp_path / "old"))
    assert contents(Path(old)) == contents(Path(push_pull.pull(runs[0], str(tmp_path / "first"))))
    new = push_pull.pull("hf:lab/molecules", str(tmp_path / "new"))
    assert contents(Path(new)) == contents(Path(push_pull.pull(runs[1], str(tmp_path / "second"))))


def test_files_of_others_stay(runs: list[str], server: FakeHub) -> None:
    server.repositories["lab/bert"] = [{"config.json": b"{}"}]
    with pytest.raises(RequestError, match=r"hf:lab/bert: the repository holds other things \(config.json\)"):
        push_pull.push(runs[0], "hf:lab/bert")
    server.repositories["lab/notes"] = [{"README.md": b"mine"}]
    push_pull.push(runs[0], "hf:lab/notes")
    assert server.repositories["lab/notes"][-1]["README.md"] == b"mine"
    assert len(server.repositories["lab/bert"]) == 1


def test_a_file_that_was_changed_on_the_hub_is_refused(runs: list[str], server: FakeHub) -> None:
    push_pull.push(runs[0], "hf:lab/molecules")
    server.repositories["lab/molecules"][-1]["model.safetensors"] += b"x"
    with pytest.raises(RequestError, match=r"model\.safetensors"):
        load_encoder("hf:lab/molecules")


def test_a_commit_of_another_in_between_is_refused(server: FakeHub) -> None:
    server.repositories["lab/molecules"] = [{}]

    def meanwhile(_: object) -> dict[str, bytes]:
        server.repositories["lab/molecules"].append({"theirs": b"1"})
        return {"ours": b"2"}

    with pytest.raises(RequestError, match="A commit has happened since"):
        hub.commit("hf:lab/molecules", meanwhile)
    assert server.repositories["lab/molecules"][-1] == {"theirs": b"1"}


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("hf:molecules", "not a repository; write hf:OWNER/NAME"),
        ("hf:a/b/c", "not a repository"),
        ("hf:../b", "Repo id|not a repository|must"),
        ("hf:lab/molecules@main", "a revision cannot be written; give hf:lab/molecules"),
    ],
)
def test_other_targets_are_refused(runs: list[str], server: FakeHub, target: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        push_pull.push(runs[0], target)
    assert server.repositories == {}


@pytest.mark.usefixtures("server")
def test_no_repository_no_token_and_no_server(runs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="hf:lab/none: no such repository"):
        load_encoder("hf:lab/none")
    monkeypatch.setenv("HF_TOKEN", "expired")
    with pytest.raises(RequestError, match=r"Invalid username or password.*log in with: hf auth login") as raised:
        push_pull.push(runs[0], "hf:lab/molecules")
    assert "expired" not in str(raised.value)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WorkError, match=r"hf:lab/none: .*refused"):
        load_encoder("hf:lab/none")


def test_only_checkpoints_are_on_the_hub() -> None:
    with pytest.raises(RequestError, match="only checkpoints are read from the Hub"):
        open_folder("hf:lab/corpus")


def test_without_the_client_the_extra_is_named(runs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(RequestError, match=r"pip install 'distgnn\[hub\]'"):
        push_pull.push(runs[0], "hf:lab/molecules")
