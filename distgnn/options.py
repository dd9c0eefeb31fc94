"""Parsing of command line arguments to a config: flags by tyro, --config files, and one-line errors."""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import tyro

from distgnn.config import load_config
from distgnn.config.base import check, check_code, check_finite, check_imports, check_names, check_numbers
from distgnn.config.fields import reads, runtime, setting, writes
from distgnn.errors import RequestError
from distgnn.opened import closed, opened, opened_type
from distgnn.register import import_modules
from distgnn.storage.records import MAX_BYTES

C = TypeVar("C")
_CONFIG = (tyro.conf.HelptextFromCommentsOff,)
"""Help texts are docstrings of fields. To look for comments, too, takes most of the time of parsing."""
_FOOTER = """
Also: --config FILE (JSON, as saved by a run), --json (results as JSON on stdout)."""
_DRY_RUN = """
To see what would run, how long and with how much memory: --dry-run (a few steps are measured, nothing is written)."""
_RESUME = """
To continue a run: --resume RUN_FOLDER (with its saved config; workers and other fields that do not change results may change)."""
_RESUME_SWEEP = """
To continue a sweep: --resume SWEEP_FOLDER (with its saved config; trials, retries and resources may change)."""
_SPACE = "--space"
_BOX = " │╭╮╰╯─"
_PARSER_WORDS = re.compile(r"^Value error: Error parsing \w+: ")
"""What the parser puts before the message of a config's own check."""
_PERHAPS = "Perhaps you meant:"
_HINTS = ("Argument helptext", "For full helptext", "Arguments similar")


@dataclass(frozen=True)
class CorpusUri:
    """Verify or describe an existing corpus.

    Example: distgnn corpus verify data/molecules
    """

    uri: tyro.conf.Positional[str] = reads()
    """Path or URI of the corpus."""


@dataclass(frozen=True)
class NetworkUri:
    """Verify or describe an existing network.

    Example: distgnn network stat data/last-fm
    """

    uri: tyro.conf.Positional[str] = reads()
    """Path or URI of the network."""


@dataclass(frozen=True)
class DatabaseUri:
    """Verify a database store.

    Example: distgnn database verify stores/northwind
    """

    uri: tyro.conf.Positional[str] = reads()
    """Path or URI of the store."""


@dataclass(frozen=True)
class DatabaseStatOptions:
    """Print the tables, keys, time ranges and warnings of a database.

    Example: distgnn database stat stores/northwind --picture northwind.svg
    """

    uri: tyro.conf.Positional[str] = reads()
    """Path or URI of the store, or of a folder with database.json."""
    picture: str = writes("")
    """Draw the schema to this file (.svg or .png)."""


@dataclass(frozen=True)
class DatabaseTasksOptions:
    """List the tasks of a database with warnings, or add tasks to a store.

    Example: distgnn database tasks stores/northwind --add tasks.toml
    """

    uri: tyro.conf.Positional[str] = reads()
    """Path or URI of the store, or of a folder with database.json."""
    add: str = reads("")
    """TOML file of tasks to add first: rules, or tables of labels (docs/databases.md)."""
    automatic: int = setting(0, most=4096)
    """Add at most so many tasks that are made from the schema: cells to fill in, and what happens next to an entity."""


@dataclass(frozen=True)
class CatOptions:
    """Print graphs of a corpus as JSON, one per line.

    Example: distgnn corpus cat data/molecules --start 100 --count 3
    """

    uri: tyro.conf.Positional[str] = reads()
    """Path or URI of the corpus."""
    start: int = runtime(0)
    """Index of the first graph."""
    count: int = runtime(10)
    """Number of graphs."""


@dataclass(frozen=True)
class PushOptions:
    """Copy a checkpoint (or the most recent one of a run) to a path or URI; source and copy are verified.

    Example: distgnn push runs/molecules s3://models/molecules
    """

    source: tyro.conf.Positional[str] = reads()
    """Checkpoint or run folder."""
    target: tyro.conf.Positional[str] = writes()
    """Destination; must be empty or contain the same checkpoint. Or a repository on the Hugging Face Hub: hf:OWNER/NAME."""
    weights_only: bool = setting(False)
    """Leave out the optimiser state: a third of the size, enough for everything but resuming the run."""
    card: str = reads("")
    """Markdown file that replaces the generated model card (card.md)."""


