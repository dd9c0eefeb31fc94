"""The small interface every pre-training objective has. A new objective is one file, see :mod:`distgnn.register`."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from distgnn.config import EncoderConfig, PretrainConfig
from distgnn.corpus.stream import Prepare
from distgnn.graph.batch import GraphBatch, Ragged
from distgnn.graph.schema import Schema
from distgnn.models.encoder import Encoder


@dataclass(frozen=True)
class Losses:
    """What one batch gives. Everything is a sum, so that ranks can be added before anything is divided.

    total: scalar, differentiable, summed over contributing graphs. count: scalar float, how many graphs contributed.
    sums: per metric name (sum, weight), both detached scalars; the metric is sum / weight.
    """

    total: Tensor
    count: Tensor
    sums: dict[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class ObjectiveContext:
    """What an objective is built from, besides its own options.

    Attributes:
        schema: Features and labels of the corpus.
        options: The config of the run: its encoder, its corpus, and the options of other objectives.
    """

    schema: Schema
    options: PretrainConfig

    @property
    def encoder(self) -> EncoderConfig:
        """The architecture of the encoder."""
        return self.options.encoder

    @property
    def width(self) -> int:
        """Size of node and graph embeddings."""
        return self.options.encoder.width


class Objective(nn.Module):
    """A pre-training loss, built as ``Class(config, context: ObjectiveContext)``.

    May own parameters, which are trained beside the encoder's.

    prepare: a small picklable function of (graphs, seed, epoch) that readers call on whole units; it makes the extras the
    loss needs (tasks, masks) from keyed randomness alone. metric_names: keys of ``Losses.sums``, in a fixed order.
    """

    prepare: Prepare
    metric_names: tuple[str, ...] = ()

    def losses(self, encoder: Encoder, batch: GraphBatch, seed: int, epoch: int) -> Losses:
        """Losses of a batch whose extras came from ``prepare`` with the same seed and epoch."""
        raise NotImplementedError


def no_extras(graphs: GraphBatch, seed: int, epoch: int) -> dict[str, Ragged]:  # noqa: ARG001
    """The ``prepare`` of an objective that needs nothing but the graphs."""
    return {}
