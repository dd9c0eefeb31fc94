"""Code blocks of the documentation, and what they need to run in seconds."""

from __future__ import annotations

import gzip
import itertools
import re
import shlex
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import distgnn as dg
from distgnn.cli import main
from tests.helpers.databases import frames, write_database

ROOT = Path(__file__).resolve().parents[2]
PAGES = {path.stem: path for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}
LANGUAGES = {"bash", "python", "toml", "text", "yaml"}
_BLOCK = re.compile(r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)


class Block(NamedTuple):
    """A code block.

    Attributes:
        page: Name of its page.
        line: Line of its first fence.
        language: Its language; empty if none is given.
        text: Its contents.
        mark: The comment before it: "not run: REASON", "exits 2: REASON", or empty.
    """

    page: str
    line: int
    language: str
    text: str
    mark: str

    @property
    def runs(self) -> bool:
        """Whether the tests run it."""
        return self.language in ("bash", "python") and not self.mark.startswith("not run")

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command line."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks(page: str) -> list[Block]:
    """The blocks of a page."""
    text = PAGES[page].read_text()
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found["language"], found["text"], found["mark"] or "")
        for found in _BLOCK.finditer(text)
    ]


_RINGS = [
    "c1ccccc1",
    "C1CCCCC1",
    "c1ccsc1",
    "C1CCOC1",
    "c1ccncc1",
    "C1CCNCC1",
    "c1ccoc1",
    "C1CCC1",
    "C1CC1",
    "c1cc[nH]c1",
]
SMILES = ["".join(parts) for parts in itertools.product(["O", "N", "F"], ["C", "CC"], _RINGS)]
_TRAIN = {"max_steps": 2, "streams": 2, "device": "cpu", "validate_every": 0}
_ENCODER = {"layers": 1, "width": 8}
_PRETRAIN = "--encoder.layers 1 --encoder.width 8 --train.max-steps 2 --train.streams 2 --train.device cpu --workers 1"
_FEW = "--train-labels 8 --updates 1 2 --draws 2 --test-graphs 20 --norm-graphs 8"
_SMALL = {
    "pretrain": _PRETRAIN,
    "finetune": "--workers 1 --seeds 2 --epochs 1",
    "analyse": f"--workers 1 {_FEW}",
    "transfer": "--workers 1 --seeds 1 --epochs 1 --pretrain-epochs 1 --methods none fixed --schemes scratch pretrained",
    "tune": "--dry-run",
    "corpus build": "--workers 1 --unit-rows 16 --overwrite",
    "database pretrain": "--model.width 8 --model.heads 2 --model.layers 1 --model.name-width 2 --train.steps 2"
    " --synthetic 0 --automatic 2",
    "database evaluate": "--contexts 16 --draws 1 --rows 50",
}
"""Options that make a command take seconds; of sweeps, which need Ray, a dry run is made."""


def small(words: list[str]) -> list[str]:
    """The arguments of a command of distgnn with options that make it small."""
    name = " ".join(words[:2]) if words[0] in ("corpus", "database", "network") else words[0]
    if "--resume" in words:
        return [*words, "--workers", "1"] if name == "pretrain" else words
    if "--init" in words:  # the encoder is that of the checkpoint
        return [*words, *_PRETRAIN.split()[4:]]
    if name == "finetune" and {"--train-labels", "--updates", "--draws"} & set(words):
        return [*words, "--workers", "1", *_FEW.split()]
    return [*words, *_SMALL.get(name, "").split()]


def write_files(folder: Path) -> None:
    """Files that the pages take for the reader's own."""
    labelled = "smiles,p_np,Class\n" + "".join(
        f"{text},{int(text[0] == 'N')},{int(text[0] == 'N')}\n" for text in SMILES
    )
    for name in ("bbbp", "bbbp-2025", "bace"):
        (folder / f"{name}.csv").write_text(labelled)
    (folder / "zinc.smi.gz").write_bytes(gzip.compress(("\n".join(SMILES) + "\n").encode()))
    other = folder / "data" / "bbbp-2025"
    dg.build_corpus("molecules", input=folder / "bbbp-2025.csv", labels="p_np", out=other, unit_rows=16)


