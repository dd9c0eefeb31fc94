"""A user module adds one entry to every registry through --imports, with options; no file of distgnn is changed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import distgnn
from distgnn import register
from distgnn.auxiliary.weighting import build_weighting
from distgnn.cli import main
from distgnn.config import FinetuneConfig, PretrainConfig, TuneConfig, WeightingConfig, to_json
from distgnn.corpus.manifest import read_manifest
from distgnn.pretraining.run import run_config
from distgnn.search.records import Sweep
from distgnn.search.space import apply, defaults, read_space
from distgnn.search.sweep import proposals_of
from distgnn.storage.folder import open_folder
from tests.helpers.networks import films, problem_of
from tests.helpers.transfers import write_network

MODULE = '''
"""One of each."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

import distgnn
from distgnn.auxiliary.network_tasks.tasks import NodeQuery, AuxiliaryTask, sample_count
from distgnn.auxiliary.problem import Samples
from distgnn.auxiliary.weighting import Weighting
from distgnn.config import BuildConfig, NetworkBuildConfig
from distgnn.corpus.sources.motifs import MotifsConfig, MotifsSource
from distgnn.models.network_encoder import NetworkPsi
from distgnn.models.pooling import Pooling
from distgnn.network.sources.synthetic import SyntheticNetworkConfig, build_synthetic
from distgnn.objectives.base import Losses, Objective, no_extras
from distgnn.search.searchers.base import Searcher


@dataclass(frozen=True)
class NormConfig:
    """Keep embeddings near a length."""

    length: float = 1.0
    """The length."""


@distgnn.register.objective("my_norm", NormConfig)
class Norm(Objective):
    """Squared distance of a graph embedding's length from the wanted one, plus the first label."""

    metric_names = ("length", "label")
    reads_labels = True

    def __init__(self, config, context):
        super().__init__()
        self.config, self.prepare = config, no_extras
        self.scale = nn.Parameter(torch.ones(context.width))

    def losses(self, encoder, batch, seed, epoch):
        length = (encoder.pool(encoder(batch), batch) * self.scale).norm(dim=1)
        label = batch.y[:, 0].nan_to_num()
        total = (length - self.config.length - label).square().sum()
        count = torch.tensor(float(batch.num_graphs))
        return Losses(total, count, {"length": (length.detach().sum(), count), "label": (label.sum(), count)})


@dataclass(frozen=True)
class DeepConfig:
    """A stack of linear maps."""

    depth: int = 1
    """How many."""


@distgnn.register.encoder("my_maps", DeepConfig)
class Maps(nn.Module):
    """No messages."""

    def __init__(self, schema, config, own):
        super().__init__()
        self.maps = nn.Sequential(*(nn.Linear(config.width, config.width) for _ in range(own.depth)))

    def forward(self, x):
        return self.maps(x)


@dataclass(frozen=True)
class TypesConfig:
    """A map for each node type."""

    scale: float = 1.0
    """What the maps are multiplied by."""


@distgnn.register.network_encoder("my_types", TypesConfig)
class Types(NetworkPsi):
    """No messages."""

    def __init__(self, network, config, own):
        super().__init__()
        self.maps, self.scale = nn.ModuleList(nn.Linear(config.width, config.width) for _ in network.types), own.scale

    def forward(self, x, counts, messages, masks=None):
        return torch.cat([own(part) for own, part in zip(self.maps, x.split(counts))]) * self.scale


@dataclass(frozen=True)
class PowerConfig:
    """A scaled sum."""

    factor: float = 1.0
    """What the sum is multiplied by."""


@distgnn.register.pooling("my_sum", PowerConfig)
class Scaled(Pooling):
    """The sum times a factor."""

    def build(self, config, own):
        self.factor = own.factor

    def readout(self, nodes, members, fast=None):
        return members(nodes) * self.factor


@dataclass(frozen=True)
class ConstantConfig:
    """One weight for all auxiliary tasks."""

    value: float = 0.5
    """The weight."""


