"""Pre-training runs: folder, config, plan and number of steps; creation and resumption."""

from __future__ import annotations

import dataclasses
import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from distgnn.checkpoint.format import SavedEncoder
from distgnn.checkpoint.training_state import TrainState, make_state
from distgnn.config import PretrainConfig, to_json
from distgnn.config.fields import changed, named
from distgnn.corpus.plan import Plan, RankReads
from distgnn.corpus.reader import CorpusReader
from distgnn.corpus.stream import Prepare
from distgnn.distributed import choose_device
from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch
from distgnn.objectives.build import reads_labels
from distgnn.pretraining.batch_size_finder import with_batch_size
from distgnn.pretraining.history import NAME as PROGRESS
from distgnn.pretraining.history import read_progress
from distgnn.pretraining.init_from import load_init, write_start
from distgnn.storage.claim import settle
from distgnn.storage.environment import read_data, write_environment
from distgnn.storage.folder import Folder, absence, open_folder
from distgnn.storage.records import read_config
from distgnn.storage.uri import parent

CONFIG = "config.json"
Units = Callable[[CorpusReader, Plan, Prepare, RankReads], Iterator[GraphBatch]]


@dataclass(frozen=True)
class Run:
    """A pre-training run.

    Attributes:
        folder: Folder with config.json, progress.json, history/ and checkpoints/.
        config: The resolved config, including the name.
    """

    folder: Folder
    config: PretrainConfig

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.config.name


def make_plan(config: PretrainConfig, reader: CorpusReader) -> Plan:
    """Plan of the run ``config`` over its corpus."""
    train, manifest = config.train, reader.manifest
    return Plan(
        manifest.graphs,
        manifest.unit_rows,
        train.streams,
        train.graphs_per_stream,
        train.seed,
        train.validation_fraction,
        train.order == "balanced",
    )


def planned_steps(config: PretrainConfig, plan: Plan) -> int:
    """Total number of steps of the run; 0 if nothing is trained."""
    if config.objective == "none":
        return 0
    steps = config.train.epochs * plan.steps_per_epoch
    return min(steps, config.train.max_steps) if config.train.max_steps else steps


@dataclass(frozen=True)
class Start:
    """A run with the objects built to check it, which training reuses.

    Attributes:
        run: The run.
        reader: Reader of its corpus.
        state: State that training starts from, unless there is a newer checkpoint; None if training builds it.
    """

    run: Run
    reader: CorpusReader
    state: TrainState | None = None


def new_start(config: PretrainConfig) -> Start:
    """Check the corpus and the objective, then create a run with :func:`new_run`.

    Raises:
        RequestError: If the corpus lacks what the objective needs, the objective does not support the encoder, the device is
            missing, or :func:`new_run` fails.
    """
    reader = open_corpus(config)
    device = choose_device(config.train.device) if config.workers == 1 else torch.device("cpu")
    state = make_state(config, reader.manifest.schema, device)
    run = new_run(config, reader, state)
    return Start(run, reader, state if config.workers == 1 else None)


def resumed_start(uri: str, config: PretrainConfig) -> Start:
    """Start of the run at ``uri``, checked by :func:`resumed_run`; training continues from its newest checkpoint."""
    run = resumed_run(uri, config)
    return Start(run, open_corpus(run.config))


def run_name(config: PretrainConfig) -> str:
    """Name of a new run: the given one, else a new one."""
    return config.name or f"{config.objective}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def new_run(config: PretrainConfig, reader: CorpusReader | None = None, state: TrainState | None = None) -> Run:
    """Create the folder of a new run with its config and, if ``config.init`` is given, its first checkpoint.

    Args:
        config: The run's config; ``name`` may be empty.
        reader: The reader of its corpus, if it is open already.
        state: A new state of the run, if there is one; the weights of ``config.init`` are loaded into it.

    Raises:
        RequestError: If there is no corpus, ``init`` does not fit, the folder cannot be written, a run of that name exists, or
            train.graphs_per_stream is 0 and no batch size can be found.
    """
    reader = reader or open_corpus(config)
    config, init = resolved(config, reader)
    folder = open_folder(config.out).sub(config.name)
    if init:
        manifest = reader.manifest
        state = state or make_state(config, manifest.schema, torch.device("cpu"))
        write_start(folder, config, manifest, init, state)
    return _saved(Run(folder, config), {config.corpus: reader.manifest.digest()})