def write_sqlite(folder: Path) -> None:
    """northwind.sqlite, whose schema has to be proposed, and a file of tasks."""
    with closing(sqlite3.connect(folder / "northwind.sqlite")) as link, link:
        for name, table in frames(customers=40, orders=600).items():
            table.to_sql(name, link, index=False)
    tasks = '[tasks.reorder]\nentity = "customers"\nrule = "exists(orders) within 60 days"\nseen = "orders"\n'
    (folder / "tasks.toml").write_text(tasks)


def write_databases(folder: Path) -> None:
    """Databases to pre-train on, and the store of the page about databases with its task."""
    for seed, name in enumerate(("berka", "lahman", "football")):
        write_database(folder / "data" / name, frames(customers=40, orders=600, seed=seed), name)
    write_sqlite(folder)
    path, store = folder / "northwind.sqlite", folder / "stores" / "northwind"
    dg.build_database(input=str(path), out=str(store), accept_proposal=True)
    dg.add_tasks(str(store), str(folder / "tasks.toml"))


BEFORE: dict[str, Callable[[Path], None]] = {"databases": write_sqlite, "database-models": write_databases}
"""Writes what a page takes for the reader's own, by the name of the page."""


def write_work(folder: Path) -> None:
    """Corpora and runs that the pages take for those of earlier pages."""
    write_files(folder)
    for name in ("zinc", "molecules", "mine"):
        dg.build_corpus("molecules", input=folder / "zinc.smi.gz", out=folder / "data" / name, unit_rows=16)
    for name in ("bbbp", "bace"):
        table = folder / f"{name}.csv"
        dg.build_corpus("molecules", input=table, labels="p_np", out=folder / "data" / name, unit_rows=16)
    for name, objective in (("zinc", "l2p"), ("l2p-0", "l2p"), ("l2p-1", "l2p"), ("edgepred-0", "edgepred")):
        given: dict[str, Any] = {"encoder": _ENCODER, "train": _TRAIN | {"seed": int(name == "l2p-1")}}
        dg.pretrain(corpus=folder / "data/zinc", out=folder / "runs", name=name, objective=objective, **given)


def made_small(patch: pytest.MonkeyPatch) -> None:
    """Make the functions of the Python API take small options."""
    few = {"train_labels": [8], "updates": [1, 2], "draws": 2, "test_graphs": 20, "norm_graphs": 8}
    short = {"seeds": 2, "epochs": 1}

    def patched(name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        function = getattr(dg, name)
        patch.setattr(dg, name, lambda *given, **options: function(*given, **options | change(options)), raising=False)

    patched(
        "pretrain", lambda found: {} if found.get("objective") == "none" else {"encoder": _ENCODER, "train": _TRAIN}
    )
    patched("finetune", lambda found: few if {"train_labels", "updates", "draws"} & set(found) else short)
    patched("analyse", lambda _: few)
    patched(
        "pretrain_databases",
        lambda _: {
            "model": {"width": 8, "heads": 2, "layers": 1, "name_width": 2},
            "train": {"steps": 2},
            "synthetic": 0,
            "automatic": 2,
        },
    )


def run(found: list[Block], shrink: Callable[[list[str]], list[str]] = small) -> Iterator[Block]:
    """Run blocks in order in the current folder, with the arguments that ``shrink`` makes; yields each before it is run."""
    names: dict[str, Any] = {}
    for block in found:
        if not block.runs:
            continue
        yield block
        if block.language == "python":
            _run_python(block, names)
            continue
        for program, *words in block.commands:
            assert program == "distgnn", (
                f"{block.page}.md:{block.line}: {program} is not run by the tests; mark the block"
            )
            if "--name" in words:  # a run of an earlier page
                shutil.rmtree(Path("runs", words[words.index("--name") + 1]), ignore_errors=True)
            expected = int(block.mark.partition("exits ")[2][:1] or 0)
            assert main(shrink(words)) == expected, f"{block.page}.md:{block.line}: distgnn {shlex.join(words)}"


def _run_python(block: Block, names: dict[str, Any]) -> None:
    """Run a block; one that begins with the name of a file is written there instead."""
    named = re.match(r"# (\w+\.py)\n", block.text)
    if named:
        Path(named[1]).write_text(block.text)
        return
    exec(compile("\n" * block.line + block.text, f"{block.page}.md", "exec"), names)