@distgnn.register.weighting("my_constant", ConstantConfig)
class Constant(Weighting):
    """1 for the target."""

    def __init__(self, config, context):
        super().__init__()
        self.value = config.value

    def forward(self, signals):
        return torch.where(signals.task == 0, 1.0, self.value).to(signals.loss.dtype)


@dataclass(frozen=True, kw_only=True)
class FewConfig(BuildConfig):
    """A few motif graphs."""

    few: int = 5
    """How many."""


@distgnn.register.corpus_source("my_few", FewConfig)
def few(config):
    return MotifsSource(MotifsConfig(out=config.out, graphs=config.few))


@distgnn.register.database_source("my_rows")
class Rows:
    """Databases of my own; tests/relational/test_sources.py builds one from such a source."""

    @staticmethod
    def recognises(uri):
        return uri.startswith("my-rows:")


@dataclass(frozen=True, kw_only=True)
class TinyConfig(NetworkBuildConfig):
    """A tiny network."""

    size: int = 20
    """Its nodes."""


@distgnn.register.network_source("my_tiny", TinyConfig)
def tiny(config):
    return build_synthetic(SyntheticNetworkConfig(out=config.out, nodes=config.size, edges=40))


@dataclass(frozen=True)
class LengthConfig:
    """Lengths of node embeddings."""

    wanted: float = 1.0
    """The wanted length."""


@distgnn.register.network_task("my_length", LengthConfig)
class Length(AuxiliaryTask):
    """Squared distance of a node embedding's length from the wanted one."""

    name = "my_length"

    def __init__(self, config, context):
        super().__init__()
        self.wanted, self.nodes = config.wanted, context.views.network.nodes(context.kind)

    def query(self, step):
        return NodeQuery(np.arange(self.nodes.start, self.nodes.start + 2), None)

    def samples(self, embedded, asked):
        losses = (embedded.norm(dim=1) - self.wanted).square()
        return Samples(losses, torch.zeros_like(losses), sample_count(losses))


@dataclass(frozen=True)
class FirstConfig:
    """Take a value."""

    place: int = 0
    """Which."""


@distgnn.register.searcher("my_first", FirstConfig)
class First(Searcher):
    """The same point of every domain."""

    def propose(self, number, known):
        return {name: domain.points()[self.config.place] for name, domain in self.context.space.items()}


@dataclass(frozen=True)
class QuietConfig:
    """Nothing."""

    level: int = 0
    """How quiet."""


@distgnn.register.logger("my_quiet", QuietConfig)
class Quiet:
    """Write what it is told to a file."""

    def __init__(self, config, run):
        self.run, self.said = run, [f"level {config.level}"]

    def log(self, step, values):
        self.said.append(f"{step} {sorted(values)[0]}")

    def finish(self, status, summary):
        self.run.folder.write("quiet.txt", "\\n".join([*self.said, status]).encode())
