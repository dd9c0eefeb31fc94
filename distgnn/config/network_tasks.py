"""Knobs of a target task and its auxiliary tasks on one large network. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distgnn.config.base import OpenConfig, check
from distgnn.config.fields import Options, hyper, registered, setting


@dataclass(frozen=True)
class NetworkTaskConfig(OpenConfig):
    """A network's encoder, what is predicted, and how messages, rows and negatives are drawn."""

    encoder: Literal["gcn", "gat", "gin", "sage", "hgt"] = hyper("gcn")
    """Message passing; hgt sees types and relations (PyG's HGTConv), the others see who is joined to whom."""
    layers: int = hyper(2)
    """How many message passing layers; also how many hops are sampled."""
    width: int = hyper(16)
    """Size of node embeddings."""
    heads: int = hyper(1)
    """Attention heads: of gat averaged, of hgt side by side (then width must be a multiple)."""
    dropout: float = hyper(0.0)
    """Probability of dropping an activation after each layer in training."""
    fan_out: int = hyper(8)
    """The most messages a node receives in a training step, drawn anew for each step; 0 = all."""
    eval_fan_out: int = hyper(0)
    """The most messages a node receives in evaluation, drawn once; 0 = all."""
    target: Literal["auto", "link", "node"] = setting("auto")
    """link = ratings of items by users, node = classes of nodes, one or several; auto = whichever the network has tables for."""
    auxiliary: tuple[str, ...] = hyper(())
    """Auxiliary tasks: meta-paths, edge_generation, attribute_generation; empty = the usual ones of such a network."""
    aux_batch: int = hyper(128)
    """Samples a step has of each auxiliary task: pairs of a meta-path, nodes of a generation task."""
    negatives: int = hyper(255)
    """Nodes of the right type, drawn for each step, among which edge_generation has to find the true one."""
    removed: float = hyper(0.5)
    """Share of the edges at the drawn nodes that edge_generation removes and asks for."""
    hidden: int = hyper(100)
    """Hidden units of what turns an embedding into a task's own (links and meta-paths)."""
    messages: Literal["keep", "hide"] = hyper("keep")
    """Links: training positives pass messages (as published), or hide = all but those that the step asks for."""
    fractions: tuple[float, float, float] = setting((0.6, 0.2, 0.2))
    """Shares of rows in train, val and test, where the network has no split of its own."""
    split_seed: int = setting(0)
    """Key of that split."""
    official_split: Literal[20, 40, 60] = setting(20)
    """Nodes: which published split, by training nodes per class, where the network has them."""

    options: Options = registered("network_task")
    """Options of registered auxiliary tasks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("layers", "heads", "aux_batch", "negatives", "hidden"):
            value = getattr(self, name)
            check(value >= 1, f"network.{name} must be at least 1, found {value}")
        for name in ("fan_out", "eval_fan_out"):
            value = getattr(self, name)
            check(value >= 0, f"network.{name} must not be negative, found {value}")
        check(self.width >= 2, f"network.width must be at least 2, found {self.width}")
        whole = self.encoder != "hgt" or self.width % self.heads == 0
        check(whole, f"network.width={self.width} must be a multiple of network.heads={self.heads} for encoder=hgt")
        check(0 <= self.dropout < 1, f"network.dropout must lie in [0, 1), found {self.dropout}")
        check(0 < self.removed <= 1, f"network.removed must lie in (0, 1], found {self.removed}")
        good = len(self.fractions) == 3 and all(share > 0 for share in self.fractions)
        check(good, f"network.fractions must be three positive shares (train, val, test), found {self.fractions}")
        check(abs(sum(self.fractions) - 1) < 1e-9, f"network.fractions must add up to 1, found {sum(self.fractions)}")
        twice = [name for name in self.auxiliary if self.auxiliary.count(name) > 1]
        check(not twice, f"network.auxiliary names {twice[:1]} twice; name each task once")
