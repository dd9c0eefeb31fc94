"""Knobs of the pre-training objectives, one class each. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distgnn.config.base import check
from distgnn.config.fields import hyper


@dataclass(frozen=True)
class L2PConfig:
    """L2P-GNN's meta-learning (Lu et al., AAAI 2021, Eq. 6-13)."""

    node_steps: int = hyper(1)
    """s: inner gradient steps on psi (0..3)."""
    graph_steps: int = hyper(1)
    """t: inner gradient steps on omega (0..3)."""
    order: Literal[1, 2] = hyper(2)
    """2 differentiates through the adaptation, 1 treats the adapted weights' update as constant."""
    levels: Literal["both", "node", "graph"] = hyper("both")
    """Losses and adaptation of both levels, or the ablations with one of them only (Fig. 3a)."""
    adaptation: Literal["graph", "batch"] = hyper("graph")
    """graph = every graph adapts its own psi and omega (paper), batch = one set for all graphs of a stream, on the mean of
    their losses (in the manner of the released code)."""
    messages: Literal["all", "no_support", "no_tasks"] = hyper("all")
    """Edges that messages pass along: all (paper and released code), all but the support edges, or neither support nor query
    edges, so that no link is visible to the encoder that predicts it."""
    children: int = hyper(1)
    """k: child tasks per graph."""
    support: int = hyper(10)
    """Support edges per child task; small graphs give what they have."""
    query: int = hyper(5)
    """Query edges per child task."""
    node_lr: float = hyper(1e-3)
    """alpha: inner learning rate of psi."""
    graph_lr: float = hyper(1e-3)
    """beta: inner learning rate of omega."""
    negatives: Literal["shift", "other"] = hyper("shift")
    """Negative graph embedding: shift = some dimensions of the graph's own moved (paper), other = the next graph of the stream."""

    def __post_init__(self) -> None:
        for name in ("node_steps", "graph_steps"):
            value = getattr(self, name)
            check(0 <= value <= 3, f"l2p.{name} must be 0, 1, 2 or 3, found {value}")
        for name in ("children", "support", "query"):
            value = getattr(self, name)
            check(value >= 1, f"l2p.{name} must be at least 1, found {value}")
        for name in ("node_lr", "graph_lr"):
            value = getattr(self, name)
            check(value >= 0, f"l2p.{name} must not be negative, found {value}")


@dataclass(frozen=True)
class ContextConfig:
    """ContextPred (Hu et al., ICLR 2020, section 3.1.1).

    The default suits small graphs and ego-networks of a few hops: it is the published protein setting (whole graph, 1) with
    the context bounded to 4 hops, which changes nothing in ego-networks of 2 hops and keeps a context local in molecules. The
    published molecule setting is 5, 4, 7: graphs of fewer than 5 hops have no context there and are skipped (about a fifth of
    molecules with 24 atoms on average, every ego-network of 2 hops).
    """

    neighbourhood: int = hyper(0)
    """K: hops of the neighbourhood the encoder sees around the root; 0 = the whole graph (as for proteins)."""
    inner: int = hyper(1)
    """r1: the context graph holds the nodes more than this many hops from the root ..."""
    outer: int = hyper(4)
    """r2: ... and at most this many; 0 = all of them."""
    layers: int = hyper(3, structural=True)
    """Message passing layers of the auxiliary context encoder."""

    def __post_init__(self) -> None:
        for name in ("neighbourhood", "inner", "outer"):
            value = getattr(self, name)
            check(value >= 0, f"contextpred.{name} must not be negative, found {value}")
        good = self.outer == 0 or self.outer > self.inner
        check(good, f"contextpred.outer={self.outer} must exceed contextpred.inner={self.inner} (or be 0 for no bound)")
        good = self.neighbourhood == 0 or self.neighbourhood > self.inner
        wanted = (
            f"must exceed contextpred.inner={self.inner} (or be 0 for the whole graph), for the context to touch it"
        )
        check(good, f"contextpred.neighbourhood={self.neighbourhood} {wanted}")
        check(self.layers >= 1, f"contextpred.layers must be at least 1, found {self.layers}")


@dataclass(frozen=True)
class ContrastConfig:
    """Contrast of two augmented views (You et al., "GraphCL", NeurIPS 2020); rate and temperature as published."""

    augmentations: tuple[str, ...] = hyper(("drop_nodes", "perturb_edges", "mask_attributes", "subgraph"))
    """Each view of each graph draws one of these: drop_nodes, perturb_edges, mask_attributes, subgraph."""
    rate: float = hyper(0.2)
    """Share of nodes, edges or attributes an augmentation changes."""
    temperature: float = hyper(0.1)
    """Of the NT-Xent loss."""

    def __post_init__(self) -> None:
        known = ("drop_nodes", "perturb_edges", "mask_attributes", "subgraph")
        bad = [name for name in self.augmentations if name not in known]
        check(not bad, f"graphcl.augmentations: {bad[:1]} is none of {', '.join(known)}")
        check(bool(self.augmentations), "graphcl.augmentations must name at least one augmentation")
        check(0 < self.rate < 1, f"graphcl.rate must lie in (0, 1), found {self.rate}")
        check(self.temperature > 0, f"graphcl.temperature must be positive, found {self.temperature}")


@dataclass(frozen=True)
class MaskingConfig:
    """AttrMasking (Hu et al., ICLR 2020, section 3.1.2), also the mask part of multitask."""

    target: Literal["auto", "node", "edge", "edge_multilabel"] = hyper("auto", structural=True)
    """What is hidden and predicted: all features of nodes, one class of edges (their first categorical feature, or the first
    active one of their channels, as in the published code), or all features of edges, each channel as a label of its own;
    auto = nodes where they have features, else edge_multilabel."""
    rate: float = hyper(0.15)
    """Share of nodes or edges hidden, at least one in each graph that has any."""

    def __post_init__(self) -> None:
        check(0 < self.rate < 1, f"attrmasking.rate must lie in (0, 1), found {self.rate}")


@dataclass(frozen=True)
class MultitaskConfig:
    """Masked features (with attrmasking's options) and links (as edgepred), told from the same embeddings."""

    link_weight: float = hyper(1.0)
    """Weight of the link loss beside the masked-feature loss."""

    def __post_init__(self) -> None:
        check(self.link_weight >= 0, f"multitask.link_weight must not be negative, found {self.link_weight}")


@dataclass(frozen=True)
class StructureConfig:
    """Prediction of structural properties of nodes."""

    properties: tuple[str, ...] = hyper(("degree", "clustering"), structural=True)
    """Which: degree (log(1 + degree)), clustering (local clustering coefficient)."""

    def __post_init__(self) -> None:
        bad = [name for name in self.properties if name not in ("degree", "clustering")]
        check(not bad, f"structure.properties: {bad[:1]} is none of degree, clustering")
        check(bool(self.properties), "structure.properties must name at least one property")
        check(len(set(self.properties)) == len(self.properties), "structure.properties names a property twice")


@dataclass(frozen=True)
class SupervisedConfig:
    """Supervised pre-training on the corpus's own graph labels (Hu et al., ICLR 2020, section 3.2)."""

    labels: tuple[str, ...] = hyper((), structural=True)
    """Label columns to use; empty = all."""
    task: Literal["classification", "regression"] = hyper("classification", structural=True)
    """classification = 0/1 labels, regression = numbers, taken as they are; unknown labels have no influence."""

    def __post_init__(self) -> None:
        twice = [name for name in self.labels if self.labels.count(name) > 1]
        check(not twice, f"supervised.labels names {twice[:1]} twice; name each label once")
