"""Target task: link prediction, does a user rate an item positively (KGCN, SELAR, AUX-TS on Last-FM, Book-Crossing)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from distgnn.auxiliary.network_tasks.tasks import NodeQuery, PairTask, TargetTask, pairs
from distgnn.auxiliary.problem import Rows
from distgnn.config import NetworkTaskConfig, SplitConfig
from distgnn.errors import RequestError
from distgnn.graph.splits import make_split
from distgnn.labels.ranking import link_scores
from distgnn.network.csr import Edges, both_ways, with_messages
from distgnn.network.network import Network, Relation

COLUMNS = "rating.user", "rating.item", "rating.label"
_RATED = Relation("rated", "user", "item")


@dataclass(frozen=True)
class Links:
    """Rated pairs.

    Attributes:
        user, item: int64 [n], global ids.
        label: int64 [n], 0 or 1.
        parts: Ascending rows of train, val, test.
    """

    user: Rows
    item: Rows
    label: Rows
    parts: dict[str, Rows]


def read_links(network: Network, config: NetworkTaskConfig) -> Links:
    """Read the network's ratings, split as ``config`` says.

    Raises:
        RequestError: A part lacks ratings of either label.
    """
    missing = [name for name in COLUMNS if name not in network.tables]
    if missing:
        raise RequestError(f"target=link: the network has no table {missing[0]!r}; use target=node or another network")
    user, item, label = (np.asarray(network.tables[name]).astype(np.int64) for name in COLUMNS)
    if not np.isin(label, (0, 1)).all():
        raise RequestError("target=link: rating.label must be 0 or 1; build the network with such ratings")
    split = SplitConfig(method="random", fractions=config.fractions, seed=config.split_seed)
    parts = make_split(split, np.arange(len(label)))
    for name, rows in parts.items():
        if len(np.unique(label[rows])) < 2:
            raise RequestError(f"target=link: part {name!r} has ratings of one label only; change network.fractions")
    return Links(user + network.nodes("user").start, item + network.nodes("item").start, label, parts)


def training_network(network: Network, links: Links) -> Network:
    """Add the positive ratings of the training part to the network, as messages in both directions.

    No other rating is included.
    """
    rows = links.parts["train"]
    rows = rows[links.label[rows] == 1]
    user, item = links.user[rows] - network.nodes("user").start, links.item[rows] - network.nodes("item").start
    return with_messages(network, *both_ways(Edges(_RATED, user, item)))


class LinkTarget(PairTask, TargetTask):
    """Link prediction with the training ratings, evaluated on the other parts."""

    name, metrics, kind = "link", ("auc", "user_auc"), "item"

    def __init__(self, links: Links, config: NetworkTaskConfig, device: torch.device) -> None:
        super().__init__(config.width, config.hidden)
        self.links, self.hides, self.device = links, config.messages == "hide", device
        self.rows = len(links.parts["train"])

    def strata(self) -> Rows:
        """Label of each training row."""
        return self.links.label[self.links.parts["train"]].astype(np.int64)

    def query(self, rows: Rows) -> NodeQuery:
        """Return the query of training rows."""
        row = self.links.parts["train"][rows]
        return pairs(self.links.user[row], self.links.item[row], self.links.label[row], self.device)

    def pairs_of(self, rows: Rows) -> Rows:
        """Return the (user, item) pairs of ``rows``."""
        row = self.links.parts["train"][rows]
        return np.stack([self.links.user[row], self.links.item[row]])

    def scores(self, part: str, embed: Callable[[Rows], Tensor]) -> dict[str, float]:
        """Return pooled and per-user ROC-AUC."""
        row = self.links.parts[part]
        user, item = self.links.user[row], self.links.item[row]
        logits = self.logits(embed(np.concatenate([user, item])))
        return link_scores(user, self.links.label[row], logits.double().cpu().numpy())