'''
TINY = "--encoder.width 6 --train.streams 2 --train.max-steps 2 --train.checkpoint-minutes 0 --train.device cpu"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of the module, which no process has imported yet."""
    (tmp_path / "my_extension.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_extension"
    sys.modules.pop("my_extension", None)


def help_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit, match="0"):
        main([*words, "--help"])
    return capsys.readouterr().out


def forget() -> None:
    for registry in register.REGISTRIES.values():
        registry.forget_users()
    sys.modules.pop("my_extension", None)


def test_objective_encoder_and_pooling(
    module: str, corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["pretrain", "--corpus", corpus, "--out", str(tmp_path), "--name", "one", *TINY.split()]
    words += ["--objective", "my_norm", "--encoder.kind", "my_maps", "--encoder.pooling", "my_sum"]
    assert main(words) == 2
    assert "--imports" in capsys.readouterr().err
    options = ["--my-norm.length", "2.5", "--encoder.my-maps.depth", "3", "--encoder.my-sum.factor", "0.5"]
    assert main([*words, *options, "--imports", module]) == 0
    saved = json.loads((tmp_path / "one/config.json").read_text())
    assert saved["my_norm"] == {"length": 2.5}
    assert (saved["encoder"]["my_maps"], saved["encoder"]["my_sum"]) == ({"depth": 3}, {"factor": 0.5})
    encoder = distgnn.load_encoder(str(tmp_path / "one"))
    assert len(encoder.encoder.psi.module.maps) == 3
    assert encoder.encoder.pooling.factor == 0.5

    forget()
    assert to_json(run_config(str(tmp_path / "one"))) == saved, "read without the module, which a folder cannot name"
    assert module not in sys.modules
    assert main(["pretrain", "--resume", str(tmp_path / "one")]) == 2
    assert module not in sys.modules
    assert main(["pretrain", "--resume", str(tmp_path / "one"), "--imports", module]) == 0
    words = ["pretrain", "--config", str(tmp_path / "one/config.json"), "--name", "two"]
    forget()
    assert main(words) == 2
    assert (
        f"imports names code to run ('{module}'); files cannot do that, add --imports {module}"
        in capsys.readouterr().err
    )
    assert module not in sys.modules
    assert main([*words, "--my-norm.length", "3", "--imports", module]) == 0
    assert json.loads((tmp_path / "two/config.json").read_text())["my_norm"] == {"length": 3.0}


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        (["pretrain"], ["--my-norm.length", "--encoder.my-maps.depth", "--encoder.my-sum.factor", "my_norm"]),
        (["finetune"], ["--encoder.my-maps.depth"]),
        (
            ["transfer"],
            [
                "--weighting.my-constant.value",
                "--network.my-length.wanted",
                "--network.my-types.scale",
                "--network.my-maps.depth",
                "--corpus.objectives.my-norm.length",
            ],
        ),
        (["tune"], ["--my-first.place", "--pretrain.my-norm.length", "--transfer.weighting.my-constant.value"]),
        (["corpus", "build", "my_few"], ["--few", "How many."]),
        (["network", "build", "my_tiny"], ["--size", "Its nodes."]),
    ],
)
def test_help(module: str, capsys: pytest.CaptureFixture[str], command: list[str], flags: list[str]) -> None:
    text = help_of(capsys, *command, "--imports", module)
    assert not [flag for flag in flags if flag not in text]


def test_sources(module: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["corpus", "build", "my_few", "--out", str(tmp_path / "c"), "--few", "7"]
    assert main(words) == 2
    assert "kind='my_few' is unknown" in capsys.readouterr().err
    assert main([*words, "--imports", module]) == 0
    assert read_manifest(open_folder(str(tmp_path / "c"))).graphs == 7
    words = ["network", "build", "my_tiny", "--out", str(tmp_path / "n"), "--size", "30", "--imports", module, "--json"]
    capsys.readouterr()
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["nodes"] == 30


def test_weighting(module: str, corpus: str, tmp_path: Path) -> None:
    options = (
        "--methods my_constant --schemes scratch --corpus.auxiliary my_norm@corpus --corpus.objectives.my-norm.length 2"
        " --weighting.my-constant.value 0.25 --corpus.split.method random --device cpu --batch 64"
        " --corpus.encoder.layers 1 --corpus.encoder.width 6 --seeds 1 --epochs 1"
    )
    words = ["transfer", "--data", corpus, "--out", str(tmp_path / "t"), "--imports", module]
    assert main([*words, "--corpus.aux-corpus", corpus, *options.split()]) == 0
    saved = json.loads((tmp_path / "t/config.json").read_text())
    assert saved["weighting"]["my_constant"] == {"value": 0.25}
    assert saved["corpus"]["objectives"]["my_norm"] == {"length": 2.0}
    config = WeightingConfig(method="my_constant", options={"my_constant": {"value": 0.25}})
    assert build_weighting(config, ("target", "a"), 0).value == 0.25


NETWORK = (
    "--methods fixed --schemes scratch --network.auxiliary my_length --network.encoder my_types --network.width 6"
    " --device cpu --epochs 1"
)


def test_network_task_and_encoder(module: str, tmp_path: Path) -> None:
    data, out = write_network(str(tmp_path / "n")), str(tmp_path / "t")
    words = ["transfer", "--data", data, "--out", out, "--imports", module, "--seeds", "1", *NETWORK.split()]
    assert main([*words, "--network.my-length.wanted", "2", "--network.my-types.scale", "0.5"]) == 0
    saved = json.loads((tmp_path / "t/config.json").read_text())["network"]
    assert (saved["my_length"], saved["my_types"]) == ({"wanted": 2.0}, {"scale": 0.5})
    assert json.loads((tmp_path / "t/results.json").read_text())["tasks"] == ["node", "my_length"]
    options: dict[str, Any] = {"auxiliary": ("my_length",), "encoder": "my_types"}
    problem = problem_of(films(), **options, options={"my_length": {"wanted": 2.0}, "my_types": {"scale": 0.5}})
    assert (problem.auxiliary[0].wanted, problem.encoder.psi.scale) == (2.0, 0.5)


def test_searcher_and_space(module: str) -> None:
    register.import_modules((module,))
    pretrain = PretrainConfig("a", objective="my_norm")
    config = TuneConfig(
        pretrain=pretrain,
        finetune=FinetuneConfig("b"),
        space=("my_norm.length={1.0,2.0,4.0}", "encoder.my_maps.depth=1..3"),
        searcher="my_first",
        options={"my_first": {"place": 1}},
    )
    space = read_space(config)
    assert defaults(config, space) == {"pretrain.my_norm.length": 1.0, "pretrain.encoder.my_maps.depth": 1}
    sweep: Any = Sweep(config, "roc_auc", "max", (1,), {}, {}, 1, 0.0)
    params = proposals_of(sweep).propose(0, [])
    assert params == {"pretrain.my_norm.length": 2.0, "pretrain.encoder.my_maps.depth": 2}
    trial = apply(config, params)
    assert (trial.pretrain.my_norm.length, trial.pretrain.encoder.my_maps.depth) == (2.0, 2)
    assert to_json(config)["my_first"] == {"place": 1}


@pytest.mark.ray
@pytest.mark.slow
def test_searcher_in_a_sweep(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where processes of Ray look for modules
    data, out = write_network(str(tmp_path / "n")), str(tmp_path / "s")
    words = ["tune", "--out", out, "--transfer.data", data, "--trials", "1", "--space", "transfer.lr={0.1,0.2,0.3}"]
    words += ["--searcher", "my_first", "--my-first.place", "2", "--transfer.imports", module, "--final-seeds", "1"]
    assert main([*words, *NETWORK.replace("--", "--transfer.").split()]) == 0
    sweep = distgnn.SweepResults.open(out)
    assert sweep.best_params == {"transfer.lr": 0.3}
    assert list(sweep.table["state"]) == ["finished"]
    assert json.loads((tmp_path / "s/sweep.json").read_text())["config"]["my_first"] == {"place": 2}


def test_logger(module: str, corpus: str, tmp_path: Path) -> None:
    words = [
        "pretrain",
        "--corpus",
        corpus,
        "--out",
        str(tmp_path),
        "--name",
        "one",
        *TINY.split(),
        "--imports",
        module,
    ]
    assert main([*words, "--loggers", "my_quiet", "--metrics.my-quiet.level", "3"]) == 0
    lines = (tmp_path / "one/quiet.txt").read_text().splitlines()
    assert (lines[0], lines[-1]) == ("level 3", "finished")
    assert json.loads((tmp_path / "one/config.json").read_text())["metrics"]["my_quiet"] == {"level": 3}


def test_documentation(module: str) -> None:
    register.import_modules((module,))
    for registry in register.REGISTRIES.values():
        rows = [row for row in registry.table() if row.source == module]
        assert len(rows) == 1, registry.kind
        assert rows[0].name.startswith("my_")
