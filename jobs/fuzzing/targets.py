"""What is fuzzed: for each kind of seed, the files to mutate and the commands that read them."""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import distgnn
from distgnn import cli
from distgnn.api import tune as tuning
from distgnn.checkpoint.format import DATABASE_MODEL, KIND
from distgnn.commands import dispatch
from distgnn.corpus.writer import BuildState
from distgnn.finetuning import saved_model
from distgnn.search import sweep as sweeps
from distgnn.search.records import Sweep, read_trials
from distgnn.search.space import read_space
from distgnn.search.sweep import proposals_of
from distgnn.search.trial_store import TrialStore
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.verified import Kind
from jobs.fuzzing.mutate import TOKENS
from jobs.fuzzing.seeds import FINGERPRINT

Words = Callable[[str, str, str], list[str]]
"""Arguments of a command, from the mutated path, an output folder, and the folder of unmutated seeds."""


@dataclass(frozen=True)
class Target:
    """A kind of seed.

    Attributes:
        name: Its name.
        seed: Path of the seed below the folder of seeds.
        files: Patterns of the files to mutate; a seed that is a file is mutated itself.
        commands: Command lines; one of them is run.
        weight: Share of the inputs.
        kind: Format of a verified folder, whose checksums may be written anew.
        strict: Commands (by index) that must fail when a file differs from its checksum.
        call: Called with the mutated path instead of a command.
        lone: Whether the file alone may be replaced by a FIFO and the like.
    """

    name: str
    seed: str
    files: tuple[str, ...] = ()
    commands: tuple[Words, ...] = ()
    weight: int = 1
    kind: Kind | None = None
    strict: tuple[int, ...] = ()
    call: Callable[[Path, random.Random], None] | None = None
    lone: bool = True


_TRAIN = ("--train.max-steps", "1", "--train.graphs-per-stream", "4", "--train.streams", "2", "--encoder.layers", "1")
_SMALL = ("--encoder.width", "8")
_TUNE = ("--seeds", "1", "--epochs", "1", "--encoder.layers", "1", *_SMALL)


def _pretrain(x: str, out: str, _: str) -> list[str]:
    return ["pretrain", "--corpus", x, "--out", out, "--name", "r", *_TRAIN, *_SMALL]


def _finetune(x: str, out: str, _: str) -> list[str]:
    return ["finetune", "--corpus", x, "--out", out, *_TUNE]


def _checked(x: str, out: str, seeds: str) -> list[str]:
    return ["finetune", "--corpus", f"{seeds}/corpus", "--checkpoint", x, "--out", out, *_TUNE]


def _again(x: str, _: str, seeds: str) -> list[str]:
    """Fine-tune again in the folder that holds the kept jobs."""
    options = [*_TUNE, "--save-models"]
    return ["finetune", "--corpus", f"{seeds}/corpus", "--checkpoint", f"{seeds}/checkpoint", "--out", x, *options]


def _build(what: str, kind: str, *options: str) -> Words:
    return lambda x, out, _: [what, "build", kind, "--input", x, "--out", out, *options]


def _database(x: str, out: str, _: str) -> list[str]:
    return ["database", "build", "--input", x, "--out", out, "--accept-proposal"]


def _schema(x: str, out: str, seeds: str) -> list[str]:
    return ["database", "build", "--input", f"{seeds}/inputs/shop/tables", "--out", out, "--schema", x]


def _predict(database: str, model: str, out: str) -> list[str]:
    options = ["--task", "buys", "--context", "8", "--no-explain"]
    return ["predict", "--database", database, "--model", model, "--out", out, *options]


def _page(x: str, out: str, _: str) -> list[str]:
    return ["report", x, "--out", f"{out}/page.html"]


def _tasks(x: str, out: str, seeds: str) -> list[str]:
    """Add the tasks of a file to a copy of the store."""
    shutil.copytree(f"{seeds}/shop", out)
    return ["database", "tasks", out, "--add", x]


def _table(x: Path, _: random.Random) -> None:
    found = distgnn.Run.open(str(x))
    str(found.table)
    found._repr_html_()


def _resume_sweep(x: Path, _: random.Random) -> None:
    """``tune --resume`` up to the point where Ray starts a trial."""

    def start(folder: Folder, sweep: Sweep) -> tuning.SweepResults:
        store = TrialStore(folder, sweep, proposals_of(sweep), read_trials(folder), 1, lambda _: None)
        store.next_trial()
        return tuning.SweepResults(folder, "stopped")

    absolute = sweeps.absolute_config.__name__  # it would look for the data that the config names
    with patch.object(tuning, "_run", start), patch.object(sweeps, absolute, lambda config: config):
        cli.main(["tune", "--resume", str(x)])


def _resume_build(x: Path, _: random.Random) -> None:
    BuildState.load(open_folder(str(x)), FINGERPRINT)


def _config_file(x: Path, rng: random.Random) -> None:
    command = rng.choice(["pretrain", "finetune", "tune", "transfer", "evaluate"])
    dispatch.understood([command, "--config", str(x)])


def _options(_: Path, rng: random.Random) -> None:
    """Options of the command line with other values; they are parsed only."""
    names = (
        "train.lr",
        "train.seed",
        "encoder.width",
        "l2p.support",
        "train.streams",
        "encoder.kind",
        "workers",
        "name",
        "init",
    )
    words = [word for name in rng.sample(names, 3) for word in (f"--{name}", _word(rng))]
    dispatch.understood(["pretrain", "--corpus", "c", *words])


