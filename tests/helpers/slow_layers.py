"""Reference implementation of encoders: a copy of psi per graph, and a loop over neighbours."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from distgnn.graph.batch import GraphBatch
from distgnn.models.encoder import Encoder

Copy = dict[str, Tensor]


def graph_rows(batch: GraphBatch) -> list[slice]:
    ptr = batch.node_ptr.tolist()
    return [slice(low, high) for low, high in pairwise(ptr)]


def stream_of(batch: GraphBatch, g: int) -> int:
    ptr = [0, batch.num_graphs] if batch.stream_ptr is None else batch.stream_ptr.tolist()
    return next(i for i in range(len(ptr) - 1) if ptr[i] <= g < ptr[i + 1])


class SlowEncoder:
    """Node embeddings [N, width] with graph g's psi taken from psi[g]; names in the copies are those of encoder.psi."""

    def __init__(self, encoder: Encoder, batch: GraphBatch) -> None:
        self.encoder, self.batch, self.config = encoder, batch, encoder.config
        self.owner = [g for g, r in enumerate(graph_rows(batch)) for _ in range(r.start, r.stop)]
        self.incoming: list[list[tuple[int, int]]] = [[] for _ in self.owner]
        for e, (u, v) in enumerate(batch.edges.t().tolist()):
            self.incoming[v].append((u, e))
            if not batch.directed:
                self.incoming[u].append((v, e))
        self.attributes = self._attributes() if encoder.schema.edge else None

    def _attributes(self) -> Tensor:
        features, batch = self.encoder.schema.edge, self.batch
        rows = torch.zeros(batch.num_edges, sum(f.size for f in features) + 1, dtype=self.encoder.dtype)
        for e in range(batch.num_edges):
            at = 0
            for column, size in enumerate(f.size for f in features if f.kind == "categorical"):
                rows[e, at + int(batch.edge_cat[e, column])] = 1
                at += size
            rows[e, at:-1] = batch.edge_dense[e].to(rows.dtype)
            rows[e, -1] = 1
        return rows

    def __call__(self, psi: list[Copy]) -> Tensor:
        x, outputs, count = self.encoder.embed(self.batch), [], self.config.layers
        layer = {"gin": self._gin, "gcn": self._gcn, "sage": self._sage, "gat": self._gat}[self.config.kind]
        for i in range(count):
            copies = [{k.removeprefix(f"layers.{i}."): v for k, v in copy.items()} for copy in psi]
            y = layer(x, copies, "none" if i + 1 == count else self.config.norm)
            y = torch.relu(y) if i + 1 < count else y
            x = x + y if self.config.residual else y
            outputs.append(x)
        if self.config.jumping_knowledge == "concat":
            return self._linear(torch.cat(outputs, 1), psi, "project")
        if self.config.jumping_knowledge == "max":
            return torch.stack(outputs).amax(0)
        return sum(outputs[1:], outputs[0]) if self.config.jumping_knowledge == "sum" else x

    def _linear(self, x: Tensor, psi: list[Copy], name: str) -> Tensor:
        found = []
        for rows, copy in zip(graph_rows(self.batch), psi, strict=True):
            y = x[rows.start : rows.stop] @ copy[f"{name}.weight"].t()
            found.append(y + copy[f"{name}.bias"] if f"{name}.bias" in copy else y)
        return torch.cat(found)

    def _messages(self, x: Tensor, n: int, psi: list[Copy]) -> Tensor:
        """What node n hears along each of its edges."""
        heard = x[[j for j, _ in self.incoming[n]]]
        if self.attributes is None:
            return heard
        return heard + self._heard(n) @ psi[self.owner[n]]["edge.weight"].t()

    def _heard(self, n: int) -> Tensor:
        assert self.attributes is not None
        return self.attributes[[e for _, e in self.incoming[n]]]

    def _norm(self, x: Tensor, psi: list[Copy], norm: str) -> Tensor:
        if norm == "none":
            return x
        if norm == "layer":
            x = (x - x.mean(1, keepdim=True)) / torch.sqrt(x.var(1, unbiased=False, keepdim=True) + 1e-5)
        else:
            kind = {"graph": lambda g: g, "ghost": lambda g: stream_of(self.batch, g), "batch": lambda _: 0}[norm]
            of = torch.tensor([kind(g) for g in self.owner])
            done = torch.zeros_like(x)
            for group in of.unique():
                part = x[of == group]
                scaled = (part - part.mean(0)) / torch.sqrt(part.var(0, unbiased=False) + 1e-5)
                done = done.index_put((torch.nonzero(of == group).flatten(),), scaled)
            x = done
        pairs = zip(graph_rows(self.batch), psi, strict=True)
        return torch.cat(
            [x[rows.start : rows.stop] * c["norm.scale.weight"] + c["norm.scale.bias"] for rows, c in pairs]
        )

    def _gin(self, x: Tensor, psi: list[Copy], _: str) -> Tensor:
        total = torch.stack([row + self._messages(x, n, psi).sum(0) for n, row in enumerate(x)])
        hidden = self._norm(self._linear(total, psi, "lift"), psi, self.config.norm)
        return self._linear(torch.relu(hidden), psi, "project")

    def _gcn(self, x: Tensor, psi: list[Copy], norm: str) -> Tensor:
        degree = torch.tensor([1 + len(heard) for heard in self.incoming], dtype=x.dtype)
        total = []
        for n, heard in enumerate(self.incoming):
            share = (degree[n] * degree[[j for j, _ in heard]]) ** -0.5
            total.append(x[n] / degree[n] + share @ self._messages(x, n, psi))
        return self._norm(self._linear(torch.stack(total), psi, "linear"), psi, norm)

    def _sage(self, x: Tensor, psi: list[Copy], norm: str) -> Tensor:
        counts = [max(len(heard), 1) for heard in self.incoming]
        means = torch.stack([self._messages(x, n, psi).sum(0) / count for n, count in enumerate(counts)])
        return self._norm(self._linear(torch.cat([means, x], 1), psi, "linear"), psi, norm)

    def _gat(self, x: Tensor, psi: list[Copy], norm: str) -> Tensor:
        heads, width = self.config.heads, self.config.width
        sent, rows = self._linear(x, psi, "linear").view(-1, heads, width), []
        for n, heard in enumerate(self.incoming):
            copy, total = psi[self.owner[n]], torch.zeros(width, dtype=x.dtype)
            for h in range(heads):
                source, target = copy["score.weight"][0, h], copy["score.weight"][1, h]
                values = sent[[*(j for j, _ in heard), n], h]  # the last is its own, without an edge
                scores = values @ source + sent[n, h] @ target
                if self.attributes is not None:
                    edges = torch.cat([self._heard(n), torch.zeros(1, self.attributes.shape[1], dtype=x.dtype)])
                    scores = scores + edges @ copy["edge_score.weight"][h]
                    values = values + edges @ copy["edge.weight"].view(width, heads, -1)[:, h].t()
                weights = torch.softmax(torch.nn.functional.leaky_relu(scores, 0.2), 0)
                total = total + weights @ values / heads
            rows.append(total + copy["shift.bias"] if "shift.bias" in copy else total)
        return self._norm(torch.stack(rows), psi, norm)
