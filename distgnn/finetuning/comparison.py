"""Fine-tuning on graph labels: checkpoints compared over seeds, each with the same encoder without pre-training.

Fine-tuning is training on labels without auxiliary tasks; the control is the control of ``distgnn transfer``, scheme scratch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from distgnn.auxiliary.comparison import Comparison, Row
from distgnn.auxiliary.data_source import CorpusDataSource, InitialEncoder
from distgnn.auxiliary.jobs import Job, Progress, RunJob, run_jobs
from distgnn.config import CorpusTaskConfig, EncoderConfig, FinetuneConfig, LabelChoice, TransferConfig
from distgnn.config.transfer import CONTROL
from distgnn.corpus.manifest import read_manifest
from distgnn.corpus.writer import Mapper
from distgnn.errors import RequestError
from distgnn.labels.dataset import LabelledSet, load_labelled
from distgnn.labels.scores import HIGHER_IS_BETTER
from distgnn.storage.folder import Folder, open_folder

CHOICE = tuple(LabelChoice.__dataclass_fields__)


@dataclass(frozen=True)
class FinetuneComparison(Comparison[FinetuneConfig]):
    """The comparison of a fine-tuning, with the labelled corpus. A row is named after its checkpoint."""

    data: LabelledSet = field(repr=False)


def finetune(
    config: FinetuneConfig,
    checkpoints: Sequence[InitialEncoder],
    folder: Folder,
    mapper: Mapper = map,
    device: str = "cpu",
    progress: Progress | None = None,
) -> FinetuneComparison:
    """Fine-tune every checkpoint with seeds 0..config.seeds-1, and the control: the same architecture, freshly initialised.

    Args:
        config: Corpus and training options.
        checkpoints: The encoders to compare; without any, there is only the control of ``config.encoder``.
        folder: Where results are kept as they come; finished trainings are not run again.
        mapper: An ordered map over independent jobs.
        device: torch device of the trainings.
        progress: Called after each job.

    Raises:
        RequestError: Corpus, labels, split or a checkpoint's features do not fit.
        WorkError: A training diverged.
    """
    everything, controls = with_controls(checkpoints, config.encoder)
    source = finetune_source(config, load_labelled(config), everything)
    run = RunJob(source, folder, device, save_models=config.save_models)
    jobs = [finetune_job(source, seed, place) for seed in range(config.seeds) for place in range(len(everything))]
    rows = [Row(start.name, start.encoder.kind, _scheme(start)) for start in everything]
    results = {(rows[job.encoder], job.seed): found for job, found in run_jobs(run, jobs, mapper, progress).items()}
    by_name = {row.method: row for row in rows}
    controls_of = {by_name[name]: by_name[control] for name, control in controls.items()}
    metric = next(iter(results.values())).metrics[0]
    lower = frozenset() if HIGHER_IS_BETTER[metric] else frozenset({metric})
    return FinetuneComparison(config, controls_of, results, lower, source.data)


def finetune_source(config: FinetuneConfig, data: LabelledSet, starts: Sequence[InitialEncoder]) -> CorpusDataSource:
    """The data source of a fine-tuning; raises RequestError where a checkpoint's features do not fit ``data``."""
    digest = read_manifest(open_folder(config.corpus)).digest()
    return CorpusDataSource.of(training_config(config), data, digest, starts, config.frozen)


def training_config(config: FinetuneConfig) -> TransferConfig:
    """The training on labels that a fine-tuning is: the target alone, without auxiliary tasks."""
    choice = {name: getattr(config, name) for name in CHOICE}
    return TransferConfig(
        config.corpus,
        methods=(CONTROL,),
        schemes=("scratch",),
        seeds=config.seeds,
        epochs=config.epochs,
        patience=config.patience,
        batch=config.batch,
        lr=config.lr,
        weight_decay=config.weight_decay,
        corpus=CorpusTaskConfig(auxiliary=(), dropout=config.dropout, **choice),
        imports=config.imports,
    )


def finetune_job(source: CorpusDataSource, seed: int, place: int) -> Job:
    """The job of one encoder of ``source``."""
    return Job(seed, _scheme(source.starts[place]), place, CONTROL)


def _scheme(start: InitialEncoder) -> str:
    return "scratch" if start.weights is None else "pretrained"


def with_controls(
    methods: Sequence[InitialEncoder], encoder: EncoderConfig
) -> tuple[tuple[InitialEncoder, ...], dict[str, str]]:
    """(``methods`` and after them one control for each of their architectures, the control's name for each method).

    The control is "none"; where architectures differ, "none (NAME)" with the first method of the architecture. Without
    methods it has the architecture ``encoder``.
    """
    names = [method.name for method in methods]
    taken = [name for name in names if names.count(name) > 1 or name.split(" ")[0] == CONTROL]
    if taken:
        raise RequestError(
            f"method name {taken[0]!r}: names must differ and must not be {CONTROL!r}, the control's own"
        )
    firsts: dict[EncoderConfig, str] = {}
    for method in methods:
        firsts.setdefault(method.encoder, method.name)
    if len(firsts) < 2:
        control_of = dict.fromkeys(firsts or [encoder], CONTROL)
    else:
        control_of = {config: f"{CONTROL} ({name})" for config, name in firsts.items()}
    added = tuple(InitialEncoder(name, config) for config, name in control_of.items())
    return (*methods, *added), {method.name: control_of[method.encoder] for method in methods}
