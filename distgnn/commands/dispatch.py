"""Table of the commands; parses a command line and calls its command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, NamedTuple

from distgnn.commands.output import Output
from distgnn.config import (
    AnalyseConfig,
    DatabaseBuildConfig,
    DoctorConfig,
    EvaluateConfig,
    EvaluateEncodersConfig,
    FewLabelConfig,
    PretrainConfig,
    TransferConfig,
    TuneConfig,
)
from distgnn.config.database_model import DatabaseEvaluateConfig, DatabasePretrainConfig, PredictConfig
from distgnn.config.evaluate import FEW_LABEL_OPTIONS
from distgnn.errors import RequestError
from distgnn.interrupts import exit_on_interrupt
from distgnn.loading import load_function
from distgnn.options import (
    BoardOptions,
    CatOptions,
    CompletionOptions,
    CorpusUri,
    DatabaseStatOptions,
    DatabaseTasksOptions,
    DatabaseUri,
    DemoOptions,
    NetworkUri,
    PullOptions,
    PushOptions,
    ReportOptions,
    RunsOptions,
    StatusOptions,
    import_named,
    parse,
    split_globals,
)
from distgnn.register import REGISTRIES, Registry, unknown


class Command(NamedTuple):
    """A command.

    Attributes:
        options: Dataclass of its flags.
        entry_point: Entry point 'module:function', called with (options, Output); imported on use.
        summary: Its line in the overview.
    """

    options: type[Any]
    entry_point: str
    summary: str


class Builds(NamedTuple):
    """A command that builds a corpus or a network.

    Attributes:
        sources: The registry of its sources.
        entry_point: Entry point 'module:function'.
        summary: Its line in the overview.
    """

    sources: str
    entry_point: str
    summary: str


COMMANDS: dict[tuple[str, ...], Command] = {
    ("corpus", "verify"): Command(CorpusUri, "distgnn.commands.corpus:verify", "check every byte of a corpus"),
    ("corpus", "stat"): Command(CorpusUri, "distgnn.commands.corpus:stat", "print statistics of a corpus"),
    ("corpus", "cat"): Command(CatOptions, "distgnn.commands.corpus:cat", "print graphs as JSON"),
    ("network", "verify"): Command(NetworkUri, "distgnn.commands.network:verify", "check every byte of a network"),
    ("network", "stat"): Command(NetworkUri, "distgnn.commands.network:stat", "print statistics of a network"),
    ("database", "build"): Command(
        DatabaseBuildConfig, "distgnn.commands.database:build", "build a store from a relational database"
    ),
    ("database", "verify"): Command(DatabaseUri, "distgnn.commands.database:verify", "check every byte of a store"),
    ("database", "stat"): Command(
        DatabaseStatOptions, "distgnn.commands.database:stat", "print tables, keys and warnings of a database"
    ),
    ("database", "pretrain"): Command(
        DatabasePretrainConfig, "distgnn.commands.database_models:pretrain", "pre-train a model over databases"
    ),
    ("database", "evaluate"): Command(
        DatabaseEvaluateConfig, "distgnn.commands.database_models:evaluate", "evaluate models on unseen databases"
    ),
    ("predict",): Command(
        PredictConfig, "distgnn.commands.database_models:predict", "predict a task of a database from context labels"
    ),
    ("database", "tasks"): Command(
        DatabaseTasksOptions, "distgnn.commands.database:tasks", "list or add prediction tasks of a database"
    ),
    ("pretrain",): Command(PretrainConfig, "distgnn.commands.pretrain:pretrain", "pre-train an encoder on a corpus"),
    ("finetune",): Command(
        FewLabelConfig, "distgnn.commands.finetune:finetune", "compare checkpoints on a labelled corpus"
    ),
    ("analyse",): Command(
        AnalyseConfig, "distgnn.commands.finetune:analyse", "show what fine-tuning changes in checkpoints (CKA, loss)"
    ),
    ("transfer",): Command(
        TransferConfig,
        "distgnn.commands.transfer:transfer",
        "train with weighted auxiliary tasks (AUX-TS)",
    ),
    ("tune",): Command(TuneConfig, "distgnn.commands.tune:tune", "search hyper-parameters with Ray Tune"),
    ("evaluate",): Command(
        EvaluateConfig, "distgnn.commands.finetune:evaluate", "evaluate fine-tuned models on a labelled corpus"
    ),
    ("doctor",): Command(DoctorConfig, "distgnn.commands.doctor:doctor", "check the cluster before a run"),
    ("push",): Command(PushOptions, "distgnn.commands.checkpoints:push", "copy a checkpoint to a path or URI"),
    ("pull",): Command(PullOptions, "distgnn.commands.checkpoints:pull", "download a checkpoint"),
    ("report",): Command(ReportOptions, "distgnn.commands.report:report", "write one HTML page about runs and results"),
    ("board",): Command(BoardOptions, "distgnn.commands.board:board", "follow runs live on a local page"),
    ("runs",): Command(RunsOptions, "distgnn.commands.runs:runs", "list the runs in a folder, compare or delete some"),
    ("demo",): Command(DemoOptions, "distgnn.commands.demo:demo", "see what pre-training gives with few labels"),
    ("completion",): Command(
        CompletionOptions, "distgnn.commands.dispatch:completion", "print the completion script of a shell"
    ),
    ("status",): Command(StatusOptions, "distgnn.commands.status:status", "print the status of a run"),
}
FEW_LABELS: dict[tuple[str, ...], Command] = {
    ("evaluate",): Command(
        EvaluateEncodersConfig, "distgnn.commands.finetune:evaluate", "evaluate pre-trained encoders with few labels"
    ),
}
"""Commands that an option of few-label evaluation selects in place of those of the same name."""
RESUMED: dict[tuple[str, ...], str] = {
    ("pretrain",): "distgnn.commands.pretrain:resume",
    ("tune",): "distgnn.commands.tune:resume",
}
"""Entry points of commands with --resume, called with (global options, arguments, Output)."""
_DRY_RUN = "--dry-run"
DRY_RUNS: dict[tuple[str, ...], str] = {
    ("pretrain",): "distgnn.commands.dry_run:pretrain",
    ("tune",): "distgnn.commands.dry_run:tune",
}
"""Entry points of commands with --dry-run, called with (options, Output)."""
BUILDS: dict[tuple[str, ...], Builds] = {
    ("corpus", "build"): Builds("corpus_source", "distgnn.commands.corpus:build", "build a corpus from raw graphs"),
    ("network", "build"): Builds(
        "network_source",
        "distgnn.commands.network:build",
        "build one large network from raw files",
    ),
}


def run(argv: list[str]) -> int:
    """Run the command line ``argv`` and return the exit code.

    Raises:
        RequestError: The command is unknown or an option is invalid, or what the command raises.
    """
    if not argv or argv[0] in ("-h", "--help"):
        sys.stdout.write(_overview())
        return 0 if argv else 2
    if argv[0] in ("-V", "--version"):
        found = _load("distgnn.storage.environment:versions")()
        sys.stdout.write("".join(f"{name} {version}\n" for name, version in found.items()))
        return 0
    if argv[0] == "submit":
        return _load("distgnn.commands.submit:submit")(argv[1:], _options_of)
    request = understood(argv)
    if request is None:
        given = " ".join(word for word in argv[:2] if not word.startswith("-")) or argv[0]
        known = [" ".join(path) for path in (*BUILDS, *COMMANDS, ("submit",))]
        close = get_close_matches(given, known, 1) or get_close_matches(argv[0], known, 1)
        hint = f"did you mean {close[0]!r}? The" if close else "the"
        raise RequestError(f"unknown command {given!r}; {hint} commands are: {', '.join(known)}")
    return request.run()


def _load(entry_point: str) -> Callable[..., Any]:
    with exit_on_interrupt():
        return load_function(entry_point, freeze=True)


class Request(NamedTuple):
    """A parsed command line.

    Attributes:
        options: Options of the command.
        run: Runs the command and returns the exit code.
    """

    options: Any
    run: Callable[[], int]


def _options_of(argv: list[str]) -> Any:
    request = understood(argv)
    return None if request is None else request.options


def understood(argv: list[str]) -> Request | None:
    """Parse ``argv`` to a command and its validated options; None if they do not name a command."""
    if tuple(argv[:2]) in BUILDS:
        return _build(argv[0], BUILDS[tuple(argv[:2])], argv[2:])
    for depth in (1, 2):
        path = tuple(argv[:depth])
        if path in COMMANDS:
            return _command(path, COMMANDS[path], argv[depth:])
    return None


def _command(path: tuple[str, ...], command: Command, argv: list[str]) -> Request:
    dry = _DRY_RUN in argv and path in DRY_RUNS
    options, rest = split_globals([word for word in argv if word != _DRY_RUN] if dry else argv)
    if path in FEW_LABELS and _few_labels(argv):
        command = FEW_LABELS[path]
    if options.resume:
        if path not in RESUMED:
            known = " and ".join(" ".join(other) for other in RESUMED)
            raise RequestError(f"--resume is an option of {known}, not of {' '.join(path)}")
        if dry:
            raise RequestError(f"{_DRY_RUN} is for new runs; leave --resume out, or look with distgnn status")
        resume = _load(RESUMED[path])
        return Request(StatusOptions(options.resume), lambda: resume(options, rest, Output(options.json)))
    parsed = parse(command.options, f"distgnn {' '.join(path)}", rest, options)
    entry_point = DRY_RUNS[path] if dry else command.entry_point
    return Request(parsed, lambda: _load(entry_point)(parsed, Output(options.json)))


def _few_labels(argv: list[str]) -> bool:
    """Return whether few-label evaluation is asked for."""
    names = {word.partition("=")[0].removeprefix("--").replace("-", "_") for word in argv if word.startswith("--")}
    asked = names & set(FEW_LABEL_OPTIONS)
    if asked and "model" in names:
        raise RequestError(
            f"--model (a fine-tuned model) and --{min(asked).replace('_', '-')} (few-label evaluation of pre-trained encoders)"
            " exclude each other; give --checkpoint instead of --model, or --model alone"
        )
    return bool(asked)


def _build(what: str, builds: Builds, argv: list[str]) -> Request:
    sources, kind = REGISTRIES[builds.sources], argv[0] if argv else ""
    import_named(argv)
    if kind in ("-h", "--help"):
        return Request(None, lambda: _show_kinds(what, sources))
    if not kind:
        raise RequestError(f"{what} build: which kind? the kinds are: {', '.join(sources.names())} (each has --help)")
    entry = sources.find(kind)
    if entry is None or entry.config is None:
        raise RequestError(f"{what} build: {unknown('kind', kind, sources.names())}")
    options, rest = split_globals(argv[1:])
    config = parse(entry.config, f"distgnn {what} build {kind}", rest, options)
    return Request(config, lambda: _load(builds.entry_point)(config, kind, Output(options.json)))


def _show_kinds(what: str, sources: Registry) -> int:
    described = [(entry.name, (entry.config.__doc__ or "").strip().partition("\n")[0]) for entry in sources.entries()]
    rows = "\n".join(f"  distgnn {what} build {name:<13} {text}" for name, text in described)
    sys.stdout.write(f"Kinds of {what} build:\n\n{rows}\n\nEach has --help.\n")
    return 0


def completion(options: CompletionOptions, output: Output) -> int:
    """The command ``distgnn completion``, which needs the table of the commands."""
    table = {path: (command.options,) for path, command in COMMANDS.items()}
    table |= {path: (*table[path], command.options) for path, command in FEW_LABELS.items()}
    for path, builds in BUILDS.items():
        entries = REGISTRIES[builds.sources].entries()
        table |= {(*path, entry.name): (entry.config,) for entry in entries if entry.config}
    return _load("distgnn.commands.completion:completion")(options, output, table)


def _overview() -> str:
    rows = [(f"{' '.join(path)} KIND", builds.summary) for path, builds in BUILDS.items()]
    rows += [(" ".join(path), command.summary) for path, command in COMMANDS.items()]
    rows.append(("submit COMMAND", "run any of these as a job on a Ray cluster"))
    lines = "\n".join(f"  distgnn {name:<18} {summary}" for name, summary in rows)
    example = "  distgnn corpus build motifs --graphs 2000 --out data/motifs\n  distgnn pretrain --corpus data/motifs"
    return f"Pre-training of graph neural networks on Ray.\n\n{lines}\n\nEach has --help. For example:\n{example}\n"