def resolved(config: PretrainConfig, reader: CorpusReader) -> tuple[PretrainConfig, SavedEncoder | None]:
    """Return the config of a new run with its name, absolute URIs and batch size, and the encoder of ``config.init``.

    Nothing is written. Raises RequestError like :func:`new_run`.
    """
    init = load_init(config, reader.manifest.schema)
    config = dataclasses.replace(
        config,
        name=run_name(config),
        corpus=open_folder(config.corpus).uri,
        out=open_folder(config.out).uri,
        init=init.uri if init else "",
    )
    folder = open_folder(config.out).sub(config.name)
    if folder.size(CONFIG) is not None:
        raise RequestError(f"{folder.uri}: a run of that name exists{_instead(folder)} or choose another name")
    return with_batch_size(config, reader), init


def _instead(run: Folder) -> str:
    """Return what to do with a run that exists, as part of a message."""
    failed = read_progress(run) if run.size(PROGRESS) is not None else None
    if failed and failed["status"] == "failed" and failed["step"] == 0:
        place, name = parent(run.uri)
        return (
            f" and failed before its first step; delete it (distgnn runs {place} --delete {name}, distgnn.delete_run)"
        )
    return f"; continue it with --resume {run.uri} (distgnn.resume)"


def open_corpus(config: PretrainConfig) -> CorpusReader:
    """Open the corpus of a run. Labels are read only if the objective uses them."""
    reader = CorpusReader(config.corpus, labels=reads_labels(config.objective))
    reader.check_first()
    return reader


def run_config(uri: str) -> PretrainConfig:
    """Load the config saved in a run folder.

    Raises:
        RequestError: If the folder is not that of a run.
    """
    folder = open_folder(uri)
    if folder.size(CONFIG) is None:
        raise RequestError(
            f"{uri}: no run here ({CONFIG} is missing); give the folder of a run{absence(open_folder(uri))}"
        )
    return read_config(folder, CONFIG, PretrainConfig)


def same_run(config: PretrainConfig) -> PretrainConfig | None:
    """Config to continue the run that ``config`` names; None if there is no such run.

    What a run resolves when it is created is taken from the run: full URIs, the checkpoint that ``init`` stood for, and
    the batch size that was found.
    """
    folder = open_folder(config.out).sub(config.name)
    if folder.size(CONFIG) is None:
        return None
    before = run_config(folder.uri)
    init = config.init and open_folder(config.init).uri
    found = 0 if config.train.graphs_per_stream else before.train.graphs_per_stream
    return dataclasses.replace(
        config,
        corpus=open_folder(config.corpus).uri,
        out=before.out,
        init=before.init if init and f"{before.init}/".startswith(f"{init}/") else config.init,
        train=dataclasses.replace(config.train, graphs_per_stream=found or config.train.graphs_per_stream),
    )


def resumed_run(uri: str, config: PretrainConfig) -> Run:
    """Open the run at ``uri`` with the resumable fields (number of workers, logging and so on) taken from ``config``.

    Raises:
        RequestError: If any other field differs from the saved config.
    """
    before = run_config(uri)
    resumable = named(PretrainConfig, "resumable")  # none of them changes the loss curve
    for name, (old, new) in changed(to_json(before), to_json(config)).items():
        if name not in resumable:
            allowed = ", ".join(sorted(resumable))
            raise RequestError(
                f"resume: {name}={new!r} differs from the run's {old!r}; start a new run, from these weights with init={uri};"
                f" in a resumed run only these may change: {allowed}"
            )
    folder = open_folder(uri)
    return _saved(Run(folder, config), read_data(folder))


def _saved(run: Run, data: dict[str, str]) -> Run:
    run.folder.write(CONFIG, (json.dumps(to_json(run.config), indent=1) + "\n").encode())
    write_environment(run.folder, "pretrain", data)
    if run.config.init:
        settle(run.folder)
    return run