@dataclass(frozen=True)
class PullOptions:
    """Download a checkpoint and verify it; prints the local folder.

    Example: distgnn pull s3://models/molecules
    """

    source: tyro.conf.Positional[str] = reads()
    """Checkpoint or run folder, a shipped model (zoo:NAME), or a repository on the Hugging Face Hub (hf:OWNER/NAME)."""
    target: tyro.conf.Positional[str] = writes("")
    """Local folder; empty = a content-addressed cache (DISTGNN_CACHE, default ~/.cache/distgnn)."""


@dataclass(frozen=True)
class StatusOptions:
    """Print the status and progress of a run.

    Example: distgnn status runs/molecules
    """

    run: tyro.conf.Positional[str] = writes()
    """Run folder."""


@dataclass(frozen=True)
class RunsOptions:
    """List what commands wrote in a folder: pre-training runs with their progress, comparisons, sweeps, studies and corpora.

    Example: distgnn runs runs
    """

    folder: tyro.conf.Positional[str] = reads("runs")
    """Folder that holds the folders of runs."""
    delete: tuple[str, ...] = setting(())
    """Delete these pre-training runs of the folder, with their checkpoints. Only files of distgnn are deleted; a run at which
    a command is working is refused."""
    yes: bool = setting(False)
    """Delete without asking."""
    compare: tuple[str, ...] = setting(())
    """Instead of the list, put these folders side by side: pre-training runs by their last metrics, comparisons and studies by
    their differences to the control, as the report does."""


@dataclass(frozen=True)
class CompletionOptions:
    """Print a script with which a shell completes commands, options, their values and file names.

    Example: distgnn completion bash >> ~/.bash_completion
    """

    shell: tyro.conf.Positional[Literal["bash", "zsh", "fish"]] = setting()
    """The shell."""


@dataclass(frozen=True)
class DemoOptions:
    """Pre-train, compare with no pre-training on few labels, and write a report; a few minutes on two cores.

    Example: distgnn demo --out demo
    """

    out: str = writes("distgnn-demo")
    """Local folder for what the demo writes; it must not exist, or be that of an earlier demo."""
    data: str = reads("")
    """Folder with real data (molecules/smiles, kgrec/last-fm, databases); empty = DISTGNN_DATA, else ../shared/data, else
    synthetic graphs."""
    quick: bool = setting(False)
    """A minute: less training, fewer draws; differences are then mostly noise."""


@dataclass(frozen=True)
class BoardOptions:
    """Show the runs in a folder on a local page that follows them live, until Ctrl-C.

    Example: distgnn board runs
    """

    folder: tyro.conf.Positional[str] = reads("runs")
    """Folder that holds the folders of runs, or one run; a path or URI."""
    host: str = runtime("127.0.0.1")
    """Address to listen at; 0.0.0.0 = reachable from other machines, without authentication."""
    port: int = runtime(8090, most=65_535)
    """Port to listen at; 0 = any free one."""


@dataclass(frozen=True)
class ReportOptions:
    """Write one HTML page about corpora, runs, comparisons, studies and sweeps; runs are also compared side by side.

    Example: distgnn report runs/l2p runs/edgepred runs/bace-few --out report.html
    """

    folders: tyro.conf.Positional[tuple[str, ...]] = reads()
    """Output folders of distgnn commands."""
    out: str = writes("")
    """URI of the page; empty = report.html in the folder, if there is one only. The page of a sweep (sweep.html) is also
    written again in its folder."""


@dataclass(frozen=True)
class Globals:
    """Options of every command."""

    config: str
    json: bool
    resume: str


def split_globals(argv: list[str]) -> tuple[Globals, list[str]]:
    """Split ``argv`` into --config, --json and --resume, and the remaining arguments."""
    values: dict[str, list[str]] = {"--config": [], "--resume": []}
    rest: list[str] = []
    as_json = False
    queue = list(argv)
    while queue:
        word = queue.pop(0)
        name, equals, value = word.partition("=")
        if name == "--set":
            setting = value or (queue[0] if queue else "a.b=value")
            raise RequestError(f"--set: was removed; give --{setting.replace('=', ' ', 1)} instead")
        if word == "--json":
            as_json = True
        elif name in values and (equals or queue):
            values[name].append(value if equals else queue.pop(0))
        elif name in values:
            raise RequestError(f"{name}: a value is missing; see --help")
        else:
            rest.append(word)
    for name in ("--config", "--resume"):
        if len(values[name]) > 1:
            raise RequestError(f"{name}: given twice; give it once")
    single = {name: (found or [""])[0] for name, found in values.items()}
    return Globals(single["--config"], as_json, single["--resume"]), rest


