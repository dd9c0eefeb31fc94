"""Config of target and auxiliary tasks on one large network. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distgnn.config.base import OpenConfig, check
from distgnn.config.fields import SEED, Options, hyper, registered, setting


@dataclass(frozen=True)
class NetworkTaskConfig(OpenConfig):
    """Encoder, target, auxiliary tasks and sampling on a network."""

    encoder: str = hyper("gcn", names="encoder network_encoder")
    """Message passing layer: gcn, gat, gin, sage or a registered layer, which use the adjacency only; hgt, which uses
    node and relation types (PyG's HGTConv); lightgcn, the mean of GCN's propagated inputs without weights and activations;
    or another encoder registered for networks.
    """
    layers: int = hyper(2, most=1000)
    """Number of message passing layers; also the number of hops sampled."""
    width: int = hyper(16, most=32_768)
    """Size of node embeddings."""
    norm: Literal["layer", "none"] = hyper("none", before="none")
    """Normalisation of the message passing layers, within each node. Norms over nodes do not exist here: an embedding would
    depend on the other nodes of the step, so on its folds and ranks.
    """
    jumping_knowledge: Literal["last", "sum", "max", "concat"] = hyper("last", before="last")
    """Jumping knowledge: embeddings of the last layer, or of all layers combined by sum, maximum, or concatenation with a
    projection.
    """
    residual: bool = hyper(False, before=False)
    """Residual connections: every layer's output is added to its input."""
    heads: int = hyper(1, most=1024)
    """Attention heads: averaged for gat, concatenated for hgt (width must be a multiple of heads)."""
    dropout: float = hyper(0.0)
    """Dropout probability after each layer in training."""
    fan_out: int = hyper(8, most=1 << 20)
    """Maximum number of messages per node in a training step, sampled anew in each step; 0 = all."""
    eval_fan_out: int = hyper(0, most=1 << 20)
    """Maximum number of messages per node in evaluation, sampled once; 0 = all."""
    target: Literal["auto", "link", "node"] = setting("auto")
    """link = ratings of items by users, node = node classes, one or several per node; auto = the one that the network
    has tables for.
    """
    auxiliary: tuple[str, ...] = hyper(())
    """Auxiliary tasks: meta-paths, symmetric_paths (all meta-paths from the target's nodes over one or two other types and
    back), random_walks, edge_generation, attribute_generation; empty = the published tasks for this kind of network.
    """
    aux_batch: int = hyper(128, most=1 << 24)
    """Samples of each auxiliary task per step: node pairs for a meta-path, nodes for random walks and a generation task."""
    negatives: int = hyper(255, most=1 << 20)
    """Negative nodes of the right type for edge_generation and random_walks, sampled in each step."""
    removed: float = hyper(0.5)
    """Fraction of the edges of the sampled nodes that edge_generation removes and predicts."""
    hidden: int = hyper(100, most=1 << 20)
    """Hidden units of the task heads of links (decoder=mlp) and meta-paths."""
    loss: Literal["cross_entropy", "bpr"] = hyper("cross_entropy", before="cross_entropy")
    """Links: cross_entropy = of all ratings; bpr = Bayesian personalised ranking (Rendle et al., UAI 2009): every positive
    against an item that is drawn in every step among those that the user has not rated positively in training; the other
    ratings are not used.
    """
    decoder: Literal["mlp", "dot"] = hyper("mlp", before="mlp")
    """Links: mlp = dot product of embeddings mapped by a network of ``hidden`` units; dot = of the embeddings themselves."""
    messages: Literal["keep", "hide"] = hyper("hide")
    """Links: hide = training positives pass messages, except those predicted in the step; keep = all of them (as published,
    where a positive is predicted from its own edge).
    """
    paths: Literal["nonbacktracking", "all"] = hyper("nonbacktracking", before="all")
    """Labels of meta-paths: nonbacktracking = pairs joined by a walk that never takes an edge and then the same edge back;
    all = by any walk (as published; contains the training labels of links).
    """
    fractions: tuple[float, float, float] = setting((0.6, 0.2, 0.2))
    """Fractions of train, val and test, if the network has no split of its own."""
    split_seed: int = setting(0, most=SEED)
    """Seed of this split."""
    official_split: Literal[20, 40, 60] = setting(20)
    """Nodes: the published split to use, by training nodes per class, if the network has several."""

    options: Options = registered("network_task", "encoder", "network_encoder")
    """Options of registered auxiliary tasks and encoders."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("layers", "heads", "aux_batch", "negatives", "hidden"):
            value = getattr(self, name)
            check(value >= 1, f"network.{name} must be at least 1, found {value}")
        for name in ("fan_out", "eval_fan_out"):
            value = getattr(self, name)
            check(value >= 0, f"network.{name} must not be negative, found {value}")
        check(self.width >= 2, f"network.width must be at least 2, found {self.width}")
        check(0 <= self.dropout < 1, f"network.dropout must lie in [0, 1), found {self.dropout}")
        check(0 < self.removed <= 1, f"network.removed must lie in (0, 1], found {self.removed}")
        good = len(self.fractions) == 3 and all(share > 0 for share in self.fractions)
        check(good, f"network.fractions must be three positive shares (train, val, test), found {self.fractions}")
        check(abs(sum(self.fractions) - 1) < 1e-9, f"network.fractions must add up to 1, found {sum(self.fractions)}")
        twice = [name for name in self.auxiliary if self.auxiliary.count(name) > 1]
        check(not twice, f"network.auxiliary names {twice[:1]} twice; name each task once")

    def refuse_layer_options(self) -> None:
        """Raise RequestError if an option of message passing layers is set: for encoders that do not consist of them."""
        layered = (self.norm, self.jumping_knowledge, self.residual) == ("none", "last", False)
        check(
            layered,
            "network.norm, jumping_knowledge and residual are options of message passing layers, not of"
            f" encoder={self.encoder}",
        )
