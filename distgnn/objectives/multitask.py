"""Multi-task pre-training: AttrMasking and EdgePred on the same embeddings.

The encoder runs once, with masked features, for both losses.
"""

from __future__ import annotations

from dataclasses import dataclass

from distgnn import register
from distgnn.config.base import check
from distgnn.config.fields import hyper
from distgnn.corpus.stream import Prepare
from distgnn.graph.batch import GraphBatch, Ragged
from distgnn.models.encoder import Encoder
from distgnn.objectives.attrmasking import AttrMasking
from distgnn.objectives.base import Losses, Objective, ObjectiveContext
from distgnn.objectives.edgepred import EdgePred


@dataclass(frozen=True)
class CombinedExtras:
    """Combines the ``prepare`` functions of several objectives."""

    makers: tuple[Prepare, ...]

    def __call__(self, graphs: GraphBatch, seed: int, epoch: int) -> dict[str, Ragged]:
        """Return the extras of all objectives, by name."""
        return {name: extra for maker in self.makers for name, extra in maker(graphs, seed, epoch).items()}


@dataclass(frozen=True)
class MultitaskConfig:
    """AttrMasking (with the options of attrmasking) and EdgePred on the same embeddings."""

    link_weight: float = hyper(1.0)
    """Weight of the EdgePred loss; that of AttrMasking is 1."""

    def __post_init__(self) -> None:
        check(self.link_weight >= 0, f"multitask.link_weight must not be negative, found {self.link_weight}")


@register.objective("multitask", MultitaskConfig)
class Multitask(Objective):
    """AttrMasking and EdgePred on the same embeddings: mask loss + link_weight * link loss.

    Losses are sums over graphs with masked nodes or edges. Every graph with edges has a masked row, so no graph
    contributes to the link loss only. The metric ``skipped`` is the share of graphs without links.
    """

    metric_names = ("mask_accuracy", "link_accuracy", "mask_loss", "link_loss", "skipped")

    def __init__(self, config: MultitaskConfig, context: ObjectiveContext) -> None:
        super().__init__()
        self.link_weight = config.link_weight
        self.masking, self.links = AttrMasking(context.options.attrmasking, context), EdgePred()
        self.prepare = CombinedExtras((self.masking.prepare, self.links.prepare))

    def losses(self, encoder: Encoder, batch: GraphBatch, seed: int, epoch: int) -> Losses:  # noqa: ARG002
        """Return the sum of both losses from one forward pass."""
        nodes = self.masking.encode(encoder, batch)
        mask, link = self.masking.of_nodes(nodes, batch), self.links.of_nodes(nodes, batch)
        parts = {"mask_loss": (mask.total.detach(), mask.count), "link_loss": (link.total.detach(), link.count)}
        return Losses(mask.total + self.link_weight * link.total, mask.count, mask.sums | link.sums | parts)