def _space(_: Path, rng: random.Random) -> None:
    field = rng.choice(["l2p.node_lr", "l2p.node_steps", "encoder.norm", "train.lr", "x", "finetune.lr"])
    domain = rng.choice(["log({},{})", "{}..{}", "{}..{}/{}", "{{{},{}}}", "{}"])
    text = f"{field}={domain.format(_word(rng), _word(rng), _word(rng))}"
    config = distgnn.TuneConfig(space=(text,), pretrain=distgnn.PretrainConfig(corpus="c"))
    for found in read_space(config).values():
        found.points()


def _word(rng: random.Random) -> str:
    with contextlib.suppress(UnicodeDecodeError):
        return rng.choice([*TOKENS, b"1", b"0.5", b"1e300", b"3", b"-2"]).decode().replace("\x00", "?")
    return "\udcff"


TARGETS = (
    Target(
        "corpus", "corpus", ("corpus.json", "corpus.json", "shard-*.parquet"),
        (
            lambda x, *_: ["corpus", "verify", x], lambda x, *_: ["corpus", "stat", x, "--json"],
            lambda x, *_: ["corpus", "cat", x, "--count", "3"], _pretrain, _finetune, _page,
        ), 16, strict=(0,),
    ),
    Target(
        "network", "network", ("network.json", "network.json", "*.npy"),
        (lambda x, *_: ["network", "verify", x], lambda x, *_: ["network", "stat", x]), 6, strict=(0,),
    ),
    Target(
        "run", "run", ("progress.json", "progress.json", "config.json", "checkpoints/*/*"),
        (
            lambda x, *_: ["status", x], lambda x, *_: ["status", x, "--json"], lambda x, *_: ["pretrain", "--resume", x],
            _checked, lambda x, out, _: ["push", x, out], _page,
        ), 14, kind=KIND,
    ),
    Target("history", "run", ("history/*",), weight=4, call=_table),
    Target(
        "checkpoint", "checkpoint", ("*",),
        (
            lambda x, out, _: ["pull", x, out], lambda x, out, _: ["push", x, out], _checked,
            lambda x, out, seeds: [*_pretrain(f"{seeds}/corpus", out, seeds), "--init", x],
        ), 12, kind=KIND, strict=(0, 1),
    ),
    Target(
        "model", "finetuned/models/run-seed0", ("*",),
        (lambda x, out, seeds: ["evaluate", "--corpus", f"{seeds}/corpus", "--model", x, "--out", out],), 6,
        kind=saved_model.KIND, strict=(0,),
    ),
    Target("jobs", "finetuned", ("jobs/*",), (_again,), 3),
    Target(
        "sweep", "sweep", ("sweep.json", "trials/*/trial.json", "winner/result.json"),
        (lambda x, *_: ["report", x], lambda x, *_: ["report", x, "--json"], _page), 8,
    ),
    Target("tune --resume", "sweep", ("sweep.json", "trials/*/trial.json"), weight=6, call=_resume_sweep),
    Target("build state", "build", ("_build.json",), weight=3, call=_resume_build),
    Target("config", "configs", ("*.json",), weight=4, call=_config_file),
    Target("options", "configs", weight=3, call=_options),
    Target("space", "configs", weight=3, call=_space),
    Target("molecules", "inputs/molecules.csv", commands=(_build("corpus", "molecules", "--labels", "active"),), weight=4),
    Target("arrays", "inputs/arrays.npz", commands=(_build("corpus", "arrays"),), weight=4),
    Target("predblp", "inputs/predblp.jsonl", commands=(_build("corpus", "biblio", "--format", "predblp"),), weight=4),
    Target("tudataset", "inputs/TU.zip", commands=(_build("corpus", "tudataset"), _build("corpus", "pyg")), weight=4),
    Target("ppi", "inputs/ppi.txt", commands=(_build("corpus", "ppi"),), weight=3),
    Target("citation", "inputs/citation.npz", commands=(_build("network", "citation"),), weight=4),
    Target("kgrec", "inputs", ("ratings.txt", "kg.txt"), (_build("network", "kgrec"),), 4),
    Target("sqlite", "inputs/shop/shop.sqlite", commands=(_database,), weight=5),
    Target("tables", "inputs/shop/tables", ("*.csv",), (_database,), 5),
    Target("schema", "inputs/shop/shop.toml", commands=(_schema,), weight=3),
    Target("tasks", "inputs/shop/tasks.toml", commands=(_tasks,), weight=4),
    Target(
        "store", "shop", ("store.json", "tasks.json", "*.arrow", "*.arrow", "tasks/*"),
        (
            lambda x, *_: ["database", "verify", x], lambda x, *_: ["database", "stat", x],
            lambda x, out, seeds: _predict(x, f"{seeds}/database-model", out), _page,
        ), 8, strict=(0,),
    ),
    Target(
        "database model", "database-model", ("*",), (lambda x, out, seeds: _predict(f"{seeds}/shop", x, out),), 4,
        kind=DATABASE_MODEL, strict=(0,),
    ),
)  # fmt: skip
