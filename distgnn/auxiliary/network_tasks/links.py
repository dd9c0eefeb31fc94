"""Target task: link prediction, does a user rate an item positively (KGCN, SELAR, AUX-TS on Last-FM, Book-Crossing)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn import functional as F

from distgnn.auxiliary.batches import without_judge
from distgnn.auxiliary.network_tasks.tasks import NodeQuery, PairTask, TargetTask, pairs, sample_count
from distgnn.auxiliary.problem import JUDGE, PartEvaluation, Rows, Samples
from distgnn.config import NetworkTaskConfig, SplitConfig
from distgnn.errors import RequestError
from distgnn.graph.keyed import below, draw, key
from distgnn.graph.purposes import NetworkDraw
from distgnn.graph.splits import make_split
from distgnn.labels.influence import on_auc
from distgnn.labels.ranking import link_scores
from distgnn.labels.recommendation import RANKING, ranking_scores
from distgnn.network.csr import Edges, both_ways, with_messages
from distgnn.network.network import Network, Relation

MOST_RANKED = 2000
"""Largest number of users whose items are ranked in full."""
COLUMNS = "rating.user", "rating.item", "rating.label"
_RATED = Relation("rated", "user", "item")


@dataclass(frozen=True)
class Links:
    """Rated pairs.

    Attributes:
        user, item: int64 [n], global ids.
        label: int64 [n], 0 or 1.
        parts: Ascending rows of train, val, test.
        users, items: Global ids of all users and items.
    """

    user: Rows
    item: Rows
    label: Rows
    parts: dict[str, Rows]
    users: range
    items: range

    def matrix(self, parts: Sequence[str]) -> sp.csr_matrix:
        """Return the Boolean matrix [users, items] of the positives of ``parts``."""
        rows = np.concatenate([self.parts[part] for part in parts])
        rows = rows[self.label[rows] == 1]
        ends = self.user[rows] - self.users.start, self.item[rows] - self.items.start
        return sp.csr_matrix((np.ones(len(rows), np.bool_), ends), shape=(len(self.users), len(self.items)))

    def known(self, part: str) -> sp.csr_matrix:
        """Return the positives that are left out of the ranking on a part: those of training, and validation for the test."""
        return self.matrix([name for name in self.parts if name not in (part, "test")])

    def wanted(self, part: str) -> sp.csr_matrix:
        """Return the positives of a part that are ranked: those of MOST_RANKED users, evenly spaced, if there are more."""
        found: Any = self.matrix((part,))
        found = found - found.multiply(self.known(part))
        users = np.flatnonzero(np.diff(found.indptr))
        if len(users) <= MOST_RANKED:
            return sp.csr_matrix(found)
        chosen = np.zeros(found.shape[0], np.bool_)
        chosen[users[np.arange(MOST_RANKED) * len(users) // MOST_RANKED]] = True
        return sp.csr_matrix(found.multiply(chosen[:, None]))


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
    users, items = network.nodes("user"), network.nodes("item")
    return Links(user + users.start, item + items.start, label, parts, users, items)


def training_network(network: Network, links: Links) -> Network:
    """Add the positive ratings of the training part to the network, as messages in both directions.

    No other rating is included.
    """
    rows = links.parts["train"]
    rows = rows[links.label[rows] == 1]
    user, item = links.user[rows] - network.nodes("user").start, links.item[rows] - network.nodes("item").start
    return with_messages(network, *both_ways(Edges(_RATED, user, item)))


class LinkTarget(PairTask, TargetTask):
    """Link prediction with the training ratings, evaluated on the other parts.

    Args:
        links: The ratings.
        config: Loss, decoder and messages.
        seed: Key of the drawn items.
        device: Device of the labels.
    """

    name, metrics, kind = "link", ("auc", "user_auc", *RANKING), "item"

    def __init__(self, links: Links, config: NetworkTaskConfig, seed: int, device: torch.device) -> None:
        super().__init__(config.width, config.hidden if config.decoder == "mlp" else 0)
        self.links, self.hides, self.device = links, config.messages == "hide", device
        self.bpr, self.seed = config.loss == "bpr", seed
        self.rows, self.validation = len(links.parts["train"]), len(links.parts["val"])
        self._ranking = cache(lambda part: (self.links.known(part), self.links.wanted(part)))

    def strata(self) -> Rows:
        """Label of each training row."""
        return self.links.label[self.links.parts["train"]].astype(np.int64)

    def split_validation(self, seed: int) -> int:
        """See :class:`TargetTask`."""
        parts = without_judge(self.links.parts, self.links.label[self.links.parts["val"]], seed)
        self.links = replace(self.links, parts=parts)
        return len(parts[JUDGE])

    def query(self, rows: Rows, part: str = "train", step: int = 0) -> NodeQuery:
        """Return the query of rows of a part, or with BPR of their positives, each with an item drawn in ``step``."""
        row = self.links.parts[part][rows]
        if not self.bpr:
            return pairs(self.links.user[row], self.links.item[row], self.links.label[row], self.device)
        row = row[self.links.label[row] == 1]
        user, items = self.links.user[row], self.links.items
        other = below(draw(key(self.seed, NetworkDraw.BPR, step), row), np.full(len(row), len(items)))
        kept = ~np.asarray(self._positives[user - self.links.users.start, other]).reshape(-1)
        user, item, other = user[kept], self.links.item[row[kept]], other[kept] + items.start
        return NodeQuery(np.concatenate([user, item, other]), None)

    def samples(self, embedded: Tensor, query: NodeQuery) -> Samples:
        """Return the cross-entropy of each pair, or with BPR the loss of each positive; its label signal is 1."""
        if not self.bpr:
            return super().samples(embedded, query)
        user, item, other = self.phi(embedded).chunk(3)
        losses = F.softplus(-(user * (item - other)).sum(1))
        return Samples(losses, torch.ones_like(losses), sample_count(losses))

    @cached_property
    def _positives(self) -> sp.csr_matrix:
        return self.links.matrix(("train",))

    def pairs_of(self, rows: Rows, part: str = "train") -> Rows:
        """Return the (user, item) pairs of ``rows``."""
        row = self.links.parts[part][rows]
        return np.stack([self.links.user[row], self.links.item[row]])

    def described(self, part: str) -> dict[str, Rows]:
        """See :class:`TargetTask`."""
        row = self.links.parts[part]
        return {"user": self.links.user[row], "item": self.links.item[row], "y": self.links.label[row]}

    def evaluate(self, part: str, embed: Callable[[Rows], Tensor]) -> PartEvaluation:
        """Return pooled and per-user ROC-AUC of the rows, and recall and NDCG of the full ranking of the items."""
        links, row = self.links, self.links.parts[part]
        user, item = links.user[row], links.item[row]
        known, wanted = self._ranking(part)
        ranked = np.flatnonzero(np.diff(wanted.indptr))
        found = embed(np.concatenate([user, item, ranked + links.users.start, np.asarray(links.items)]))
        logits = self.logits(found[: 2 * len(row)])
        users, items = self.phi(found[2 * len(row) :]).split([len(ranked), len(links.items)])

        def score(chunk: Rows) -> npt.NDArray[np.floating[Any]]:
            places = torch.from_numpy(np.searchsorted(ranked, chunk)).to(users.device)
            return (users[places] @ items.t()).cpu().numpy()

        label, rated = links.label[row], logits.double().cpu().numpy()
        scores = link_scores(user, label, rated) | ranking_scores(known, wanted, score)
        values = logits if self.bpr else logits.sigmoid()
        return PartEvaluation(scores, predictions=values.float().cpu().numpy()[:, None], influence=on_auc(label, rated))
