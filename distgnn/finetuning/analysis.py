"""What fine-tuning changes in checkpoints: CKA of layers, training loss and test score (L2P-GNN, Fig. 2 and 3).

The trainings are those of few-label evaluation, with further measurements before the first update and at every test.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, ClassVar

import torch
from torch import Tensor

from distgnn import register
from distgnn.auxiliary.fixed_updates import train_updates
from distgnn.auxiliary.jobs import Progress
from distgnn.auxiliary.label_target import EVALUATION_BATCH, LabelTarget
from distgnn.auxiliary.trainer import Trainer, TrainingResult
from distgnn.config import AnalyseConfig, PretrainConfig, from_json
from distgnn.config.fields import present_name, type_of
from distgnn.corpus.writer import Mapper
from distgnn.errors import RequestError
from distgnn.finetuning.few_label_jobs import Method, RunFewLabels, Size
from distgnn.finetuning.few_labels import FewLabelScores, collect_scores, plan_evaluation
from distgnn.graph.batch import select_graphs
from distgnn.storage.folder import Folder

TRAIN_LOSS, CKA = "train_loss", "cka "
"""Names of measures: the training loss, and the beginning of the CKA of a layer (``cka layer 1``)."""


def linear_cka(x: Tensor, y: Tensor) -> float:
    """Return the linear centred kernel alignment (CKA) of two representations of the same examples.

    Kornblith et al. ("Similarity of neural network representations revisited", ICML 2019, section 3):
    ||Y'X||_F^2 / (||X'X||_F ||Y'Y||_F) with centred columns, which equals HSIC(XX', YY') divided by the root of
    HSIC(XX', XX') HSIC(YY', YY') at a cost of n d^2. It is 1 for representations that differ by a rotation, an isotropic
    scaling and a shift.

    Args:
        x: [n, p], one row for each example.
        y: [n, q], the same examples.

    Returns:
        A number in [0, 1]. Where a representation is the same for all examples CKA is undefined; it is taken as 1 if
        both are, else as 0.
    """
    x, y = ((z.double() - z.double().mean(0)) for z in (x, y))
    own = torch.linalg.matrix_norm(x.T @ x), torch.linalg.matrix_norm(y.T @ y)
    if not own[0] or not own[1]:
        return float(own[0] == own[1])
    return float((torch.linalg.matrix_norm(y.T @ x) ** 2 / (own[0] * own[1])).clamp(max=1))


class _Measures:
    """Measures a network in training, see :data:`distgnn.auxiliary.fixed_updates.Measure`: its training loss, and the CKA
    of each layer between now and the time of creation, on the test graphs.
    """

    def __init__(self, problem: LabelTarget) -> None:
        self.problem = problem
        self.before = self._representations()

    def __call__(self) -> dict[str, float]:
        now = self._representations()
        similar = {f"{CKA}{name}": linear_cka(before, now[name]) for name, before in self.before.items()}
        return {TRAIN_LOSS: self.problem.mean_loss("train"), **similar}

    @torch.no_grad()
    def _representations(self) -> dict[str, Tensor]:
        """Return all rows of every layer on the test graphs, in evaluation mode."""
        data, encoder = self.problem.data, self.problem.encoder.eval()
        rows = torch.from_numpy(data.parts["test"]).split(EVALUATION_BATCH)
        found = [encoder.layer_outputs(select_graphs(data.graphs, some).to(encoder.device)) for some in rows]
        return {name: torch.cat([one[name] for one in found]) for name in found[0]}


@dataclass(frozen=True)
class RunAnalysis(RunFewLabels):
    """Runs jobs of few-label evaluation with the measurements of an analysis, also before the first update."""

    version: ClassVar[str] = "analysis 2"

    def train(self, trainer: Trainer, updates: tuple[int, ...]) -> TrainingResult:
        """See :class:`RunFewLabels`."""
        problem = trainer.problem
        if not isinstance(problem, LabelTarget):
            raise RequestError("an analysis needs labelled graphs")
        return train_updates(trainer, updates, measure=_Measures(problem))

    def updates(self, size: Size) -> tuple[int, ...]:
        """See :class:`RunFewLabels`; 0 is before the first update."""
        return (0, *super().updates(size))


@dataclass(frozen=True)
class Analysis:
    """Result of an analysis.

    Attributes:
        scores: Everything measured (``scores.measured``): the metric, ``train_loss``, and ``cka LAYER`` on the test graphs.
        fields: Fields of the pre-training configs to show scores against.
        values: Their values by method; None where a field does not apply to the method's objective.
    """

    scores: FewLabelScores = field(repr=False)
    fields: tuple[str, ...] = ()
    values: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, in order."""
        return tuple(name.removeprefix(CKA) for name in self.scores.measured if name.startswith(CKA))


