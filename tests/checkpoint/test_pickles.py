"""Nothing is ever unpickled: a file whose unpickling would leave a mark leaves none, wherever it lies and whatever its name."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from distgnn.checkpoint import push_pull
from distgnn.checkpoint.format import FILES, load_checkpoint, newest, seal
from distgnn.checkpoint.load import load_encoder
from distgnn.corpus.inspect import verify
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.sources.arrays import ArraysConfig, ArraysSource
from distgnn.errors import RequestError
from distgnn.network.store import load_network, save_network
from distgnn.pretraining.run import Run
from distgnn.storage.verified import CHECKSUMS
from tests.helpers.networks import papers
from tests.helpers.training import continue_small, small, train_small


class Trap:
    """Makes the file ``mark`` when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.mark,)


def traps(mark: Path) -> dict[str, bytes]:
    """The same trap as pickle, as a torch file (zip and old), and as arrays of objects."""
    old, new, array, arrays = io.BytesIO(), io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save({"w": Trap(mark)}, new)
    torch.save({"w": Trap(mark)}, old, _use_new_zipfile_serialization=False)
    objects = np.array([Trap(mark)], object)
    np.save(array, objects, allow_pickle=True)
    np.savez(arrays, num_nodes=objects)
    found = {"pickle": pickle.dumps(Trap(mark)), "torch": new.getvalue(), "old torch": old.getvalue()}
    return found | {"npy": array.getvalue(), "npz": arrays.getvalue()}


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "mark"


@pytest.fixture(scope="module")
def trained(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_small(small(corpus, tmp_path_factory.mktemp("trained"), max_steps=2))


def test_the_traps_work(mark: Path) -> None:
    for name, data in traps(mark).items():
        if name == "npz":
            np.load(io.BytesIO(data), allow_pickle=True)["num_nodes"]
        elif name == "npy":
            np.load(io.BytesIO(data), allow_pickle=True)
        else:
            torch.load(io.BytesIO(data), weights_only=False) if "torch" in name else pickle.loads(data)
        assert mark.exists(), name
        mark.unlink()


def test_beside_a_checkpoint(trained: Run, mark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTGNN_CACHE", str(tmp_path / "cache"))
    copy = Path(shutil.copytree(trained.folder.path, tmp_path / "run"))
    found = newest(trained.folder)
    assert found is not None
    for name, data in traps(mark).items():
        for place in (copy, copy / "checkpoints", copy / "checkpoints" / Path(found.path).name):
            for suffix in ("pt", "pkl", "bin", "ckpt", "npy"):
                (place / f"model.{suffix}").write_bytes(data)
                (place / f"state.{suffix}").write_bytes(data)
        load_encoder(push_pull.pull(str(copy)))
        run = Run(type(trained.folder)(trained.folder.filesystem, str(copy), str(copy)), trained.config)
        assert continue_small(run) == "finished", name
        assert not mark.exists(), name


def test_in_place_of_a_checkpoints_files(trained: Run, mark: Path, tmp_path: Path) -> None:
    found = newest(trained.folder)
    assert found is not None
    for kind, data in traps(mark).items():
        for name in FILES:
            if name == "card.md":
                continue  # for people; nothing reads it
            copy = Path(shutil.copytree(found.path, tmp_path / f"{kind}-{name}"))
            (copy / name).write_bytes(data)
            (copy / CHECKSUMS).write_bytes(seal({file: (copy / file).read_bytes() for file in FILES}))
            if name == "corpus.json":
                load_checkpoint(str(copy))  # kept for people and not read
            else:
                with pytest.raises(
                    RequestError,
                    match=r"do not parse|not the (config|state|metrics) of a checkpoint|not a list of checksums",
                ):
                    load_checkpoint(str(copy))
            assert not mark.exists(), (kind, name)


def test_in_place_of_a_corpus(corpus: str, mark: Path, tmp_path: Path) -> None:
    for kind, data in traps(mark).items():
        copy = Path(shutil.copytree(corpus, tmp_path / kind))
        (copy / "graphs.pkl").write_bytes(data)
        CorpusReader(str(copy)).load()
        shards = json.loads((copy / "corpus.json").read_text())
        shards["shards"][0]["bytes"] = len(data)
        (copy / "corpus.json").write_text(json.dumps(shards))
        (copy / "shard-00000.parquet").write_bytes(data)
        with pytest.raises(RequestError, match="not readable as Parquet"):
            CorpusReader(str(copy)).load()
        assert not verify(str(copy)).ok
        (copy / "corpus.json").write_bytes(data)
        with pytest.raises(RequestError, match="not a corpus manifest"):
            CorpusReader(str(copy))
        assert not mark.exists(), kind


def test_in_place_of_a_networks_arrays(mark: Path, tmp_path: Path) -> None:
    for kind, data in traps(mark).items():
        save_network(papers(), str(tmp_path / kind))
        path = tmp_path / kind / "network.json"
        manifest = json.loads(path.read_text())
        manifest["arrays"]["source"]["bytes"] = len(data)
        path.write_text(json.dumps(manifest))
        (tmp_path / kind / "source.npy").write_bytes(data)
        with pytest.raises(RequestError, match=r"not a plain \.npy array"):
            load_network(str(tmp_path / kind))
        assert not mark.exists(), kind


def test_as_input_of_a_builder(mark: Path, tmp_path: Path) -> None:
    for kind, data in traps(mark).items():
        (tmp_path / "graphs.npz").write_bytes(data)
        with pytest.raises(RequestError):
            ArraysSource(ArraysConfig(input=(str(tmp_path / "graphs.npz"),), out=""))
        assert not mark.exists(), kind
    with zipfile.ZipFile(tmp_path / "graphs.npz", "w") as archive:
        archive.writestr("num_nodes.npy", traps(mark)["npy"])
    with pytest.raises(RequestError):
        ArraysSource(ArraysConfig(input=(str(tmp_path / "graphs.npz"),), out=""))
    assert not mark.exists()
