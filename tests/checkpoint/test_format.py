"""Checkpoints: whole or not at all, verified before they are read, and enough to continue or to use."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch_geometric.data import Batch, Data

import distgnn
from distgnn.checkpoint.format import FILES, FOLDER, load_checkpoint, newest, read_newest, resolve, seal
from distgnn.checkpoint.load import load_encoder
from distgnn.checkpoint.training_state import make_state
from distgnn.corpus.reader import CorpusReader
from distgnn.errors import RequestError, WorkError
from distgnn.graph.pyg import to_pyg
from distgnn.pretraining.run import Run
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.verified import CHECKSUMS, publish
from tests.helpers.corpora import motifs
from tests.helpers.training import CPU, continue_small, losses, small, train_small


@pytest.fixture(scope="module")
def trained(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_small(small(corpus, tmp_path_factory.mktemp("trained"), max_steps=6, checkpoint_every=3))


@pytest.fixture
def copy(trained: Run, tmp_path: Path) -> Path:
    """A checkpoint to spoil."""
    folder = newest(trained.folder)
    assert folder is not None
    return Path(shutil.copytree(folder.path, tmp_path / "copy"))


def reseal(folder: Path) -> None:
    files = {name: (folder / name).read_bytes() for name in FILES}
    (folder / CHECKSUMS).write_bytes(seal(files))


def test_what_is_in_it(trained: Run) -> None:
    checkpoint = load_checkpoint(trained.folder.uri)
    manifest = CorpusReader(trained.config.corpus).manifest
    assert checkpoint.step == 6
    assert checkpoint.run["train"]["max_steps"] == 6
    assert checkpoint.schema == manifest.schema
    assert checkpoint.state.corpus == manifest.digest()
    assert checkpoint.state.seed == 1
    assert checkpoint.state.metrics["validation"]["loss"] > 0
    folder = Path(checkpoint.uri)
    assert sorted(path.name for path in folder.iterdir()) == sorted((*FILES, CHECKSUMS))
    assert (folder / "corpus.json").read_bytes() == manifest.to_bytes()
    card = (folder / "card.md").read_text()
    assert all(
        text in card for text in ("step 6", "300 graphs", "distgnn.load_encoder", "distgnn finetune", "| loss |")
    )


def test_state_round_trip(trained: Run) -> None:
    checkpoint = load_checkpoint(trained.folder.uri)
    state = make_state(trained.config, checkpoint.schema, CPU)
    state.restore(checkpoint.step, checkpoint.model, checkpoint.optimiser, "here")
    assert state.step == 6
    for found, expected in (
        (state.model_tensors(), checkpoint.model),
        (state.optimiser_tensors(), checkpoint.optimiser),
    ):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_refused(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(RequestError, match=f"{name}: wrong checksum"):
        load_checkpoint(str(copy))


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(RequestError, match=f"{name}: missing"):
        load_checkpoint(str(copy))


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"format": "distgnn-checkpoint", "version": 1}', '{"format": "x", "version": 1, "files": {}}'],
)
def test_strange_checksums_are_refused(copy: Path, text: str) -> None:
    (copy / CHECKSUMS).write_text(text)
    with pytest.raises(RequestError, match=CHECKSUMS):
        load_checkpoint(str(copy))


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "extra.bin"])
def test_names_that_are_not_a_checkpoints_are_refused(copy: Path, name: str) -> None:
    sealed = json.loads((copy / CHECKSUMS).read_text())
    sealed["files"][name] = {"sha256": "0" * 64, "bytes": 1}
    (copy / CHECKSUMS).write_text(json.dumps(sealed))
    with pytest.raises(RequestError, match="other files than a checkpoint has"):
        load_checkpoint(str(copy))


def test_a_newer_version_is_refused(copy: Path) -> None:
    sealed = json.loads((copy / CHECKSUMS).read_text())
    (copy / CHECKSUMS).write_text(json.dumps(sealed | {"version": 2}))
    with pytest.raises(RequestError, match="written by a newer version of distgnn"):
        load_checkpoint(str(copy))


@pytest.mark.parametrize("name", ["config.json", "state.json", "model.safetensors"])
def test_files_that_do_not_parse_are_refused(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"{}")
    reseal(copy)
    with pytest.raises(RequestError, match=r"do not parse|not the (config|state) of a checkpoint"):
        load_checkpoint(str(copy))


def test_weights_of_another_model_are_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["encoder"]["width"] = 10
    (copy / "config.json").write_text(json.dumps(config))
    reseal(copy)
    with pytest.raises(RequestError, match="has shape"):
        load_encoder(str(copy))
    model = safetensors.torch.load((copy / "model.safetensors").read_bytes())
    model["encoder.more"] = model.pop(min(model))
    (copy / "model.safetensors").write_bytes(safetensors.torch.save(model))
    reseal(copy)
    with pytest.raises(RequestError, match="weights do not fit"):
        load_encoder(str(copy))


def test_resume_with_another_optimiser_state_is_refused(trained: Run) -> None:
    checkpoint = load_checkpoint(trained.folder.uri)
    state = make_state(trained.config, checkpoint.schema, CPU)
    with pytest.raises(RequestError, match="optimiser state"):
        state.restore(6, checkpoint.model, dict(list(checkpoint.optimiser.items())[1:]), "here")
    cut = {name: tensor[:1] if tensor.dim() else tensor for name, tensor in checkpoint.optimiser.items()}
    with pytest.raises(RequestError, match="another shape"):
        state.restore(6, checkpoint.model, cut, "here")


def test_newest_passes_over_damaged_and_unfinished_ones(trained: Run, tmp_path: Path) -> None:
    run = open_folder(str(shutil.copytree(trained.folder.path, tmp_path / "run")))
    checkpoints = Path(run.path) / FOLDER
    assert sorted(path.name for path in checkpoints.iterdir()) == ["step-000000003", "step-000000006"]
    shutil.copytree(checkpoints / "step-000000006", checkpoints / "step-000000009")
    (checkpoints / "step-000000009" / CHECKSUMS).unlink()
    (checkpoints / "step-000000006" / "model.safetensors").write_bytes(b"")
    found = read_newest(run)
    assert found is not None
    assert found[0].uri.endswith("step-000000003")
    assert resolve(run.uri) == found[0]
    named = newest(run)
    assert named is not None
    assert named.uri.endswith("step-000000006"), "a name: the content is not read"
    continued = Run(run, trained.config)
    assert continue_small(continued) == "finished"
    assert losses(continued) == pytest.approx(losses(trained), rel=1e-6)
    assert sorted(path.name for path in checkpoints.iterdir()) == ["step-000000003", "step-000000006"]


def test_a_corpus_that_changed_under_a_run_is_refused(tmp_path: Path) -> None:
    motifs(tmp_path / "c", graphs=100)
    run = train_small(small(str(tmp_path / "c"), tmp_path, max_steps=2))
    motifs(tmp_path / "c", graphs=120, overwrite=True)
    with pytest.raises(RequestError, match="trained on another corpus"):
        continue_small(run)


def test_no_checkpoint_at_all(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no complete checkpoint here"):
        load_checkpoint(str(tmp_path))


def test_a_failing_write_leaves_nothing(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {name: (copy / name).read_bytes() for name in FILES}
    write = Folder.write

    def full(folder: Folder, name: str, data: bytes) -> None:
        if name == CHECKSUMS:
            raise WorkError("disk full")
        write(folder, name, data)

    monkeypatch.setattr(Folder, "write", full)
    with pytest.raises(WorkError, match="disk full"):
        publish(open_folder(str(tmp_path / "new")), files, seal(files))
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_encoder_reads_pyg_as_it_reads_graphs(trained: Run) -> None:
    encoder = load_encoder(trained.folder.uri)
    graphs = CorpusReader(trained.config.corpus).unit(0)
    assert not encoder.training
    nodes, pooled = encoder(graphs)
    assert nodes.shape == (graphs.num_nodes, encoder.width)
    assert pooled.shape == (graphs.num_graphs, encoder.width)
    again = encoder(to_pyg(graphs))
    assert torch.allclose(again.nodes, nodes, atol=1e-5)
    assert torch.allclose(again.graphs, pooled, atol=1e-5)
    one = encoder(to_pyg(graphs).get_example(2))
    assert torch.allclose(one.graphs, pooled[2:3], atol=1e-5)


def test_other_features_are_refused(trained: Run) -> None:
    encoder = load_encoder(trained.folder.uri)
    data = Data(x=torch.zeros(3, 5, dtype=torch.long), edge_index=torch.tensor([[0, 1], [1, 0]]))
    with pytest.raises(RequestError, match=r"data\.x: the schema has"):
        encoder(data)
    with pytest.raises(RequestError, match=r"data\.x: the schema has"):
        encoder(Batch.from_data_list([data, data]))


def test_loading_and_public_names_need_no_ray_pyg_or_rdkit(trained: Run) -> None:
    code = (
        "import distgnn, sys; [getattr(distgnn, name) for name in distgnn.__all__]; distgnn.register.corpus_source.names();"
        f" distgnn.load_encoder({trained.folder.uri!r});"
        " print([name for name in ('ray', 'torch_geometric', 'rdkit') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert distgnn.load_checkpoint is load_checkpoint