def analyse_methods(
    config: AnalyseConfig,
    methods: Sequence[Method],
    folder: Folder,
    mapper: Mapper = map,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Analysis:
    """Fine-tune every method and its control on few labels, and measure what changes.

    Args:
        config: Corpus and options.
        methods: The methods to analyse.
        folder: Cache of the results; finished trainings are not run again.
        mapper: Ordered map over independent jobs.
        device: torch device of the trainings.
        progress: Called after each job.

    Raises:
        RequestError: Corpus, draws or a checkpoint do not fit, the encoders have different layers, or ``config.against``
            cannot tell the methods apart.
        WorkError: A training diverged.
    """
    fields = tuple(present_name(PretrainConfig, name) for name in config.against)
    values = {method.name: tuple(_value(method, name) for name in fields) for method in methods}
    _check_values(fields, values)
    _check_layers(methods)
    return Analysis(
        collect_scores(plan_evaluation(config, methods, folder, device, RunAnalysis), mapper, progress), fields, values
    )


def _check_layers(methods: Sequence[Method]) -> None:
    """Raise RequestError if the encoders do not have the same layers to compare."""
    first = methods[0]
    for method in methods[1:]:
        for name in ("kind", "layers", "jumping_knowledge"):
            found, wanted = (getattr(one.starts[0].encoder, name) for one in (method, first))
            if found != wanted:
                raise RequestError(
                    f"checkpoint {method.name}: encoder.{name} is {found}, that of {first.name} is {wanted}; analyse"
                    " encoders with the same layers"
                )


def _value(method: Method, name: str) -> Any:
    """Return the value of a field of the pre-training config of a method; None for options of another objective."""
    kind = type_of(PretrainConfig, name)
    if kind is None or dataclasses.is_dataclass(kind):
        raise RequestError(f"against {name}: is not a field of a pre-training config; see distgnn pretrain --help")
    runs = [from_json(PretrainConfig, start.run, f"config of {start.name}") for start in method.starts]
    group, objective = name.partition(".")[0], runs[0].objective
    if group in register.objective.names() and objective not in (group, "multitask"):
        return None
    found = [attrgetter(name)(run) for run in runs]
    if any(value != found[0] for value in found):
        raise RequestError(
            f"against {name}: the pre-training seeds of {method.name} differ in it ({found[0]} and"
            f" {next(value for value in found if value != found[0])}); give them as methods of their own"
        )
    return found[0]


def _check_values(fields: tuple[str, ...], values: dict[str, tuple[Any, ...]]) -> None:
    if not fields:
        return
    seen: dict[tuple[Any, ...], str] = {}
    where = f"against {' '.join(fields)}"
    for method, found in values.items():
        if None in found:
            continue
        if found in seen:
            same = ", ".join(map(str, found))
            raise RequestError(f"{where}: {seen[found]} and {method} have the same value ({same}); leave one out")
        seen[found] = method
    if len(seen) < 2:
        raise RequestError(f"{where}: fewer than two methods have a value; give checkpoints that differ in it")
