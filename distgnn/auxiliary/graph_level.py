"""Multi-task problem on a labelled corpus: graph labels as the target, pre-training objectives as auxiliary tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import numpy as np
import torch
from torch import Tensor, nn

from distgnn.auxiliary.auxiliary_corpus import AuxiliaryCorpus
from distgnn.auxiliary.label_target import LabelTarget, named_tensors
from distgnn.auxiliary.problem import Rows, Samples, scaled
from distgnn.config import CorpusTaskConfig, EncoderConfig
from distgnn.config.transfer import ELSEWHERE
from distgnn.distributed import ProcessGroup
from distgnn.errors import RequestError
from distgnn.graph.batch import GraphBatch, concat_graphs, select_graphs
from distgnn.graph.keyed import key
from distgnn.graph.purposes import AuxiliaryDraw
from distgnn.labels.dataset import LabelledSet
from distgnn.models.encoder import build_encoder
from distgnn.models.heads import build_head, graph_features
from distgnn.objectives.base import Objective
from distgnn.objectives.build import build_objective, reads_labels


@dataclass(frozen=True)
class Batch:
    """One rank's share of a step.

    Attributes:
        folds: The target's labelled graphs, fold by fold.
        tasks: Graphs of each auxiliary task with their extras; None if this rank has none.
        epoch: The step's number, used as epoch for keyed extras.
    """

    folds: tuple[GraphBatch, ...]
    tasks: tuple[GraphBatch | None, ...]
    epoch: int


class GraphLevelProblem(LabelTarget):
    """A multi-task problem on labelled graphs, see :class:`distgnn.auxiliary.problem.MultiTaskProblem`.

    The target's samples are the known labels, graph by graph. Without auxiliary tasks, training is fine-tuning. Every
    fold is split into ``config.streams`` streams and each rank takes whole streams, so ghost normalisation never mixes
    graphs of two folds.

    Args:
        data: The labelled corpus.
        encoder: Config of the encoder; its initial weights are a function of ``seed``.
        config: Auxiliary tasks, streams and dropout.
        seed: Key of all randomness.
        group: The training processes.

    Raises:
        RequestError: The corpora do not suit the auxiliary tasks.
    """

    def __init__(
        self, data: LabelledSet, encoder: EncoderConfig, config: CorpusTaskConfig, seed: int, group: ProcessGroup
    ) -> None:
        super().__init__(data, group.device)
        self.config, self.group, self.seed = config, group, seed
        # auxiliary tasks need the graphs on the CPU; without them the corpus is kept on the device
        self.graphs = replace(data.graphs, y=data.y).to("cpu" if config.auxiliary else group.device)
        self.elsewhere = _auxiliary_corpus(data, config, seed)
        self.encoder = build_encoder(data.schema, encoder, seed).to(group.device)
        self.encoder.set_dropout(config.dropout)
        self.shared: nn.Module = self.encoder
        self.width = self.encoder.width * (2 if data.use_center else 1)
        self.objectives = [self._objective(name, encoder) for name in config.auxiliary]
        head = build_head(self.width, data.target.outputs, head_seed(seed))
        self.heads = nn.ModuleList([head, *self.objectives]).to(group.device)
        self.names: tuple[str, ...] = ("target", *config.auxiliary)

    def _objective(self, name: str, encoder: EncoderConfig) -> Objective:
        elsewhere = self.elsewhere if name.endswith(ELSEWHERE) else None
        schema = elsewhere.schema if elsewhere else self.data.schema
        where = self.config.aux_corpus if elsewhere else "the labelled corpus"
        objective = build_objective(self.config.objective(name, encoder, where, self.seed), schema)
        if objective is None:
            raise RequestError(f"corpus.auxiliary: {name!r} trains nothing; leave it out")
        if objective.reads_labels and elsewhere is None:
            raise RequestError(
                f"corpus.auxiliary: {name} reads the labels, which are the target; use {name}{ELSEWHERE} or leave it out"
            )
        return objective

    def fetch(self, folds: Sequence[Rows], step: int, auxiliary: bool = True) -> Batch:
        """See :class:`MultiTaskProblem`. Selects the graphs and samples the extras."""
        parts = tuple(self._fold(number, rows, self.train) for number, rows in enumerate(folds))
        labelled = _joined(parts)
        other = self.elsewhere.step(step, self.group) if self.elsewhere and auxiliary else None
        tasks = [
            self._task_graphs(objective, other if name.endswith(ELSEWHERE) else labelled, step)
            for name, objective in zip(self.config.auxiliary, self.objectives, strict=True)
            if auxiliary
        ]
        device = self.group.device
        return Batch(tuple(part.to(device) for part in parts), tuple(task and task.to(device) for task in tasks), step)

    def fetch_unseen(self, rows: Rows, step: int) -> Batch:
        """See :class:`MultiTaskProblem`."""
        return Batch((self._fold(0, rows, self.unseen).to(self.group.device),), (), step)

    def _fold(self, number: int, rows: Rows, graphs: Tensor) -> GraphBatch:
        """Return this rank's streams of a fold; rows: places in ``graphs``."""
        streams, rank, size = self.config.streams, self.group.rank, self.group.world_size
        chunks = enumerate(np.array_split(rows, streams), start=number * streams)
        own = [chunk for place, chunk in chunks if place % size == rank and len(chunk)]
        chosen = graphs[torch.from_numpy(np.concatenate([rows[:0], *own]))].to(self.graphs.edges.device)
        ptr = torch.tensor([0, *accumulate(map(len, own))])
        return replace(select_graphs(self.graphs, chosen), stream_ptr=ptr)

    def _task_graphs(self, objective: Objective, graphs: GraphBatch | None, step: int) -> GraphBatch | None:
        return graphs and replace(graphs, extras=objective.prepare(graphs, self.seed, step))

    def losses(self, batch: Batch) -> tuple[list[Samples], list[Samples]]:
        """See :class:`MultiTaskProblem`. Running statistics are those of the first pass, the target's."""
        self.encoder.train()
        sizes = [fold.num_graphs for fold in batch.folds]
        together = _joined(batch.folds)
        self._restart_dropout(batch.epoch, 0)
        outputs = [self._nothing(0)] * len(sizes) if together is None else self._outputs(together).split(sizes)
        target = [self._samples(output, fold) for output, fold in zip(outputs, batch.folds, strict=True)]
        auxiliary = []
        for place, (objective, graphs) in enumerate(zip(self.objectives, batch.tasks, strict=False), start=1):
            self._restart_dropout(batch.epoch, place)
            auxiliary.append(self._task_samples(objective, graphs, batch.epoch))
        return target, scaled(auxiliary, self.loss_scales)

    def fold_losses(self, batch: Batch, fold: int) -> Samples:
        """See :class:`MultiTaskProblem`. The dropout masks differ from those of ``losses``."""
        self.encoder.train()
        graphs = batch.folds[fold]
        self._restart_dropout(batch.epoch, -1 - fold)
        return self._samples(self._outputs(graphs) if graphs.num_graphs else self._nothing(0), graphs)

    def _restart_dropout(self, step: int, number: int) -> None:
        self.encoder.dropout.restart(key(self.seed, AuxiliaryDraw.DROPOUT, step, number))

    def _outputs(self, graphs: GraphBatch) -> Tensor:
        """Return [G, outputs]."""
        return self.heads[0](graph_features(self.encoder, graphs, self.data.use_center))

    def _samples(self, outputs: Tensor, graphs: GraphBatch) -> Samples:
        if graphs.y is None or not graphs.num_graphs:
            return Samples(self._nothing(0), self._nothing(0).detach(), outputs.new_zeros(()))
        return self.label_samples(outputs, graphs.y)

    def _task_samples(self, objective: Objective, graphs: GraphBatch | None, epoch: int) -> Samples:
        zero = self._nothing(1)
        if graphs is None:
            return Samples(zero, zero.detach(), zero.new_zeros(()), summed=True)
        found = objective.losses(self.encoder, graphs, self.seed, epoch)
        return Samples(zero + found.total, zero.detach(), found.count.to(zero.dtype), summed=True)

    def _nothing(self, count: int) -> Tensor:
        """Return zeros [count] that depend on the weights, so that ranks without graphs take part in the backward pass."""
        return 0 * next(self.encoder.parameters()).flatten()[:count]

    def predict(self, rows: Tensor) -> Tensor:
        """Return outputs of the target's head [n, outputs], computed in evaluation mode."""
        self.encoder.eval()
        return self._outputs(select_graphs(self.graphs, rows.to(self.graphs.edges.device)).to(self.device))

    def tensors(self) -> dict[str, Tensor]:
        """Return the encoder and the head; features are not standardised."""
        zeros = torch.zeros(self.width, device=self.device)
        return named_tensors(self.encoder, self.heads[0], zeros, torch.ones_like(zeros))


