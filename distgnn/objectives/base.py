"""Interface of pre-training objectives: Objective, its Losses and the context it is built from."""

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
    """Losses and metrics of one batch. All values are sums, so that they can be added over ranks before dividing.

    Attributes:
        total: Differentiable scalar, summed over contributing graphs.
        count: Number of contributing graphs, a float scalar.
        sums: (sum, weight) for each metric, detached scalars; the metric is sum / weight.
    """

    total: Tensor
    count: Tensor
    sums: dict[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class ObjectiveContext:
    """What an objective is built from, besides its own options.

    Attributes:
        schema: Features and labels of the corpus.
        options: Config of the run: its encoder, its corpus, and the options of other objectives.
    """

    schema: Schema
    options: PretrainConfig

    @property
    def encoder(self) -> EncoderConfig:
        """Options of the encoder."""
        return self.options.encoder

    @property
    def width(self) -> int:
        """Size of node and graph embeddings."""
        return self.options.encoder.width


class Objective(nn.Module):
    """A pre-training objective, built as ``Class(config, context: ObjectiveContext)``.

    Its parameters, if it has any, are trained with those of the encoder. Register it with
    :data:`distgnn.register.objective`.

    Attributes:
        prepare: Picklable function (graphs, seed, epoch) -> extras, called by the data readers on whole units. It
            computes what the loss needs (tasks, masks) from keyed randomness alone.
        metric_names: Keys of ``Losses.sums``, in a fixed order.
        reads_labels: Whether it reads the labels ``y`` of the graphs; they are not read otherwise.
    """

    prepare: Prepare
    reads_labels: bool = False
    metric_names: tuple[str, ...] = ()

    def losses(self, encoder: Encoder, batch: GraphBatch, seed: int, epoch: int) -> Losses:
        """Return the losses of a batch.

        Args:
            encoder: The encoder being trained.
            batch: Graphs with the extras that ``prepare`` computed for the same seed and epoch.
            seed: Seed of the run.
            epoch: Epoch of the batch, counted from 0.
        """
        raise NotImplementedError

    @property
    def adaptation_order(self) -> int:
        """Order of the derivatives of psi that its adaptation to each graph needs: 1 or 2; 0 = psi is not adapted."""
        return 0

    def advice(self, means: dict[str, float]) -> str:  # noqa: ARG002
        """Return what is wrong with the first steps of a run and which option to change; empty if nothing is.

        Args:
            means: Means of the metrics, and of the loss, over the first steps.
        """
        return ""


def no_extras(graphs: GraphBatch, seed: int, epoch: int) -> dict[str, Ragged]:  # noqa: ARG001
    """``prepare`` of an objective that needs no extras."""
    return {}
