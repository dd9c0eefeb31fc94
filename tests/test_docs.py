"""Every code block of the documentation is run, or says why not."""

from __future__ import annotations

import gc
import runpy
import shutil
import sys
import tomllib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from distgnn.commands.dispatch import understood
from distgnn.corpus.plan import Plan
from distgnn.corpus.reader import CorpusReader
from distgnn.register import REGISTRIES
from tests.helpers.hub import fake_hub
from tests.helpers.pages import BEFORE, LANGUAGES, PAGES, blocks, made_small, run, write_files, write_work
from tests.helpers.servers import running_moto

ALL = [block for page in PAGES for block in blocks(page)]
MOST_NOT_RUN = 9
"""A block that is not run must have a good reason."""
_SERVER = "http://minio:9000"
OWN_FILES = {"README": ("bash", "python"), "tutorial": ("",)}
"""Pages that begin with files; those of README have all steps twice, as commands and in Python."""


def page_names(language: str) -> list[str]:
    return sorted({block.page for block in ALL if block.language == language})


@pytest.fixture(autouse=True)
def _hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Blocks that name hf:OWNER/NAME find an empty Hub on this machine."""
    with fake_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_TOKEN", hub.token)
        yield


@pytest.fixture(autouse=True)
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The modules that pages show can be imported, and are forgotten."""
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)
    for block in ALL:
        if block.language == "python" and block.text.startswith("# my_"):
            (tmp_path / block.text.split()[1]).write_text(block.text)
    yield
    for name in set(sys.modules) - known:
        if name.startswith("my_"):
            del sys.modules[name]


def test_every_block_names_its_language_and_every_mark_its_reason() -> None:
    for block in ALL:
        where = f"{block.page}.md:{block.line}"
        assert block.language in LANGUAGES, f"{where}: name the language of the block"
        kind, _, reason = block.mark.partition(": ")
        assert kind in ("", "not run", "exits 1", "exits 2"), f"{where}: {block.mark}"
        assert not kind or len(reason) > 10, f"{where}: say why"


def test_blocks_that_are_not_run_are_few(capsys: pytest.CaptureFixture[str]) -> None:
    code = [block for block in ALL if block.language in ("bash", "python")]
    skipped = [block for block in code if not block.runs]
    with capsys.disabled():
        sys.stdout.write(f"\n{len(code) - len(skipped)} of {len(code)} code blocks of the documentation run; not:\n")
        sys.stdout.writelines(f"  {block.page}.md:{block.line} {block.mark}\n" for block in skipped)
    assert len(skipped) <= MOST_NOT_RUN


@pytest.mark.parametrize("page", page_names("bash"))
def test_commands_are_valid(page: str) -> None:
    """Every option of every command, of blocks that are not run, too."""
    for block in blocks(page):
        for program, *words in block.commands if block.language == "bash" else []:
            if (
                program == "distgnn"
                and words[0] not in ("submit", "completion", "--version")
                and "--resume" not in words
            ):
                assert understood(words) is not None, f"{page}.md:{block.line}: {words}"


def test_python_toml_and_yaml_can_be_parsed() -> None:
    for block in ALL:
        if block.language == "python":
            compile(block.text, f"{block.page}.md", "exec")
        elif block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "yaml":
            assert list(yaml.safe_load_all(block.text))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corpora and runs of earlier pages."""
    folder = tmp_path_factory.mktemp("work")
    write_work(folder)
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # advice about so few steps
@pytest.mark.parametrize("page", sorted({block.page for block in ALL if block.runs}))
def test_page(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """All blocks of a page, in order, at small size."""
    if page != "tutorial":
        made_small(monkeypatch)
    for language in OWN_FILES.get(page, ("",)):
        folder = tmp_path / f"page-{language}"
        folder.mkdir()
        if page in OWN_FILES:
            write_files(folder)
        else:
            shutil.copytree(request.getfixturevalue("work"), folder, dirs_exist_ok=True)
        if page in BEFORE:
            BEFORE[page](folder)
        for module in tmp_path.glob("my_*.py"):  # of other pages, too, in the folder of the reader
            shutil.copy(module, folder)
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(tmp_path)])  # as for a reader
        chosen = [block for block in blocks(page) if language in ("", block.language)]
        with bucket(monkeypatch) if page == "s3" else nullcontext("") as address:
            assert list(run([block._replace(text=block.text.replace(_SERVER, address)) for block in chosen]))


@contextmanager
def bucket(patch: pytest.MonkeyPatch) -> Iterator[str]:
    """A local S3 server with the bucket of the page; returns its address."""
    with running_moto() as server:
        for name, value in server.variables().items():
            patch.setenv(name, value)
        server.bucket("lab")
        yield server.address
        with warnings.catch_warnings():  # reading ahead may have left a connection, which must not fail a later test
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


def test_the_tutorial_pretrains_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first two steps at full size, where warnings are errors, train on most of the molecules."""
    monkeypatch.chdir(tmp_path)
    steps = [block for block in blocks("tutorial") if block.runs][:3]
    assert "distgnn pretrain" in steps[-1].text
    assert list(run(steps, shrink=list))
    pool = CorpusReader("data/pool").manifest
    train, held = Plan(pool.graphs, pool.unit_rows, 8, 16, validation_fraction=0.02).split_units()
    assert (pool.graphs, len(train), len(held)) == (640, 19, 1)


def test_every_page_is_in_the_navigation() -> None:
    config = (PAGES["README"].parent / "mkdocs.yml").read_text()
    missing = [f"{name}.md" for name in PAGES if name != "README" and f" {name}.md\n" not in config]
    assert not missing


def test_the_reference_lists_every_registered_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pages: dict[str, list[str]] = {}

    @contextmanager
    def kept(name: str, _: str) -> Iterator[Any]:
        yield SimpleNamespace(write=pages.setdefault(name, []).append)

    monkeypatch.setitem(sys.modules, "mkdocs_gen_files", SimpleNamespace(open=kept))
    runpy.run_path(str(PAGES["README"].parent / "docs/site/reference.py"))
    text = "".join(pages["reference/options.md"])
    for registry in REGISTRIES.values():
        for row in registry.table():
            assert row.summary, f"{registry.kind} {row.name} has no docstring"
            assert f"| `{row.name}` | {row.summary.replace('|', '&#124;')} | `{row.source}` |" in text


def test_extending_shows_every_kind() -> None:
    text = "".join(block.text for block in blocks("extending") if block.language == "python")
    assert not [kind for kind in REGISTRIES if f"@distgnn.register.{kind}(" not in text]