def parse(kind: type[C], program: str, argv: list[str], options: Globals, default: C | None = None) -> C:
    """Parse arguments to a ``kind``: values of --config (or ``default``), overridden by flags.

    The modules of --imports are imported first, since what they register adds flags. --help exits with code 0.

    Raises:
        RequestError: An argument is invalid; the message is a single line.
    """
    import_named(argv)
    if options.config:
        default = _read_config(kind, options.config, argv)
    argv, shown = _gathered(argv), opened_type(kind, bool({"-h", "--help"} & set(argv)))
    more = {"distgnn pretrain": _DRY_RUN + _RESUME, "distgnn tune": _DRY_RUN + _RESUME_SWEEP}
    footer = _FOOTER + more.get(program, "")
    complaints = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaints):
            text = f"{_description(kind)}\n{footer}"
            if default is None:
                found = tyro.cli(shown, prog=program, description=text, args=argv, config=_CONFIG)
            else:
                found = tyro.cli(
                    shown, prog=program, description=text, args=argv, default=opened(default, shown), config=_CONFIG
                )
    except SystemExit as stop:
        if not stop.code:
            raise
        complaint = _PARSER_WORDS.sub("", flatten(complaints.getvalue()))
        raise RequestError(f"{complaint}; see {program} --help") from None
    config = closed(found, kind)
    check_numbers(config)
    check_names(config)
    check_finite(config)
    return config


def _read_config(kind: type[C], given: str, argv: list[str]) -> C:
    """Read the config file ``given``. Code that it names must be named by ``argv``, too; its modules are imported by then."""
    path = Path(given)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RequestError(f"--config {path}: cannot be read ({error.strerror}); give a JSON file") from error
    check(len(raw) <= MAX_BYTES, f"--config {path}: has more than {MAX_BYTES} bytes; give a JSON file")
    config = load_config(kind, raw, given)
    check_code(config, code_of(argv), f"--config {path}")
    return config


def import_named(argv: list[str]) -> None:
    """Import the modules of --imports in ``argv``."""
    names = imports_of(argv)
    check_imports(names)
    import_modules(names)


def imports_of(argv: list[str]) -> tuple[str, ...]:
    """Return the values of --imports, --pretrain.imports and so on."""
    return _values_of(argv, ("imports",))


def code_of(argv: list[str]) -> tuple[str, ...]:
    """Return all names of code in ``argv``: the values of --imports and --weighting.library of any group."""
    return _values_of(argv, ("imports", "library"))


def _values_of(argv: list[str], fields: tuple[str, ...]) -> tuple[str, ...]:
    found: list[str] = []
    taking = False
    for word in argv:
        name, equals, value = word.partition("=")
        if word.startswith("-"):
            taking = name.rpartition(".")[2].lstrip("-") in fields
            found += [value] if taking and equals else []
        elif taking:
            found.append(word)
    return tuple(found)


def _gathered(argv: list[str]) -> list[str]:
    """Return ``argv`` with the values of all --space options merged into one."""
    rest: list[str] = []
    values: list[str] = []
    taking = False
    for word in argv:
        name, equals, value = word.partition("=")
        if word.startswith("--"):
            taking = name == _SPACE
        if not taking:
            rest.append(word)
        elif name != _SPACE:
            values.append(word)
        elif equals:
            values.append(value)
    return [*rest, _SPACE, *values] if values else argv


def _description(kind: type[Any]) -> str:
    lines = [line.strip() for line in (kind.__doc__ or "").strip().splitlines()]
    return "\n".join(lines)


def flatten(boxed: str) -> str:
    """Convert tyro's boxed error message to one line, without borders, help texts and hints."""
    blocks: list[list[str]] = [[]]
    for line in boxed.splitlines():
        text = line.strip(_BOX)
        title = line.lstrip().startswith("╭")
        if title or not text.strip("-"):
            blocks.append([])
        if blocks[-1][:1] == [_PERHAPS]:
            blocks[-1] += [text.split()[0]] if text.startswith("--") else []
        elif text.strip("-"):
            blocks[-1].append(text)
        if title:
            blocks.append([])
    texts = [" ".join(block) for block in blocks if block]
    texts = [text for text in texts if not text.startswith(_HINTS)]
    return ": ".join(texts[1:] if len(texts) > 1 and texts[1].startswith(texts[0]) else texts)
