"""Fine-tuning on graph labels: compare checkpoints over seeds with the same encoders without pre-training.

Fine-tuning is training on labels without auxiliary tasks. The control is that of ``distgnn transfer`` with scheme
scratch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from distgnn.auxiliary.comparison import Comparison, Row
from distgnn.auxiliary.data_source import CorpusDataSource, InitialEncoder
from distgnn.auxiliary.jobs import Job, Progress, RunJob, run_jobs
from distgnn.config import CorpusTaskConfig, EncoderConfig, FinetuneConfig, LabelChoice, TransferConfig
from distgnn.config.transfer import CONTROL
from distgnn.corpus.writer import Mapper
from distgnn.errors import RequestError
from distgnn.finetuning.readouts import read_out
from distgnn.labels.dataset import LabelledSet, load_labelled
from distgnn.labels.scores import HIGHER_IS_BETTER
from distgnn.storage.folder import Folder

CHOICE = tuple(LabelChoice.__dataclass_fields__)


@dataclass(frozen=True)
class FinetuneComparison(Comparison[FinetuneConfig]):
    """Comparison of fine-tunings, with the labelled corpus. A row is named after its checkpoint."""

    data: LabelledSet = field(repr=False)


def finetune(
    config: FinetuneConfig,
    checkpoints: Sequence[InitialEncoder],
    folder: Folder,
    mapper: Mapper = map,
    device: str = "cpu",
    progress: Progress | None = None,
) -> FinetuneComparison:
    """Fine-tune every checkpoint with seeds 0..config.seeds-1, and as a control its architecture with fresh weights.

    Args:
        config: Corpus and training options.
        checkpoints: The encoders to compare; if empty, only the control with the architecture ``config.encoder`` is
            trained.
        folder: Cache of the results; finished trainings are not run again.
        mapper: Ordered map over independent jobs.
        device: torch device of the trainings.
        progress: Called after each job.

    Raises:
        RequestError: The corpus, its labels, the split or a checkpoint's features do not fit.
        WorkError: A training diverged.
    """
    everything, controls = with_controls(read_out(config, checkpoints), config.encoder)
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
    """Build the data source of a fine-tuning.

    Raises:
        RequestError: A checkpoint's features do not fit ``data``.
    """
    return CorpusDataSource.of(training_config(config), data, starts, config.frozen)


def training_config(config: FinetuneConfig) -> TransferConfig:
    """Return the training options of a fine-tuning: the target only, without auxiliary tasks."""
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
    """Return the job of one encoder of ``source``."""
    return Job(seed, _scheme(source.starts[place]), place, CONTROL)


def _scheme(start: InitialEncoder) -> str:
    return "scratch" if start.weights is None else "pretrained"


def with_controls(
    methods: Sequence[InitialEncoder], encoder: EncoderConfig
) -> tuple[tuple[InitialEncoder, ...], dict[str, str]]:
    """Add a control for each distinct architecture.

    The control is called "none" or, if there are several architectures, "none (NAME)" with the first method of the
    architecture. Without methods, its architecture is ``encoder``.

    Returns:
        ``methods`` followed by the controls, and the control's name for each method.
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
