"""Multi-task pre-training: hidden features and links, told from the same embeddings.

The features are hidden as in AttrMasking, the links are EdgePred's; the encoder runs once, with the features hidden, for both.
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
class Together:
    """Makes the extras of several objectives."""

    makers: tuple[Prepare, ...]

    def __call__(self, graphs: GraphBatch, seed: int, epoch: int) -> dict[str, Ragged]:
        """All of them, by name."""
        return {name: made for maker in self.makers for name, made in maker(graphs, seed, epoch).items()}


@dataclass(frozen=True)
class MultitaskConfig:
    """Masked features (with attrmasking's options) and links (as edgepred), told from the same embeddings."""

    link_weight: float = hyper(1.0)
    """Weight of the link loss beside the masked-feature loss."""

    def __post_init__(self) -> None:
        check(self.link_weight >= 0, f"multitask.link_weight must not be negative, found {self.link_weight}")


@register.objective("multitask", MultitaskConfig)
class Multitask(Objective):
    """The mask loss + link_weight * the link loss, summed over graphs with anything hidden.

    Every graph with edges has a hidden row, so no graph gives links alone. ``skipped``: the share without links.
    """

    metric_names = ("mask_accuracy", "link_accuracy", "mask_loss", "link_loss", "skipped")

    def __init__(self, config: MultitaskConfig, context: ObjectiveContext) -> None:
        super().__init__()
        self.link_weight = config.link_weight
        self.masking, self.links = AttrMasking(context.options.attrmasking, context), EdgePred()
        self.prepare = Together((self.masking.prepare, self.links.prepare))

    def losses(self, encoder: Encoder, batch: GraphBatch, seed: int, epoch: int) -> Losses:  # noqa: ARG002
        """Both losses of one pass."""
        nodes = self.masking.encode(encoder, batch)
        mask, link = self.masking.of_nodes(nodes, batch), self.links.of_nodes(nodes, batch)
        parts = {"mask_loss": (mask.total.detach(), mask.count), "link_loss": (link.total.detach(), link.count)}
        return Losses(mask.total + self.link_weight * link.total, mask.count, mask.sums | link.sums | parts)
