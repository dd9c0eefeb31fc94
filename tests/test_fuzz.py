"""Whatever a manifest, checkpoint or shard says: it is read, or it is one line. Never another exception, never a huge array."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distgnn.checkpoint.format import FILES, load_checkpoint, newest, seal
from distgnn.checkpoint.load import load_encoder
from distgnn.corpus.inspect import cat, stat, verify
from distgnn.corpus.reader import CorpusReader
from distgnn.errors import RequestError, WorkError
from distgnn.network.manifest import read_manifest, statistics
from distgnn.network.store import load_network, save_network, verify_network
from distgnn.pretraining.history import read_history, read_progress
from distgnn.pretraining.run import Run, run_config
from distgnn.storage.folder import open_folder
from distgnn.storage.verified import CHECKSUMS
from tests.helpers.corpora import motifs
from tests.helpers.networks import papers
from tests.helpers.training import small, train_small

fuzzed = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NUMBERS = st.sampled_from([-1, 0, 1, 2, 2**31, 2**63, 10**30]) | st.integers(-100, 10**6) | st.floats()
LEAVES = st.none() | st.booleans() | NUMBERS | st.text(max_size=8)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
BYTES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"null", b"[]", b"{}", b"1e999", b"9" * 5000]),
)


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of everything inside a JSON document."""
    if isinstance(document, dict | list):
        keys = list(document) if isinstance(document, dict) else list(range(len(document)))
        for key in keys:
            yield document, key
            yield from places(document[key])


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A document with one to three values replaced, left out or added, or no such document at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(BYTES)
    document = json.loads(whole)
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(document))
        if not found:
            break
        holder, key = draw(st.sampled_from(found))
        action = draw(st.sampled_from(["replace", "replace", "remove", "add", "copy"]))
        if action == "replace":
            holder[key] = draw(VALUES)
        elif action == "remove":
            del holder[key]
        elif isinstance(holder, dict):
            holder[draw(st.text(max_size=5))] = draw(VALUES)
        else:
            holder.append(copy.deepcopy(holder[key]) if action == "copy" else draw(VALUES))
    return json.dumps(document).encode()


def one_line(action: Callable[[], object]) -> None:
    """Run it; it may fail in the two ways a command may, with one line."""
    with suppress(RequestError, WorkError):
        action()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "corpus"
    motifs(folder, graphs=100)
    return folder


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_small(small(str(corpus), tmp_path_factory.mktemp("run"), max_steps=2))


@pytest.fixture(scope="module")
def checkpoint(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = newest(trained.folder)
    assert found is not None
    return Path(shutil.copytree(found.path, tmp_path_factory.mktemp("fuzz") / "checkpoint"))


def put(path: Path, data: bytes, whole: bytes, action: Callable[[], object]) -> None:
    """Do ``action`` while ``data`` stands in place of ``whole``."""
    path.write_bytes(data)
    try:
        one_line(action)
    finally:
        path.write_bytes(whole)


@fuzzed
@given(st.data())
def test_corpus_manifests(corpus: Path, data: st.DataObject) -> None:
    path, whole = corpus / "corpus.json", (corpus / "corpus.json").read_bytes()
    made = data.draw(damaged(whole))
    for action in (
        lambda: CorpusReader(str(corpus), labels=True).load(),
        lambda: verify(str(corpus)),
        lambda: stat(str(corpus)),
        lambda: list(cat(str(corpus), 0, 3)),
    ):
        put(path, made, whole, action)


@fuzzed
@given(st.data())
def test_shards(corpus: Path, data: st.DataObject) -> None:
    """Bytes changed, left out or cut off, in a corpus whose manifest agrees with them."""
    path, whole = corpus / "shard-00000.parquet", (corpus / "shard-00000.parquet").read_bytes()
    made = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(made)) | st.integers(max(0, len(made) - 400), len(made)))
        stop = start + data.draw(st.integers(0, 20))
        made[start:stop] = data.draw(st.binary(max_size=20))
    if data.draw(st.booleans()):
        del made[data.draw(st.integers(0, len(made))) :]
    manifest, before = corpus / "corpus.json", (corpus / "corpus.json").read_bytes()
    told = json.loads(before)
    told["shards"][0] |= {"bytes": len(made), "sha256": hashlib.sha256(made).hexdigest()}
    manifest.write_text(json.dumps(told))
    try:
        put(path, bytes(made), whole, lambda: CorpusReader(str(corpus), labels=True).load())
        put(path, bytes(made), whole, lambda: verify(str(corpus)))
    finally:
        manifest.write_bytes(before)


