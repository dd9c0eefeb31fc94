"""Files of others, hostile or of a newer version: every command says one line, exit code 2, and obeys nothing in them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq
import pytest

from distgnn.api.tune import resumable_config
from distgnn.checkpoint.format import FILES, seal
from distgnn.cli import main
from distgnn.config import FinetuneConfig, PretrainConfig, TransferConfig, TuneConfig, WeightingConfig
from distgnn.config.fields import named
from distgnn.corpus.inspect import verify
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.sources.biblio import BiblioConfig
from distgnn.corpus.sources.predblp import PreDblpPart, PreDblpSource
from distgnn.errors import RequestError
from distgnn.graph.schema import MAX_CATEGORIES, Feature, Schema
from distgnn.pretraining.history import read_history
from distgnn.search.records import Sweep, write_sweep
from distgnn.search.space import apply
from distgnn.storage.folder import open_folder
from jobs.fuzzing.seeds import build_untrained, predblp_record
from tests.helpers.corpora import motifs
from tests.helpers.sweeps import synthetic_sweep, trial, view, write
from tests.helpers.training import small, train_small

Edit = Callable[[Any], None]
CHEAP = ("config", "options", "space", "build state", "network", "predblp", "tune --resume")
NAN, INF, ESCAPE = float("nan"), float("inf"), "\x1b]0;pwned\x07"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "corpus"
    motifs(folder, graphs=100)
    return folder


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(train_small(small(str(corpus), tmp_path_factory.mktemp("run"), max_steps=2)).folder.path)


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def edit(path: Path, change: Edit) -> None:
    """Change a JSON file."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def put(*keys: Any, value: Any) -> Edit:
    """Set a place of a document."""

    def change(document: Any) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return change