def head_seed(seed: int) -> int:
    """Return the key of the initial weights of the target's head."""
    return key(seed, AuxiliaryDraw.HEAD)


def _auxiliary_corpus(data: LabelledSet, config: CorpusTaskConfig, seed: int) -> AuxiliaryCorpus | None:
    if not config.aux_corpus:
        return None
    labels = any(reads_labels(name.removesuffix(ELSEWHERE)) for name in config.auxiliary)
    order = key(seed, AuxiliaryDraw.CORPUS_ORDER)
    found = AuxiliaryCorpus(config.aux_corpus, config.aux_batch, config.streams, order, labels=labels)
    found.schema.check_features(data.schema, f"corpus.aux_corpus {config.aux_corpus} and the labelled corpus")
    return found


def _joined(parts: Sequence[GraphBatch]) -> GraphBatch | None:
    """Return all graphs of ``parts``, stream by stream; None if there are none."""
    if not any(part.num_graphs for part in parts):
        return None
    sizes = [0]
    for part in parts:
        streams = [0, part.num_graphs] if part.stream_ptr is None else part.stream_ptr.tolist()
        sizes += [high - low for low, high in pairwise(streams)]
    return replace(
        concat_graphs(list(parts)), stream_ptr=torch.tensor(list(accumulate(sizes)), device=parts[0].edges.device)
    )