@fuzzed
@given(st.data())
def test_networks(tmp_path: Path, data: st.DataObject) -> None:
    uri, path = str(tmp_path / "net"), tmp_path / "net" / "network.json"
    if not path.exists():
        save_network(papers(), uri)
    whole = path.read_bytes()
    made = data.draw(damaged(whole))
    for action in (
        lambda: load_network(uri),
        lambda: verify_network(uri),
        lambda: statistics(read_manifest(open_folder(uri)), uri),
    ):
        put(path, made, whole, action)


@fuzzed
@given(st.data())
def test_arrays_of_networks(tmp_path: Path, data: st.DataObject) -> None:
    uri, path = str(tmp_path / "net"), tmp_path / "net" / "source.npy"
    if not path.exists():
        save_network(papers(), uri)
    whole = path.read_bytes()
    made = bytearray(whole)
    start = data.draw(st.integers(0, len(made)) | st.integers(0, 128))
    piece = data.draw(st.binary(max_size=12))
    made[start : start + len(piece)] = piece
    put(path, bytes(made), whole, lambda: load_network(uri))


@fuzzed
@given(st.data())
def test_lists_of_checksums(checkpoint: Path, data: st.DataObject) -> None:
    whole = (checkpoint / CHECKSUMS).read_bytes()
    put(checkpoint / CHECKSUMS, data.draw(damaged(whole)), whole, lambda: load_checkpoint(str(checkpoint)))


@fuzzed
@given(st.data())
def test_files_of_checkpoints(checkpoint: Path, data: st.DataObject) -> None:
    """With checksums that agree with them."""
    name = data.draw(st.sampled_from(["config.json", "state.json", "model.safetensors", "state.safetensors"]))
    path, whole, before = checkpoint / name, (checkpoint / name).read_bytes(), (checkpoint / CHECKSUMS).read_bytes()
    if name.endswith(".json"):
        made = data.draw(damaged(whole))
    else:
        length = int.from_bytes(whole[:8], "little")
        header = data.draw(damaged(whole[8 : 8 + length]))
        made = len(header).to_bytes(8, "little") + header + whole[8 + length :]
    path.write_bytes(made)
    (checkpoint / CHECKSUMS).write_bytes(seal({file: (checkpoint / file).read_bytes() for file in FILES}))
    try:
        one_line(lambda: load_encoder(str(checkpoint)))
    finally:
        path.write_bytes(whole)
        (checkpoint / CHECKSUMS).write_bytes(before)


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ({"width": 32768, "layers": 1000}, "weights do not fit the model"),
        ({"width": 32768, "heads": 1024, "kind": "gat"}, "weights do not fit the model"),
        ({"width": 10**6}, "encoder.width: must be at most 32768"),
        ({"layers": 10**9}, "encoder.layers: must be at most 1000"),
        ({"width": 10**30}, "more than 64 bits"),
        ({"heads": 10**12, "kind": "gat"}, "encoder.heads: must be at most 1024"),
    ],
)
def test_a_config_cannot_claim_all_memory(
    checkpoint: Path, tmp_path: Path, claim: dict[str, Any], message: str
) -> None:
    copied = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    config = json.loads((copied / "config.json").read_text())
    config["encoder"] |= claim
    (copied / "config.json").write_text(json.dumps(config))
    (copied / CHECKSUMS).write_bytes(seal({file: (copied / file).read_bytes() for file in FILES}))
    with pytest.raises(RequestError, match=message):
        load_checkpoint(str(copied))


@fuzzed
@given(st.data())
def test_files_of_runs(trained: Run, data: st.DataObject) -> None:
    folder = trained.folder
    name = data.draw(st.sampled_from(["config.json", "progress.json", "history/000000000.jsonl"]))
    path, actions = (
        Path(folder.locate(name)),
        (run_config, lambda _: read_progress(folder), lambda _: read_history(folder)),
    )
    whole = path.read_bytes()
    lines = whole.splitlines() if name.startswith("history") else [whole]
    made = b"\n".join([data.draw(damaged(lines[0])), *lines[1:]])
    for action in actions:
        put(path, made, whole, lambda action=action: action(folder.uri))