def complaint(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """What a refused command says: one line without control characters."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("distgnn: error: ")
    assert said.count("\n") == 1
    assert said.rstrip("\n").isprintable()
    return said


class TestProgress:
    SNAPSHOT: ClassVar[dict[str, Any]] = {
        "run": "r",
        "step": 1,
        "total": 2,
        "status": "running",
        "seconds_left": None,
        "metrics": {},
        "validation": {},
    }

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            (None, "missing required field"),
            ({"seconds_left": 1e300}, "$.seconds_left"),
            ({"metrics": {"loss": "x"}}, "$.metrics"),
            ({"step": -1}, "$.step"),
            ({"run": "\ud800"}, "surrogates not allowed"),
            ({"status": 5}, "$.status"),
        ],
    )
    def test_refused(self, changes: Any, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "progress.json").write_text(json.dumps({} if changes is None else self.SNAPSHOT | changes))
        for more in ((), ("--json",)):
            told = complaint(capsys, "status", tmp_path, *more)
            assert "progress.json: not readable (" in told
            assert said in told

    def test_text_of_others_is_escaped(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        snapshot = self.SNAPSHOT | {
            "run": ESCAPE,
            "status": "failed",
            "error": f"{ESCAPE}\u202e",
            "of_a_newer_version": 1,
        }
        (tmp_path / "progress.json").write_text(json.dumps(snapshot))
        assert main(["status", str(tmp_path)]) == 0
        assert capsys.readouterr().out == "\\x1b]0;pwned\\x07 | step 1/2 | failed: \\x1b]0;pwned\\x07\\u202e\n"

    def test_history(self, run: Path) -> None:
        path = next((run / "history").iterdir())
        for line in (
            "{}",
            '{"step": -1}',
            '{"step": 1, "loss": "x"}',
            '{"step": Infinity}',
            '{"step": 1, "validation": 1}',
            "[",
        ):
            path.write_text(line)
            with pytest.raises(RequestError, match=r"jsonl, line 1: not a part of a history"):
                read_history(open_folder(str(run)))


@pytest.mark.parametrize(
    "change",
    [
        put("step", value=INF),
        put("step", value=-5),
        put("skipped", value=INF),
        put("metrics", value=[1]),
        put("metrics", value={"train": {"loss": "x"}, "validation": {}}),
        put("score", value=NAN),
        put("epoch", value=1 << 50),
        lambda state: state.pop("skipped"),
        lambda state: state.pop("metrics"),
    ],
)
def test_state_of_a_checkpoint(change: Edit, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run / "checkpoints" / "step-000000002"
    edit(folder / "state.json", change)
    (folder / "checksums.json").write_bytes(seal({name: (folder / name).read_bytes() for name in FILES}))
    assert "state.json: not the state of a checkpoint (" in complaint(capsys, "pretrain", "--resume", run)
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-000000002"]


class TestManifests:
    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (put("histograms", value={"nodes": [0] * 200_000 + [1], "edges": []}), "length <= 64"),
            (put("graphs", value=10**30), "more than 64 bits"),
            (put("shards", 0, "bytes", value=0), "cannot be in the 0 bytes"),
            (put("unit_rows", value=0), "$.unit_rows"),
            (put("schema", "node", 0, "size", value=2**29), "size must lie in"),
            (put("schema", "node", 0, "size", value=2**21), "2097152 categories for"),
            (put(ESCAPE, value=1), "'\\x1b]0;pwned\\x07' is an unknown field"),
            (put("version", value=2), "written by a newer version of distgnn"),
            (put("shards", 0, "sha256", value="x"), "$.shards[0].sha256"),
        ],
    )
    def test_refused(
        self, change: Edit, said: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = Path(shutil.copytree(corpus, tmp_path / "c"))
        edit(path / "corpus.json", change)
        for words in (
            ("corpus", "stat", path),
            ("corpus", "verify", path),
            ("pretrain", "--corpus", path, "--out", tmp_path),
        ):
            assert said in complaint(capsys, *words)

    def test_more_graphs_than_the_shard_has(
        self, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Nothing is planned or listed for units that only the manifest claims."""
        path = Path(shutil.copytree(corpus, tmp_path / "c"))

        def change(manifest: Any) -> None:
            manifest.update(graphs=10**12, unit_rows=1, shard_rows=10**12, shards=manifest["shards"][:1])
            manifest["shards"][0] |= {"graphs": 10**12, "bytes": 10**11}

        edit(path / "corpus.json", change)
        assert len(verify(str(path)).problems) == 1
        assert "truncated or changed" in complaint(capsys, "pretrain", "--corpus", path, "--out", tmp_path)

    def test_rows_of_units(self, corpus: Path, tmp_path: Path) -> None:
        path = Path(shutil.copytree(corpus, tmp_path / "c"))
        shard = path / "shard-00000.parquet"
        table = pq.read_table(shard)
        with pq.ParquetWriter(shard, table.schema) as writer:
            for start, stop in ((0, 17), (17, 32), (32, 48), (48, 64)):
                writer.write_table(table.slice(start, stop - start))
        data = shard.read_bytes()
        changes = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        edit(path / "corpus.json", lambda manifest: manifest["shards"][0].update(changes))
        with pytest.raises(RequestError, match="unit 0: 17 rows where 16 belong"):
            CorpusReader(str(path)).unit(0)

    def test_a_fifo_in_place_of_a_shard(self, corpus: Path, tmp_path: Path) -> None:
        path = Path(shutil.copytree(corpus, tmp_path / "c"))
        (path / "shard-00000.parquet").unlink()
        os.mkfifo(path / "shard-00000.parquet")
        assert "not a regular file" in verify(str(path)).problems[0]

    def test_many_labels_take_no_time(self) -> None:
        assert len(Schema(labels=tuple(map(str, range(50_000)))).labels) == 50_000  # quadratic: minutes

    def test_largest_feature(self) -> None:
        assert Feature("a", "categorical", MAX_CATEGORIES).size == MAX_CATEGORIES
        with pytest.raises(RequestError, match="size must lie in"):
            Feature("a", "categorical", MAX_CATEGORIES + 1)


class TestSweeps:
    @pytest.fixture(scope="class")
    @classmethod
    def written(cls, tmp_path_factory: pytest.TempPathFactory) -> str:
        return write(tmp_path_factory.mktemp("sweep") / "s", view([trial(number) for number in range(3)]))

    @pytest.fixture
    def sweep(self, written: str, tmp_path: Path) -> Path:
        return Path(shutil.copytree(written, tmp_path / "s"))

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (put("state", value=None), "$.state"),
            (put("params", value=[1]), "$.params"),
            (put("params", "pretrain.l2p.node_lr", value="x"), "node_lr='x' is outside log(0.0001,0.1)"),
            (put("params", "pretrain.l2p.node_lr", value=NAN), "node_lr=nan is outside"),
            (put("params", "transfer.weighting.library", value="evil:W"), "transfer.weighting.library is not searched"),
            (put("rungs", 0, "fidelity", value=INF), "fidelity"),
            (put("seconds", value=NAN), "$.seconds"),
            (put("reason", value=5), "$.reason"),
            (put("reason", value="\ud800"), "surrogates"),
            (put("number", value=2), "is the record of trial 2, not of 0001"),
            (put("clones", value=[{"of": 0}]), "clones"),
        ],
    )
    def test_trials(self, change: Edit, said: str, sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
        edit(sweep / "trials/0001/trial.json", change)
        assert said in complaint(capsys, "report", sweep)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (put("rungs", value=[INF]), "$.rungs"),
            (put("rungs", value=[]), "$.rungs"),
            (put("wall", value="x"), "$.wall"),
            (put("space", value=["a"]), "$.space"),
            (put("trials", value="x"), "$.trials"),
            (put("version", value=2), "newer version"),
            (put("space", "pretrain.l2p.node_lr", value="0.1..1e9/1e-9"), "more than 1000000 points"),
            (put("space", "pretrain.l2p.node_steps", value="0..2000000000"), "more than 1000000 points"),
        ],
    )
    def test_sweeps(self, change: Edit, said: str, sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
        edit(sweep / "sweep.json", change)
        assert said in complaint(capsys, "report", sweep)

    def test_a_trial_of_a_huge_number(self, sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (sweep / "trials/0002").rename(sweep / "trials/1000000")
        edit(sweep / "trials/1000000/trial.json", put("number", value=1_000_000))
        assert "trial 1000000 among 3 trials" in complaint(capsys, "report", sweep)

    def test_pages_show_markup_of_others_as_text(self, sweep: Path) -> None:
        hostile = f"<script>alert(1)</script> [x](javascript:alert(1)) a|b {ESCAPE}\u202e"
        edit(sweep / "trials/0001/trial.json", lambda record: record.update(state="failed", reason=hostile))
        assert main(["report", str(sweep)]) == 0
        for name in ("sweep.md", "sweep.html"):
            text = (sweep / name).read_text()
            assert "<script>alert" not in text
            assert "&lt;script&gt;alert(1)" in text
            assert "\x1b" not in text
            assert "\u202e" not in text
        assert "\\[x\\](javascript:alert(1)) a\\|b \\x1b\\]0;pwned\\x07\\u202e" in (sweep / "sweep.md").read_text()


class TestCode:
    """A file names no code to run; people do."""

    @pytest.fixture
    def saved(self, tmp_path: Path) -> str:
        weighting = WeightingConfig(method="library", library="evil_module:W")
        transfer = TransferConfig(
            data="net", methods=("library",), schemes=("scratch",), weighting=weighting, imports=("evil_module",)
        )
        config = TuneConfig(space=("transfer.lr={1e-3,1e-4}",), transfer=transfer)
        told = {"transfer.lr": "{0.001,0.0001}"}
        write_sweep(open_folder(str(tmp_path)), Sweep(config, "micro_f1", "max", (10,), told, {}, 2, 1.0))
        return str(tmp_path)

    def test_a_resumed_sweep(self, saved: str) -> None:
        with pytest.raises(
            RequestError, match=r"transfer.weighting.library names code.*add --transfer.weighting.library evil"
        ):
            resumable_config(saved)
        confirmed = resumable_config(saved, ("evil_module:W",))
        assert confirmed.transfer.weighting.library == "evil_module:W"
        assert confirmed.transfer.imports == ()

    def test_imports_of_a_resumed_sweep(self, tmp_path: Path) -> None:
        """Of each group, whichever kind of trial the sweep has."""
        evil = ("evil_module",)
        groups: dict[str, Any] = {
            "pretrain": PretrainConfig(corpus="c", imports=evil),
            "finetune": FinetuneConfig(corpus="c", imports=evil),
            "transfer": TransferConfig(data="", imports=evil),
        }
        config = TuneConfig(space=("train.lr={1e-3,1e-4}",), **groups)
        write_sweep(open_folder(str(tmp_path)), Sweep(config, "roc_auc", "max", (10,), {}, {}, 2, 1.0))
        found = resumable_config(str(tmp_path))
        assert [getattr(found, name).imports for name in groups] == [()] * 3
        assert replace(found, **groups) == config

    def test_parameters_of_trials(self) -> None:
        assert "transfer.weighting.library" not in named(TuneConfig, "searchable")
        with pytest.raises(RequestError, match="cannot be a parameter of a trial"):
            apply(synthetic_sweep().config, {"transfer.weighting.library": "evil_module:W"})

    @pytest.mark.parametrize(
        "more",
        [
            {"corpus": "c", "imports": ["evil_module"]},
            {"data": "d", "weighting": {"library": "evil_module:W"}},
        ],
    )
    def test_a_config_file(self, more: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        command = "transfer" if "data" in more else "pretrain"
        (tmp_path / "c.json").write_text(json.dumps(more))
        said = complaint(capsys, command, "--config", tmp_path / "c.json")
        assert "names code to run ('evil_module" in said
        assert "files cannot do that, add --" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--train.seed=18446744073709551616", "train.seed: must be at most 9223372036854775807"),
        ("--encoder.width=10000000", "encoder.width: must be at most 32768"),
        (
            "--encoder.width=99999999999999999999",
            "encoder.width: must be at most 32768, found a number of more than 64 bits",
        ),
        ("--encoder.layers=100000000", "encoder.layers: must be at most 1000"),
        ("--l2p.support=99999999999999999999", "l2p.support: must be at most 65536"),
        ("--train.streams=99999999999", "train.streams: must be at most 65536"),
        ("--train.lr=inf", "train.lr must be a finite number"),
        ("--train.epochs=2147483648", "train.epochs: must be at most 2147483647"),
    ],
)
def test_numbers_of_options(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in complaint(capsys, "pretrain", "--corpus", "c", words)


def test_numbers_of_config_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for value, said in (
        (10**400, "more than 64 bits"),
        (NAN, "train.lr must be a finite number"),
        (INF, "train.lr must be a finite number"),
    ):
        (tmp_path / "c.json").write_text(json.dumps({"corpus": "c", "train": {"lr": value}}))
        assert said in complaint(capsys, "pretrain", "--config", tmp_path / "c.json")


def test_lines_of_predblp_are_rejected(tmp_path: Path) -> None:
    whole = predblp_record()
    (tmp_path / "x.json").touch()
    lines = [json.dumps(whole), "[" * 100_000, json.dumps(whole | {"terms": [{"convert_id": INF}]})]
    lines.append(json.dumps(whole | {"center_id": whole["center_id"] | {"year": 10**400}}))
    source = PreDblpSource(BiblioConfig(input=(str(tmp_path / "x.json"),), out=str(tmp_path), format="predblp"))
    piece, rejected = source.read(PreDblpPart("x.json", 1, 0, lines))
    assert piece is not None
    assert piece.graphs.num_graphs == 1
    assert [item.row for item in rejected] == ["2", "3", "4"]


@pytest.mark.slow
def test_fuzzed(tmp_path: Path) -> None:
    """A few inputs of ``make fuzz``, in a process with bounds on time and memory."""
    build_untrained(tmp_path)
    words = [
        sys.executable,
        "-m",
        "jobs.fuzzing.worker",
        str(tmp_path),
        str(tmp_path / "scratch"),
        "0",
        "0",
        "20",
        *CHEAP,
    ]
    root = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True, check=True, timeout=250)
    *findings, last = map(json.loads, done.stdout.splitlines())
    assert findings == []
    assert last["counts"]["inputs"] == last["counts"]["refused"] + last["counts"]["accepted"] == 20
    assert min(last["counts"]["refused"], last["counts"]["accepted"]) > 1
